package rdma

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// The immediate of a write: a frame with the lower 31 bits of its number, or a credit with those of the count of released
// frames.
const (
	creditBit = 1 << 31
	countMask = creditBit - 1
)

// course says what carries the frames of a link.
type course uint32

const (
	connecting course = iota // nothing yet: frames wait
	direct                   // the device
	relayed                  // the control link
)

// How this side has ended a link.
const (
	endedNot uint32 = iota
	endedClose
	endedFail
)

// An end is one queue pair of a link.
type end struct {
	link  *link
	queue *sharedQueue
	pair  pair
	psn   uint32

	// Under the lock of the link.
	posts      uint64 // writes
	unsignaled int    // of them, since the last that completes
	reaped     atomic.Uint64

	// Under the endpoint's look.
	owed   int // places for immediates that have been used up
	refill int // at which they are made anew
}

// An outSlot is a frame that has been posted.
type outSlot struct {
	end      *end
	write    uint64 // number of its write
	borrowed bool   // the device reads the caller's memory
	stage    *stage
}

// A waiting frame was posted before the link was up.
type waiting struct {
	header   transport.Header
	payload  []byte
	borrowed bool // payload is the caller's
}

// A remoteEnd is how the link has ended, but for this side's own end.
type remoteEnd struct {
	err   error
	drain bool   // frames up to final are still to be read
	final uint64 // frames that the peer has sent
}

// A link is one end.
type link struct {
	ep      *Endpoint
	rank    int // the peer's
	control transport.Link
	setup   setup // the steward's

	ended     atomic.Uint32
	over      atomic.Pointer[remoteEnd]
	course    atomic.Uint32
	proving   atomic.Bool // the first writes are on the way
	proofErr  atomic.Pointer[error]
	blocked   atomic.Bool   // the owner waits for room
	delivered atomic.Bool   // nothing that this side has posted is still to be delivered
	granted   atomic.Uint64 // frames that the peer has released
	posted    atomic.Uint64 // frames that have been sent; written under mu
	arrived   atomic.Uint64
	released  atomic.Uint64 // frames; written under mu

	mu        sync.Mutex
	completed uint64 // frames that do not borrow, oldest first
	reclaimed uint64 // frames whose outSlot is free again
	told      uint64 // of released, what the peer knows for sure
	owing     bool   // a credit could not be sent
	waiting   []waiting
	relayBase uint64 // frames on the control link that were not the caller's
	why       string // it is relayed
	out       []outSlot
	ends      []*end
	spare     []*end // queue pairs that the peer has no match for
	cells     []byte
	cellKey   uint32
	theirs    *hello
	limit     int  // frames on the way in each direction: the smaller window of the two
	busy      bool // another goroutine makes or connects the queue pairs
	abandoned bool // and is to take them apart when it is through
	w         write

	in      []atomic.Uint64 // by slot: number of the frame that is there, plus one
	window  []byte          // word and slots; nil when freed
	regions []region        // of cells and window
	held    bool
	gone    bool // the memory is to be freed at the next Release
	frame   transport.Frame
}

var _ transport.Link = (*link)(nil)

func newLink(e *Endpoint, rank int, control transport.Link) *link {
	return &link{
		ep: e, rank: rank, control: control, setup: setup{made: make(chan error, 1)},
		in: make([]atomic.Uint64, e.t.cfg.window),
	}
}

// Caps returns those of what carries the link: Via is "rdma", or what the control link goes over, and Why is why, in the same
// words on both ends.
func (l *link) Caps() transport.Caps {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.ep.t.caps
	switch course(l.course.Load()) {
	case direct:
		c.Via = l.ep.t.Name()
	case relayed:
		if c = l.control.Caps(); c.Via == "" {
			c.Via = l.ep.t.control.Name()
		}
		c.Why = l.why
	}
	return c
}

