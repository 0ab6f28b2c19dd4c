package shm

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// A link is one end. Everything that only the owner touches is below mu; the rest is for the goroutines that
// serve connections and for callers of Fail, Close and Err.
//
// The mappings stay until the owner has seen ended, so no call of it can meet unmapped memory; calls of
// others look at mapped memory under mu.
type link struct {
	endpoint *endpoint
	peer     *peer
	id       transport.LinkID
	rank     int  // the peer's
	arrived  bool // the peer's segment has come; under the endpoint's mu

	ended  atomic.Bool                           // by this side's Close or Fail
	in     atomic.Pointer[segment]               // nil until the peer's has arrived
	gone   atomic.Pointer[error]                 // the peer's endpoint is gone: why
	fault  atomic.Pointer[transport.FrameError]  // the peer broke the rules
	remote atomic.Pointer[transport.RemoteError] // the peer's Fail, once it was seen
	out    *segment

	mu       sync.Mutex
	unmapped bool // written by the owner under mu

	_ [64]byte // the owner's fields get cache lines of their own

	// The sending half.
	posted    uint64
	consumed  uint64 // of the peer's counter, as last seen and checked
	completed uint64
	byRef     [window]bool   // frame lies in memory of Alloc
	stageEnd  [window]uint64 // head behind the frame
	area      uint64         // bytes of the staging area that are in use
	head      uint64         // staging area: bytes taken since it was last empty
	tail      uint64         // and given back
	regions   *[]*region     // the table in which lastOut was found
	lastOut   *region
	offer     place  // of the next frame: kind, region and offset
	offerSize int    // 0: none
	offered   uint64 // posted count after the last frame with an offer

	// The receiving half.
	taken      uint64
	held       bool     // Poll has returned frame
	heldRegion *mapping // that frame reads, kept mapped
	heldInto   *mapping // that frame lets write to, kept mapped
	lastID     uint32
	lastIn     *mapping
	frame      transport.Frame
	slot       [slotSize / 8]uint64 // private copy of the frame's descriptor
}

var _ transport.Link = (*link)(nil)

func (l *link) Caps() transport.Caps { return caps }

func (l *link) Post(h *transport.Header, payload []byte) (bool, error) {
	if l.ended.Load() {
		return false, l.observe()
	}
	if err := l.broken(); err != nil {
		return false, err
	}
	if err := h.Check(); err != nil {
		return false, err
	}
	if h.Carries() != len(payload) {
		return false, &transport.FrameError{Reason: fmt.Sprintf("length %d with a payload of %d", h.Length, len(payload))}
	}
	if l.posted-l.consumed == window {
		if err := l.refresh(); err != nil || l.posted-l.consumed == window {
			return false, err
		}
	}
	slot := l.out.slot(l.posted)
	i := l.posted % window
	l.byRef[i] = false
	var at place
	if len(payload) <= maxInline {
		at.kind = placeInline
		at.put(slot)
		copy(slot[slotInline:], payload)
	} else if r, offset := l.region(payload); r != nil {
		at = place{kind: placeRegion, region: r.id, offset: offset}
		l.putOffer(&at, slot, len(payload))
		at.put(slot)
		l.byRef[i] = true
	} else {
		offset, ok, err := l.stage(len(payload))
		if !ok || err != nil {
			return false, err
		}
		at = place{kind: placeStage, offset: offset}
		l.putOffer(&at, slot, len(payload))
		at.put(slot)
		copyPayload(l.out.mem[offStage+offset:], payload)
	}
	l.stageEnd[i] = l.head
	h.Put((*[transport.HeaderSize]byte)(slot[slotHeader:]))
	l.posted++
	if at.offer != 0 {
		l.offered = l.posted
	}
	l.offerSize = 0
	atomic.StoreUint64(l.out.seq(l.posted-1), l.posted)
	l.ring()
	return true, nil
}

func (l *link) Offer(mem []byte) bool {
	if len(mem) <= maxInline || l.ended.Load() {
		return false
	}
	r, offset := l.region(mem)
	if r == nil {
		return false
	}
	l.offer, l.offerSize = place{kind: placeRegion, region: r.id, offset: offset}, len(mem)
	return true
}

