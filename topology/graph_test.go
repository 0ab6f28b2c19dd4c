package topology_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/topology"
)

// tiers are five costs that cannot be mistaken for one another.
func tiers() []topology.Link {
	return []topology.Link{
		{Level: topology.Device, Alpha: 1, Beta: 0.1},
		{Level: topology.Host, Alpha: 2, Beta: 0.2},
		{Level: topology.Rack, Alpha: 3, Beta: 0.3},
		{Level: topology.Site, Alpha: 4, Beta: 0.4},
		{Level: topology.World, Alpha: 5, Beta: 0.5},
	}
}

// randomSpec is a machine of up to n ranks: hosts filled in order, dealt to in turn, or mixed, some with named
// devices, some with paths of their own.
func randomSpec(rng *rand.Rand, n int) topology.Spec {
	ranks := 1 + rng.IntN(n)
	hosts := 1 + rng.IntN(ranks)
	racks := 1 + rng.IntN(hosts)
	sites := 1 + rng.IntN(racks)
	prefix := []string{"h", "node-", "", "h0"}[rng.IntN(4)]
	layout := rng.IntN(3)
	devices := rng.IntN(3)
	spec := topology.Spec{Places: make([]topology.Place, ranks), Tiers: tiers(), Cores: rng.IntN(3), Reduce: float64(rng.IntN(2)) * rng.Float64()}
	for r := range spec.Places {
		h := r * hosts / ranks
		switch layout {
		case 1:
			h = r % hosts
		case 2:
			h = rng.IntN(hosts)
		}
		rack := h * racks / hosts
		p := topology.Place{
			Host: fmt.Sprint(prefix, h+7),
			Rack: fmt.Sprint("r", rack),
			Site: fmt.Sprint("s", rack*sites/racks),
		}
		switch devices {
		case 1:
			p.Device = fmt.Sprint("gpu", r/2%3)
		case 2:
			if rng.IntN(2) == 0 {
				p.Device = "p0"
			}
		}
		spec.Places[r] = p
	}
	if rng.IntN(2) == 0 {
		spec.Paths = randomPaths(rng, spec.Places)
	}
	return spec
}

func randomPaths(rng *rand.Rand, places []topology.Place) []topology.Path {
	seen := map[string]bool{}
	var names []string
	for _, p := range places {
		if !seen[p.Site] {
			seen[p.Site] = true
			names = append(names, p.Site)
		}
	}
	var paths []topology.Path
	for _, a := range names {
		for _, b := range names {
			if a != b && rng.IntN(3) > 0 {
				paths = append(paths, topology.Path{From: a, To: b, Alpha: rng.Float64(), Beta: rng.ExpFloat64() * 1e-9})
			}
		}
	}
	return paths
}

func mustNew(t testing.TB, spec topology.Spec) *topology.Graph {
	t.Helper()
	g, err := topology.New(spec)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return g
}

// wantLevel finds the nearest tier of two ranks by the names of their places.
func wantLevel(a, b topology.Place, same bool) topology.Level {
	switch {
	case same, a.Host == b.Host && a.Device != "" && a.Device == b.Device:
		return topology.Device
	case a.Host == b.Host:
		return topology.Host
	case a.Rack == b.Rack:
		return topology.Rack
	case a.Site == b.Site:
		return topology.Site
	}
	return topology.World
}

func TestGraphMatchesPlaces(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		spec := randomSpec(rng, 40)
		g := mustNew(t, spec)
		if g.Size() != len(spec.Places) {
			t.Fatalf("seed %d: Size = %d, want %d", seed, g.Size(), len(spec.Places))
		}
		if g.Cores() != spec.Cores || g.Reduce() != spec.Reduce {
			t.Fatalf("seed %d: Cores, Reduce = %d, %g, want %d, %g", seed, g.Cores(), g.Reduce(), spec.Cores, spec.Reduce)
		}
		paths := map[[2]string]topology.Path{}
		for _, p := range spec.Paths {
			paths[[2]string{p.From, p.To}] = p
		}
		if got := slices.Collect(g.Paths()); len(got) != len(spec.Paths) {
			t.Fatalf("seed %d: %d Paths, want %d", seed, len(got), len(spec.Paths))
		}
		for i, a := range spec.Places {
			ra := topology.Rank(i)
			if got := g.Place(ra); got != a {
				t.Fatalf("seed %d: Place(%d) = %+v, want %+v", seed, ra, got, a)
			}
			if h, rack, site := g.HostName(g.Host(ra)), g.RackName(g.Rack(ra)), g.SiteName(g.Site(ra)); h != a.Host || rack != a.Rack || site != a.Site {
				t.Fatalf("seed %d: rank %d is in %s, %s, %s, want %+v", seed, ra, h, rack, site, a)
			}
			for j, b := range spec.Places {
				rb := topology.Rank(j)
				level := wantLevel(a, b, i == j)
				want := tiers()[level]
				if p, ok := paths[[2]string{a.Site, b.Site}]; ok {
					want.Alpha, want.Beta = p.Alpha, p.Beta
				}
				if got := g.Link(ra, rb); got != want {
					t.Fatalf("seed %d: Link(%d, %d) = %+v, want %+v", seed, ra, rb, got, want)
				}
				if got := g.Device(ra) == g.Device(rb); got != (level == topology.Device) {
					t.Fatalf("seed %d: ranks %d and %d on one device: %v, want %v", seed, ra, rb, got, !got)
				}
			}
		}
		checkHosts(t, seed, g)
	}
}