// Offer takes no offers where the device carries the link: a peer can store into memory that it has mapped, and a device
// is told of a place by whoever writes, which the frames of today do not say.
func (l *link) Offer(mem []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return course(l.course.Load()) == relayed && l.control.Offer(mem)
}

// Quiet is true where the device carries the link: peers write into slots only.
func (l *link) Quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return course(l.course.Load()) != relayed || l.control.Quiet()
}

// refusal returns why nothing can be posted any more.
func (l *link) refusal() error {
	if l.ended.Load() != endedNot {
		return transport.ErrClosed
	}
	if end := l.over.Load(); end != nil {
		return end.err
	}
	return nil
}

func (l *link) Post(h *transport.Header, payload []byte) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		return false, err
	}
	if int64(h.Length) != int64(len(payload)) {
		return false, &transport.FrameError{Reason: fmt.Sprintf("length %d with a payload of %d", h.Length, len(payload))}
	}
	if err := h.Check(); err != nil {
		return false, err
	}
	switch course(l.course.Load()) {
	case relayed:
		return l.relay(h, payload)
	case connecting:
		return l.wait(h, payload)
	}
	if !l.room() {
		l.readCredit()
		if err := l.refusal(); err != nil {
			return false, err
		}
		if !l.room() {
			// A credit without an immediate may be on its way, and rings no bell: the steward looks for it.
			if l.blocked.CompareAndSwap(false, true) {
				l.ep.steward.Ring()
			}
			return false, nil
		}
	}
	if err := l.send(h, payload); err != nil {
		l.broke(err)
		return false, l.refusal()
	}
	return true, nil
}

// wait keeps a frame until the link is up. mu is held.
func (l *link) wait(h *transport.Header, payload []byte) (bool, error) {
	if l.posted.Load()-l.granted.Load()+uint64(len(l.waiting)) >= uint64(len(l.in)) {
		return false, nil
	}
	s, registered := l.ep.memory.find(payload)
	f := waiting{header: *h, payload: payload, borrowed: true}
	if s.read != nil {
		f.payload, f.borrowed = make([]byte, len(payload)), false
		if err := s.read(f.payload, addressOf(payload)); err != nil {
			return false, fmt.Errorf("rdma: read of memory of a device: %w", err)
		}
	} else if !registered || !s.device && len(payload) <= tiny {
		f.payload, f.borrowed = append([]byte(nil), payload...), false
	}
	l.waiting = append(l.waiting, f)
	return true, nil
}

// relay posts a frame on the control link, which then borrows it. mu is held.
func (l *link) relay(h *transport.Header, payload []byte) (bool, error) {
	payload, err := l.hostCopy(payload)
	if err != nil {
		return false, err
	}
	posted, err := l.control.Post(h, payload)
	if posted {
		l.posted.Add(1)
	}
	return posted, err
}

// hostCopy returns a payload as the control link can read it.
func (l *link) hostCopy(payload []byte) ([]byte, error) {
	if s, ok := l.ep.memory.find(payload); ok {
		return s.hostCopy(payload)
	}
	return payload, nil
}

// room reports whether a frame can be sent. mu is held.
func (l *link) room() bool {
	posted := l.posted.Load()
	if posted-l.granted.Load() >= uint64(l.limit) {
		return false
	}
	l.reclaim()
	if posted-l.reclaimed >= uint64(len(l.out)) {
		return false
	}
	e := l.ends[posted%uint64(len(l.ends))]
	return e.posts-e.reaped.Load() < uint64(l.sendDepth()-l.reserved())
}

// sendDepth is how many writes a queue pair holds: the frames of a window and more, which have not been looked at yet,
// and what is reserved for credits.
func (l *link) sendDepth() int { return 4*len(l.in) + 32 }
func (l *link) reserved() int  { return 2*len(l.in) + 8 }

// receiveDepth is how many immediates a queue pair can take without being looked at: a window of frames, a credit for
// each frame of the other direction and for each that the word had told of before, and those that have been taken and
// not made room for.
func (l *link) receiveDepth() int { return l.refill() + 3*len(l.in) + 8 }
func (l *link) refill() int       { return len(l.in) }