// putOffer adds the offer, if there is one for a payload of n bytes, to a frame's place.
func (l *link) putOffer(at *place, slot []byte, n int) {
	switch {
	case l.offerSize != n || n == 0:
	case *at == l.offer:
		at.offer = offerThere
	default:
		at.offer = offerOwn
		le := binary.LittleEndian
		le.PutUint32(slot[slotInto:], l.offer.region)
		le.PutUint64(slot[slotInto+8:], l.offer.offset)
	}
}

func (l *link) Quiet() bool {
	if l.offered <= l.consumed || l.unmapped || l.gone.Load() != nil {
		return true
	}
	if atomic.LoadUint64(l.out.consumed()) >= l.offered {
		return true
	}
	return l.ended.Load() && atomic.LoadUint32(l.out.holding()) == 0
}

// region returns the region of this endpoint that holds all of payload, and where.
func (l *link) region(payload []byte) (*region, uint64) {
	table := l.endpoint.regions.Load()
	if table == nil {
		return nil, 0
	}
	p := uintptr(unsafe.Pointer(unsafe.SliceData(payload)))
	if table == l.regions && l.lastOut.holds(p, len(payload)) {
		return l.lastOut, uint64(p - l.lastOut.base)
	}
	if r := findRegion(*table, p, len(payload)); r != nil {
		l.regions, l.lastOut = table, r
		return r, uint64(p - r.base)
	}
	return nil, 0
}

// stage takes n bytes of the staging area, which is a ring in which a payload never wraps.
func (l *link) stage(n int) (offset uint64, ok bool, err error) {
	// Whole cache lines, so that two frames share none.
	size := (uint64(n) + 63) &^ 63
	for {
		offset = l.head % l.area
		skip := uint64(0)
		if offset+size > l.area {
			skip, offset = l.area-offset, 0
		}
		if l.head+skip+size-l.tail <= l.area {
			l.head += skip + size
			return offset, true, nil
		}
		seen := l.consumed
		if err := l.refresh(); err != nil || l.consumed == seen {
			return 0, false, err
		}
	}
}

// refresh reads how many frames the peer has consumed and takes back their staging space.
func (l *link) refresh() error {
	n := atomic.LoadUint64(l.out.consumed())
	if n < l.consumed || n > l.posted {
		return l.blame(&transport.FrameError{Reason: fmt.Sprintf("%d frames consumed, with %d before and %d posted", n, l.consumed, l.posted)})
	}
	if n != l.consumed {
		l.consumed = n
		l.tail = l.stageEnd[(n-1)%window]
	}
	if n == l.posted {
		l.head, l.tail = 0, 0 // start again where the cache is warm
		l.area = l.endpoint.stage.Load()
	}
	return nil
}

func (l *link) Completed() uint64 {
	fresh := l.unmapped // then there is no counter to look at
	for l.completed < l.posted {
		if l.completed >= l.consumed && l.byRef[l.completed%window] {
			if fresh || l.ended.Load() || l.refresh() != nil || l.completed >= l.consumed {
				break
			}
			fresh = true
		}
		l.completed++
	}
	return l.completed
}

func (l *link) Poll() (*transport.Frame, error) {
	if l.ended.Load() {
		return nil, l.observe()
	}
	if l.held {
		return &l.frame, nil
	}
	for {
		in := l.in.Load()
		if in != nil {
			switch seq := atomic.LoadUint64(in.seq(l.taken)); {
			case seq == l.taken+1:
				return l.read(in)
			case seq > l.taken+1 || seq != 0 && seq+window != l.taken+1:
				return nil, l.blame(&transport.FrameError{Reason: fmt.Sprintf("sequence word %d, want %d", seq, l.taken+1)})
			}
		}
		if in == nil && l.gone.Load() == nil {
			return nil, nil
		}
		err := l.broken()
		if err == nil {
			return nil, nil
		}
		// The last frame, or the whole segment, may have come between the looks.
		if again := l.in.Load(); again == in && (in == nil || atomic.LoadUint64(in.seq(l.taken)) != l.taken+1) {
			return nil, err
		}
	}
}

