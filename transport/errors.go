package transport

import (
	"errors"
	"fmt"
	"net"
)

// The ways in which a link ends. Errors of links wrap them: test with errors.Is.
var (
	// ErrClosed is the end by this side's own Close or Fail. It also Is net.ErrClosed.
	ErrClosed error = closedError{}
	// ErrPeerClosed is the peer's Close: everything that it posted has been read, no more will come.
	ErrPeerClosed = errors.New("transport: peer closed the link")
	// ErrPeerLost is a peer that is gone without a Close: its process died, or it cannot be reached.
	ErrPeerLost = errors.New("transport: peer lost")
	// ErrUnreachable is a peer that this transport has no way to.
	ErrUnreachable = errors.New("transport: peer not reachable by this transport")
	// ErrNotSupported is a transport that this machine cannot offer.
	ErrNotSupported = errors.New("transport: not supported on this machine")
	// ErrExists is a link ID that was opened twice on one side, or a rank that listens twice in one group.
	ErrExists = errors.New("transport: already open")
)

type closedError struct{}

func (closedError) Error() string        { return "transport: closed" }
func (closedError) Is(target error) bool { return target == net.ErrClosed }

// A RemoteError is the peer's [Link.Fail].
type RemoteError struct {
	Reason []byte // as the peer gave it; it belongs to the layer above
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("transport: peer failed the link: %q", e.Reason)
}

// A FrameError is a frame that breaks the rules of the wire: what sent it is faulty or hostile.
type FrameError struct{ Reason string }

func (e *FrameError) Error() string { return "transport: bad frame: " + e.Reason }

// A LostError is [ErrPeerLost] with the reason why the peer counts as lost.
type LostError struct {
	Peer  int // rank
	Cause error
}

func (e *LostError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("transport: peer %d lost", e.Peer)
	}
	return fmt.Sprintf("transport: peer %d lost: %v", e.Peer, e.Cause)
}

// Is makes a LostError an ErrPeerLost.
func (e *LostError) Is(target error) bool { return target == ErrPeerLost }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Cause }