// readCredit takes the credits that have come. mu is held.
func (l *link) readCredit() {
	// The immediates first: what the word has told of may be posted without taking them, and they would pile up.
	l.ep.progress()
	word := (*uint64)(unsafe.Pointer(unsafe.SliceData(l.window)))
	l.grant(fromLittle(atomic.LoadUint64(word)))
}

// fromLittle reads a number that stands in memory in little endian, as it does on the wire.
func fromLittle(x uint64) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], x)
	return binary.LittleEndian.Uint64(b[:])
}

// grant notes the peer's count of released frames, which may come late and out of order.
func (l *link) grant(count uint64) {
	if count > l.posted.Load() {
		l.broke(&transport.FrameError{Reason: fmt.Sprintf("credit for %d frames of %d", count, l.posted.Load())})
		return
	}
	for {
		old := l.granted.Load()
		if count <= old || l.granted.CompareAndSwap(old, count) {
			return
		}
	}
}

// reclaim frees the slots of frames that the device has done with. mu is held.
func (l *link) reclaim() {
	for l.reclaimed < l.posted.Load() {
		o := &l.out[l.reclaimed%uint64(len(l.out))]
		if (o.borrowed || o.stage != nil) && o.end.reaped.Load() <= o.write {
			break
		}
		if o.stage != nil {
			l.ep.stages.put(o.stage)
		}
		*o = outSlot{}
		l.reclaimed++
	}
	l.completed = max(l.completed, l.reclaimed)
	for l.completed < l.posted.Load() && !l.out[l.completed%uint64(len(l.out))].borrowed {
		l.completed++
	}
}

// unsignaledWrites is how many writes go without a completion of their own.
const unsignaledWrites = 8

// send writes a frame into the next slot of the peer. mu is held, and there is room.
func (l *link) send(h *transport.Header, payload []byte) error {
	seq := l.posted.Load()
	i := seq % uint64(len(l.out))
	e := l.ends[seq%uint64(len(l.ends))]
	slot := seq % uint64(l.theirs.window)
	o := outSlot{end: e, write: e.posts}
	cell := l.cells[i*cellSize : (i+1)*cellSize]
	key := l.cellKey
	s, known := l.ep.memory.find(payload)
	l.w = write{to: uintptr(l.theirs.slots) + wordSize + uintptr(slot)*slotSize + headAt, imm: uint32(seq) & countMask, withImm: true}
	switch {
	case known && s.read == nil && (s.device || len(payload) > tiny):
		l.w.body, l.w.bodyLength, l.w.bodyKey = addressOf(payload), len(payload), s.key
		o.borrowed = true
	case len(payload) > smallSize:
		var err error
		if o.stage, err = l.ep.stages.get(); err != nil {
			return err
		}
		cell, key = o.stage.mem, o.stage.key
	}
	released := l.released.Load()
	binary.LittleEndian.PutUint64(cell[headAt:], released)
	_, _ = h.AppendBinary(cell[headAt+8 : headAt+8 : slotHead]) // never fails
	l.w.head, l.w.headLength, l.w.headKey = addressOf(cell[headAt:]), headSize, key
	if !o.borrowed && len(payload) > 0 {
		if s.read != nil {
			if err := s.read(cell[slotHead:slotHead+len(payload)], addressOf(payload)); err != nil {
				if o.stage != nil {
					l.ep.stages.put(o.stage)
				}
				return fmt.Errorf("rdma: read of memory of a device: %w", err)
			}
		} else {
			copyOut(cell[slotHead:], payload)
		}
		l.w.headLength += len(payload)
	}
	l.w.inline = !o.borrowed && l.w.headLength <= e.pair.inline()
	// Before the write: another goroutine may take the peer's credit for this frame as soon as it is on its way.
	l.out[i] = o
	l.posted.Store(seq + 1)
	if err := l.write(e, o.borrowed || o.stage != nil); err != nil {
		if o.stage != nil {
			l.ep.stages.put(o.stage)
		}
		l.out[i] = outSlot{} // the caller ends the link
		return err
	}
	l.told = max(l.told, released)
	if l.completed == seq && !o.borrowed {
		l.completed++
	}
	return nil
}