// read takes the next frame out of in: a private copy of the descriptor is checked, and nothing that it was
// checked for is read again.
func (l *link) read(in *segment) (*transport.Frame, error) {
	if f := l.fault.Load(); f != nil {
		return nil, f
	}
	slot := unsafe.Slice((*byte)(unsafe.Pointer(&l.slot)), slotSize)
	// Small messages end with the first line: do not fetch the second for nothing.
	shared := in.slot(l.taken)
	copy(slot[:64], shared[:64])
	at, err := parseSlot(slot, &l.frame.Header)
	if err != nil {
		return nil, l.blame(err)
	}
	n := uint32(l.frame.Carries())
	if at.offer == offerOwn {
		copy(slot[64:80], shared[64:80])
	}
	switch at.kind {
	case placeInline:
		if slotInline+n > 64 {
			copy(slot[64:], shared[64:])
		}
		l.frame.Payload = slot[slotInline : slotInline+n : slotInline+n]
	case placeStage:
		start := offStage + at.offset
		l.frame.Payload = in.mem[start : start+uint64(n) : start+uint64(n)]
	case placeRegion:
		m, err := l.findIn(at.region)
		if m == nil {
			return nil, err
		}
		if err := within(at.offset, n, uint64(len(m.mem))); err != nil {
			m.release()
			return nil, l.blame(err)
		}
		l.frame.Payload = m.mem[at.offset : at.offset+uint64(n) : at.offset+uint64(n)]
		l.heldRegion = m
	}
	l.frame.Into = nil
	if at.offer != 0 {
		if ok, err := l.accept(in, at, slot, n); !ok {
			if l.heldRegion != nil {
				l.heldRegion.release()
				l.heldRegion = nil
			}
			return nil, err
		}
	}
	l.held = true
	return &l.frame, nil
}

// accept takes the offer of a frame of n bytes. It returns false while its region is not there yet.
func (l *link) accept(in *segment, at place, slot []byte, n uint32) (ok bool, err error) {
	if at.offer == offerOwn {
		le := binary.LittleEndian
		at.region, at.offset = le.Uint32(slot[slotInto:]), le.Uint64(slot[slotInto+8:])
	}
	m, err := l.findIn(at.region)
	if m == nil {
		return false, err
	}
	if err := within(at.offset, n, uint64(len(m.mem))); err != nil {
		m.release()
		return false, l.blame(err)
	}
	// The sender either sees that its memory may be written to, or has already ended the link, which is seen here.
	atomic.StoreUint32(in.holding(), 1)
	if in.state() != stateOpen || l.gone.Load() != nil {
		atomic.StoreUint32(in.holding(), 0)
		m.release()
		return true, nil
	}
	l.frame.Into = m.mem[at.offset : at.offset+uint64(n) : at.offset+uint64(n)]
	l.heldInto = m
	return true, nil
}

// findIn returns the peer's region with that ID, acquired; or nil, with an error if it will never come.
func (l *link) findIn(id uint32) (*mapping, error) {
	if l.lastIn != nil && id == l.lastID && l.lastIn.acquire() {
		return l.lastIn, nil
	}
	gone := l.gone.Load() // before the look: what came ahead of the end is seen
	m, announced := l.peer.findRegion(id)
	if m != nil && m.acquire() {
		l.lastID, l.lastIn = id, m
		return m, nil
	}
	switch {
	case l.ended.Load(): // its endpoint may have dropped the regions
		return nil, transport.ErrClosed
	case announced:
		return nil, l.blame(&transport.FrameError{Reason: fmt.Sprintf("payload in region %d, which is not there", id)})
	case gone != nil:
		return nil, *gone
	}
	return nil, nil // its descriptor is under way, and the bell rings when it arrives
}

