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
