package topology_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

// ringSum walks the ring and adds up the links between sites.
func ringSum(g *topology.Graph, order []topology.Rank, bytes int64) (sum, largest float64) {
	for i, r := range order {
		next := order[(i+1)%len(order)]
		if g.Site(r) != g.Site(next) {
			d := g.Link(r, next).Time(bytes)
			sum += d
			largest = max(largest, d)
		}
	}
	return sum, largest
}

// crossings counts the links of a ring whose ends are in different parts.
func crossings(order []topology.Rank, part func(topology.Rank) int) int {
	n := 0
	for i, r := range order {
		if part(r) != part(order[(i+1)%len(order)]) {
			n++
		}
	}
	return n
}

func TestRingCrossesEveryBoundaryOnce(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 20))
		g := mustNew(t, randomSpec(rng, 80))
		order := g.RingOrder()
		sorted := slices.Sorted(slices.Values(order))
		for i, r := range sorted {
			if len(sorted) != g.Size() || int(r) != i {
				t.Fatalf("seed %d: %v is not an order of %d ranks", seed, order, g.Size())
			}
		}
		if order[0] != 0 {
			t.Fatalf("seed %d: the ring starts at rank %d, want 0", seed, order[0])
		}
		for _, c := range []struct {
			what  string
			part  func(topology.Rank) int
			parts int
		}{
			{"device", g.Device, g.Devices()}, {"host", g.Host, g.Hosts()}, {"rack", g.Rack, g.Racks()}, {"site", g.Site, g.Sites()},
		} {
			want := c.parts // a ring leaves each part once, unless there is but one
			if want == 1 {
				want = 0
			}
			if got := crossings(order, c.part); got != want {
				t.Fatalf("seed %d: the ring %v crosses %d %s boundaries, want %d, of\n%s", seed, order, got, c.what, want, g)
			}
		}
	}
}

func TestRingIsIdentityWhereRanksAreInOrder(t *testing.T) {
	check := func(name string, g *topology.Graph) {
		t.Helper()
		for i, r := range g.RingOrder() {
			if int(r) != i {
				t.Errorf("%s: position %d has rank %d, want the identity", name, i, r)
				return
			}
		}
	}
	for _, name := range topology.Presets() {
		for _, n := range []int{1, 7, 64, 65536} {
			g, err := topology.Preset(name, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			check(name, g)
		}
	}
	for _, sites := range []int{3, 12, 13, 40} { // paths of their own, but all the same
		check(fmt.Sprint(sites, " equal sites"), sitesGraph(t, sites, func(int, int) float64 { return 0.125 }))
	}
}

// sitesGraph has two ranks at each site, and directed paths of the given costs in seconds.
func sitesGraph(t testing.TB, sites int, alpha func(a, b int) float64) *topology.Graph {
	t.Helper()
	spec := topology.Spec{Tiers: []topology.Link{{Level: topology.Host}}}
	for a := range sites {
		p := topology.Place{Host: fmt.Sprint("h", a), Site: fmt.Sprint("s", a)}
		spec.Places = append(spec.Places, p, p)
		for b := range sites {
			if a != b {
				spec.Paths = append(spec.Paths, topology.Path{From: p.Site, To: fmt.Sprint("s", b), Alpha: alpha(a, b)})
			}
		}
	}
	return mustNew(t, spec)
}

func TestRingOfSitesIsTheBest(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 21))
		n := 3 + rng.IntN(5)
		// Few different costs, exact in floating point: many orders of one sum, which the largest link tells apart.
		g := sitesGraph(t, n, func(int, int) float64 { return float64(1+rng.IntN(6)) / 8 })
		bestSum, bestLargest := math.Inf(1), math.Inf(1)
		permute(n, func(sites []int) {
			var order []topology.Rank
			for _, s := range sites {
				order = append(order, topology.Rank(2*s), topology.Rank(2*s+1))
			}
			sum, largest := ringSum(g, order, 1<<10)
			if sum < bestSum || sum == bestSum && largest < bestLargest {
				bestSum, bestLargest = sum, largest
			}
		})
		order := g.RingOrderFor(1 << 10)
		if sum, largest := ringSum(g, order, 1<<10); sum != bestSum || largest != bestLargest {
			t.Fatalf("seed %d: the ring %v has sum %g and largest %g, want %g and %g", seed, order, sum, largest, bestSum, bestLargest)
		}
	}
}