// checkHosts holds the host accessors to each other.
func checkHosts(t *testing.T, seed uint64, g *topology.Graph) {
	t.Helper()
	seen := make([]bool, g.Size())
	for h := range g.Hosts() {
		i, last := 0, topology.Rank(-1)
		for r := range g.HostRanks(h) {
			if r <= last || seen[r] || g.Host(r) != h || g.LocalIndex(r) != i || g.HostRank(h, i) != r {
				t.Fatalf("seed %d: host %d, index %d: rank %d after %d has host %d, local index %d, HostRank %d",
					seed, h, i, r, last, g.Host(r), g.LocalIndex(r), g.HostRank(h, i))
			}
			seen[r] = true
			last = r
			i++
		}
		if i == 0 || i != g.HostSize(h) {
			t.Fatalf("seed %d: host %d yields %d ranks, HostSize %d", seed, h, i, g.HostSize(h))
		}
	}
	if slices.Contains(seen, false) {
		t.Fatalf("seed %d: a rank is on no host: %v", seed, seen)
	}
}

func TestNumberedByFirstAppearance(t *testing.T) {
	g := mustNew(t, topology.Spec{Tiers: tiers(), Places: []topology.Place{
		{Host: "z", Rack: "q", Site: "far"}, {Host: "a", Rack: "b", Site: "near"}, {Host: "z", Rack: "q", Site: "far"},
	}})
	got := fmt.Sprint(g.Host(0), g.Host(1), g.Host(2), g.Rack(1), g.Site(1), g.Hosts(), g.Racks(), g.Sites(), g.Devices())
	if want := "0 1 0 1 1 2 2 2 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDefaultPlaces(t *testing.T) {
	g := mustNew(t, topology.Spec{Tiers: tiers(), Places: []topology.Place{{Host: "a"}, {Host: "b", Site: "x"}, {Host: "c"}}})
	for r, want := range []topology.Place{
		{Host: "a", Rack: "s0", Site: "s0"}, {Host: "b", Rack: "x", Site: "x"}, {Host: "c", Rack: "s0", Site: "s0"},
	} {
		if got := g.Place(topology.Rank(r)); got != want {
			t.Errorf("Place(%d) = %+v, want %+v", r, got, want)
		}
	}
}

func TestZeroGraph(t *testing.T) {
	var g topology.Graph
	if g.Size() != 0 || g.Hosts() != 0 || g.Devices() != 0 || len(g.RingOrder()) != 0 || !g.Equal(&topology.Graph{}) {
		t.Errorf("the zero Graph has %d ranks, %d hosts, %d devices, ring %v", g.Size(), g.Hosts(), g.Devices(), g.RingOrder())
	}
}

func TestIndexOutOfRangePanics(t *testing.T) {
	g := topology.Local(4)
	for name, call := range map[string]func(){
		"Host":       func() { g.Host(4) },
		"Device":     func() { g.Device(4) },
		"Device -1":  func() { g.Device(-1) },
		"Link":       func() { g.Link(0, 4) },
		"HostRank":   func() { g.HostRank(0, 4) },
		"LocalIndex": func() { g.LocalIndex(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			call()
		})
	}
}

func TestPathsStopsWhenTold(t *testing.T) {
	g := mustNew(t, topology.Spec{
		Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}},
		Paths:  []topology.Path{{From: "y", To: "x", Alpha: 2}, {From: "x", To: "y", Alpha: 1}},
	})
	n := 0
	for p := range g.Paths() {
		if want := (topology.Path{From: "x", To: "y", Alpha: 1}); p != want {
			t.Errorf("the first path is %+v, want %+v", p, want)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d paths, want 1", n)
	}
}

func TestTier(t *testing.T) {
	g := mustNew(t, topology.Spec{Shape: topology.Shape{Ranks: 2}, Tiers: tiers()[1:3]})
	for l, want := range map[topology.Level]topology.Link{
		topology.Device:   {Level: topology.Device},
		topology.Host:     {Level: topology.Host, Alpha: 2, Beta: 0.2},
		topology.Rack:     {Level: topology.Rack, Alpha: 3, Beta: 0.3},
		topology.Site:     {Level: topology.Site, Alpha: 3, Beta: 0.3},
		topology.World:    {Level: topology.World, Alpha: 3, Beta: 0.3},
		topology.Level(9): {},
	} {
		if got := g.Tier(l); got != want {
			t.Errorf("Tier(%v) = %+v, want %+v", l, got, want)
		}
	}
}

