package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// direct speaks to every peer at once. A two-shot all-reduce gives each rank its own block from all peers, in one
// n-ary reduction, and then everybody the reduced blocks; a one-shot gives everybody everything and every rank
// reduces it all, in the order of ranks, so that all have the same bits.
//
// Apart, the reduced blocks of a two-shot all-reduce have a channel of their own. In one channel the first of them would
// go out behind the last of what is to be reduced, when it has long left the caches; so each slice follows its reduction.
type direct struct {
	n       int
	coll    schedule.Collective
	root    topology.Rank
	oneShot bool
	apart   bool
}

// mayBeApart reports whether the reduced blocks of n ranks get a channel of their own. Beyond a limit the links, one more between
// every two ranks, are not worth it.
func mayBeApart(n int) bool { return 2 <= n && n <= 64 }

// apart reports whether what v reduces for coll goes out in a channel of its own: inside a host, where the caches can still have it.
func (p *Planner) apart(v Variant, coll schedule.Collective) bool {
	return v.Algorithm == Direct && !v.OneShot && coll == schedule.AllReduce && p.g.Hosts() == 1 && mayBeApart(p.g.Size())
}

func newDirect(coll schedule.Collective, root topology.Rank, n int, oneShot, apart bool) schedule.Schedule {
	if n == 1 {
		return alone{coll}
	}
	oneShot = oneShot && (coll == schedule.AllReduce || coll == schedule.Barrier)
	return &direct{n: n, coll: coll, root: root, oneShot: oneShot, apart: apart}
}

func (s *direct) Ranks() int { return s.n }

func (s *direct) Channels() int {
	if s.apart {
		return 2
	}
	return 1
}

func (s *direct) Layout() schedule.Layout {
	if s.oneShot || s.coll.Rooted() {
		return schedule.Layout{Blocks: 1, Pieces: 1}
	}
	return schedule.Layout{Blocks: s.n, Pieces: 1}
}

// Turn says that all ranks do the same, each with those that come after it.
func (s *direct) Turn() int {
	if s.coll.Rooted() {
		return 0
	}
	return 1
}

func (s *direct) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if s.coll.Rooted() {
		return s.star(r, l, i)
	}
	// The j-th send goes to the j-th rank behind, whose j-th receive it is.
	rounds := s.n - 1
	j := i % rounds
	phase := i / rounds
	switch {
	case s.apart && phase > 0:
		return schedule.Op{}, false
	case s.apart:
		phase = int(l.Channel())
	case s.coll == schedule.AllGather:
		phase++
	}
	own := int(r)
	if s.oneShot {
		own = 0
	}
	peer := topology.Rank(mod(int(r)+1+j, s.n))
	if l.In() {
		peer = topology.Rank(mod(int(r)-1-j, s.n))
	}
	op := schedule.Op{Peer: peer, N: 1, Match: int32(i)}
	gather := s.coll != schedule.ReduceScatter && !s.oneShot
	switch {
	case phase == 0 && l.In():
		op.Kind, op.Src, op.Dst, op.Final = schedule.RecvReduce, schedule.Input(own), schedule.Output(own), true
		if s.oneShot {
			// The last send; eager, so that no rank waits for another to read.
			op.After = schedule.At(l.Opposite(), rounds-1)
		}
	case phase == 0 && s.oneShot:
		op.Kind, op.Src, op.Eager = schedule.Send, schedule.Input(0), true
	case phase == 0:
		op.Kind, op.Src = schedule.Send, schedule.Input(int(peer))
	case phase == 1 && gather && l.In():
		op.Kind, op.Dst = schedule.Recv, schedule.Output(int(peer))
	case phase == 1 && gather && s.coll == schedule.AllGather:
		op.Kind, op.Src = schedule.Send, schedule.Input(own)
	case phase == 1 && gather:
		op.Kind, op.Src, op.After = schedule.Send, schedule.Output(own), schedule.At(schedule.InLane(0), rounds-1)
	case phase == 2 && s.coll == schedule.AllGather && !l.In() && j == 0:
		return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(own), Dst: schedule.Output(own), N: 1}, true
	default:
		return schedule.Op{}, false
	}
	return op, true
}

// star is broadcast from and reduce to the root in one step.
func (s *direct) star(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	in, out := schedule.Input(0), schedule.Output(0)
	broadcast := s.coll == schedule.Broadcast
	index := func(r topology.Rank) int32 { return int32(mod(int(r)-int(s.root)-1, s.n)) } // of a peer at the root
	switch {
	case r != s.root && i == 0 && broadcast == l.In():
		op := schedule.Op{Kind: schedule.Send, Src: in, Peer: s.root, N: 1, Match: index(r)}
		if broadcast {
			op.Kind, op.Src, op.Dst = schedule.Recv, 0, out
		}
		return op, true
	case r == s.root && i < s.n-1 && broadcast != l.In():
		op := schedule.Op{Kind: schedule.Send, Src: in, Peer: topology.Rank(mod(int(r)+1+i, s.n)), N: 1}
		if !broadcast {
			op.Kind, op.Dst, op.Final = schedule.RecvReduce, out, true
		}
		return op, true
	case r == s.root && i == s.n-1 && broadcast && !l.In():
		return schedule.Op{Kind: schedule.Copy, Src: in, Dst: out, N: 1}, true
	}
	return schedule.Op{}, false
}

func (s *direct) tail(r topology.Rank) schedule.Ref {
	if s.oneShot {
		return schedule.At(1, s.n-2)
	}
	return schedule.At(1, 2*(s.n-1)-1)
}
