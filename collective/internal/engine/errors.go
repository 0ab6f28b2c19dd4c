package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/transport"
)

// A PeerError says which peer ended, or held up, an operation, and where in the schedule.
type PeerError struct {
	Rank    int    // the peer
	Op      string // the operation: "all_reduce"
	Channel int    // of the schedule; -1 when not known here
	Step    int    // index of the operation in the lane; -1 when not known here
	Err     error  // Is transport.ErrPeerLost, context.DeadlineExceeded, …
}

func (e *PeerError) Error() string {
	s := fmt.Sprintf("%s: rank %d", e.Op, e.Rank)
	if e.Channel >= 0 {
		s += fmt.Sprintf(" (channel %d step %d)", e.Channel, e.Step)
	}
	return s + ": " + e.Err.Error()
}

func (e *PeerError) Unwrap() error { return e.Err }

// ErrMismatch is ranks that called different operations.
var ErrMismatch = errors.New("ranks called different operations")

// A MismatchError says in what two ranks differ. It Is [ErrMismatch].
type MismatchError struct {
	Field         string // "collective", "count", "dtype", "op", "root", "algorithm", "operation number", "an earlier operation"
	Rank          int    // the rank that saw it
	Local, Remote string // its own value and the peer's
	Peer          int
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%v: %s is %s on rank %d and %s on rank %d", ErrMismatch, e.Field, e.Local, e.Rank, e.Remote, e.Peer)
}

// Is makes a MismatchError an ErrMismatch.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// ErrAborted is an operation that some rank gave up.
var ErrAborted = errors.New("aborted")

// An AbortError is a rank's abort; it Is [ErrAborted].
type AbortError struct {
	Rank  int    // who gave up
	Cause string // why, as that rank said it
	Err   error  // the cause itself, on the rank that gave up; nil on the others
}

func (e *AbortError) Error() string { return fmt.Sprintf("aborted by rank %d: %s", e.Rank, e.Cause) }

// Is makes an AbortError an ErrAborted.
func (e *AbortError) Is(target error) bool { return target == ErrAborted }

// Unwrap returns the cause where it is known.
func (e *AbortError) Unwrap() error { return e.Err }

// Ended returns why ctx has ended: an error that Is context.Canceled or context.DeadlineExceeded, and Is the
// context's cause where that is another one.
func Ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// A reason is what an abort tells the other ranks.
type reason struct {
	Kind     string         `json:"k"` // "lost", "mismatch", "abort"
	Rank     int            `json:"r"` // lost: who; abort: who gave up
	Op       string         `json:"o,omitempty"`
	Text     string         `json:"t,omitempty"`
	Mismatch *MismatchError `json:"m,omitempty"`
}

// encodeReason returns err as a reason that fits transport.MaxReason; self is the rank that gives up.
func encodeReason(self int, err error) []byte {
	r := reason{Kind: "abort", Rank: self, Text: err.Error()}
	var peer *PeerError
	var abort *AbortError
	var mismatch *MismatchError
	switch {
	case errors.As(err, &mismatch):
		r = reason{Kind: "mismatch", Rank: self, Mismatch: mismatch}
	case errors.As(err, &peer) && errors.Is(err, transport.ErrPeerLost):
		r = reason{Kind: "lost", Rank: peer.Rank, Op: peer.Op, Text: lostText(peer)}
	case errors.As(err, &abort):
		r.Rank, r.Text = abort.Rank, abort.Cause
	}
	for {
		b, jerr := json.Marshal(r)
		if jerr == nil && len(b) <= transport.MaxReason {
			return b
		}
		if len(r.Text) == 0 {
			return nil
		}
		r.Text = r.Text[:len(r.Text)/2]
	}
}

func lostText(e *PeerError) string {
	var lost *transport.LostError
	if errors.As(e, &lost) && lost.Cause != nil {
		return lost.Cause.Error()
	}
	return ""
}

// decodeReason turns what a peer said in its abort into an error of this rank.
func decodeReason(peer int, b []byte) error {
	var r reason
	if err := json.Unmarshal(b, &r); err != nil {
		return &AbortError{Rank: peer, Cause: fmt.Sprintf("%q", b)}
	}
	switch {
	case r.Kind == "mismatch" && r.Mismatch != nil:
		return r.Mismatch
	case r.Kind == "lost":
		lost := &transport.LostError{Peer: r.Rank}
		if r.Text != "" {
			lost.Cause = errors.New(r.Text)
		}
		return &PeerError{Rank: r.Rank, Op: r.Op, Channel: -1, Step: -1, Err: lost}
	}
	return &AbortError{Rank: r.Rank, Cause: r.Text}
}
