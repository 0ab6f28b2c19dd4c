package sim

import "math/bits"

// An arrival is a slice that comes to a group of ranks.
type arrival struct {
	at    Time
	group uint32
	slot  uint16 // entry, counted from the first of the group
	kind  uint16 // what the message is like, times two; plus 1 for a longer slice; plus through once it is through the port
}

const through = 1 << 15

// A calendar keeps arrivals by windows of time, and gives them back window by window. Like [queue] it has levels of buckets, by digits of
// the window's number, but what lies in one window stays in no order.
type calendar struct {
	shift  uint   // a window is 2^shift ps
	now    uint64 // the window given back last
	levels [(63 + digit - 1) / digit]level
	blocks []sheet
	free   int32
}

const sheetLen = 31

// A sheet is a piece of a bucket.
type sheet struct {
	next, n int32
	ev      [sheetLen]arrival
}

func newCalendar(shift uint) *calendar { return &calendar{shift: shift, free: -1} }

func (q *calendar) push(e arrival) {
	w := uint64(e.at) >> q.shift
	k := 0
	if x := w ^ q.now; x >= buckets {
		k = (bits.Len64(x) - 1) / digit
	}
	l := &q.levels[k]
	slot := w >> (digit * k) % buckets
	word, bit := slot>>6, uint64(1)<<(slot&63)
	var b *sheet
	if l.used[word]&bit == 0 {
		l.used[word] |= bit
		l.some |= 1 << word
		i := q.sheet()
		l.first[slot], l.last[slot] = i, i
		b = &q.blocks[i]
	} else if b = &q.blocks[l.last[slot]]; b.n == sheetLen {
		i := q.sheet()
		q.blocks[l.last[slot]].next = i
		l.last[slot] = i
		b = &q.blocks[i]
	}
	b.ev[b.n] = e
	b.n++
}

func (q *calendar) sheet() int32 {
	if b := q.free; b >= 0 {
		x := &q.blocks[b]
		q.free = x.next
		x.next, x.n = -1, 0
		return b
	}
	q.blocks = append(q.blocks, sheet{next: -1})
	return int32(len(q.blocks) - 1)
}

// take appends what is in the earliest window, and returns its number; ok is false when nothing is left.
func (q *calendar) take(to []arrival) (window uint64, _ []arrival, ok bool) {
	for k := 0; k < len(q.levels); {
		slot, ok := q.levels[k].lowest()
		if !ok {
			k++
			continue
		}
		low := digit * k
		q.now = q.now&^(1<<(low+digit)-1) | uint64(slot)<<low
		for b := q.levels[k].first[slot]; b >= 0; {
			next, n := q.blocks[b].next, q.blocks[b].n
			if k == 0 {
				to = append(to, q.blocks[b].ev[:n]...)
			} else {
				for i := range n { // the blocks may move
					q.push(q.blocks[b].ev[i])
				}
			}
			q.blocks[b].next = q.free
			q.free = b
			b = next
		}
		if k == 0 {
			return q.now, to, true
		}
		k = 0
	}
	return 0, to, false
}
