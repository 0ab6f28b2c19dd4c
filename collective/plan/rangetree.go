package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// rangeTree is reduce-scatter and all-gather over one balanced search tree of the ranks, in which every subtree is a
// contiguous range of blocks: up to the root with the whole vector (or the subtree's blocks), down with what each
// subtree needs.
type rangeTree struct {
	n    int
	coll schedule.Collective
}

func (s *rangeTree) Ranks() int              { return s.n }
func (s *rangeTree) Channels() int           { return 1 }
func (s *rangeTree) Layout() schedule.Layout { return schedule.Layout{Blocks: s.n, Pieces: 1} }

// A branch is a subtree: the ranks [lo, hi) under their middle one.
type branch struct{ lo, hi int }

func (b branch) mid() int { return (b.lo + b.hi) / 2 }

// find returns the branch whose middle is p, and the one that it hangs under (empty for the root).
func (s *rangeTree) find(p int) (own, above branch) {
	own = branch{0, s.n}
	for own.mid() != p {
		above = own
		if p < own.mid() {
			own.hi = own.mid()
		} else {
			own.lo = own.mid() + 1
		}
	}
	return own, above
}

func (b branch) children(dst []branch) []branch {
	if b.lo < b.mid() {
		dst = append(dst, branch{b.lo, b.mid()})
	}
	if b.mid()+1 < b.hi {
		dst = append(dst, branch{b.mid() + 1, b.hi})
	}
	return dst
}

// down returns the ranges of blocks that branch b gets from above.
func (s *rangeTree) down(dst []branch, b branch) []branch {
	if s.coll == schedule.ReduceScatter {
		return append(dst, b)
	}
	if b.lo > 0 {
		dst = append(dst, branch{0, b.lo})
	}
	if b.hi < s.n {
		dst = append(dst, branch{b.hi, s.n})
	}
	return dst
}

func (s *rangeTree) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	p := int(r)
	own, above := s.find(p)
	root := above == branch{}
	var room, room2, room3 [2]branch
	kids := own.children(room[:0])
	gather := s.coll == schedule.AllGather
	parent := topology.Rank(above.mid())
	if l.In() {
		if i < len(kids) { // up, from the children
			op := schedule.Op{Peer: topology.Rank(kids[i].mid())}
			if !gather {
				op.Kind, op.Src, op.Dst, op.N, op.Final = schedule.RecvReduce, schedule.Input(0), schedule.Output(0), uint32(s.n), root
				return op, true
			}
			op.Kind, op.Dst, op.N, op.Match = schedule.Recv, schedule.Output(kids[i].lo), uint32(kids[i].hi-kids[i].lo), 1
			return op, true
		}
		i -= len(kids)
		parts := s.down(room2[:0], own)
		if root || i >= len(parts) {
			return schedule.Op{}, false
		}
		part := parts[i]
		// In the parent's out lane: its copy and its send up, then child by child.
		index := 1
		if gather {
			index++
		}
		if (above == branch{0, s.n}) {
			index--
		}
		for _, k := range above.children(room[:0]) {
			if k == own {
				break
			}
			index += len(s.down(room3[:0], k))
		}
		return schedule.Op{Kind: schedule.Recv, Peer: parent, Dst: schedule.Output(part.lo), N: uint32(part.hi - part.lo), Match: int32(index + i)}, true
	}
	if gather {
		if i == 0 {
			return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(p), Dst: schedule.Output(p), N: 1}, true
		}
		i--
	}
	var collected schedule.Ref // from the children
	if len(kids) > 0 {
		collected = schedule.At(l.Opposite(), len(kids)-1)
	}
	if !root {
		if i == 0 {
			op := schedule.Op{Kind: schedule.Send, Peer: parent, After: collected}
			for j, k := range above.children(room2[:0]) {
				if k == own {
					op.Match = int32(j)
				}
			}
			switch {
			case gather:
				op.Src, op.N = schedule.Output(own.lo), uint32(own.hi-own.lo)
			case len(kids) > 0:
				op.Src, op.N = schedule.Output(0), uint32(s.n)
			default:
				op.Src, op.N = schedule.Input(0), uint32(s.n)
			}
			return op, true
		}
		i--
		collected = schedule.At(l.Opposite(), len(kids)+len(s.down(room3[:0], own))-1)
	}
	for _, k := range kids {
		for j, part := range s.down(room2[:0], k) {
			if i == 0 {
				var room4 [2]branch
				return schedule.Op{
					Kind: schedule.Send, Peer: topology.Rank(k.mid()), Src: schedule.Output(part.lo), N: uint32(part.hi - part.lo),
					Match: int32(len(k.children(room4[:0])) + j), After: collected,
				}, true
			}
			i--
		}
	}
	return schedule.Op{}, false
}
