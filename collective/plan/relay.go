package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// relay is broadcast from or reduce to the root over two levels: a flat schedule of one channel between one leader a
// host, the root being its host's, and a star inside each host.
type relay struct {
	g     *topology.Graph
	coll  schedule.Collective
	root  topology.Rank
	inner schedule.Schedule // between hosts, on channel 0; nil on a single host
}

func newRelay(g *topology.Graph, coll schedule.Collective, root topology.Rank, inner func(hosts int, root topology.Rank) schedule.Schedule) schedule.Schedule {
	if g.Size() == 1 {
		return alone{coll}
	}
	s := &relay{g: g, coll: coll, root: root}
	if g.Hosts() > 1 {
		s.inner = inner(g.Hosts(), topology.Rank(g.Host(root)))
	}
	return s
}

// inside is the channel inside the hosts.
const inside schedule.Channel = 1

func (s *relay) Ranks() int    { return s.g.Size() }
func (s *relay) Channels() int { return 2 }

func (s *relay) Layout() schedule.Layout {
	if s.inner == nil {
		return schedule.Layout{Blocks: 1, Pieces: 1}
	}
	return s.inner.Layout()
}

// leader returns the rank of host h that speaks with other hosts.
func (s *relay) leader(h int) topology.Rank {
	if h == s.g.Host(s.root) {
		return s.root
	}
	return s.g.HostRank(h, 0)
}

func (s *relay) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	h := s.g.Host(r)
	leader := s.leader(h)
	switch {
	case l.Channel() == inside && r == leader:
		return s.lead(r, h, l, i)
	case l.Channel() == inside:
		return s.follow(r, h, l, i)
	case r != leader || s.inner == nil:
		return schedule.Op{}, false
	}
	op, ok := s.inner.At(topology.Rank(h), l, i)
	if !ok || op.Kind == schedule.Copy {
		return op, ok
	}
	op.Peer = s.leader(int(op.Peer))
	if size := s.g.HostSize(h); s.coll == schedule.Reduce && size > 1 { // after the host's own reduction
		if op.Kind != schedule.Recv {
			op.Src = schedule.Output(op.Src.Index())
		}
		if _, _, ok := op.After.Get(); !ok {
			op.After = schedule.At(schedule.InLane(inside), size-2)
		}
	}
	return op, true
}

// lead is the leader's part inside host h.
func (s *relay) lead(r topology.Rank, h int, l schedule.Lane, i int) (schedule.Op, bool) {
	in, out, n := schedule.Input(0), schedule.Output(0), uint32(s.Layout().Chunks())
	size := s.g.HostSize(h)
	broadcast := s.coll == schedule.Broadcast
	switch {
	case broadcast == l.In() || i > size-1:
		return schedule.Op{}, false
	case i == size-1:
		copies := broadcast && s.inner == nil
		return schedule.Op{Kind: schedule.Copy, Src: in, Dst: out, N: n}, copies
	}
	op := schedule.Op{Kind: schedule.Send, Peer: s.g.HostRank(h, (s.g.LocalIndex(r)+1+i)%size), N: n, Src: in}
	switch {
	case !broadcast:
		op.Kind, op.Dst, op.Final = schedule.RecvReduce, out, s.inner == nil
	case r != s.root:
		op.Src, op.After = out, schedule.At(schedule.InLane(0), laneLen(s.inner, topology.Rank(h), schedule.InLane(0))-1)
	}
	return op, true
}

// follow is the part of the other ranks of host h.
func (s *relay) follow(r topology.Rank, h int, l schedule.Lane, i int) (schedule.Op, bool) {
	broadcast := s.coll == schedule.Broadcast
	if i > 0 || broadcast != l.In() {
		return schedule.Op{}, false
	}
	leader := s.leader(h)
	op := schedule.Op{
		Kind: schedule.Send, Peer: leader, Src: schedule.Input(0), N: uint32(s.Layout().Chunks()),
		Match: int32(mod(s.g.LocalIndex(r)-s.g.LocalIndex(leader), s.g.HostSize(h)) - 1),
	}
	if broadcast {
		op.Kind, op.Src, op.Dst = schedule.Recv, 0, schedule.Output(0)
	}
	return op, true
}
