package rdma

import (
	"sync"
	"sync/atomic"

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
	expects []expected      // by number of the frame: places given for what has not been released; of the offers that the peer holds
	wanted  int             // how many of them there are
	window  []byte          // word and slots; nil when freed
	regions []region        // of cells and window
	settled uint64          // frames whose payloads are where their owner sees them; see settle
	// Of a read behind payloads that are not: its number, 0 if there is none, and what will be settled then.
	reading, settling uint64

	held  bool
	gone  bool // the memory is to be freed at the next Release
	frame transport.Frame
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

// Offer takes no offers where the device carries the link: they are for peers that have mapped each other's memory. See Expect.
func (l *link) Offer(mem []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return course(l.course.Load()) == relayed && l.control.Offer(mem)
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