// copyChunk bounds a copy that cannot be preempted.
const copyChunk = 64 << 10

func copyOut(dst, src []byte) {
	for len(src) > copyChunk {
		copy(dst, src[:copyChunk])
		dst, src = dst[copyChunk:], src[copyChunk:]
	}
	copy(dst, src)
}

// write posts w. mu is held.
func (l *link) write(e *end, signaled bool) error {
	l.w.id, l.w.toKey = e.posts, l.theirs.key
	l.w.signaled = signaled || e.unsignaled >= unsignaledWrites
	if err := e.pair.write(&l.w); err != nil {
		return err
	}
	e.posts++
	if l.w.signaled {
		e.unsignaled = 0
	} else {
		e.unsignaled++
	}
	return nil
}

// credit tells the peer of released frames: with an immediate, which wakes it, when half its window is used up, as it
// may wait for that; else without, for it to see when it looks. mu is held.
func (l *link) credit() {
	released, arrived := l.released.Load(), l.arrived.Load()
	if l.refusal() != nil || released == l.told && !l.owing {
		return
	}
	wake := 2*(arrived-l.told) >= uint64(l.limit)
	e := l.ends[0]
	if e.posts-e.reaped.Load() >= uint64(l.sendDepth()) {
		l.ep.progress()
		if e.posts-e.reaped.Load() >= uint64(l.sendDepth()) {
			l.owing = true
			return
		}
	}
	l.owing = false
	l.w = write{to: uintptr(l.theirs.slots)}
	if wake {
		l.w.withImm, l.w.imm = true, creditBit|uint32(released)&countMask
		l.told = released
	} else {
		// A place of its own: the write may read it late if the device takes nothing inline.
		cell := l.cells[len(l.out)*cellSize:]
		word := (*uint64)(unsafe.Pointer(unsafe.SliceData(cell)))
		atomic.StoreUint64(word, fromLittle(released))
		l.w.head, l.w.headLength, l.w.headKey = addressOf(cell), 8, l.cellKey
		l.w.inline = e.pair.inline() >= 8
	}
	if err := l.write(e, false); err != nil {
		l.broke(err)
	}
}

// arrive takes an immediate. The endpoint's look is held.
func (l *link) arrive(c *completion) {
	if !c.immediate {
		l.broke(&transport.FrameError{Reason: "something without an immediate"})
		return
	}
	count := uint64(c.imm & countMask)
	if c.imm&creditBit != 0 {
		old := l.granted.Load()
		ahead := (count - old) & countMask
		if ahead < creditBit/2 { // else it is older than what is known
			l.grant(old + ahead)
		}
		return
	}
	base := l.released.Load()
	seq := base + (count-base)&countMask
	slot := &l.in[seq%uint64(len(l.in))]
	if seq-base >= uint64(len(l.in)) || slot.Load() == seq+1 || l.window == nil {
		l.broke(&transport.FrameError{Reason: fmt.Sprintf("frame number %d, want one from %d", seq, base)})
		return
	}
	l.grant(binary.LittleEndian.Uint64(l.slot(seq)[headAt:]))
	l.arrived.Add(1)
	slot.Store(seq + 1)
}

// slot returns the memory of a frame that has come.
func (l *link) slot(seq uint64) []byte {
	at := wordSize + int(seq%uint64(len(l.in)))*slotSize
	return l.window[at : at+slotSize : at+slotSize]
}

