package sim_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// Runs by windows end, rank by rank and to the tick, as runs message by message do: over ranks of 2 to 300 in hosts, racks and
// sites of any size, with links of any cost, in any number of slices, of even and uneven vectors, on one to five goroutines; and whether
// hosts alike are run as one or not.
func TestWindowsAreExact(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	variants := []plan.Variant{
		{Algorithm: plan.Tree}, {Algorithm: plan.Tree}, {Algorithm: plan.HalvingDoubling}, {Algorithm: plan.Hierarchical, Between: plan.Tree},
		{Algorithm: plan.Hierarchical, Between: plan.Ring}, {Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling},
	}
	cases, ran, asOne := 150, 0, 0
	if testing.Short() {
		cases = 40
	}
	for i := range cases {
		n := 2 + rng.IntN(60)
		if i%10 == 0 {
			n = 2 + rng.IntN(299)
		}
		host, rack, site := 1+rng.IntN(9), 1+rng.IntN(20), 1+rng.IntN(60)
		places := make([]topology.Place, n)
		for r := range places {
			places[r] = topology.Place{Host: fmt.Sprint("h", r/host), Rack: fmt.Sprint("r", r/(host*rack)), Site: fmt.Sprint("s", r/(host*rack*site))}
		}
		var tiers []topology.Link
		for _, l := range []topology.Level{topology.Host, topology.Rack, topology.Site, topology.World} {
			tiers = append(tiers, topology.Link{Level: l, Alpha: float64(1+rng.IntN(1000)) * 1e-9, Beta: float64(rng.IntN(300)) * 1e-12})
		}
		g, err := topology.New(topology.Spec{Places: places, Tiers: tiers, Reduce: float64(rng.IntN(100)) * 1e-12})
		if err != nil {
			t.Fatal(err)
		}
		v, c := variants[rng.IntN(len(variants))], schedule.AllReduce
		if v.Algorithm == plan.Tree {
			c = schedule.Collectives()[rng.IntN(5)]
		}
		s, err := plan.New(g).Build(v, plan.Request{Collective: c})
		if err != nil {
			continue // no hosts to reduce in first
		}
		length := rng.IntN(1 << 16)
		if rng.IntN(2) == 0 {
			length = length / s.Layout().Chunks() * s.Layout().Chunks()
		}
		opts := []sim.Option{sim.For(schedule.Contract{Collective: c}), sim.Slices(int64(4*length)/int64(1+rng.IntN(64)) + 4), sim.Unverified()}
		if rng.IntN(2) == 0 {
			over := sim.Time(rng.IntN(300)) * sim.Nanosecond
			opts = append(opts, sim.Costs(func(l topology.Link) sim.Cost {
				return sim.Cost{
					Latency: sim.Time(l.Alpha*1e12) + 7, Gap: over / 7, Overhead: over, PerByte: sim.RateOf(l.Beta * 1e12), Near: l.Level == topology.Host,
				}
			}))
		}
		a := run(t, g, s, int64(4*length), append(opts, sim.At(sim.Messages), sim.ByEvents())...)
		for _, level := range []sim.Level{sim.Messages, sim.Classes} {
			m, err := sim.New(g, s, append(opts, sim.At(level), sim.FewAlike(), sim.Crew(1+rng.IntN(5)))...)
			if err != nil {
				t.Fatal(err)
			}
			b, err := m.Run(int64(4 * length))
			if err != nil {
				t.Fatal(err)
			}
			if sim.Kept(m) != nil {
				ran++
			}
			if sim.AsOne(m) {
				asOne++
			}
			if !slices.Equal(a.Finish, b.Finish) || a.Tiers != b.Tiers || !slices.Equal(a.Ports, b.Ports) || b.Classes > b.Ranks {
				t.Fatalf("seed %d, case %d: %v by %v over %d ranks, %d bytes:\n%s %v %v %v\n%s %v %v %v", seed, i, c, v, n, 4*length,
					b.Method, b.Finish, b.Tiers, b.Ports, a.Method, a.Finish, a.Tiers, a.Ports)
			}
		}
	}
	if ran < cases/2 || asOne < cases/5 {
		t.Errorf("of %d cases by windows %d, with hosts alike as one %d", cases, ran, asOne)
	}
}

