package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// rails is reduce-scatter and all-gather over two levels on hosts of one size. A rail is the ranks with one local index. For a reduce-scatter
// every rank reduces its rail's blocks from its host, everybody with everybody at once, those of the next host first and its own last, and then
// exchanges them with its rail, all to all; an all-gather goes the other way, the own block first. The rail has the first channel. The host has the
// second, and in an all-gather one for every distance: nobody waits for a rank of its host to go on with what came from another.
type rails struct {
	g        *topology.Graph
	coll     schedule.Collective
	hosts, n int // n ranks each
	turn     int // see Turn
}

func newRails(g *topology.Graph, coll schedule.Collective) schedule.Schedule {
	if g.Size() == 1 {
		return alone{coll}
	}
	s := &rails{g: g, coll: coll, hosts: g.Hosts(), n: g.HostSize(0)}
	for h := range s.hosts {
		if g.HostSize(h) != s.n || s.hosts == 1 {
			return newUnevenRails(g, coll)
		}
	}
	if inOrder(g, s.n) {
		s.turn = s.n
	}
	return s
}

// inOrder reports whether every host has n ranks, which follow each other.
func inOrder(g *topology.Graph, n int) bool {
	for h := range g.Hosts() {
		if g.HostSize(h) != n || int(g.HostRank(h, 0)) != h*n || int(g.HostRank(h, n-1)) != (h+1)*n-1 {
			return false
		}
	}
	return true
}

func (s *rails) Ranks() int { return s.g.Size() }
func (s *rails) Channels() int {
	if s.coll == schedule.AllGather {
		return max(s.n, 2)
	}
	return 2
}

func (s *rails) Layout() schedule.Layout { return schedule.Layout{Blocks: s.g.Size(), Pieces: 1} }

// Turn says that all hosts do the same, each with those that come after it, where their ranks are in order.
func (s *rails) Turn() int { return s.turn }

func (s *rails) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	h, q, c := s.g.Host(r), s.g.LocalIndex(r), int(l.Channel())
	switch {
	case c == 0:
		return s.between(h, q, l.In(), i)
	case s.coll == schedule.ReduceScatter:
		return s.collect(h, q, l.In(), i)
	case s.n > 1 && i < s.hosts:
		return s.spread(h, q, l.In(), c, i), true
	}
	own := schedule.Op{Kind: schedule.Copy, Src: schedule.Input(int(r)), Dst: schedule.Output(int(r)), N: 1}
	return own, c == 1 && !l.In() && i == min(s.n-1, 1)*s.hosts
}

// collect returns operation i of local rank q of host h in the reduce-scatter of its host. A turn is a block of every rail, those of the next host
// first. The j-th send of a turn goes to the j-th rank behind, whose j-th receive it is.
func (s *rails) collect(h, q int, in bool, i int) (schedule.Op, bool) {
	if s.n == 1 {
		return schedule.Op{}, false
	}
	turn, j := i/(s.n-1), i%(s.n-1)
	rail := (q + 1 + j) % s.n
	peer := rail
	if in {
		rail, peer = q, mod(q-1-j, s.n)
	}
	block := int(s.g.HostRank((h+1+turn)%s.hosts, rail))
	op := schedule.Op{Kind: schedule.Send, Peer: s.g.HostRank(h, peer), Src: schedule.Input(block), N: 1, Match: int32(i)}
	if in {
		op.Kind, op.Dst = schedule.RecvReduce, schedule.Output(block)
	}
	return op, turn < s.hosts
}

// spread returns operation i of local rank q of host h in the all-gather of its host, on the channel of ranks that are d apart: the block of the
// i-th host behind, to the rank before or from the one behind.
func (s *rails) spread(h, q int, in bool, d, i int) schedule.Op {
	if in {
		peer := (q + d) % s.n
		return schedule.Op{
			Kind: schedule.Recv, Peer: s.g.HostRank(h, peer), Dst: schedule.Output(int(s.g.HostRank((h+i)%s.hosts, peer))), N: 1, Match: int32(i),
		}
	}
	block := int(s.g.HostRank((h+i)%s.hosts, q))
	op := schedule.Op{Kind: schedule.Send, Peer: s.g.HostRank(h, mod(q-d, s.n)), Src: schedule.Input(block), N: 1, Match: int32(i)}
	if i > 0 {
		op.Src, op.After = schedule.Output(block), schedule.At(schedule.InLane(0), i-1)
	}
	return op
}

// between returns operation i of local rank q of host h with its rail: in a reduce-scatter the i-th send goes to the i-th host behind, in an
// all-gather before, whose i-th receive it is.
func (s *rails) between(h, q int, in bool, i int) (schedule.Op, bool) {
	gather := s.coll == schedule.AllGather
	host := mod(h-1-i, s.hosts)
	if in == gather {
		host = (h + 1 + i) % s.hosts
	}
	own, peer := int(s.g.HostRank(h, q)), s.g.HostRank(host, q)
	op := schedule.Op{Kind: schedule.Send, Peer: peer, Src: schedule.Input(own), N: 1, Match: int32(i)}
	switch {
	case gather && in:
		op.Kind, op.Src, op.Dst = schedule.Recv, 0, schedule.Output(int(peer))
	case in:
		op.Kind, op.Dst, op.Final = schedule.RecvReduce, schedule.Output(own), true
	case !gather:
		op.Src = schedule.Input(int(peer))
	}
	if !gather && s.n > 1 {
		// All wait for the last of the host's own reductions, so that they form one unit: everybody takes the first slice
		// of every host before the second of any.
		op.Src, op.After = schedule.Output(op.Src.Index()), schedule.At(schedule.InLane(1), s.hosts*(s.n-1)-1)
	}
	return op, i < s.hosts-1
}
