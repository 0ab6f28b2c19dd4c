package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// unevenRails is reduce-scatter and all-gather over two levels on hosts of any size. Channel b is rail b: the blocks of the ranks with local
// index b. In every host one rank, local index b mod size, owns the rail: for reduce-scatter it reduces the rail's
// blocks from its neighbours and exchanges them with the other hosts' owners, all to all; an all-gather goes the other
// way.
type unevenRails struct {
	g    *topology.Graph
	coll schedule.Collective
	on   [][]int32 // by rail: the hosts that have it, ascending
	at   [][]int32 // by rail and host: its index in on, or -1
}

func newUnevenRails(g *topology.Graph, coll schedule.Collective) *unevenRails {
	s := &unevenRails{g: g, coll: coll}
	for h := range g.Hosts() {
		for len(s.on) < g.HostSize(h) {
			s.on = append(s.on, nil)
		}
	}
	for b := range s.on {
		at := make([]int32, g.Hosts())
		for h := range at {
			at[h] = -1
			if g.HostSize(h) > b {
				at[h] = int32(len(s.on[b]))
				s.on[b] = append(s.on[b], int32(h))
			}
		}
		s.at = append(s.at, at)
	}
	return s
}

func (s *unevenRails) Ranks() int    { return s.g.Size() }
func (s *unevenRails) Channels() int { return len(s.on) }

func (s *unevenRails) Layout() schedule.Layout {
	return schedule.Layout{Blocks: s.g.Size(), Pieces: 1}
}

func (s *unevenRails) owner(h, b int) topology.Rank { return s.g.HostRank(h, b%s.g.HostSize(h)) }

// block returns the block of the t-th host on rail b.
func (s *unevenRails) block(b, t int) int { return int(s.g.HostRank(int(s.on[b][t]), b)) }

// turn returns when host h meets host t of rail b: host t itself never, the others in turns 0, 1, …, so that all hosts
// are busy at once.
func (s *unevenRails) turn(b, h, t int) int {
	if own := int(s.at[b][h]); own >= 0 {
		return mod(t-own-1, len(s.on[b]))
	}
	return t
}

// host returns which host of rail b host h meets in a turn; false after the last.
func (s *unevenRails) host(b, h, turn int) (t int, ok bool) {
	n := len(s.on[b])
	if own := int(s.at[b][h]); own >= 0 {
		return mod(own+1+turn, n), turn < n-1
	}
	return turn, turn < n
}

func (s *unevenRails) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	b, h := int(l.Channel()), s.g.Host(r)
	switch owner := s.owner(h, b); {
	case s.coll == schedule.ReduceScatter && r == owner:
		return s.scatter(r, b, h, l, i)
	case s.coll == schedule.ReduceScatter:
		if l.In() || i >= len(s.on[b]) {
			return schedule.Op{}, false
		}
		return schedule.Op{
			Kind: schedule.Send, Peer: owner, Src: schedule.Input(s.block(b, i)), N: 1,
			Match: int32(i*(s.g.HostSize(h)-1) + s.neighbour(r, owner, h)),
		}, true
	case r == owner:
		return s.gather(r, b, h, l, i)
	default:
		if !l.In() || i >= len(s.on[b]) {
			return schedule.Op{}, false
		}
		between := 0
		if s.at[b][h] >= 0 {
			between = s.g.Hosts() - 1
		}
		return schedule.Op{
			Kind: schedule.Recv, Peer: owner, Dst: schedule.Output(s.block(b, i)), N: 1,
			Match: int32(between + i*(s.g.HostSize(h)-1) + s.neighbour(r, owner, h)),
		}, true
	}
}

// neighbour returns the number of rank r among the other ranks of its host, counted from the owner on.
func (s *unevenRails) neighbour(r, owner topology.Rank, h int) int {
	return mod(s.g.LocalIndex(r)-s.g.LocalIndex(owner), s.g.HostSize(h)) - 1
}

