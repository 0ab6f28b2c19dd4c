package transport_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

func TestErrors(t *testing.T) {
	lost := &transport.LostError{Peer: 3, Cause: io.ErrUnexpectedEOF}
	bare := &transport.LostError{Peer: 3}
	remote := &transport.RemoteError{Reason: []byte("a\x00b")}
	frame := &transport.FrameError{Reason: "too long"}
	cases := []struct {
		err    error
		target error
		want   bool
	}{
		{transport.ErrClosed, net.ErrClosed, true},
		{transport.ErrClosed, transport.ErrClosed, true},
		{fmt.Errorf("x: %w", transport.ErrClosed), net.ErrClosed, true},
		{transport.ErrClosed, transport.ErrPeerClosed, false},
		{transport.ErrPeerClosed, net.ErrClosed, false},
		{transport.ErrPeerClosed, transport.ErrClosed, false},
		{lost, transport.ErrPeerLost, true},
		{lost, io.ErrUnexpectedEOF, true},
		{lost, transport.ErrPeerClosed, false},
		{bare, transport.ErrPeerLost, true},
		{bare, io.ErrUnexpectedEOF, false},
		{fmt.Errorf("x: %w", lost), transport.ErrPeerLost, true},
		{remote, transport.ErrPeerLost, false},
		{frame, transport.ErrPeerLost, false},
	}
	for _, c := range cases {
		if got := errors.Is(c.err, c.target); got != c.want {
			t.Errorf("errors.Is(%v, %v): got %v, want %v", c.err, c.target, got, c.want)
		}
	}
	texts := map[error]string{
		lost:                      "transport: peer 3 lost: unexpected EOF",
		bare:                      "transport: peer 3 lost",
		remote:                    `transport: peer failed the link: "a\x00b"`,
		frame:                     "transport: bad frame: too long",
		transport.ErrClosed:       "transport: closed",
		transport.ErrPeerClosed:   "transport: peer closed the link",
		transport.ErrPeerLost:     "transport: peer lost",
		transport.ErrUnreachable:  "transport: peer not reachable by this transport",
		transport.ErrNotSupported: "transport: not supported on this machine",
		transport.ErrExists:       "transport: already open",
	}
	for err, want := range texts {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
