package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A flat schedule can stand between hosts in a hierarchy.
type flat interface {
	schedule.Schedule
	// tail returns the operation after which rank r's output is complete.
	tail(r topology.Rank) schedule.Ref
}

// hier is a reduce-scatter inside each host, any flat all-reduce between hosts, and an all-gather inside each host. The vector has one block for
// each rank of the largest host. In every host, local rank b mod size owns block b: it reduces it from its neighbours, runs the all-reduce with
// the other hosts' owners of b, and gives the result to its neighbours. Hosts may have different sizes; on hosts of equal size, every rank owns
// one block and speaks between hosts only to the ranks of its own rail.
//
// A small vector is one block, which the first rank of each host, its leader, has from all others and gives to them: blocks of a few bytes
// would cost as many messages as there are ranks in a host, each.
//
// Inside a host everybody begins with the next rank, so that no rank has all the others at its door at once, and all do the same. The first
// channel has the reduce-scatter and the last the all-gather, so that what is reduced can go on before all is. In between are those of the
// all-reduce: the same ones for all blocks where hosts are of one size, else each block has its own.
type hier struct {
	g      *topology.Graph
	blocks int
	pieces int    // chunks of a block: those of the schedule between hosts
	inner  []flat // by block
	wide   int    // channels of an inner schedule
	groups int    // of channels between hosts
	turn   int    // see Turn
}

// newHier returns a hierarchical all-reduce, of one block where each host has one leader; inner makes the schedule between hosts for a block.
func newHier(g *topology.Graph, leaders bool, inner func(hosts, block int) flat) schedule.Schedule {
	switch {
	case g.Size() == 1:
		return alone{schedule.AllReduce}
	case g.Hosts() == 1:
		return stars{g.Size()}
	}
	s := &hier{g: g, blocks: 1, groups: 1}
	for h := range g.Hosts() {
		if !leaders {
			s.blocks = max(s.blocks, g.HostSize(h))
		}
	}
	for h := range g.Hosts() {
		if g.HostSize(h) < s.blocks {
			s.groups = s.blocks
		}
	}
	for b := range s.blocks {
		s.inner = append(s.inner, inner(g.Hosts(), b))
	}
	s.pieces, s.wide = s.inner[0].Layout().Chunks(), s.inner[0].Channels()
	s.turn = s.turns()
	return s
}

// turns returns how many ranks hosts have that do the same: hosts of one size, of ranks in order, between which all do the same.
func (s *hier) turns() int {
	for _, inner := range s.inner {
		switch inner := inner.(type) {
		case *ring:
			if inner.o.ranks != nil {
				return 0
			}
		case *direct:
		default:
			return 0
		}
	}
	size := s.g.HostSize(0)
	if !inOrder(s.g, size) {
		return 0
	}
	return size
}

// Turn says that all hosts do the same, each with those that come after it, where that is so.
func (s *hier) Turn() int { return s.turn }

func (s *hier) Ranks() int              { return s.g.Size() }
func (s *hier) Channels() int           { return s.groups*s.wide + 2 }
func (s *hier) Layout() schedule.Layout { return schedule.Layout{Blocks: s.blocks, Pieces: s.pieces} }

// owner returns the rank of host h that owns block b.
func (s *hier) owner(h, b int) topology.Rank { return s.g.HostRank(h, b%s.g.HostSize(h)) }

func (s *hier) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	h, q := s.g.Host(r), s.g.LocalIndex(r)
	switch c := int(l.Channel()); {
	case c == 0 && !l.In():
		return s.others(h, q, i, schedule.Send)
	case c == 0:
		return s.own(h, q, i, schedule.RecvReduce)
	case c > s.groups*s.wide && l.In():
		return s.others(h, q, i, schedule.Recv)
	case c > s.groups*s.wide:
		return s.own(h, q, i, schedule.Send)
	}
	b, at, ok := s.inside(h, q, l)
	if !ok {
		return schedule.Op{}, false
	}
	op, ok := s.inner[b].At(topology.Rank(h), at, i)
	if !ok {
		return schedule.Op{}, false
	}
	return s.between(op, b, h), true
}

