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
	// sends returns how many operations rank r has in out lane 0.
	sends(r topology.Rank) int
}

// hier is a reduction inside each host, any flat all-reduce between hosts, and a broadcast inside each host. The vector
// has one block for each rank of the largest host, and channel group b carries block b alone: in every host, local rank
// b mod size owns it, reduces it from its neighbours, runs the all-reduce with the other hosts' owners of b, and gives
// the result to its neighbours. Hosts may have different sizes; on hosts of equal size, every rank owns one block and
// speaks between hosts only to the ranks of its own rail.
type hier struct {
	g      *topology.Graph
	blocks int
	pieces int    // chunks of a block: those of the schedule between hosts
	inner  []flat // by block; nil on a single host
	wide   int    // channels of an inner schedule
	turn   int    // see Turn
}

// newHier returns a hierarchical all-reduce; inner makes the schedule between hosts for a block.
func newHier(g *topology.Graph, inner func(hosts, block int) flat) schedule.Schedule {
	if g.Size() == 1 {
		return alone{schedule.AllReduce}
	}
	s := &hier{g: g, pieces: 1, wide: 1}
	for h := range g.Hosts() {
		s.blocks = max(s.blocks, g.HostSize(h))
	}
	if g.Hosts() > 1 {
		for b := range s.blocks {
			s.inner = append(s.inner, inner(g.Hosts(), b))
		}
		s.pieces, s.wide = s.inner[0].Layout().Chunks(), s.inner[0].Channels()
		s.turn = s.turns()
	}
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
	for h := range s.g.Hosts() {
		if s.g.HostSize(h) != s.blocks || int(s.g.HostRank(h, 0)) != h*s.blocks || int(s.g.HostRank(h, s.blocks-1)) != (h+1)*s.blocks-1 {
			return 0
		}
	}
	return s.blocks
}

// Turn says that all hosts do the same, each with those that come after it, where that is so.
func (s *hier) Turn() int { return s.turn }

func (s *hier) Ranks() int              { return s.g.Size() }
func (s *hier) Channels() int           { return s.blocks * s.wide }
func (s *hier) Layout() schedule.Layout { return schedule.Layout{Blocks: s.blocks, Pieces: s.pieces} }

// owner returns the rank of host h that owns block b.
func (s *hier) owner(h, b int) topology.Rank { return s.g.HostRank(h, b%s.g.HostSize(h)) }

func (s *hier) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	b, c := int(l.Channel())/s.wide, int(l.Channel())%s.wide
	h := s.g.Host(r)
	size := s.g.HostSize(h)
	owner := s.owner(h, b)
	first := b * s.pieces // chunk
	n := uint32(s.pieces)
	if r != owner {
		// Local rank q is the owner's neighbour number q, counted from the owner on.
		if c > 0 || i > 0 {
			return schedule.Op{}, false
		}
		q := mod(s.g.LocalIndex(r)-s.g.LocalIndex(owner), size) - 1
		if !l.In() {
			return schedule.Op{Kind: schedule.Send, Peer: owner, Src: schedule.Input(first), N: n, Match: int32(q)}, true
		}
		return schedule.Op{
			Kind: schedule.Recv, Peer: owner, Dst: schedule.Output(first), N: n,
			Match: int32(s.innerSends(b, h) + q),
		}, true
	}
	neighbour := func(q int) topology.Rank { return s.g.HostRank(h, (s.g.LocalIndex(owner)+1+q)%size) }
	local := 0 // operations before the inner ones
	if l.In() && c == 0 {
		local = size - 1
	}
	if i < local {
		return schedule.Op{
			Kind: schedule.RecvReduce, Peer: neighbour(i), Src: schedule.Input(first), Dst: schedule.Output(first), N: n,
			Final: s.inner == nil,
		}, true
	}
	i -= local
	if s.inner != nil {
		if op, ok := s.inner[b].At(topology.Rank(h), schedule.Lane(2*c)|l&1, i); ok {
			return s.between(op, b, h, l), true
		}
	}
	if l.In() || c > 0 {
		return schedule.Op{}, false
	}
	if i -= s.innerSends(b, h); i >= size-1 {
		return schedule.Op{}, false
	}
	// The result, to the neighbours.
	after := schedule.At(schedule.InLane(schedule.Channel(b*s.wide)), size-2)
	if s.inner != nil {
		il, ii, _ := s.inner[b].tail(topology.Rank(h)).Get()
		after = s.ref(il, ii, b, size)
	}
	return schedule.Op{Kind: schedule.Send, Peer: neighbour(i), Src: schedule.Output(first), N: n, After: after}, true
}

// between turns an operation of the schedule between hosts, seen from host h, into one of ranks.
func (s *hier) between(op schedule.Op, b, h int, l schedule.Lane) schedule.Op {
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
		peerHost := int(op.Peer)
		op.Peer = s.owner(peerHost, b)
		if !l.In() && int(l.Channel())%s.wide == 0 { // the partner's in lane begins with its neighbours
			op.Match += int32(s.g.HostSize(peerHost) - 1)
		}
	}
	if al, ai, ok := op.After.Get(); ok {
		op.After = s.ref(al, ai, b, size)
	} else if size > 1 {
		op.After = schedule.At(schedule.InLane(schedule.Channel(b*s.wide)), size-2)
	}
	return op
}

// ref turns a reference into the schedule between hosts into one of the owner of block b in a host of size ranks.
func (s *hier) ref(l schedule.Lane, i, b, size int) schedule.Ref {
	if l == schedule.InLane(0) {
		i += size - 1
	}
	return schedule.At(l+schedule.Lane(2*b*s.wide), i)
}

// innerSends returns how many operations host h has in out lane 0 of the schedule between hosts.
func (s *hier) innerSends(b, h int) int {
	if s.inner == nil {
		return 0
	}
	return s.inner[b].sends(topology.Rank(h))
}

// Repeat is what the schedule between hosts says of its part.
func (s *hier) Repeat(r topology.Rank, l schedule.Lane, i int) int {
	b, c := int(l.Channel())/s.wide, int(l.Channel())%s.wide
	h := s.g.Host(r)
	if s.inner == nil || r != s.owner(h, b) {
		return 1
	}
	if l.In() && c == 0 {
		i -= s.g.HostSize(h) - 1
	}
	inner, ok := s.inner[b].(schedule.Repeater)
	if !ok || i < 0 || !l.In() && c == 0 && i >= s.inner[b].sends(topology.Rank(h)) {
		return 1
	}
	return inner.Repeat(topology.Rank(h), schedule.Lane(2*c)|l&1, i)
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
