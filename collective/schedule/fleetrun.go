package schedule

import "github.com/ringtree/ringtree/topology"

// Ranks returns how many machines there are.
func (f *Fleet) Ranks() int { return len(f.which) }

// Lanes returns how many lanes every machine has.
func (f *Fleet) Lanes() int { return f.lanes }

// Entries returns how many entries there are: runs of like operations, over all ranks.
func (f *Fleet) Entries() int { return len(f.peers) }

// Steps returns how many steps all machines take together.
func (f *Fleet) Steps() int64 { return f.ticks }

// Programs returns how many different programs there are.
func (f *Fleet) Programs() int { return len(f.programs) }

// Program returns the number of rank r's program: ranks with the same one differ in their peers and chunks at most.
func (f *Fleet) Program(r int32) int32 { return f.which[r] }

// Lane returns the code of a lane of rank r and the number of its first entry.
func (f *Fleet) Lane(r int32, l Lane) (*LaneCode, uint32) {
	lc := &f.programs[f.which[r]].lanes[l]
	return lc, f.first[r] + lc.First
}

// Longest returns the most chunks that an operation covers.
func (f *Fleet) Longest() (n uint32) {
	for _, p := range f.programs {
		for _, lc := range p.lanes {
			for i := range lc.Codes {
				n = max(n, lc.Codes[i].N)
			}
		}
	}
	return n
}

// Peer returns the peer of an entry; a Copy has its own rank.
func (f *Fleet) Peer(entry uint32) int32 { return f.peers[entry] }

// Chunk returns the first chunk of an entry's first operation.
func (f *Fleet) Chunk(entry uint32) int { return int(f.chunks[entry]) }

// Of returns the rank of the schedule that machine r stands for: itself, except in a folded fleet.
func (f *Fleet) Of(r int32) topology.Rank {
	if f.whose != nil {
		return f.whose[r]
	}
	return topology.Rank(r)
}

