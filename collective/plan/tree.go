package plan

import (
	"math/bits"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A shape is a rooted tree over places 0..n-1.
type shape interface {
	// parent returns the place above p, or -1 for the root.
	parent(p int) int
	// children appends the places below p to dst.
	children(dst []int, p int) []int
}

// inorder is a binary tree in in-order numbering: with places counted from 1, the lowest set bit of a place is its
// height, so every odd one is a leaf (Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth broadcast,
// reduction and scan", Parallel Computing 2009, section 3). twin is the second tree, in which every place that is
// inner here is a leaf: the mirror image for even n, a shift by one for odd n.
type inorder struct {
	n    int
	twin bool
}

func (t inorder) fold(p int) int { // to 1-based numbers of the first tree
	switch {
	case !t.twin:
		return p + 1
	case t.n%2 == 0:
		return t.n - p
	}
	return (p+1)%t.n + 1
}

func (t inorder) unfold(y int) int {
	switch {
	case !t.twin:
		return y - 1
	case t.n%2 == 0:
		return t.n - y
	}
	return mod(y-2, t.n)
}

// top returns the root.
func (t inorder) top() int { return t.unfold(1 << (bits.Len(uint(t.n)) - 1)) }

func (t inorder) parent(p int) int {
	if p == t.top() {
		return -1
	}
	y := t.fold(p)
	b := y & -y
	up := y - b | b<<1
	if up > t.n {
		up = y - b
	}
	return t.unfold(up)
}

func (t inorder) children(dst []int, p int) []int {
	y := t.fold(p)
	b := (y & -y) >> 1
	if b > 0 {
		dst = append(dst, t.unfold(y-b))
	}
	for ; b > 0; b >>= 1 {
		if y+b <= t.n {
			return append(dst, t.unfold(y+b))
		}
	}
	return dst
}

// heap is a complete binary tree rooted at 0.
type heap struct{ n int }

func (t heap) parent(p int) int {
	if p == 0 {
		return -1
	}
	return (p - 1) / 2
}

func (t heap) children(dst []int, p int) []int {
	for c := 2*p + 1; c <= 2*p+2 && c < t.n; c++ {
		dst = append(dst, c)
	}
	return dst
}

// grouped keeps each host together: a tree over the hosts joins one leader a host, and under it a heap holds the
// host's other ranks. The heap of the twin counts from the other end of the host, so that here too no rank has children in
// both trees: a heap's second half is leaves.
type grouped struct {
	g    *topology.Graph
	over inorder
}

// local returns rank p's host, its place in the host's heap and the host's size.
func (t grouped) local(p int) (h, q, size int) {
	r := topology.Rank(p)
	h = t.g.Host(r)
	size = t.g.HostSize(h)
	return h, t.flip(t.g.LocalIndex(r), size), size
}

// flip turns local indices into places of the heap and back.
func (t grouped) flip(i, size int) int {
	if t.over.twin {
		return size - 1 - i
	}
	return i
}

func (t grouped) rank(h, q, size int) int { return int(t.g.HostRank(h, t.flip(q, size))) }

func (t grouped) parent(p int) int {
	h, q, size := t.local(p)
	if q > 0 {
		return t.rank(h, heap{size}.parent(q), size)
	}
	up := t.over.parent(h)
	if up < 0 {
		return -1
	}
	return t.rank(up, 0, t.g.HostSize(up))
}

func (t grouped) children(dst []int, p int) []int {
	h, q, size := t.local(p)
	first := len(dst)
	dst = heap{size}.children(dst, q)
	for i := first; i < len(dst); i++ {
		dst[i] = t.rank(h, dst[i], size)
	}
	if q == 0 {
		first = len(dst)
		dst = t.over.children(dst, h)
		for i := first; i < len(dst); i++ {
			dst[i] = t.rank(dst[i], 0, t.g.HostSize(dst[i]))
		}
	}
	return dst
}

// placed puts a shape over n places onto the ranks of an order.
type placed struct {
	shape
	o order
}

func (t placed) parent(p int) int {
	q := t.shape.parent(t.o.position(topology.Rank(p)))
	if q < 0 {
		return -1
	}
	return int(t.o.rank(q))
}

func (t placed) children(dst []int, p int) []int {
	first := len(dst)
	dst = t.shape.children(dst, t.o.position(topology.Rank(p)))
	for i := first; i < len(dst); i++ {
		dst[i] = int(t.o.rank(dst[i]))
	}
	return dst
}

// fed hangs a shape over the other n-1 ranks under one more, the root of a rooted collective: with two trees the root
// feeds both, and every other rank is a leaf of one.
type fed struct {
	over inorder // the n-1 places behind the root
	o    order
	root int // position
}

func (t fed) place(p int) int { return mod(t.o.position(topology.Rank(p))-t.root, t.over.n+1) - 1 }
func (t fed) rank(q int) int  { return int(t.o.rank(mod(t.root+q+1, t.over.n+1))) }

func (t fed) parent(p int) int {
	q := t.place(p)
	if q < 0 {
		return -1
	}
	if q = t.over.parent(q); q < 0 {
		return int(t.o.rank(t.root))
	}
	return t.rank(q)
}

func (t fed) children(dst []int, p int) []int {
	q := t.place(p)
	if q < 0 {
		return append(dst, t.rank(t.over.top()))
	}
	first := len(dst)
	dst = t.over.children(dst, q)
	for i := first; i < len(dst); i++ {
		dst[i] = t.rank(dst[i])
	}
	return dst
}

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
	var room [8]int
	p := int(r)
	in, out := schedule.Input(t), schedule.Output(t)
	if l.In() == up { // with the children
		kids := sh.children(room[:0], p)
		parent := -1
		if i >= len(kids) || s.coll == schedule.Broadcast {
			parent = sh.parent(p)
		}
		if i >= len(kids) {
			if s.coll == schedule.Broadcast && parent < 0 && i == len(kids) {
				return schedule.Op{Kind: schedule.Copy, Src: in, Dst: out, N: 1}, true
			}
			return schedule.Op{}, false
		}
		op := schedule.Op{Peer: topology.Rank(kids[i]), N: 1}
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
			op.After = schedule.At(schedule.InLane(schedule.Channel(channel-1)), len(kids)-1)
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
	if kids := sh.children(room[:0], p); len(kids) > 0 {
		op.Src, op.After = out, schedule.At(l.Opposite(), len(kids)-1)
	}
	return op, true
}

// childIndex returns which child of parent p is.
func childIndex(sh shape, parent, p int) int32 {
	var room [8]int
	for i, c := range sh.children(room[:0], parent) {
		if c == p {
			return int32(i)
		}
	}
	return -1
}

// tail is for all-reduce over one tree.
func (s *tree) tail(r topology.Rank) schedule.Ref {
	if s.trees[0].parent(int(r)) < 0 {
		return schedule.At(1, len(s.trees[0].children(nil, int(r)))-1)
	}
	return schedule.At(schedule.InLane(1), 0)
}

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
