package sim

import (
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
)

// A cascade is the part of a group in which ranks only receive, slice by slice, and hand on within the group: nothing that leaves the group
// depends on it (the way down of a tree, from where it enters a host that has no others below). So it need not be run window by window, among all
// else: what enters it is put down, and it is run at the end ([crewman.fallThrough]), mostly by what has been found before ([faller]). From which
// window on a group's cascade is on its own, with nothing else at its ports, is seen as it runs ([crewman.settled]).
type cascade struct {
	of     []int16 // by slot of the group: the fall that it is, or -1
	falls  []fall  // in the order of their slots
	ranks  []under
	others []awaited // what else comes to these ranks from within the group
	form   int32     // cascades of one form do the same
}

// A fall is a lane of a cascade: it receives every slice of one message, which nobody but the lane's own sends waits for.
type fall struct {
	rank, from uint32  // counted from the first of the group: whose it is, and who sends
	slot, feed uint16  // the receive's, and the send's
	by         int16   // the fall that the sender has it from, or -1: it is not of the cascade
	outer      bool    // it is fed from another group, and nothing else comes to its rank's port from there
	kids       []int16 // the falls that its rank feeds, in order
	kind       uint16
	lane       uint8
	out        int16 // lane of its sends, or -1
	parts      int64 // it, and all that has it from there
}

// An under is a rank that has falls.
type under struct {
	rank     uint32
	forwards bool
}

// An awaited is a receive, and how many slices it takes.
type awaited struct {
	slot  uint16
	total uint32
}

// cascadeFrom is from how many slices on a message is worth it.
const cascadeFrom = 8

// cascades finds the cascades of classes, one group of each of which is given, or returns nil where there are none. Times that it spares itself
// to follow must be those of ports and the order of arrival alone.
func (x *windows) cascades(leads []uint32) []*cascade {
	for i := range x.kinds {
		if y := &x.kinds[i]; y.overhead > 0 || x.uses[i]&afar != 0 && y.port == 1 {
			return nil
		}
	}
	all, found := make([]*cascade, len(leads)), false
	var forms []*cascade
	for i, g := range leads {
		c := x.cascadeOf(g)
		if c == nil {
			continue
		}
		all[i], found = c, true
		c.form = int32(slices.IndexFunc(forms, c.like))
		if c.form < 0 {
			c.form = int32(len(forms))
			forms = append(forms, c)
		}
	}
	if !found {
		return nil
	}
	return all
}

// like reports whether two cascades are of one form.
func (c *cascade) like(o *cascade) bool {
	return slices.EqualFunc(c.falls, o.falls, func(a, b fall) bool {
		return a.rank == b.rank && a.kind == b.kind && a.outer == b.outer && slices.Equal(a.kids, b.kids)
	})
}

// cascadeOf finds the cascade of a group.
func (x *windows) cascadeOf(g uint32) *cascade {
	c := &cascade{of: make([]int16, len(x.lines(g)))}
	for slot := range c.of {
		c.of[slot] = -1
	}
	first, base := x.start[g], x.base[g]
	for r := first; r < x.start[g+1]; r++ {
		for l := range x.lanes {
			if f, ok := x.fallOf(g, r, uint8(l)); ok {
				c.of[f.slot] = int16(len(c.falls))
				c.falls = append(c.falls, f)
			}
		}
	}
	// Whom a fall feeds must be one.
	for dropped := true; dropped; {
		dropped = false
		for i := range c.falls {
			f := &c.falls[i]
			if c.of[f.slot] < 0 || f.out < 0 {
				continue
			}
			for _, slot := range x.receivers(first+f.rank, uint8(f.out)) {
				if c.of[slot] < 0 {
					c.of[f.slot], dropped = -1, true
					break
				}
			}
		}
	}
	c.falls = slices.DeleteFunc(c.falls, func(f fall) bool { return c.of[f.slot] < 0 })
	if len(c.falls) == 0 {
		return nil
	}
	for i := range c.falls {
		c.of[c.falls[i].slot] = int16(i)
	}
	if !x.feeds(g, c) {
		return nil
	}
	for r := first; r < x.start[g+1]; r++ {
		u := under{rank: r - first}
		any := false
		for i := range c.falls {
			if f := &c.falls[i]; f.rank == u.rank {
				any = true
				u.forwards = u.forwards || len(f.kids) > 0
			}
		}
		if !any {
			continue
		}
		c.ranks = append(c.ranks, u)
		x.codes(r, func(e uint32, l uint8, o *operation) bool {
			if schedule.Lane(l).In() && o.kind != schedule.Copy && c.of[e-base] < 0 && x.group[x.f.Peer(e)] == g {
				c.others = append(c.others, awaited{uint16(e - base), uint32(o.count) * uint32(o.slices)})
			}
			return true
		})
	}
	return c
}