func (l *link) Release() {
	if !l.held {
		panic("shm: Release without a frame from Poll")
	}
	l.held = false
	l.frame.Payload = nil
	if l.heldInto != nil {
		l.frame.Into = nil
		atomic.StoreUint32(l.in.Load().holding(), 0)
		l.heldInto.release()
		l.heldInto = nil
	}
	if l.heldRegion != nil {
		l.heldRegion.release()
		l.heldRegion = nil
	}
	l.taken++
	atomic.StoreUint64(l.in.Load().consumed(), l.taken)
	l.ring()
	if l.ended.Load() {
		l.observe()
	}
}

// ring wakes the peer, once its bell is known. A peer whose bell comes later has not slept yet without being
// rung: it is rung when the bell comes.
func (l *link) ring() {
	if w := l.peer.bell.Load(); w != nil {
		w.ring()
	}
	runtime.KeepAlive(l)
}

// observe is the owner's notice that its link has ended: it touches the segments no more, unless it still
// holds a frame.
func (l *link) observe() error {
	if l.unmapped || l.held {
		return transport.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unmapped = true
	l.out.release()
	if in := l.in.Load(); in != nil {
		in.release()
	}
	return transport.ErrClosed
}

// blame ends the link because of what the peer wrote.
func (l *link) blame(err error) error {
	if f, ok := err.(*transport.FrameError); ok {
		l.fault.CompareAndSwap(nil, f)
		return l.fault.Load()
	}
	return err
}

// broken returns why nothing can be posted any more, unless this side has ended the link itself. The
// segments must be mapped.
func (l *link) broken() error {
	if f := l.fault.Load(); f != nil {
		return f
	}
	if r := l.remote.Load(); r != nil {
		return r
	}
	gone := l.gone.Load() // before the state: what the peer wrote ahead of its end is seen
	if in := l.in.Load(); in != nil {
		switch state := in.state(); state {
		case stateOpen:
		case stateClosed:
			return transport.ErrPeerClosed
		case stateFailed:
			l.remote.CompareAndSwap(nil, &transport.RemoteError{Reason: in.reason()})
			return l.remote.Load()
		default:
			return l.blame(&transport.FrameError{Reason: fmt.Sprintf("unknown state %d of a link", state)})
		}
	}
	if gone != nil {
		return *gone
	}
	return nil
}

func (l *link) Err() error {
	if l.ended.Load() {
		return transport.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Load() {
		return transport.ErrClosed
	}
	err := l.broken()
	if err == transport.ErrPeerClosed {
		// Of the frames that the peer posted before its Close, one may be unread. This end's own counter is in
		// the segment, where other goroutines than the owner can read it.
		if in := l.in.Load(); in != nil {
			taken := atomic.LoadUint64(in.consumed())
			if atomic.LoadUint64(in.seq(taken)) == taken+1 {
				return nil
			}
		}
	}
	return err
}

func (l *link) Fail(reason []byte) {
	l.finish(stateFailed, reason[:min(len(reason), transport.MaxReason)])
}

func (l *link) Close() error {
	l.finish(stateClosed, nil)
	return nil
}

// finish ends this side once and wakes both.
func (l *link) finish(state uint32, reason []byte) {
	l.mu.Lock()
	if l.ended.Load() {
		l.mu.Unlock()
		return
	}
	l.out.end(state, reason) // mapped: the owner unmaps only what has ended
	l.ended.Store(true)
	l.mu.Unlock()
	l.ring()
	l.endpoint.bell.Ring() // the owner may sleep while another goroutine ends its link
	l.endpoint.forget(l)
}

// attach hands over the peer's segment.
func (l *link) attach(in *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Load() {
		in.release()
		return
	}
	l.in.Store(in)
}

// lose tells the link that the peer's endpoint is gone.
func (l *link) lose(cause error, said bool) {
	if said {
		cause = transport.ErrPeerClosed
	} else {
		cause = &transport.LostError{Peer: l.rank, Cause: cause}
	}
	l.gone.CompareAndSwap(nil, &cause)
	l.endpoint.bell.Ring()
}
