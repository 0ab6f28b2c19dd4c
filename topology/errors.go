package topology

import "fmt"

// NoRank is the Rank of a [SpecError] that is about no single rank.
const NoRank Rank = -1

// A SpecError says what is wrong with a description of a machine, and where.
type SpecError struct {
	Rank   Rank   // the first rank that shows the fault, or NoRank
	Field  string // such as "host", "tier rack alpha", "path a b"
	Reason string
}

func (e *SpecError) Error() string {
	if e.Rank == NoRank {
		return fmt.Sprintf("topology: %s: %s", e.Field, e.Reason)
	}
	return fmt.Sprintf("topology: rank %d: %s: %s", e.Rank, e.Field, e.Reason)
}

func specErrorf(r Rank, field, format string, args ...any) *SpecError {
	return &SpecError{Rank: r, Field: field, Reason: fmt.Sprintf(format, args...)}
}

// A ParseError says where a text is not a topology, and why. Where the words are in order and what they
// describe is not, it wraps the [SpecError].
type ParseError struct {
	Line   int // counted from 1; one past the last line when something is missing at the end
	Column int // byte of the line, counted from 1; 0 when the fault is no single word's
	Reason string
	Err    error // the *SpecError, the error of the reader, or nil
}

func (e *ParseError) Error() string {
	if e.Column == 0 {
		return fmt.Sprintf("topology: line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("topology: line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// Unwrap returns Err.
func (e *ParseError) Unwrap() error { return e.Err }

// A PresetError says which name or parameter of [Preset] is wrong, and why.
type PresetError struct {
	Preset string
	Param  string // "" when it is the name of the preset or the number of ranks
	Reason string
}

func (e *PresetError) Error() string {
	if e.Param == "" {
		return fmt.Sprintf("topology: preset %q: %s", e.Preset, e.Reason)
	}
	return fmt.Sprintf("topology: preset %q: parameter %q: %s", e.Preset, e.Param, e.Reason)
}