func (l *link) Completed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch course(l.course.Load()) {
	case relayed:
		if n := l.control.Completed(); n > l.relayBase {
			l.completed = max(l.completed, n-l.relayBase)
		}
	case connecting:
		if l.out != nil {
			l.reclaim()
		}
		sent := l.posted.Load()
		for l.completed >= sent && l.completed-sent < uint64(len(l.waiting)) && !l.waiting[l.completed-sent].borrowed {
			l.completed++
		}
	case direct:
		if l.completed < l.posted.Load() && l.out != nil {
			if l.reclaim(); l.completed < l.posted.Load() {
				l.ep.progress()
				l.reclaim()
			}
		}
	}
	return l.completed
}

func (l *link) Poll() (*transport.Frame, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Load() != endedNot {
		return nil, transport.ErrClosed
	}
	if course(l.course.Load()) == relayed {
		return l.control.Poll()
	}
	if l.held {
		return &l.frame, nil
	}
	taken := l.released.Load()
	s := &l.in[taken%uint64(len(l.in))]
	if s.Load() != taken+1 {
		if course(l.course.Load()) == direct {
			l.ep.progress()
			if l.owing {
				l.credit()
			}
		}
		end := l.over.Load()
		if s.Load() != taken+1 { // after over: what has come before the end is read first
			if end == nil || end.drain && taken != end.final {
				return nil, nil
			}
			return nil, end.err
		}
	}
	// The slot is memory that the peer can write: its header is copied, and then checked.
	slot := l.slot(taken)
	if err := l.frame.Header.UnmarshalBinary(slot[headAt+8:]); err != nil {
		l.broke(err)
		return nil, l.over.Load().err
	}
	n := int(l.frame.Length)
	l.frame.Payload = slot[slotHead : slotHead+n : slotHead+n]
	l.held = true
	return &l.frame, nil
}

func (l *link) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if course(l.course.Load()) == relayed {
		l.control.Release()
		return
	}
	if !l.held {
		panic("rdma: Release without a frame from Poll")
	}
	l.held, l.frame.Payload = false, nil
	l.released.Add(1)
	if l.gone {
		l.freeMemory()
		return
	}
	l.credit()
}

func (l *link) Err() error {
	if l.ended.Load() != endedNot {
		return transport.ErrClosed
	}
	switch course(l.course.Load()) {
	case relayed:
		return l.control.Err()
	case direct:
		if l.over.Load() == nil {
			l.ep.progress()
		}
	case connecting:
		if l.over.Load() == nil {
			return l.control.Err() // the steward may not have heard of it yet
		}
	}
	end := l.over.Load()
	if end == nil || end.drain && l.released.Load() != end.final {
		return nil
	}
	return end.err
}

func (l *link) Fail(reason []byte) {
	if l.ended.CompareAndSwap(endedNot, endedFail) {
		l.control.Fail(reason)
		l.endedHere()
	}
}

func (l *link) Close() error {
	if l.ended.CompareAndSwap(endedNot, endedClose) {
		if course(l.course.Load()) == relayed {
			l.control.Close()
		}
		l.endedHere()
	}
	return nil
}

// endedHere wakes who has to know that this side has ended the link.
func (l *link) endedHere() {
	l.ep.bell.Ring() // the owner may sleep while another goroutine ends its link
	l.ep.steward.Ring()
}

// broke ends the link because of its device, or of what came over it. It takes no lock.
func (l *link) broke(cause error) {
	if l.lose(&remoteEnd{err: &transport.LostError{Peer: l.rank, Cause: cause}}) {
		l.ep.steward.Ring() // which tells the peer
	}
}

// lose ends the link. The first end stands, unless it promised frames that have not come.
func (l *link) lose(end *remoteEnd) bool {
	for {
		old := l.over.Load()
		if old != nil && !(old.drain && l.arrived.Load() < old.final && !end.drain) {
			return false
		}
		if l.over.CompareAndSwap(old, end) {
			l.ep.bell.Ring()
			return true
		}
	}
}
