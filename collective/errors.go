package collective

import (
	"errors"
	"net"

	"github.com/ringtree/ringtree/collective/internal/engine"
	"github.com/ringtree/ringtree/transport"
)

// The ways in which an operation fails. Test with errors.Is.
var (
	// ErrClosed is a communicator that this rank has closed. It also Is net.ErrClosed.
	ErrClosed error = closedError{}
	// ErrAborted is an operation that some rank gave up, by [Comm.Abort] or because its context ended.
	ErrAborted = engine.ErrAborted
	// ErrPeerLost is a rank that is gone: its process died, or it cannot be reached. A [*PeerError] names it.
	ErrPeerLost = transport.ErrPeerLost
	// ErrMismatch is ranks that called different operations: another collective, count, dtype, op or root. A
	// [*MismatchError] says in what they differ.
	ErrMismatch = engine.ErrMismatch
)

// A PeerError says which rank ended, or held up, an operation, on which channel of the schedule and at which step. When a
// context ends, it names a rank that was waited for, and Is context.DeadlineExceeded or context.Canceled.
type PeerError = engine.PeerError

// A MismatchError says in what the calls of two ranks differ. Every rank gets one.
type MismatchError = engine.MismatchError

// An AbortError is a rank's abort, with its number and reason. It Is [ErrAborted].
type AbortError = engine.AbortError

type closedError struct{}

func (closedError) Error() string        { return "collective: communicator closed" }
func (closedError) Is(target error) bool { return target == net.ErrClosed }

var errNilCause = errors.New("no cause given")
