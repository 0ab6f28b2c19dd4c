package plan

import (
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// checkTree checks that a shape over n places is a tree in which parents and children agree, and returns how many children
// each place has and how deep the tree is.
func checkTree(t *testing.T, what string, sh shape, n int) (kids []int, depth int) {
	t.Helper()
	kids = make([]int, n)
	depths := make([]int, n)
	root := -1
	for p := range n {
		if sh.parent(p) < 0 {
			if root >= 0 {
				t.Fatalf("%s: two roots, %d and %d", what, root, p)
			}
			root = p
		}
	}
	if root < 0 {
		t.Fatalf("%s: no root", what)
	}
	seen := 1
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		below := sh.children(p)
		kids[p] = below.n
		for _, c := range below.at[:below.n] {
			if got := sh.parent(c); got != p {
				t.Fatalf("%s: %d is a child of %d, but its parent is %d", what, c, p, got)
			}
			depths[c] = depths[p] + 1
			depth = max(depth, depths[c])
			if seen++; seen > n {
				t.Fatalf("%s: more than %d places below the root", what, n)
			}
			queue = append(queue, c)
		}
	}
	if seen != n {
		t.Fatalf("%s: %d of %d places below the root", what, seen, n)
	}
	return kids, depth
}

// TestTwoTrees checks section 3 of Sanders, Speck and Träff for every n: both are binary trees of logarithmic depth, and
// no place is inner in both.
func TestTwoTrees(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 600; n++ {
		a, depthA := checkTree(t, "first tree", inorder{n, false}, n)
		b, depthB := checkTree(t, "twin", inorder{n, true}, n)
		for p := range n {
			if a[p] > 2 || b[p] > 2 {
				t.Fatalf("%d places: place %d has %d and %d children, want at most 2", n, p, a[p], b[p])
			}
			if a[p] > 0 && b[p] > 0 {
				t.Fatalf("%d places: place %d is inner in both trees", n, p)
			}
		}
		if limit := int(log2(n + 1)); depthA > limit || depthB > limit {
			t.Fatalf("%d places: depths %d and %d, want at most %d", n, depthA, depthB, limit)
		}
	}
}

// TestTreesOnGraphs checks what the two trees of a collective promise on hosts of all sizes: no rank is inner in both,
// the root of a rooted collective aside, and each tree crosses between hosts as seldom as a tree can.
func TestTreesOnGraphs(t *testing.T) {
	t.Parallel()
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, 0))
	for k := range 200 {
		n := 2 + rng.IntN(120)
		g := hostsOf(t, []*rand.Rand{nil, rng}[k%2], uneven(n, 1+rng.IntN(12), rng)...)
		o := newOrder(g.RingOrder())
		for _, c := range []schedule.Collective{schedule.AllReduce, schedule.Broadcast, schedule.Reduce} {
			root := topology.Rank(rng.IntN(n))
			s := newTree(c, root, n, o, g).(*tree)
			inner := make([]int, n)
			for i, sh := range s.trees {
				kids, _ := checkTree(t, "tree", sh, n)
				crossing := 0
				for p := range n {
					if kids[p] > 0 {
						inner[p]++
					}
					if up := sh.parent(p); up >= 0 && g.Host(topology.Rank(up)) != g.Host(topology.Rank(p)) {
						crossing++
					}
				}
				if c == schedule.AllReduce && crossing != g.Hosts()-1 {
					t.Errorf("seed %d: %d ranks: tree %d crosses between %d hosts %d times, want %d", seed, n, i, g.Hosts(), crossing, g.Hosts()-1)
				}
				if c.Rooted() && sh.parent(int(root)) >= 0 {
					t.Errorf("seed %d: %v from %d: tree %d has another root", seed, c, root, i)
				}
			}
			for p, trees := range inner {
				if trees > 1 && !(c.Rooted() && p == int(root)) {
					t.Errorf("seed %d: %v over %d ranks on %d hosts: rank %d is inner in both trees", seed, c, n, g.Hosts(), p)
				}
			}
		}
	}
}

