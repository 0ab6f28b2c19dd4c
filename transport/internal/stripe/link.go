package stripe

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ringtree/ringtree/transport"
)

// slotState says where a posted frame is.
type slotState uint8

const (
	slotFree    slotState = iota // written, or dropped
	slotQueued                   // in the queue of a connection
	slotWriting                  // being written
)

// An outSlot holds a posted frame until it is written.
type outSlot struct {
	state    slotState
	borrowed bool // payload belongs to the caller, else to the pool
	seq      uint64
	header   transport.Header
	payload  []byte
}

// An inSlot holds an arrived frame until it is released.
type inSlot struct {
	full    atomic.Uint64 // number of the frame plus one, once it is all there
	busy    bool          // a reader fills it
	header  transport.Header
	payload []byte
	place   place // under link.mu, until the frame is there
	placed  bool  // payload is in its place, and not the pool's
}

// A remoteEnd is how the peer's end of a link ended.
type remoteEnd struct {
	err     error
	drain   bool   // Err stays nil until final frames have been released
	session bool   // the whole session has ended
	final   uint64 // frames that the peer has sent
}

// A link is one end. Until opened, it is what the peer has sent to an end that this side has yet to open.
type link struct {
	peer   *peer
	id     transport.LinkID
	opened bool // by this side; under peer.mu

	ended     atomic.Bool // by this side's Close or Fail
	remote    atomic.Pointer[remoteEnd]
	released  atomic.Uint64 // frames that the owner has given back; its own count
	credited  atomic.Uint64 // of those, how many the peer has been told of
	crediting atomic.Bool   // a credit is queued

	completed atomic.Uint64 // posted frames that borrow nothing, oldest first

	mu       sync.Mutex
	posted   uint64
	granted  uint64 // frames that the peer has released
	dropped  uint64 // frames that will not be sent
	arrived  atomic.Uint64
	out      []outSlot
	in       []inSlot
	endKind  kind // of this side's end, with
	endFinal uint64
	reason   []byte

	// Owner only.
	held   bool
	frame  transport.Frame
	wanted int // frames with a place
}

var _ transport.Link = (*link)(nil)

func newLink(p *peer, id transport.LinkID) *link {
	w := p.ep.cfg.Window
	return &link{peer: p, id: id, out: make([]outSlot, w), in: make([]inSlot, w)}
}

func (l *link) Caps() transport.Caps {
	c := l.peer.ep.cfg.Caps
	c.Via, c.Why = l.peer.via()
	c.Note = l.peer.note()
	return c
}

func (l *link) Post(h *transport.Header, payload []byte) (bool, error) {
	if int64(h.Length) != int64(len(payload)) {
		if err := l.over(); err != nil {
			return false, err
		}
		return false, &transport.FrameError{Reason: fmt.Sprintf("length %d with a payload of %d", h.Length, len(payload))}
	}
	l.mu.Lock()
	if err := l.over(); err != nil {
		l.mu.Unlock()
		return false, err
	}
	if err := h.Check(); err != nil {
		l.mu.Unlock()
		return false, err
	}
	seq := l.posted
	s := &l.out[seq%uint64(len(l.out))]
	if s.state != slotFree || seq-l.granted >= uint64(len(l.out)) {
		l.mu.Unlock()
		l.peer.look(l) // for a credit
		return false, nil
	}
	s.state, s.seq, s.header = slotQueued, seq, *h
	if len(payload) <= small {
		// A copy costs less than to wake the owner once more when the frame is written.
		s.payload, s.borrowed = l.peer.ep.pool.get(len(payload)), false
		copy(s.payload, payload)
	} else {
		s.payload, s.borrowed = payload, true
	}
	l.posted++
	l.advance()
	// Before anybody can close the link, so that the frame is ahead of the goodbye.
	w := l.peer.enqueue(entry{l, seq, len(payload)})
	l.mu.Unlock()
	if w == nil {
		l.peer.rouseOne()
	} else {
		w.push()
	}
	return true, nil
}

