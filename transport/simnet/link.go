package simnet

import (
	"fmt"
	"math"
	"time"

	"github.com/ringtree/ringtree/transport"
)

const forever instant = math.MaxInt64

// A link is one end, with the direction in which it sends. Its fields are under the network's mu.
type link struct {
	network  *Network
	peer     *link
	endpoint *endpoint // nil until this side has opened
	key      linkKey
	wire     *wire // to the peer

	// The sending direction: a ring that grows as frames are on the way, up to the window.
	ring     []flight
	posted   uint64
	released uint64
	arrival  instant // of the last frame posted
	timer    *time.Timer
	timerSet bool

	// How this side ended itself, and when the peer sees it.
	ended  bool
	endErr error // the peer's error
	endAt  instant
	cutoff instant // frames that arrive at the peer after it never do

	lost error // the network lost the peer

	held  bool
	frame transport.Frame // that Poll returned
}

// A flight is a frame on its way.
type flight struct {
	frame   transport.Frame
	arrival instant
}

var _ transport.Link = (*link)(nil)

// newLink returns a's end of a link to b; its peer is b's. The network's mu is held.
func newLink(n *Network, a, b int) *link {
	l := &link{network: n, wire: n.wire(a, b), cutoff: forever}
	l.peer = &link{network: n, wire: n.wire(b, a), cutoff: forever, peer: l}
	return l
}

func (l *link) Caps() transport.Caps { return caps }

func (l *link) Post(h *transport.Header, payload []byte) (bool, error) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if err := l.broken(now); err != nil {
		return false, err
	}
	if int64(h.Length) != int64(len(payload)) {
		return false, &transport.FrameError{Reason: fmt.Sprintf("length %d with a payload of %d", h.Length, len(payload))}
	}
	if err := h.Check(); err != nil {
		return false, err
	}
	if l.posted-l.released == window {
		return false, nil
	}
	w := l.wire
	w.free = min(max(now, w.free)+w.path.transmission(len(payload)), 2*century)
	l.arrival = w.free + w.path.Delay
	l.push(flight{transport.Frame{Header: *h, Payload: payload}, l.arrival})
	if l.arrival <= now {
		l.peer.wake()
	} else {
		l.schedule(now)
	}
	return true, nil
}

// push appends a flight.
func (l *link) push(f flight) {
	if size := uint64(len(l.ring)); l.posted-l.released == size {
		ring := make([]flight, max(4, 2*size))
		for i := l.released; i < l.posted; i++ {
			ring[i%uint64(len(ring))] = l.ring[i%size]
		}
		l.ring = ring
	}
	l.ring[l.posted%uint64(len(l.ring))] = f
	l.posted++
}

// schedule makes the peer's bell ring at the next arrival of something that this side sent, if that is yet to
// come. The timer is made once and reused.
func (l *link) schedule(now instant) {
	if l.timerSet || l.lost != nil {
		return
	}
	next := forever
	if l.ended && l.endAt > now {
		next = l.endAt
	}
	for i := l.released; i < l.posted; i++ { // arrivals only grow
		if at := l.ring[i%uint64(len(l.ring))].arrival; at > now {
			next = min(next, at)
			break
		}
	}
	if next == forever {
		return
	}
	l.timerSet = true
	if l.timer == nil {
		l.timer = time.AfterFunc(next-now, l.arrived)
	} else {
		l.timer.Reset(next - now)
	}
}

// arrived is what the timer calls.
func (l *link) arrived() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.timerSet = false
	l.peer.wake()
	l.schedule(l.network.now())
}

// wake rings the rank that this end belongs to, if it has opened the link.
func (l *link) wake() {
	if l.endpoint != nil {
		l.endpoint.bell.Ring()
	}
}

// Offer returns false: the peer cannot write here.
func (l *link) Offer([]byte) bool { return false }

// Quiet returns true: the peer cannot write here.
func (l *link) Quiet() bool { return true }

func (l *link) Completed() uint64 {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	return l.released
}

// next returns the oldest frame of the peer that has arrived, or nil.
func (l *link) next(now instant) *flight {
	in := l.peer
	if in.released == in.posted {
		return nil
	}
	f := &in.ring[in.released%uint64(len(in.ring))]
	if f.arrival > min(now, in.cutoff) {
		return nil
	}
	return f
}

func (l *link) Poll() (*transport.Frame, error) {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.ended {
		return nil, transport.ErrClosed
	}
	if l.held {
		return &l.frame, nil
	}
	now := n.now()
	if f := l.next(now); f != nil {
		l.frame, l.held = f.frame, true
		return &l.frame, nil
	}
	return nil, l.broken(now)
}

func (l *link) Release() {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if !l.held {
		panic("simnet: Release without a frame from Poll")
	}
	in := l.peer
	l.held, l.frame.Payload = false, nil
	in.ring[in.released%uint64(len(in.ring))] = flight{}
	in.released++
	in.wake()
}

// broken returns why nothing can be posted any more.
func (l *link) broken(now instant) error {
	switch in := l.peer; {
	case l.ended:
		return transport.ErrClosed
	case in.endErr != nil && in.endAt <= min(now, in.cutoff):
		return in.endErr
	default:
		return l.lost
	}
}

func (l *link) Err() error {
	n := l.network
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	err := l.broken(now)
	if err == transport.ErrPeerClosed && l.next(now) != nil {
		return nil
	}
	return err
}

func (l *link) Fail(reason []byte) {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	reason = append([]byte(nil), reason[:min(len(reason), transport.MaxReason)]...)
	l.finish(&transport.RemoteError{Reason: reason}, true)
}

func (l *link) Close() error {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.finish(transport.ErrPeerClosed, false)
	return nil
}

// finish ends this side once. The peer gets err, ahead of frames on the way if the end overtakes them. The
// network's mu is held.
func (l *link) finish(err error, overtakes bool) {
	if l.ended {
		return
	}
	now := l.network.now()
	l.ended, l.endErr, l.endAt = true, err, now+l.wire.path.Delay
	if overtakes {
		l.cutoff = min(l.cutoff, l.endAt)
	} else {
		l.endAt = max(l.endAt, l.arrival)
	}
	if l.endAt <= now {
		l.peer.wake()
	} else {
		if l.timerSet { // for a later frame, perhaps
			l.timer.Stop()
			l.timerSet = false
		}
		l.schedule(now)
	}
	l.wake()
	if e := l.endpoint; e != nil && e.links[l.key] == l {
		delete(e.links, l.key)
	}
}

// lose ends the link because the network has lost the peer: nothing that it sent arrives any more. The
// network's mu is held.
func (l *link) lose(cause error) {
	if l.lost != nil {
		return
	}
	l.lost = &transport.LostError{Peer: l.key.rank, Cause: cause}
	in := l.peer
	in.cutoff = min(in.cutoff, l.network.now())
	if in.timerSet {
		in.timer.Stop()
		in.timerSet = false
	}
	l.wake()
}