// permute calls f with every order of 0 to n-1 that begins with 0.
func permute(n int, f func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var try func(k int)
	try = func(k int) {
		if k == n {
			f(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			try(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	try(1)
}

func TestManySitesAreNeverWorseThanInOrder(t *testing.T) {
	for _, n := range []int{13, 30, 60} {
		rng := rand.New(rand.NewPCG(uint64(n), 22))
		g := sitesGraph(t, n, func(int, int) float64 { return rng.Float64() })
		order := g.RingOrder()
		identity := make([]topology.Rank, g.Size())
		for i := range identity {
			identity[i] = topology.Rank(i)
		}
		got, _ := ringSum(g, order, 256<<10)
		inOrder, _ := ringSum(g, identity, 256<<10)
		if got > inOrder*0.5 { // random costs: a fair tour is far cheaper than a random one
			t.Errorf("%d sites, seed %d: the ring's links sum to %g, in order they do to %g", n, n, got, inOrder)
		}
		if again := g.RingOrder(); !slices.Equal(again, order) {
			t.Errorf("%d sites: two calls give %v and %v", n, order, again)
		}
	}
}

func TestTooManySitesStayInOrder(t *testing.T) {
	const n = topology.MaxRingSites + 1
	spec := topology.Spec{Tiers: tiers(), Paths: []topology.Path{{From: "s0", To: "s1", Alpha: 1e6}}}
	for a := range n {
		spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", a), Site: fmt.Sprint("s", a)})
	}
	for i, r := range mustNew(t, spec).RingOrder() {
		if int(r) != i {
			t.Fatalf("position %d has rank %d, want the identity", i, r)
		}
	}
}

// The best order for a small message follows alpha, for a large one beta.
func TestRingOrderDependsOnTheMessage(t *testing.T) {
	spec := topology.Spec{}
	fast := map[[2]int]bool{{0, 1}: true, {1, 2}: true, {2, 3}: true, {3, 0}: true}
	wide := map[[2]int]bool{{0, 2}: true, {2, 1}: true, {1, 3}: true, {3, 0}: true}
	for a := range 4 {
		spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", a), Site: fmt.Sprint("s", a)})
		for b := range 4 {
			if a == b {
				continue
			}
			p := topology.Path{From: fmt.Sprint("s", a), To: fmt.Sprint("s", b), Alpha: 1, Beta: 1e-6}
			if fast[[2]int{a, b}] {
				p.Alpha = 0.1
			}
			if wide[[2]int{a, b}] {
				p.Beta = 1e-9
			}
			spec.Paths = append(spec.Paths, p)
		}
	}
	g := mustNew(t, spec)
	for bytes, want := range map[int64]string{-5: "[0 1 2 3]", 0: "[0 1 2 3]", 1 << 30: "[0 2 1 3]"} {
		if got := fmt.Sprint(g.RingOrderFor(bytes)); got != want {
			t.Errorf("RingOrderFor(%d) = %s, want %s", bytes, got, want)
		}
	}
}

func TestRingSurvivesExtremeCosts(t *testing.T) {
	for name, alpha := range map[string]float64{
		"zero": 0, "smallest": math.SmallestNonzeroFloat64, "tiny": 1e-300, "huge": 1e300, "largest": math.MaxFloat64,
	} {
		for _, n := range []int{5, 20} {
			spec := topology.Spec{Tiers: []topology.Link{{Level: topology.Host}, {Level: topology.World, Alpha: alpha, Beta: alpha}}}
			for a := range n {
				spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", a), Site: fmt.Sprint("s", a)})
			}
			spec.Paths = []topology.Path{{From: "s3", To: "s1"}} // the one link that is free
			g := mustNew(t, spec)
			order := g.RingOrderFor(math.MaxInt64)
			if len(order) != n || order[0] != 0 {
				t.Fatalf("%s, %d sites: %v", name, n, order)
			}
			if at := slices.Index(order, 3); alpha >= 1e-300 && order[(at+1)%n] != 1 {
				t.Errorf("%s, %d sites: the ring %v does not use the free link from 3 to 1", name, n, order)
			}
		}
	}
}

func BenchmarkRingOrder65536(b *testing.B) {
	g, err := topology.Preset("llama3", 65536, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(g.RingOrder()) != 65536 {
			b.Fatal("short")
		}
	}
}
