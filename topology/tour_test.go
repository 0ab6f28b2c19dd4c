package topology

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// randomCosts makes costs of several kinds: any, few different ones, points on a line with a cheap and a dear
// direction, two clusters, and the same both ways.
func randomCosts(rng *rand.Rand, n int) costs {
	c := costs{n: n, c: make([]int64, n*n)}
	kind := rng.IntN(5)
	x := make([]int64, n)
	for i := range x {
		x[i] = rng.Int64N(1000)
	}
	for i := range n {
		for j := range n {
			if i == j {
				continue
			}
			var d int64
			switch kind {
			case 0:
				d = rng.Int64N(1_000_000)
			case 1:
				d = 1 + rng.Int64N(3)
			case 2:
				if d = x[j] - x[i]; d < 0 {
					d *= -3
				}
			case 3:
				d = 1 + rng.Int64N(10)
				if i%2 != j%2 {
					d += 100
				}
			case 4:
				if d = rng.Int64N(1000); j < i {
					d = c.at(j, i)
				}
			}
			c.c[i*n+j] = d
		}
	}
	return c
}

// bruteTour tries every order.
func bruteTour(c costs) tourCost {
	order := identity(c.n)
	best := c.tour(order)
	var try func(k int)
	try = func(k int) {
		if k == c.n {
			if cost := c.tour(order); cost.less(best) {
				best = cost
			}
			return
		}
		for i := k; i < c.n; i++ {
			order[k], order[i] = order[i], order[k]
			try(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	try(1)
	return best
}

func checkTour(t *testing.T, seed uint64, order []int, n int) {
	t.Helper()
	sorted := slices.Clone(order)
	slices.Sort(sorted)
	if order[0] != 0 || !slices.Equal(sorted, identity(n)) {
		t.Fatalf("seed %d: %v is not a tour of %d places from 0", seed, order, n)
	}
}

func TestExactTourIsTheBest(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 10))
		n := 2 + rng.IntN(6)
		c := randomCosts(rng, n)
		order := exactTour(c)
		checkTour(t, seed, order, n)
		if got, want := c.tour(order), bruteTour(c); got != want {
			t.Fatalf("seed %d: the tour %v of %v costs %+v, want %+v", seed, order, c, got, want)
		}
	}
}

func TestSearchTourIsNearTheBest(t *testing.T) {
	const rounds = 60
	worst, total := 0.0, 0.0
	var worstSeed uint64
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 11))
		n := 10 + rng.IntN(3)
		c := randomCosts(rng, n)
		order := searchTour(c)
		checkTour(t, seed, order, n)
		got, want := c.tour(order), c.tour(exactTour(c))
		if got.less(want) {
			t.Fatalf("seed %d: the search's tour costs %+v, less than the exact one's %+v", seed, got, want)
		}
		excess := float64(got.sum)/float64(want.sum) - 1
		total += excess
		if excess > worst {
			worst, worstSeed = excess, seed
		}
	}
	t.Logf("excess over the best: mean %.3f %%, worst %.2f %% (seed %d)", 100*total/rounds, 100*worst, worstSeed)
	if worst > 0.05 {
		t.Errorf("seed %d: the search's tour costs %.1f %% more than the best, want at most 5 %%", worstSeed, 100*worst)
	}
	if mean := total / rounds; mean > 0.01 {
		t.Errorf("the search's tours cost %.2f %% more than the best on average, want at most 1 %%", 100*mean)
	}
}

func TestSearchTourNeverWorseThanIdentity(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 12))
		n := 2 + rng.IntN(60)
		c := randomCosts(rng, n)
		order := searchTour(c)
		checkTour(t, seed, order, n)
		if got, id := c.tour(order), c.tour(identity(n)); id.less(got) {
			t.Fatalf("seed %d: the tour costs %+v, the identity %+v", seed, got, id)
		}
		if again := searchTour(c); !slices.Equal(again, order) {
			t.Fatalf("seed %d: two runs give %v and %v", seed, order, again)
		}
	}
}

// No move is left that would help: tried here by building every neighbour, without the search's shortcuts.
func TestSearchTourIsLocallyBest(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 13))
		n := 4 + rng.IntN(12)
		c := randomCosts(rng, n)
		order := newSearch(c).improve(identity(n))
		cost := c.tour(order)
		try := func(what string, stretches ...[]int) {
			if next := slices.Concat(stretches...); c.tour(next).less(cost) {
				t.Fatalf("seed %d: %s makes %v into %v, %+v into %+v", seed, what, order, next, cost, c.tour(next))
			}
		}
		for i := 1; i < n; i++ {
			for k := i + 2; k <= n; k++ {
				try("a reversal", order[:i], turned(order[i:k]), order[k:])
				for j := i + 1; j < k; j++ {
					a, b := order[i:j], order[j:k]
					try("an exchange", order[:i], b, a, order[k:])
					try("an exchange", order[:i], turned(b), a, order[k:])
					try("an exchange", order[:i], b, turned(a), order[k:])
				}
			}
		}
	}
}

func turned(s []int) []int {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

// The change that the search works out for a move is the change that there is.
func TestSearchKeepsItsBooks(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 14))
		n := 4 + rng.IntN(40)
		c := randomCosts(rng, n)
		s := newSearch(c)
		s.t = append([]int{0}, rng.Perm(n-1)...)
		for i := 1; i < n; i++ {
			s.t[i]++
		}
		s.measure()
		for move := 0; ; move++ {
			before := s.cost
			if !s.pass() {
				if s.cost != before {
					t.Fatalf("seed %d: a pass without a move changed the cost from %+v to %+v", seed, before, s.cost)
				}
				break
			}
			if got := c.tour(s.t); got != s.cost || !s.cost.less(before) {
				t.Fatalf("seed %d, pass %d: cost %+v, tour costs %+v, before %+v", seed, move, s.cost, got, before)
			}
		}
		checkTour(t, seed, s.t, n)
	}
}

func TestEqualCostsKeepTheOrder(t *testing.T) {
	for _, n := range []int{2, 5, 12, 13, 40, 200} {
		c := costs{n: n, c: make([]int64, n*n)}
		for i := range c.c {
			c.c[i] = 7
		}
		search := exactTour
		if n > maxExactTour {
			search = searchTour
		}
		if got := search(c); !slices.Equal(got, identity(n)) {
			t.Errorf("%d places: %v, want the identity", n, got)
		}
	}
}

func BenchmarkExactTour12(b *testing.B) {
	c := randomCosts(rand.New(rand.NewPCG(1, 1)), 12)
	b.ReportAllocs()
	for b.Loop() {
		exactTour(c)
	}
}

func BenchmarkSearchTour(b *testing.B) {
	for name, n := range map[string]int{"sites=32": 32, "sites=200": 200, "sites=1024": MaxRingSites} {
		b.Run(name, func(b *testing.B) {
			c := costs{n: n, c: make([]int64, n*n)}
			rng := rand.New(rand.NewPCG(1, 1))
			for i := range c.c {
				c.c[i] = rng.Int64N(1e12)
			}
			for b.Loop() {
				searchTour(c)
			}
		})
	}
}
