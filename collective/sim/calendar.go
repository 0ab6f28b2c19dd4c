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

// A calendar keeps arrivals by windows of time, and those of a window by shards of ranks, in no order. Like [queue] it has levels of
// buckets, by digits of the window's number, but fewer, as each is a row of lists: one a shard.
type calendar struct {
	shift  uint   // a window is 2^shift ps
	now    uint64 // the window opened last
	lists  int    // shards
	levels []week
	ream   []sheet // not used yet
	free   *sheet
}

const (
	days  = 6 // digits of a week's bucket
	never = 1<<64 - 1
)

// A week is a level: 64 buckets.
type week struct {
	used  uint64
	least [1 << days]uint64 // the earliest window in a bucket
	lists []list            // by bucket and shard
}

// A list is sheets in the order in which they were begun.
type list struct{ first, last *sheet }

const (
	sheetLen = 31
	ream     = 256 // sheets are made at a time
)

// A sheet is a piece of a list.
type sheet struct {
	next *sheet
	n    int
	ev   [sheetLen]arrival
}

func newCalendar(shift uint, lists int) *calendar {
	return &calendar{shift: shift, lists: lists, levels: make([]week, (63-shift+days-1)/days)}
}

// push enters an arrival after the window opened last.
func (q *calendar) push(e arrival, shard uint32) {
	w := uint64(e.at) >> q.shift
	k := 0
	if x := w ^ q.now; x >= 1<<days {
		k = (bits.Len64(x) - 1) / days
	}
	v := &q.levels[k]
	bucket := uint(w>>(days*k)) % (1 << days)
	if v.used&(1<<bucket) == 0 {
		if v.used |= 1 << bucket; v.lists == nil {
			v.lists = make([]list, q.lists<<days)
		}
		v.least[bucket] = w
	} else if k > 0 {
		v.least[bucket] = min(v.least[bucket], w)
	}
	l := &v.lists[int(bucket)*q.lists+int(shard)]
	s := l.last
	if s == nil {
		s = q.sheet()
		l.first, l.last = s, s
	} else if s.n == sheetLen {
		s.next = q.sheet()
		s = s.next
		l.last = s
	}
	s.ev[s.n] = e
	s.n++
}

// sheet returns an empty sheet.
func (q *calendar) sheet() *sheet {
	if s := q.free; s != nil {
		q.free = s.next
		s.next, s.n = nil, 0
		return s
	}
	if len(q.ream) == 0 {
		q.ream = make([]sheet, ream)
	}
	s := &q.ream[0]
	q.ream = q.ream[1:]
	return s
}

// next returns the earliest window that has arrivals, or never.
func (q *calendar) next() uint64 {
	for k := range q.levels {
		if v := &q.levels[k]; v.used != 0 {
			return v.least[bits.TrailingZeros64(v.used)]
		}
	}
	return never
}

// open makes a window the present one, no earlier one having arrivals, and reports whether it has any.
func (q *calendar) open(window uint64) bool {
	for q.next() == window {
		k := 0
		for q.levels[k].used == 0 {
			k++
		}
		v := &q.levels[k]
		bucket := uint(bits.TrailingZeros64(v.used))
		v.used &= v.used - 1
		low := uint(days * k)
		q.now = window >> low << low
		if k == 0 {
			return true
		}
		for shard := range uint32(q.lists) { // into the levels below
			l := &v.lists[int(bucket)*q.lists+int(shard)]
			s := l.first
			*l = list{}
			for s != nil {
				for i := range s.n {
					q.push(s.ev[i], shard)
				}
				s, s.next, q.free = s.next, q.free, s
			}
		}
	}
	return false
}

// take appends the arrivals of a shard in the present window, in the order in which they were entered.
func (q *calendar) take(shard uint32, to []arrival) []arrival {
	l := &q.levels[0].lists[int(q.now%(1<<days))*q.lists+int(shard)]
	s := l.first
	*l = list{}
	for s != nil {
		to = append(to, s.ev[:s.n]...)
		s, s.next, q.free = s.next, q.free, s
	}
	return to
}
