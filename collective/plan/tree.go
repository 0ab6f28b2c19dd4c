package plan

import (
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// tree moves block t of the vector over trees[t]: reductions go up on one channel, results down on another, so that
// both flow at once.
type tree struct {
	n     int
	coll  schedule.Collective
	trees []shape
}

// newTree returns the double binary tree. Ranks of one host stay together when g has several hosts of several
// ranks; otherwise places follow o.
func newTree(coll schedule.Collective, root topology.Rank, n int, o order, g *topology.Graph) schedule.Schedule {
	switch {
	case n == 1:
		return alone{coll}
	case coll == schedule.ReduceScatter || coll == schedule.AllGather:
		return &rangeTree{n: n, coll: coll}
	}
	s := &tree{n: n, coll: coll}
	for _, twin := range []bool{false, true} {
		switch {
		case coll.Rooted():
			s.trees = append(s.trees, fed{inorder{n - 1, twin}, o, o.position(root)})
		case g != nil && g.Hosts() > 1 && g.Hosts() < n:
			s.trees = append(s.trees, grouped{g, inorder{g.Hosts(), twin}})
		default:
			s.trees = append(s.trees, placed{inorder{n, twin}, o})
		}
	}
	return s
}

// singleTree is one tree without a twin, for use inside a hierarchy that has several blocks to spread.
func singleTree(n int, twin bool) *tree {
	return &tree{n: n, coll: schedule.AllReduce, trees: []shape{inorder{n, twin}}}
}

func (s *tree) Ranks() int              { return s.n }
func (s *tree) Layout() schedule.Layout { return schedule.Layout{Blocks: len(s.trees), Pieces: 1} }

func (s *tree) Channels() int {
	if s.coll.Rooted() {
		return len(s.trees)
	}
	return 2 * len(s.trees)
}

func (s *tree) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	channel := int(l.Channel())
	t, up := channel, s.coll == schedule.Reduce
	if !s.coll.Rooted() {
		t, up = channel/2, channel%2 == 0
	}
	sh := s.trees[t]
	p := int(r)
	in, out := schedule.Input(t), schedule.Output(t)
	if l.In() == up { // with the children
		kids := sh.children(p)
		parent := -1
		if i >= kids.n || s.coll == schedule.Broadcast {
			parent = sh.parent(p)
		}
		if i >= kids.n {
			if s.coll == schedule.Broadcast && parent < 0 && i == kids.n {
				return schedule.Op{Kind: schedule.Copy, Src: in, Dst: out, N: 1}, true
			}
			return schedule.Op{}, false
		}
		op := schedule.Op{Peer: topology.Rank(kids.at[i]), N: 1}
		if up {
			op.Kind, op.Src, op.Dst, op.Final = schedule.RecvReduce, in, out, sh.parent(p) < 0
			return op, true
		}
		op.Kind, op.Src = schedule.Send, out
		switch {
		case s.coll == schedule.Broadcast && parent < 0:
			op.Src = in
		case s.coll == schedule.Broadcast || sh.parent(p) >= 0:
			op.After = schedule.At(l.Opposite(), 0)
		default: // the root turns round
			op.After = schedule.At(schedule.InLane(schedule.Channel(channel-1)), kids.n-1)
		}
		return op, true
	}
	parent := sh.parent(p)
	if parent < 0 || i > 0 {
		return schedule.Op{}, false
	}
	op := schedule.Op{Peer: topology.Rank(parent), N: 1, Match: childIndex(sh, parent, p)}
	if !up {
		op.Kind, op.Dst = schedule.Recv, out
		return op, true
	}
	op.Kind, op.Src = schedule.Send, in
	if kids := sh.children(p); kids.n > 0 {
		op.Src, op.After = out, schedule.At(l.Opposite(), kids.n-1)
	}
	return op, true
}

// childIndex returns which child of parent p is.
func childIndex(sh shape, parent, p int) int32 {
	kids := sh.children(parent)
	return int32(slices.Index(kids.at[:kids.n], p))
}

// tail is for all-reduce over one tree.
func (s *tree) tail(r topology.Rank) schedule.Ref {
	if s.trees[0].parent(int(r)) < 0 {
		return schedule.At(1, s.trees[0].children(int(r)).n-1)
	}
	return schedule.At(schedule.InLane(1), 0)
}
