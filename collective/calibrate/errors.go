package calibrate

import "fmt"

// A FitError says why there can be no fit.
type FitError struct{ Reason string }

func (e *FitError) Error() string { return "calibrate: " + e.Reason }

// A TableError says where a text is not a table of measurements.
type TableError struct {
	Line   int // counted from 1; 0: no one line
	Reason string
}

func (e *TableError) Error() string {
	if e.Line == 0 {
		return "calibrate: table: " + e.Reason
	}
	return fmt.Sprintf("calibrate: table, line %d: %s", e.Line, e.Reason)
}

// A ModelError says why a text is not a model.
type ModelError struct{ Reason string }

func (e *ModelError) Error() string { return "calibrate: model: " + e.Reason }