// A simulation that has run keeps what does not depend on the size, and its next runs are those of a new one.
func TestWindowsAgain(t *testing.T) {
	for _, v := range []plan.Variant{{Algorithm: plan.Tree}, {Algorithm: plan.HalvingDoubling}, {Algorithm: plan.Hierarchical, Between: plan.Ring}} {
		g := preset(t, "rail", 64, nil)
		s := build(t, g, v, schedule.AllReduce, 0)
		for _, slice := range []int64{0, -1, 128 << 10} {
			for i := range 3 {
				opts := []sim.Option{sim.At(sim.Messages), sim.Unverified(), sim.Crew(1 + i&1)}
				likely := i == 2 && v.Algorithm == plan.Tree
				if likely {
					opts = append(opts, sim.At(sim.Classes), sim.FewAlike())
				}
				if slice >= 0 { // else as many as there are by default
					opts = append(opts, sim.Slices(slice))
				}
				m, err := sim.New(g, s, opts...)
				if err != nil {
					t.Fatal(err)
				}
				kept := 0
				for _, bytes := range []int64{1 << 20, 1 << 20, 1 << 12, 1 << 23, 0, 1<<20 + 4, 1 << 21, 1 << 21, 64} {
					before := sim.Kept(m)
					a, err := m.Run(bytes)
					if err != nil {
						t.Fatal(err)
					}
					if before != nil && sim.Kept(m) == before {
						kept++
					}
					if b := run(t, g, s, bytes, opts...); sim.AsOne(m) != likely || a.Method != b.Method || a.Classes != b.Classes || a.Digest != b.Digest || !slices.Equal(a.Finish, b.Finish) || a.Tiers != b.Tiers || !slices.Equal(a.Ports, b.Ports) {
						t.Errorf("%v, slices of %d, %d bytes: %s %v %v, anew %s %v %v", v, slice, bytes, a.Method, a.Time, a.Tiers, b.Method, b.Time, b.Tiers)
					}
				}
				if least := map[int64]int{0: 5, -1: 2, 128 << 10: 2}[slice]; kept < least {
					t.Errorf("%v, slices of %d: %d of 8 runs went on from the last", v, slice, kept)
				}
			}
		}
	}
}

// The same of large double trees on presets: 4,096 to 65,536 ranks.
func TestWindowsAreExactForLargeTrees(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	groups := map[string]int{"rail": 4096 + rng.IntN(4096), "hosts": 4096}
	if !testing.Short() {
		groups["llama3"] = 65536
	}
	for name, n := range groups {
		g := preset(t, name, n, nil)
		s := build(t, g, plan.Variant{Algorithm: plan.Tree}, schedule.AllReduce, 0)
		opts := []sim.Option{sim.Slices(64 << 20), sim.Unverified()}
		a := run(t, g, s, 512<<20, append(opts, sim.At(sim.Messages), sim.ByEvents())...)
		b := run(t, g, s, 512<<20, append(opts, sim.At(sim.Messages), sim.Crew(1+rng.IntN(3)))...)
		if b.Method != sim.ByWindows || a.Digest != b.Digest || !slices.Equal(a.Finish, b.Finish) {
			t.Errorf("seed %d: %d ranks of %s: %s takes %v, messages %v", seed, n, name, b.Method, b.Time, a.Time)
		}
		c := run(t, g, s, 512<<20, append(opts, sim.At(sim.Classes), sim.Crew(1+rng.IntN(3)))...)
		if a.Digest != c.Digest || !slices.Equal(a.Finish, c.Finish) || a.Tiers != c.Tiers || !slices.Equal(a.Ports, c.Ports) {
			t.Errorf("seed %d: %d ranks of %s: %s takes %v, messages %v", seed, n, name, c.Method, c.Time, a.Time)
		}
		different := make(map[sim.Time]bool)
		for _, at := range c.Finish {
			different[at] = true
		}
		if alike := c.Method == sim.ByLikeness; alike != (c.Classes < n) || c.Classes < len(different) || name == "llama3" && !alike {
			t.Errorf("%d ranks of %s, which end at %d different times: %d are run, by %s", n, name, len(different), c.Classes, c.Method)
		}
	}
}