// codes calls yield for each entry of a rank, with its lane and what it does, until that returns false.
func (x *windows) codes(r uint32, yield func(e uint32, l uint8, o *operation) bool) {
	s := &x.ranks[r]
	for l, strand := range x.strands[s.strand:][:x.lanes] {
		for i := range strand.ops {
			if !yield(s.first+strand.first+i, uint8(l), &x.ops[strand.op+i]) {
				return
			}
		}
	}
}

// fallOf returns a lane of a rank as a fall, if it could be one.
func (x *windows) fallOf(g, r uint32, l uint8) (f fall, ok bool) {
	s := &x.ranks[r]
	strands := x.strands[s.strand:][:x.lanes]
	in := &strands[l]
	if !schedule.Lane(l).In() || in.ops != 1 || len(in.wakes) > 1 {
		return f, false
	}
	o := &x.ops[in.op]
	e := s.first + in.first
	if o.kind != schedule.Recv || o.width != 1 || o.count != 1 || o.wait >= 0 || o.slices < cascadeFrom {
		return f, false
	}
	f = fall{rank: r - x.start[g], slot: uint16(e - x.base[g]), by: -1, lane: l, out: -1, outer: x.group[x.f.Peer(e)] != g}
	if f.outer {
		alone := true
		x.codes(r, func(of uint32, l uint8, o *operation) bool {
			alone = of == e || !schedule.Lane(l).In() || o.kind == schedule.Copy || x.group[x.f.Peer(of)] == g
			return alone
		})
		if !alone {
			return f, false
		}
	}
	if len(in.wakes) == 0 {
		return f, true
	}
	out := &strands[in.wakes[0]]
	f.out = int16(in.wakes[0])
	sends := x.ops[out.op:][:out.ops]
	if schedule.Lane(in.wakes[0]).In() || len(sends) == 0 || sends[0].width != int32(len(sends)) {
		return f, false
	}
	for i := range sends {
		p := &sends[i]
		if p.kind != schedule.Send || p.joint || p.eager || p.count != 1 || p.slices != o.slices || p.chunks != o.chunks ||
			p.wait != int8(l) || p.need != 1 || p.perSlice != 1 || x.entries[s.first+out.first+uint32(i)].flags&near == 0 {
			return f, false
		}
	}
	return f, true
}

// receivers returns the slots that a lane of sends within its group goes to.
func (x *windows) receivers(r uint32, l uint8) (slots []uint16) {
	s := &x.ranks[r]
	strand := &x.strands[int(s.strand)+int(l)]
	for _, y := range x.entries[s.first+strand.first:][:strand.ops] {
		slots = append(slots, uint16(y.count))
	}
	return slots
}

// feeds finds who sends to the falls of a group, and reports whether all is as it must be.
func (x *windows) feeds(g uint32, c *cascade) bool {
	fed := 0
	for r := x.start[g]; r < x.start[g+1]; r++ {
		lane := -1 // of its sends to falls, where they are of the cascade
		taps, ok := false, true
		x.codes(r, func(e uint32, l uint8, o *operation) bool {
			y := &x.entries[e]
			if y.flags&posts == 0 || y.flags&near == 0 || c.of[y.count] < 0 {
				return true
			}
			f := &c.falls[c.of[y.count]]
			f.feed, f.from, f.kind = uint16(e-x.base[g]), r-x.start[g], y.kind
			fed++
			f.by = int16(slices.IndexFunc(c.falls, func(p fall) bool { return p.rank == f.from && p.out == int16(l) }))
			into := &x.ops[x.strands[int(x.ranks[x.start[g]+f.rank].strand)+int(f.lane)].op]
			ok = x.kinds[y.kind].port == 1 && o.kind == schedule.Send && o.count == 1 && !o.joint && o.chunks == into.chunks
			if f.by < 0 {
				taps = true
			} else {
				by := &c.falls[f.by]
				by.kids = append(by.kids, c.of[y.count])
				ok = ok && (lane < 0 || lane == int(l))
				lane = int(l)
			}
			return ok
		})
		// What a port sends is in the order of one lane, or of what is run window by window.
		if !ok || taps && lane >= 0 {
			return false
		}
	}
	for i := range c.falls {
		c.falls[i].parts = c.count(int16(i))
		if c.falls[i].outer {
			fed++
		}
	}
	return fed == len(c.falls)
}