// over returns why nothing can be posted any more.
func (l *link) over() error {
	if l.ended.Load() {
		return transport.ErrClosed
	}
	if end := l.remote.Load(); end != nil {
		return end.err
	}
	return nil
}

// advance counts the frames that borrow nothing any more. mu is held.
func (l *link) advance() {
	n := l.completed.Load()
	for n < l.posted && !l.out[n%uint64(len(l.out))].borrowed {
		n++
	}
	l.completed.Store(n)
}

// Offer returns false: the peer cannot write here.
func (l *link) Offer([]byte) bool { return false }

func (l *link) Completed() uint64 {
	l.peer.help()
	return l.completed.Load()
}

// take begins the writing of a frame. It returns false when the frame has been dropped since it was queued.
func (l *link) take(seq uint64) (h transport.Header, payload []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.out[seq%uint64(len(l.out))]
	if s.state != slotQueued || s.seq != seq {
		return h, nil, false
	}
	s.state = slotWriting
	return s.header, s.payload, true
}

// wrote ends the writing of a frame, however it went.
func (l *link) wrote(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vacate(&l.out[seq%uint64(len(l.out))])
	l.advance()
}

// vacate frees a slot. mu is held.
func (l *link) vacate(s *outSlot) {
	if !s.borrowed {
		l.peer.ep.pool.put(s.payload)
	}
	s.state, s.borrowed, s.payload = slotFree, false, nil
}

// drop forgets the frames that wait to be written. mu is held.
func (l *link) drop() {
	for i := range l.out {
		if s := &l.out[i]; s.state == slotQueued {
			l.vacate(s)
			l.dropped++
		}
	}
	l.advance()
}

// grant takes the peer's count of the frames that it has released, which may come late and out of order.
func (l *link) grant(credit uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if credit > l.posted {
		return &transport.FrameError{Reason: fmt.Sprintf("credit for %d frames of %d", credit, l.posted)}
	}
	l.granted = max(l.granted, credit)
	return nil
}

// reserve returns memory for the payload of a frame that arrives, or nil when nobody is going to read it. It is where the frame is wanted, if that is
// known, and places says that it may be.
func (l *link) reserve(seq uint64, h *transport.Header, places bool) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	released, window := l.released.Load(), uint64(len(l.in))
	if l.arrived.Load()-released >= window {
		return nil, &transport.FrameError{Reason: fmt.Sprintf("%d frames in a window of %d", l.arrived.Load()-released+1, window)}
	}
	if end := l.remote.Load(); end != nil && l.arrived.Load() >= end.final {
		return nil, &transport.FrameError{Reason: "frame behind the last one"}
	}
	if l.ended.Load() {
		return nil, nil
	}
	s := &l.in[seq%window]
	if seq-released >= window || s.busy || s.full.Load() == seq+1 {
		return nil, &transport.FrameError{Reason: fmt.Sprintf("frame number %d, want one from %d", seq, released)}
	}
	s.busy, s.header = true, *h
	if s.placed = places && s.place.mem != nil && s.place.header == *h; s.placed {
		s.payload = s.place.mem
	} else {
		s.payload = l.peer.ep.pool.get(int(h.Length))
	}
	return s.payload, nil
}

// arrive makes a frame known whose payload is there, or counts one that was discarded.
func (l *link) arrive(seq uint64, discarded bool) {
	l.mu.Lock()
	if !discarded {
		s := &l.in[seq%uint64(len(l.in))]
		s.busy = false
		s.full.Store(seq + 1)
	}
	l.arrived.Add(1)
	l.mu.Unlock()
	l.credit()
}