// others returns what local rank q of host h does with the owners of blocks that are not its own: sends to be reduced, or receives of results.
// In turn k they are the k-th blocks of all, that of the next rank first, and in the last one those of the first ranks alone.
func (s *hier) others(h, q, i int, kind schedule.Kind) (schedule.Op, bool) {
	size := s.g.HostSize(h)
	if size == 1 {
		return schedule.Op{}, false
	}
	turn, whole, rest := i/(size-1), s.blocks/size, s.blocks%size
	peer := (q + 1 + i%(size-1)) % size
	if turn >= whole {
		turn, i = whole, i-whole*(size-1)
		switch {
		case q >= rest && i < rest:
			peer = i
		case i < rest-1:
			peer = (q + 1 + i) % rest
		default:
			return schedule.Op{}, false
		}
	}
	op := schedule.Op{Kind: kind, Peer: s.g.HostRank(h, peer), N: uint32(s.pieces), Match: int32(turn*(size-1) + mod(peer-q, size) - 1)}
	if first := (turn*size + peer) * s.pieces; kind == schedule.Send {
		op.Src = schedule.Input(first)
	} else {
		op.Dst = schedule.Output(first)
	}
	return op, true
}

// own returns what local rank q of host h does for blocks of its own with its neighbours, the one before it first: reductions of what others
// send, or sends of what others receive.
func (s *hier) own(h, q, i int, kind schedule.Kind) (schedule.Op, bool) {
	size := s.g.HostSize(h)
	if size == 1 {
		return schedule.Op{}, false
	}
	turn, peer := i/(size-1), mod(q-1-i%(size-1), size)
	b := turn*size + q
	if b >= s.blocks {
		return schedule.Op{}, false
	}
	whole, rest := s.blocks/size, s.blocks%size
	match := i
	if turn == whole {
		if match = q; peer < rest {
			match = mod(q-peer-1, rest)
		}
		match += whole * (size - 1)
	}
	first := b * s.pieces
	op := schedule.Op{Kind: kind, Peer: s.g.HostRank(h, peer), N: uint32(s.pieces), Match: int32(match)}
	if kind == schedule.Send {
		l, i, _ := s.inner[b].tail(topology.Rank(h)).Get()
		op.Src, op.After = schedule.Output(first), schedule.At(s.outside(b, l), i)
	} else {
		op.Src, op.Dst = schedule.Input(first), schedule.Output(first)
	}
	return op, true
}

// inside returns which lane of the schedule of which block a lane between hosts is for local rank q of host h; false for none.
func (s *hier) inside(h, q int, l schedule.Lane) (b int, at schedule.Lane, ok bool) {
	c := int(l.Channel()) - 1
	at = schedule.Lane(2*(c%s.wide)) | l&1
	if s.groups == 1 {
		return q, at, q < s.blocks
	}
	b = c / s.wide
	return b, at, b%s.g.HostSize(h) == q
}

// outside returns which lane one of the schedule of block b is.
func (s *hier) outside(b int, l schedule.Lane) schedule.Lane {
	if s.groups > 1 {
		l += schedule.Lane(2 * b * s.wide)
	}
	return l + 2
}

// between turns an operation of the schedule between hosts for a block, seen from host h, into one of ranks.
func (s *hier) between(op schedule.Op, b, h int) schedule.Op {
	size := s.g.HostSize(h)
	first := b * s.pieces
	in := func(c schedule.Chunk) schedule.Chunk {
		if c.IsOutput() || size > 1 { // the host's own reduction lies in the output
			return schedule.Output(first + c.Index())
		}
		return schedule.Input(first + c.Index())
	}
	op.Src, op.Dst = in(op.Src), schedule.Output(first+op.Dst.Index())
	if op.Kind == schedule.Send {
		op.Dst = 0
	}
	if op.Kind != schedule.Copy {
		op.Peer = s.owner(int(op.Peer), b)
	}
	if l, i, ok := op.After.Get(); ok {
		op.After = schedule.At(s.outside(b, l), i)
	} else if size > 1 {
		op.After = schedule.At(schedule.InLane(0), (b/size+1)*(size-1)-1)
	}
	return op
}

// Repeat is what the schedule between hosts says of its part.
func (s *hier) Repeat(r topology.Rank, l schedule.Lane, i int) int {
	if c := int(l.Channel()); c == 0 || c > s.groups*s.wide {
		return 1
	}
	h := s.g.Host(r)
	b, at, ok := s.inside(h, s.g.LocalIndex(r), l)
	if !ok {
		return 1
	}
	inner, ok := s.inner[b].(schedule.Repeater)
	if !ok {
		return 1
	}
	return inner.Repeat(topology.Rank(h), at, i)
}

// laneLen returns the length of a lane, by doubling and bisection: At is pure and lanes have no gaps.
func laneLen(s schedule.Schedule, r topology.Rank, l schedule.Lane) int {
	has := func(n int) bool {
		_, ok := s.At(r, l, n-1)
		return ok
	}
	lo, hi := 0, 1
	for has(hi) {
		lo, hi = hi, 2*hi
	}
	for lo < hi-1 {
		if mid := (lo + hi) / 2; has(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