// count returns how many falls have what fall i gets, itself among them.
func (c *cascade) count(i int16) int64 {
	n := int64(1)
	for _, kid := range c.falls[i].kids {
		n += c.count(kid)
	}
	return n
}

// taps marks what enters the cascade of a group.
func (x *windows) taps(g uint32, c *cascade) {
	for i := range c.falls {
		switch f := &c.falls[i]; {
		case f.outer:
			x.entries[x.base[g]+uint32(f.slot)].flags |= enters
		case f.by < 0:
			x.entries[x.base[g]+uint32(f.feed)].flags |= enters
		}
	}
}

// settled reports whether from the window on, in which keys come, the cascade of the group that l leads is on its own: all that entered it has
// gone through, nothing else will come to the ports that it uses, and ranks that hand something on have nothing else to do. What enters in the
// window comes to a port after its begin, by at least the time that the port takes.
func (w *crewman) settled(l int32, c *cascade, keys []uint64) bool {
	a, x := w.alike, w.x
	g := a.first + uint32(l)
	base, first := x.base[g], x.start[g]
	for _, o := range c.others {
		if x.entries[base+uint32(o.slot)].count < o.total {
			return false
		}
	}
	for _, u := range c.ranks {
		s := &x.ranks[first+u.rank]
		if s.in[1] > w.begin || u.forwards && (s.out[1] > w.begin || s.busy > w.begin) {
			return false
		}
	}
	for i := range c.falls {
		f := &c.falls[i]
		came := x.entries[base+uint32(f.slot)].count
		sent := came
		if f.by >= 0 {
			sent = x.entries[base+uint32(c.falls[f.by].slot)].count
		} else if !f.outer {
			sent = x.posted(g, f)
		}
		if came != sent || len(f.kids) > 0 && !x.idle(first+f.rank, c) {
			return false
		}
	}
	for _, key := range keys {
		if c.of[uint16(key>>16)] >= 0 {
			return false
		}
	}
	return !a.left[l].contains(func(e arrival) bool { return x.kinds[e.kind&^through>>1].port == 1 || c.of[e.slot] >= 0 })
}

// posted returns how many slices have entered a fall.
func (x *windows) posted(g uint32, f *fall) uint32 {
	r := x.start[g] + f.from
	y := &x.entries[x.base[g]+uint32(f.feed)]
	s := &x.ranks[r]
	strand := &x.strands[int(s.strand)+int(y.lane)]
	code := x.base[g] + uint32(f.feed) - s.first - strand.first
	unit := code
	for x.ops[strand.op+unit].width == 0 {
		unit--
	}
	at := &x.at[int(r)*x.lanes+int(y.lane)]
	switch {
	case uint32(at.code) < unit: // other sends come before
		return 0
	case uint32(at.code) > unit:
		return uint32(x.ops[strand.op+unit].slices)
	case at.op > code-unit:
		return uint32(at.slice) + 1
	}
	return uint32(at.slice)
}

// idle reports whether a rank has nothing left to do but what is of the cascade.
func (x *windows) idle(r uint32, c *cascade) bool {
	first := r - x.start[x.group[r]]
	for l, strand := range x.strands[x.ranks[r].strand:][:x.lanes] {
		if uint32(x.at[int(r)*x.lanes+l].code) < strand.ops &&
			!slices.ContainsFunc(c.falls, func(f fall) bool { return f.rank == first && (f.lane == uint8(l) || f.out == int16(l)) }) {
			return false
		}
	}
	return true
}