func TestHeap(t *testing.T) {
	for n := 1; n < 100; n++ {
		kids, depth := checkTree(t, "heap", heap{n}, n)
		if want := int(log2(n+1)) - 1; depth != want {
			t.Errorf("%d places: got depth %d, want %d", n, depth, want)
		}
		for p := (n + 1) / 2; p < n; p++ {
			if kids[p] != 0 {
				t.Errorf("%d places: place %d is in the second half and has children", n, p)
			}
		}
	}
}

// TestRingCrossesOnce follows the links of the ring schedule: it visits every rank and crosses each border between hosts
// once in each direction of the ring.
func TestRingCrossesOnce(t *testing.T) {
	const seed = 6
	rng := rand.New(rand.NewPCG(seed, 0))
	for k := range 100 {
		n := 2 + rng.IntN(100)
		g := hostsOf(t, []*rand.Rand{nil, rng}[k%2], uneven(n, 1+rng.IntN(12), rng)...)
		s, err := New(g).Build(Variant{Algorithm: Ring}, Request{Collective: schedule.AllReduce})
		if err != nil {
			t.Fatal(err)
		}
		crossing, at := 0, topology.Rank(0)
		for step := range n {
			op, _ := s.At(at, 0, 0)
			if g.Host(op.Peer) != g.Host(at) {
				crossing++
			}
			if at = op.Peer; (at == 0) != (step == n-1) {
				t.Fatalf("seed %d: ring of %d comes to rank 0 after %d steps", seed, n, step+1)
			}
		}
		want := g.Hosts()
		if want == 1 {
			want = 0
		}
		if crossing != want {
			t.Errorf("seed %d: %d ranks on %d hosts: got %d hops between hosts, want %d", seed, n, g.Hosts(), crossing, want)
		}
	}
}

func TestOrder(t *testing.T) {
	if o := newOrder([]topology.Rank{0, 1, 2}); o.ranks != nil {
		t.Error("the identity takes memory")
	}
	o := newOrder([]topology.Rank{2, 0, 1})
	for p, r := range []topology.Rank{2, 0, 1} {
		if o.rank(p) != r || o.position(r) != p {
			t.Errorf("position %d: got rank %d, which has position %d; want rank %d", p, o.rank(p), o.position(r), r)
		}
	}
	for _, c := range [][3]int{{5, 3, 2}, {-1, 3, 2}, {-3, 3, 0}, {0, 1, 0}} {
		if got := mod(c[0], c[1]); got != c[2] {
			t.Errorf("%d mod %d: got %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

// TestMessageCounts holds schedules to the bytes that their algorithms are known for: chunks that each rank receives.
func TestMessageCounts(t *testing.T) {
	const n = 8
	p := New(hostsOf(t, nil, n))
	for _, c := range []struct {
		v    Variant
		coll schedule.Collective
		want int // chunks received by the busiest rank, of as many chunks as the layout has
		of   int
	}{
		{Variant{Algorithm: Ring}, schedule.AllReduce, 2 * (n - 1), n},
		{Variant{Algorithm: Ring}, schedule.ReduceScatter, n - 1, n},
		{Variant{Algorithm: Ring}, schedule.AllGather, n - 1, n},
		{Variant{Algorithm: HalvingDoubling}, schedule.AllReduce, 2 * (n - 1), n},
		{Variant{Algorithm: HalvingDoubling}, schedule.Broadcast, n, n},
		{Variant{Algorithm: Direct}, schedule.AllReduce, 2 * (n - 1), n},
		{Variant{Algorithm: Direct, OneShot: true}, schedule.AllReduce, n - 1, 1},
		{Variant{Algorithm: Ring}, schedule.Broadcast, 1, 1},
		{Variant{Algorithm: Tree}, schedule.Broadcast, 2, 2},
	} {
		s, err := p.Build(c.v, Request{Collective: c.coll})
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		for r := range topology.Rank(n) {
			got := 0
			for l := range schedule.Lane(2 * s.Channels()) {
				for i := 0; ; i++ {
					op, ok := s.At(r, l, i)
					if !ok {
						break
					}
					if l.In() {
						got += int(op.N)
					}
				}
			}
			most = max(most, got)
		}
		if of := s.Layout().Chunks(); most != c.want || of != c.of {
			t.Errorf("%v %v: got %d of %d chunks received, want %d of %d", c.v, c.coll, most, of, c.want, c.of)
		}
	}
}