func TestLevelText(t *testing.T) {
	for l := topology.Device; l <= topology.World; l++ {
		got, err := topology.ParseLevel(l.String())
		if err != nil || got != l {
			t.Errorf("ParseLevel(%q) = %v, %v, want %v", l, got, err, l)
		}
	}
	if got, want := topology.Level(7).String(), "Level(7)"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	var se *topology.SpecError
	if _, err := topology.ParseLevel("planet"); !errors.As(err, &se) || se.Field != "level" {
		t.Errorf("ParseLevel(planet) = %v, want a SpecError of the level", err)
	}
}

func TestLinkTime(t *testing.T) {
	l := topology.Link{Level: topology.Host, Alpha: 0.5, Beta: 0.25}
	for bytes, want := range map[int64]float64{0: 0.5, 1: 0.75, 1 << 40: 0.5 + 1<<38} {
		if got := l.Time(bytes); got != want {
			t.Errorf("Time(%d) = %g, want %g", bytes, got, want)
		}
	}
}

func TestNegativeZeroIsZero(t *testing.T) {
	zero := math.Copysign(0, -1)
	g := mustNew(t, topology.Spec{
		Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}},
		Tiers:  []topology.Link{{Level: topology.World, Alpha: zero, Beta: zero}},
		Paths:  []topology.Path{{From: "x", To: "y", Alpha: zero, Beta: zero}},
		Reduce: zero,
	})
	for name, v := range map[string]float64{
		"tier alpha": g.Tier(topology.World).Alpha, "tier beta": g.Tier(topology.World).Beta,
		"path alpha": g.Link(0, 1).Alpha, "path beta": g.Link(0, 1).Beta, "reduce": g.Reduce(),
	} {
		if math.Signbit(v) {
			t.Errorf("%s is a negative zero", name)
		}
	}
}

func TestReadsAreConcurrent(t *testing.T) {
	g := mustNew(t, randomSpec(rand.New(rand.NewPCG(3, 3)), 60))
	want := g.String()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for a := range g.Size() {
				g.Link(topology.Rank(a), 0)
			}
			if got := g.String(); got != want {
				t.Errorf("String = %q, want %q", got, want)
			}
			g.RingOrder()
		})
	}
	wg.Wait()
}

func TestLinkAllocatesNothing(t *testing.T) {
	const ranks = 65536
	places := make([]topology.Place, ranks)
	var paths []topology.Path
	for r := range places {
		places[r] = topology.Place{Host: fmt.Sprint("h", r/8), Rack: fmt.Sprint("r", r/64), Site: fmt.Sprint("s", r/1024)}
	}
	for a := range 64 {
		for b := range 64 {
			if a != b {
				paths = append(paths, topology.Path{From: fmt.Sprint("s", a), To: fmt.Sprint("s", b), Alpha: float64(a*64 + b)})
			}
		}
	}
	g := mustNew(t, topology.Spec{Places: places, Tiers: tiers(), Paths: paths})
	var sum float64
	r := topology.Rank(0)
	allocs := testing.AllocsPerRun(1000, func() {
		sum += g.Link(r, (r*31+5)%ranks).Alpha
		r = (r + 997) % ranks
	})
	if allocs != 0 || sum == 0 {
		t.Errorf("Link allocates %g times, want 0 (sum %g)", allocs, sum)
	}
	if got, want := g.Link(1024, 65535).Alpha, float64(1*64+63); got != want {
		t.Errorf("Link(1024, 65535).Alpha = %g, want %g", got, want)
	}
}

func TestGraphStaysSmall(t *testing.T) {
	if got, limit := unsafe.Sizeof(topology.Graph{}), uintptr(512); got > limit {
		t.Errorf("a Graph takes %d bytes before its ranks, want at most %d", got, limit)
	}
	if got := unsafe.Sizeof(topology.Rank(0)); got != 4 {
		t.Errorf("a Rank takes %d bytes, want 4", got)
	}
}

func BenchmarkLink(b *testing.B) {
	for _, n := range []int{64, 65536} {
		b.Run(fmt.Sprint("ranks=", n), func(b *testing.B) {
			g, err := topology.Preset("llama3", n, nil)
			if err != nil {
				b.Fatal(err)
			}
			r, sum := topology.Rank(0), 0.0
			for b.Loop() {
				sum += g.Link(r, topology.Rank(n-1)-r).Alpha
				r = (r + 31) % topology.Rank(n)
			}
			if sum < 0 {
				b.Fatal(sum)
			}
		})
	}
}

func BenchmarkPreset65536(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := topology.Preset("llama3", 65536, nil); err != nil {
			b.Fatal(err)
		}
	}
}