// Find returns the code that holds operation i of a lane, and which of its operations it is.
func (lc *LaneCode) Find(i int32) (code, k int32, ok bool) {
	if i < 0 || i >= lc.Ops {
		return 0, 0, false
	}
	if lc.flat {
		return i, 0, true
	}
	lo, hi := int32(0), int32(len(lc.Codes))
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; lc.Codes[mid].Index <= i {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, i - lc.Codes[lo].Index, true
}

// A FleetStep is what a lane may do next. Code is the number of the code of its first operation in the lane, Op which
// operation of that code's run, Slice which slice of it. A joint reduction takes Width codes together.
type FleetStep struct {
	Code, Op, Slice, Width int32
}

// Next returns the step that the lane is at, whether or not it may run; ok is false past the end.
func (f *Fleet) Next(r int32, l Lane) (st FleetStep, c *Code, ok bool) {
	at := &f.at[int(r)*f.lanes+int(l)]
	codes := f.programs[f.which[r]].lanes[l].Codes
	if int(at.start) >= len(codes) {
		return st, nil, false
	}
	c = &codes[at.start]
	st = c.step(at.start, at.startTick)
	if st.Code != at.start {
		c = &codes[st.Code]
	}
	return st, c, true
}

// step turns a tick of the unit at code i into a step.
func (c *Code) step(i, tick int32) FleetStep {
	switch {
	case c.Width == 1 && c.Slices == 1:
		return FleetStep{i, tick, 0, 1}
	case c.Width == 1:
		k := tick / c.Slices
		return FleetStep{i, k, tick - k*c.Slices, 1}
	case c.Joint:
		return FleetStep{i, 0, tick, c.Width}
	}
	k := tick / c.Width
	return FleetStep{i + tick - k*c.Width, 0, k, 1}
}

// Ready returns the next step of a lane, as [Machine.Ready] does.
func (f *Fleet) Ready(r int32, l Lane) (st FleetStep, c *Code, ok bool) {
	if st, c, ok = f.Next(r, l); !ok {
		return st, c, false
	}
	if c.wait >= 0 {
		dl, di, _ := c.After(st.Op)
		if !f.passed(r, dl, di, st.Slice, c.Streams) {
			return st, c, false
		}
	}
	return st, c, true
}

// passed reports whether operation i of a lane is complete, or, for one that streams, its slice.
func (f *Fleet) passed(r int32, l Lane, i, slice int32, stream bool) bool {
	at := &f.at[int(r)*f.lanes+int(l)]
	codes := f.programs[f.which[r]].lanes[l].Codes
	if int(at.done) >= len(codes) {
		return true
	}
	c := &codes[at.done]
	k := i - c.Index
	if k < 0 {
		return true
	}
	if c.Width > 1 {
		switch {
		case !stream || k >= c.Width:
			return false
		case c.Joint:
			return at.doneTick > slice
		}
		done := at.doneTick / c.Width
		if k < at.doneTick-done*c.Width {
			done++
		}
		return done > slice
	}
	if c.Slices == 1 {
		return k < at.doneTick
	}
	op := at.doneTick / c.Slices
	return k < op || k == op && stream && at.doneTick-op*c.Slices > slice
}

// advance moves a place in a lane by one step.
func advance(codes []Code, code, tick *int32) {
	c := &codes[*code]
	if *tick++; *tick == c.ticks {
		*tick = 0
		if c.Width > 1 {
			*code += c.Width
		} else {
			*code++
		}
	}
}

// Start says that the step which Ready returned has begun, as [Machine.Start] does.
func (f *Fleet) Start(r int32, l Lane) {
	at := &f.at[int(r)*f.lanes+int(l)]
	advance(f.programs[f.which[r]].lanes[l].Codes, &at.start, &at.startTick)
}

// Complete says that the oldest started step of the lane has finished, as [Machine.Complete] does.
func (f *Fleet) Complete(r int32, l Lane) {
	at := &f.at[int(r)*f.lanes+int(l)]
	if at.done == at.start && at.doneTick == at.startTick {
		panic("schedule: Complete without Start")
	}
	advance(f.programs[f.which[r]].lanes[l].Codes, &at.done, &at.doneTick)
}

// Oldest returns the oldest step of the lane that has started and is not complete.
func (f *Fleet) Oldest(r int32, l Lane) (st FleetStep, ok bool) {
	at := &f.at[int(r)*f.lanes+int(l)]
	if at.done == at.start && at.doneTick == at.startTick {
		return st, false
	}
	return f.programs[f.which[r]].lanes[l].Codes[at.done].step(at.done, at.doneTick), true
}

// Ended reports whether every step of the lane is complete.
func (f *Fleet) Ended(r int32, l Lane) bool {
	return int(f.at[int(r)*f.lanes+int(l)].done) >= len(f.programs[f.which[r]].lanes[l].Codes)
}

// Reset puts every machine before its first step.
func (f *Fleet) Reset() { clear(f.at) }

// Slice cuts operations anew and resets. Programs are kept: only the number of slices changes.
func (f *Fleet) Slice(z Slicing) error {
	f.slicing, f.ticks = z, 0
	for p := range f.programs {
		pr := &f.programs[p]
		pr.ticks = 0
		for l := range pr.lanes {
			for i := range pr.lanes[l].Codes {
				c := &pr.lanes[l].Codes[i]
				if err := c.cut(z); err != "" {
					return &VerifyError{Rank: -1, Lane: Lane(l), Index: int(c.Index), Reason: err}
				}
				if c.Width > 0 {
					pr.ticks += int64(c.ticks)
				}
			}
		}
	}
	for _, p := range f.which {
		f.ticks += f.programs[p].ticks
	}
	f.Reset()
	return nil
}

// Fold returns the fleet in which every class of machines is one: class gives every machine's, numbered from 0, and all
// members of a class must have the same program and, entry by entry, peers of the same classes. The classes' first
// members stand for them. A machine may then have itself for a peer.
func (f *Fleet) Fold(class []int32, classes int) *Fleet {
	g := &Fleet{
		s: f.s, slicing: f.slicing, lanes: f.lanes, programs: f.programs,
		which: make([]int32, classes), first: make([]uint32, classes+1), whose: make([]topology.Rank, classes),
		at: make([]laneAt, classes*f.lanes),
	}
	next := 0
	for r, c := range class {
		if int(c) != next {
			continue
		}
		g.which[next], g.whose[next] = f.which[r], f.Of(int32(r))
		g.first[next] = uint32(len(g.peers))
		for e := f.first[r]; e < f.first[r+1]; e++ {
			g.peers = append(g.peers, class[f.peers[e]])
		}
		g.chunks = append(g.chunks, f.chunks[f.first[r]:f.first[r+1]]...)
		g.ticks += f.programs[f.which[r]].ticks
		next++
	}
	g.first[classes] = uint32(len(g.peers))
	return g
}