// credit tells the peer of released frames if its window, as it sees it, is half used up. It is asked after
// every arrival and every release: as long as the peer has half a window there will be another arrival.
func (l *link) credit() {
	told := l.credited.Load()
	if l.released.Load() == told || 2*(l.arrived.Load()-told) < uint64(len(l.in)) || l.ended.Load() {
		return
	}
	if l.crediting.CompareAndSwap(false, true) {
		w := l.peer.wires[0]
		w.control(control{kindCredit, l})
		w.push()
	}
}

// tell notes that a message carries the credit n, and returns n.
func (l *link) tell() uint64 {
	n := l.released.Load()
	for {
		old := l.credited.Load()
		if n <= old || l.credited.CompareAndSwap(old, n) {
			return n
		}
	}
}

func (l *link) Poll() (*transport.Frame, error) {
	if l.ended.Load() {
		return nil, transport.ErrClosed
	}
	if l.held {
		return &l.frame, nil
	}
	taken := l.released.Load()
	s := &l.in[taken%uint64(len(l.in))]
	if s.full.Load() != taken+1 && l.remote.Load() == nil {
		l.peer.look(l)
	}
	if s.full.Load() != taken+1 {
		end := l.remote.Load()
		if end == nil {
			return nil, nil
		}
		// A frame may have come between the two looks, or be still on the way by another connection.
		if s.full.Load() != taken+1 {
			if end.drain && taken != end.final {
				return nil, nil
			}
			return nil, end.err
		}
	}
	l.frame.Header, l.frame.Payload = s.header, s.payload
	l.held = true
	return &l.frame, nil
}

// next reports whether the next frame for the owner is there.
func (l *link) next() bool {
	taken := l.released.Load()
	return l.in[taken%uint64(len(l.in))].full.Load() == taken+1
}

func (l *link) Release() {
	if !l.held {
		panic("stripe: Release without a frame from Poll")
	}
	l.held = false
	taken := l.released.Load()
	s := &l.in[taken%uint64(len(l.in))]
	payload, placed := s.payload, s.placed
	if s.place.mem != nil {
		l.wanted--
	}
	s.payload, s.place, l.frame.Payload = nil, place{}, nil
	l.released.Store(taken + 1)
	if !placed {
		l.peer.ep.pool.put(payload)
	}
	l.credit()
}

func (l *link) Err() error {
	if l.ended.Load() {
		return transport.ErrClosed
	}
	end := l.remote.Load()
	if end == nil || end.drain && l.released.Load() != end.final {
		return nil
	}
	return end.err
}

func (l *link) Fail(reason []byte) {
	l.finish(kindFail, append([]byte(nil), reason[:min(len(reason), transport.MaxReason)]...))
}

func (l *link) Close() error {
	l.finish(kindClose, nil)
	return nil
}

// finish ends this side once.
func (l *link) finish(how kind, reason []byte) {
	l.mu.Lock()
	if l.ended.Load() {
		l.mu.Unlock()
		return
	}
	if how == kindFail {
		l.drop()
	}
	l.endKind, l.reason, l.endFinal = how, reason, l.posted-l.dropped
	l.ended.Store(true)
	l.mu.Unlock()
	w := l.peer.wires[0]
	w.control(control{how, l})
	w.push()
	l.peer.ep.bell.Ring() // the owner may sleep while another goroutine ends its link
	l.peer.reap(l)
}

// lose ends the link because the peer's end has, or the peer. The first end stands, unless it promised frames
// that have not come.
func (l *link) lose(end *remoteEnd) {
	l.mu.Lock()
	if old := l.remote.Load(); old == nil || old.drain && l.arrived.Load() < old.final && !end.drain {
		l.remote.Store(end)
	}
	// Nobody would read what is queued. What this side has promised with its Close goes out all the same, as
	// long as there is a session.
	if !l.ended.Load() || end.session {
		l.drop()
	}
	l.mu.Unlock()
	l.peer.ep.bell.Ring()
}

// through reports whether both sides have ended and nothing can arrive any more.
func (l *link) through() bool {
	end := l.remote.Load()
	return end != nil && l.ended.Load() && l.arrived.Load() >= end.final
}
