package plan

import (
	"math/bits"

	"github.com/ringtree/ringtree/topology"
)

// A shape is a rooted tree over places 0..n-1.
type shape interface {
	// parent returns the place above p, or -1 for the root.
	parent(p int) int
	// children returns the places below p.
	children(p int) brood
}

// A brood is up to four children, by value: a schedule is asked for operations far too often to allocate.
type brood struct {
	n  int
	at [4]int
}

func (b *brood) add(p int) {
	b.at[b.n] = p
	b.n++
}

// each puts what f makes of every child in its place.
func (b brood) each(f func(p int) int) brood {
	for i := range b.n {
		b.at[i] = f(b.at[i])
	}
	return b
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

func (t inorder) children(p int) (kids brood) {
	y := t.fold(p)
	b := (y & -y) >> 1
	if b > 0 {
		kids.add(t.unfold(y - b))
	}
	for ; b > 0; b >>= 1 {
		if y+b <= t.n {
			kids.add(t.unfold(y + b))
			break
		}
	}
	return kids
}

// heap is a complete binary tree rooted at 0.
type heap struct{ n int }

func (t heap) parent(p int) int {
	if p == 0 {
		return -1
	}
	return (p - 1) / 2
}

func (t heap) children(p int) (kids brood) {
	for c := 2*p + 1; c <= 2*p+2 && c < t.n; c++ {
		kids.add(c)
	}
	return kids
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

func (t grouped) children(p int) brood {
	h, q, size := t.local(p)
	kids := heap{size}.children(q).each(func(c int) int { return t.rank(h, c, size) })
	if q == 0 {
		hosts := t.over.children(h)
		for _, below := range hosts.at[:hosts.n] {
			kids.add(t.rank(below, 0, t.g.HostSize(below)))
		}
	}
	return kids
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

func (t placed) children(p int) brood {
	return t.shape.children(t.o.position(topology.Rank(p))).each(func(c int) int { return int(t.o.rank(c)) })
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

func (t fed) children(p int) (kids brood) {
	q := t.place(p)
	if q < 0 {
		kids.add(t.rank(t.over.top()))
		return kids
	}
	return t.over.children(q).each(t.rank)
}
