package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// ring sends to the next rank and receives from the one before. All-reduce, reduce-scatter and all-gather rotate n
// blocks (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 2009);
// broadcast and reduce are chains from and to the root, pipelined by slices.
//
// Positions count along the ring. At step s, position v sends the block of position v-1-s and reduces that of
// v-2-s, so that after n-1 steps it holds its own; an all-gather then sends the blocks around as they come.
type ring struct {
	n    int
	coll schedule.Collective
	root int // position
	o    order
}

func newRing(coll schedule.Collective, root topology.Rank, n int, o order) schedule.Schedule {
	if n == 1 {
		return alone{coll}
	}
	return &ring{n: n, coll: coll, root: o.position(root), o: o}
}

func (s *ring) Ranks() int    { return s.n }
func (s *ring) Channels() int { return 1 }

func (s *ring) Layout() schedule.Layout {
	if s.coll.Rooted() {
		return schedule.Layout{Blocks: 1, Pieces: 1}
	}
	return schedule.Layout{Blocks: s.n, Pieces: 1}
}

func (s *ring) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if s.coll.Rooted() {
		return s.chain(s.o.position(r), l, i)
	}
	v := s.o.position(r)
	// Steps before reduced belong to the reduce-scatter, the others to the all-gather.
	reduced, steps := s.n-1, s.n-1
	switch s.coll {
	case schedule.AllReduce, schedule.Barrier:
		steps = 2 * (s.n - 1)
	case schedule.AllGather:
		reduced = 0
	}
	if l.In() {
		if i >= steps {
			return schedule.Op{}, false
		}
		op := schedule.Op{Kind: schedule.Recv, Peer: s.o.rank(mod(v-1, s.n)), N: 1, Match: int32(i)}
		if i < reduced {
			b := s.block(v - 2 - i)
			op.Kind, op.Src, op.Dst, op.Final = schedule.RecvReduce, schedule.Input(b), schedule.Output(b), i == reduced-1
		} else {
			op.Dst = schedule.Output(s.block(v - 1 - (i - reduced)))
		}
		return op, true
	}
	if i >= steps {
		if i == steps && s.coll == schedule.AllGather {
			b := s.block(v)
			return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(b), Dst: schedule.Output(b), N: 1}, true
		}
		return schedule.Op{}, false
	}
	op := schedule.Op{Kind: schedule.Send, Peer: s.o.rank(mod(v+1, s.n)), N: 1, Match: int32(i)}
	b := s.block(v - 1 - i)
	if i >= reduced {
		b = s.block(v - (i - reduced))
	}
	if i == 0 {
		op.Src = schedule.Input(b)
	} else {
		op.Src, op.After = schedule.Output(b), schedule.At(l.Opposite(), i-1)
	}
	return op, true
}

// Repeat says how a lane goes on: all reductions but the last are alike, and so are the receives after them, and all
// sends but the first.
func (s *ring) Repeat(_ topology.Rank, l schedule.Lane, i int) int {
	if s.coll.Rooted() {
		return 1
	}
	reduced, steps := s.n-1, s.n-1
	switch s.coll {
	case schedule.AllReduce, schedule.Barrier:
		steps = 2 * (s.n - 1)
	case schedule.AllGather:
		reduced = 0
	}
	switch {
	case !l.In() && 0 < i && i < steps, l.In() && reduced <= i && i < steps:
		return steps - i
	case l.In() && i < reduced-1:
		return reduced - 1 - i
	}
	return 1
}

// block returns the block that belongs to a position.
func (s *ring) block(p int) int { return int(s.o.rank(mod(p, s.n))) }

func (s *ring) chain(p int, l schedule.Lane, i int) (schedule.Op, bool) {
	reduce := s.coll == schedule.Reduce
	v := mod(p-s.root, s.n) // place in the chain
	if reduce {
		v = mod(p-s.root-1, s.n)
	}
	in, out := schedule.Input(0), schedule.Output(0)
	switch {
	case i > 0:
	case l.In() && v > 0:
		op := schedule.Op{Kind: schedule.Recv, Peer: s.o.rank(mod(p-1, s.n)), Dst: out, N: 1}
		if reduce {
			op.Kind, op.Src, op.Final = schedule.RecvReduce, in, v == s.n-1
		}
		return op, true
	case !l.In() && v < s.n-1:
		op := schedule.Op{Kind: schedule.Send, Peer: s.o.rank(mod(p+1, s.n)), Src: in, N: 1}
		if v > 0 {
			op.Src, op.After = out, schedule.At(l.Opposite(), 0)
		}
		return op, true
	}
	if i == 1 && !l.In() && !reduce && v == 0 {
		return schedule.Op{Kind: schedule.Copy, Src: in, Dst: out, N: 1}, true
	}
	return schedule.Op{}, false
}

// tail returns the operation after which rank r's output is complete.
func (s *ring) tail(r topology.Rank) schedule.Ref { return schedule.At(1, 2*(s.n-1)-1) }

// alone is every collective of a single rank.
type alone struct{ coll schedule.Collective }

func (alone) Ranks() int              { return 1 }
func (alone) Channels() int           { return 1 }
func (alone) Layout() schedule.Layout { return schedule.Layout{Blocks: 1, Pieces: 1} }

func (alone) At(_ topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if l.In() || i > 0 {
		return schedule.Op{}, false
	}
	return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(0), Dst: schedule.Output(0), N: 1}, true
}
