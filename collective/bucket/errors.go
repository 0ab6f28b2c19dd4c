package bucket

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// The causes inside a [*ParamError].
var (
	// ErrDuplicate: the name is taken.
	ErrDuplicate = errors.New("registered before")
	// ErrLength: a gradient has at least one element, and no more bytes than an int counts.
	ErrLength = errors.New("invalid length")
	// ErrTwice: the gradient was marked ready before in this step.
	ErrTwice = errors.New("marked ready twice in one step")
	// ErrForeign: the gradient belongs to another Reducer.
	ErrForeign = errors.New("not a parameter of this reducer")
)

// The states in which a [Reducer] cannot do what it was asked.
var (
	// ErrConfig: New was given a Config or a communicator that makes no sense; the text says which.
	ErrConfig = errors.New("bucket: invalid configuration")
	// ErrSealed: Register or Seal after Seal.
	ErrSealed = errors.New("bucket: the layout is sealed")
	// ErrNotSealed: Ready or Wait before Seal.
	ErrNotSealed = errors.New("bucket: the layout is not sealed")
	// ErrBusy: Wait while another Wait runs, or Close while operations run.
	ErrBusy = errors.New("bucket: operations are in flight")
	// ErrClosed: any use after Close. It also Is net.ErrClosed.
	ErrClosed = fmt.Errorf("bucket: reducer: %w", net.ErrClosed)
)

// ParamError says what is wrong with one gradient. It unwraps to ErrDuplicate, ErrLength, ErrTwice or
// ErrForeign.
type ParamError struct {
	Name string // as registered
	Err  error
}

func (e *ParamError) Error() string { return fmt.Sprintf("bucket: gradient %q: %v", e.Name, e.Err) }
func (e *ParamError) Unwrap() error { return e.Err }

// LayoutError is what Seal returns, with the same content on every rank, when the ranks did not register the
// same gradients in the same order with the same Config. It tells of the first difference.
type LayoutError struct {
	Index  int       // of the gradient in order of registration; -1: the element type or the Config differs
	Ranks  [2]int    // rank 0, and the lowest rank that differs from it
	Values [2]string // what each of the two has there, in words (cut if very long)
}

func (e *LayoutError) Error() string {
	what := "configuration"
	if e.Index >= 0 {
		what = fmt.Sprintf("gradient %d", e.Index)
	}
	return fmt.Sprintf("bucket: ranks differ in layout: %s is %s on rank %d but %s on rank %d",
		what, e.Values[0], e.Ranks[0], e.Values[1], e.Ranks[1])
}

// AllocError is what Seal returns on every rank when the memory of the buckets could not be had on some rank.
type AllocError struct {
	Rank int   // that rank; the highest of them if there are several
	Err  error // why, on a rank where it happened; else nil
}

func (e *AllocError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("bucket: rank %d has no memory for its buckets", e.Rank)
	}
	return fmt.Sprintf("bucket: no memory for the buckets: %v", e.Err)
}
func (e *AllocError) Unwrap() error { return e.Err }

// MissingError is what Wait returns when Ready was not called for some gradients in this step and
// Config.AllowUnused is not set. Nothing is lost: call Ready for them and Wait again.
type MissingError struct {
	Names []string // in order of registration
}

func (e *MissingError) Error() string {
	const shown = 8
	names, rest := e.Names, ""
	if len(names) > shown {
		rest = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	return fmt.Sprintf("bucket: not marked ready in this step: %s%s", strings.Join(names, ", "), rest)
}
