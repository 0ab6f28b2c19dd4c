package mem

import (
	"fmt"
	"sync/atomic"

	"github.com/ringtree/ringtree/transport"
)

// A pair is both ends of a link. End 0 is the one that opened first.
type pair struct{ ends [2]link }

func newPair() *pair {
	p := new(pair)
	p.ends[0].peer, p.ends[1].peer = &p.ends[1], &p.ends[0]
	return p
}

// An ending says to the peer how this end ended.
type ending struct {
	err   error // the peer's error
	drain bool  // the peer's Err stays nil until it has read everything
}

// A link is one end, with the ring of the direction in which it sends. Fields are grouped by who writes
// them, a cache line each.
type link struct {
	// Written when the link is made and when it ends.
	peer     *link
	endpoint atomic.Pointer[endpoint] // nil until this side has opened
	end      atomic.Pointer[ending]   // nil until this side has ended
	key      linkKey
	_        [8]byte

	// Written by this end's owner, read by the peer's.
	posted atomic.Uint64
	slots  *[window]transport.Frame // made by the first Post, published by posted
	_      [48]byte

	// Written by the peer's owner: frames of this end's ring that it is done with.
	released atomic.Uint64
	_        [56]byte

	// Owner only.
	held bool // Poll has returned a frame that Release has not given back
	_    [63]byte
}

var _ transport.Link = (*link)(nil)

func (l *link) Caps() transport.Caps { return caps }

func (l *link) Post(h *transport.Header, payload []byte) (bool, error) {
	if l.end.Load() != nil {
		return false, transport.ErrClosed
	}
	if end := l.peer.end.Load(); end != nil {
		return false, end.err
	}
	if int64(h.Length) != int64(len(payload)) {
		return false, &transport.FrameError{Reason: fmt.Sprintf("length %d with a payload of %d", h.Length, len(payload))}
	}
	if err := h.Check(); err != nil {
		return false, err
	}
	posted := l.posted.Load()
	if posted-l.released.Load() == window {
		return false, nil
	}
	if l.slots == nil {
		l.slots = new([window]transport.Frame)
	}
	slot := &l.slots[posted%window]
	slot.Header, slot.Payload = *h, payload
	l.posted.Store(posted + 1)
	l.peer.ring()
	return true, nil
}

// Offer returns false: the peer cannot write here.
func (l *link) Offer([]byte) bool { return false }

// Quiet returns true: the peer cannot write here.
func (l *link) Quiet() bool { return true }

func (l *link) Completed() uint64 { return l.released.Load() }

func (l *link) Poll() (*transport.Frame, error) {
	if l.end.Load() != nil {
		return nil, transport.ErrClosed
	}
	in := l.peer
	taken := in.released.Load()
	if in.posted.Load() == taken {
		end := in.end.Load()
		if end == nil {
			return nil, nil
		}
		// A frame may have been posted between the two looks.
		if in.posted.Load() == taken {
			return nil, end.err
		}
	}
	l.held = true
	return &in.slots[taken%window], nil
}

func (l *link) Release() {
	if !l.held {
		panic("mem: Release without a frame from Poll")
	}
	l.held = false
	in := l.peer
	taken := in.released.Load()
	in.slots[taken%window].Payload = nil // so that the ring keeps no buffer alive
	in.released.Store(taken + 1)
	in.ring()
}

// ring wakes the rank that this end belongs to, if it has opened the link.
func (l *link) ring() {
	if e := l.endpoint.Load(); e != nil {
		e.bell.Ring()
	}
}

func (l *link) Err() error {
	if l.end.Load() != nil {
		return transport.ErrClosed
	}
	in := l.peer
	end := in.end.Load()
	if end == nil || end.drain && in.posted.Load() != in.released.Load() {
		return nil
	}
	return end.err
}

func (l *link) Fail(reason []byte) {
	reason = append([]byte(nil), reason[:min(len(reason), transport.MaxReason)]...)
	l.finish(&ending{err: &transport.RemoteError{Reason: reason}})
}

func (l *link) Close() error {
	l.finish(&ending{err: transport.ErrPeerClosed, drain: true})
	return nil
}

// finish ends this side once and wakes both.
func (l *link) finish(end *ending) {
	if !l.end.CompareAndSwap(nil, end) {
		return
	}
	l.peer.ring()
	l.ring() // the owner may sleep while another goroutine ends its link
	if e := l.endpoint.Load(); e != nil {
		e.forget(l)
	}
}
