package sim

import "math/bits"

// An event is something that happens to a lane of a rank.
type event struct {
	at    Time
	wire  Time // how long it occupies a port
	rank  int32
	entry uint32
	rec   int32 // record of the message, or -1
	lane  uint16
	kind  uint8
	class uint8 // of the link
}

// set makes e what from is, word by word: it was written so just now, and a processor is held up where it reads in one what it wrote in
// several.
func (e *event) set(from *event) {
	e.at, e.wire, e.rank, e.entry = from.at, from.wire, from.rank, from.entry
	e.rec, e.lane, e.kind, e.class = from.rec, from.lane, from.kind, from.class
}

// A queue gives events back in the order of their times, and those of one time in the order in which they came. Times
// must not lie before the one that was given back last.
//
// It is a calendar of levels of 2,048 buckets, by digits of the time: an event lies in the level of the highest
// digit in which its time differs from the present. When the lower levels are empty, the first bucket of the next one is
// dealt out to them. So an event moves at most six times, one or two as a rule, nothing is ever sorted or compared, and
// a bucket of the lowest level holds a single time.
type queue struct {
	now    Time
	n      int
	levels [(63 + digit - 1) / digit]level
	blocks []block
	free   int32
	// The block that took the latest event, and the event's time; below 0 since buckets were emptied.
	b  int32
	at Time
}

const (
	digit   = 11 // bits
	buckets = 1 << digit
)

// A level is a row of buckets, whatever they are made of.
type level struct {
	some  uint32 // words of used that are not 0
	used  [buckets / 64]uint64
	first [buckets]int32 // blocks; valid where used
	last  [buckets]int32
}

const blockLen = 20

// A block is a piece of a bucket.
type block struct {
	next int32
	n    int32
	ev   [blockLen]event
}

func newQueue() *queue { return &queue{free: -1, b: -1} }

// room returns the place of a new event, to be filled in at once: it moves with the next call.
func (q *queue) room(at Time) *event {
	q.n++
	if at == q.at && q.b >= 0 { // as the event before
		if b := &q.blocks[q.b]; b.n < blockLen {
			b.n++
			return &b.ev[b.n-1]
		}
	}
	k := 0
	if x := uint64(at ^ q.now); x >= buckets {
		k = (bits.Len64(x) - 1) / digit
	}
	b := q.levels[k].open(q, uint(uint64(at)>>(digit*k))%buckets)
	q.at, q.b = at, b
	x := &q.blocks[b]
	x.n++
	return &x.ev[x.n-1]
}

// open returns the last block of a bucket, which has room.
func (l *level) open(q *queue, slot uint) int32 {
	if l.used[slot>>6]&(1<<(slot&63)) == 0 {
		l.used[slot>>6] |= 1 << (slot & 63)
		l.some |= 1 << (slot >> 6)
		b := q.block()
		l.first[slot], l.last[slot] = b, b
		return b
	}
	b := l.last[slot]
	if q.blocks[b].n == blockLen {
		nb := q.block()
		q.blocks[b].next = nb
		l.last[slot] = nb
		b = nb
	}
	return b
}

func (q *queue) block() int32 {
	if b := q.free; b >= 0 {
		q.free = q.blocks[b].next
		q.blocks[b].next, q.blocks[b].n = -1, 0
		return b
	}
	q.blocks = append(q.blocks, block{next: -1})
	return int32(len(q.blocks) - 1)
}

func (q *queue) release(b int32) {
	q.blocks[b].next = q.free
	q.free = b
}

// lowest takes the first used bucket of a level.
func (l *level) lowest() (slot uint, ok bool) {
	if l.some == 0 {
		return 0, false
	}
	w := bits.TrailingZeros32(l.some)
	x := l.used[w]
	if l.used[w] = x & (x - 1); l.used[w] == 0 {
		l.some &^= 1 << w
	}
	return uint(w<<6 + bits.TrailingZeros64(x)), true
}

// take appends all events of the earliest time, in the order in which they came. The queue must not be empty.
func (q *queue) take(to []event) []event {
	for {
		q.b = -1
		l := &q.levels[0]
		slot, ok := l.lowest()
		if !ok {
			if to, ok = q.deal(to); ok {
				return to
			}
			continue
		}
		q.now = q.now&^(buckets-1) | Time(slot)
		to = q.empty(l.first[slot], to)
		q.n -= len(to)
		return to
	}
}

// empty appends the events of a bucket, whose first block is b, and gives its blocks back.
func (q *queue) empty(b int32, to []event) []event {
	for b >= 0 {
		to = append(to, q.blocks[b].ev[:q.blocks[b].n]...)
		next := q.blocks[b].next
		q.release(b)
		b = next
	}
	return to
}

// alike reports whether all events of a bucket have one time.
func (q *queue) alike(b int32) bool {
	at := q.blocks[b].ev[0].at
	for ; b >= 0; b = q.blocks[b].next {
		x := &q.blocks[b]
		for i := range x.ev[:x.n] {
			if x.ev[i].at != at {
				return false
			}
		}
	}
	return true
}

// deal empties the first bucket of the lowest level that has one into the levels below; or, where all that it holds has one time, appends
// that, and reports true.
func (q *queue) deal(to []event) ([]event, bool) {
	for k := 1; k < len(q.levels); k++ {
		l := &q.levels[k]
		slot, ok := l.lowest()
		if !ok {
			continue
		}
		b := l.first[slot]
		if q.alike(b) {
			q.now = q.blocks[b].ev[0].at
			to = q.empty(b, to)
			q.n -= len(to)
			return to, true
		}
		q.now = q.now&^(1<<(digit*k+digit)-1) | Time(slot)<<(digit*k)
		for b >= 0 {
			// The block may move while events are added.
			next, n := q.blocks[b].next, q.blocks[b].n
			for i := range n {
				to := q.room(q.blocks[b].ev[i].at)
				*to = q.blocks[b].ev[i]
			}
			q.n -= int(n)
			q.release(b)
			b = next
		}
		return to, false
	}
	return to, false
}
