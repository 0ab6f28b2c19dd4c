package launch

import (
	"errors"
	"fmt"
)

// ErrNested is the error of [Local] in a process that is itself a rank: it would start ranks without end.
var ErrNested = errors.New("launch: this process is already a rank")

// An OptionsError is a value in [Options] that cannot be used.
type OptionsError struct {
	Field  string
	Reason string
}

func (e *OptionsError) Error() string { return "launch: " + e.Field + ": " + e.Reason }

// A RankError is a rank that did not end well.
type RankError struct {
	Rank int
	PID  int   // 0 when the process could not be started
	Code int   // exit status; -1 when a signal ended it or it did not start
	Err  error // *exec.ExitError, or why it did not start
}

func (e *RankError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("launch: rank %d did not start: %v", e.Rank, e.Err)
	}
	return fmt.Sprintf("launch: rank %d (pid %d) failed: %v", e.Rank, e.PID, e.Err)
}

// Unwrap returns the cause.
func (e *RankError) Unwrap() error { return e.Err }