func (s *unevenRails) neighbourRank(owner topology.Rank, h, q int) topology.Rank {
	return s.g.HostRank(h, (s.g.LocalIndex(owner)+1+q)%s.g.HostSize(h))
}

// scatter is the reduce-scatter of rail b at its owner r in host h.
func (s *unevenRails) scatter(r topology.Rank, b, h int, l schedule.Lane, i int) (schedule.Op, bool) {
	near, hosts := s.g.HostSize(h)-1, s.g.Hosts()
	if l.In() {
		if t := i / max(near, 1); near > 0 && t < len(s.on[b]) {
			c := s.block(b, t)
			return schedule.Op{
				Kind: schedule.RecvReduce, Peer: s.neighbourRank(r, h, i%near), Src: schedule.Input(c), Dst: schedule.Output(c), N: 1,
				Match: int32(t), Final: hosts == 1,
			}, true
		}
		i -= near * len(s.on[b])
		if s.at[b][h] < 0 || i >= hosts-1 {
			return schedule.Op{}, false
		}
		from, c := mod(h-1-i, hosts), int(r)
		op := schedule.Op{
			Kind: schedule.RecvReduce, Peer: s.owner(from, b), Src: schedule.Output(c), Dst: schedule.Output(c), N: 1, Final: true,
			Match: int32(s.turn(b, from, int(s.at[b][h]))),
		}
		if near == 0 {
			op.Src = schedule.Input(c)
		}
		return op, true
	}
	t, ok := s.host(b, h, i)
	if !ok {
		return schedule.Op{}, false
	}
	to, c := int(s.on[b][t]), s.block(b, t)
	op := schedule.Op{
		Kind: schedule.Send, Peer: topology.Rank(c), Src: schedule.Input(c), N: 1,
		Match: int32((s.g.HostSize(to)-1)*len(s.on[b]) + mod(to-1-h, hosts)),
	}
	if near > 0 {
		// All wait for the last of the host's own reductions, so that they form one unit: an owner takes the first slice
		// of every host before the second of any.
		op.Src, op.After = schedule.Output(c), schedule.At(l.Opposite(), len(s.on[b])*near-1)
	}
	return op, true
}

// gather is the all-gather of rail b at its owner r in host h.
func (s *unevenRails) gather(r topology.Rank, b, h int, l schedule.Lane, i int) (schedule.Op, bool) {
	near, hosts := s.g.HostSize(h)-1, s.g.Hosts()
	has := s.at[b][h] >= 0
	if l.In() {
		t, ok := s.host(b, h, i)
		if !ok {
			return schedule.Op{}, false
		}
		from := int(s.on[b][t])
		return schedule.Op{
			Kind: schedule.Recv, Peer: topology.Rank(s.block(b, t)), Dst: schedule.Output(s.block(b, t)), N: 1,
			Match: int32(mod(from-1-h, hosts)),
		}, true
	}
	if has {
		if i < hosts-1 { // the own block, to the other hosts' owners
			to := mod(h-1-i, hosts)
			return schedule.Op{
				Kind: schedule.Send, Peer: s.owner(to, b), Src: schedule.Input(int(r)), N: 1,
				Match: int32(s.turn(b, to, int(s.at[b][h]))),
			}, true
		}
		i -= hosts - 1
	}
	if t := i / max(near, 1); near > 0 && t < len(s.on[b]) { // the rail's blocks, to the neighbours
		op := schedule.Op{Kind: schedule.Send, Peer: s.neighbourRank(r, h, i%near), Src: schedule.Input(int(r)), N: 1, Match: int32(t)}
		if t != int(s.at[b][h]) {
			op.Src, op.After = schedule.Output(s.block(b, t)), schedule.At(l.Opposite(), s.turn(b, h, t))
		}
		return op, true
	}
	if i -= near * len(s.on[b]); has && i == 0 {
		return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(int(r)), Dst: schedule.Output(int(r)), N: 1}, true
	}
	return schedule.Op{}, false
}
