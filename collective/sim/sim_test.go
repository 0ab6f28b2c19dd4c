package sim_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// preset returns a graph by name.
func preset(t testing.TB, name string, n int, params map[string]string) *topology.Graph {
	t.Helper()
	g, err := topology.Preset(name, n, params)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// flat returns n ranks of n hosts on links of alpha seconds and beta seconds a byte.
func flat(t testing.TB, n int, alpha, beta, reduce float64) *topology.Graph {
	t.Helper()
	g, err := topology.New(topology.Spec{
		Shape: topology.Shape{Ranks: n, PerHost: 1}, Tiers: []topology.Link{{Level: topology.Rack, Alpha: alpha, Beta: beta}}, Reduce: reduce,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// build returns the schedule of a variant.
func build(t testing.TB, g *topology.Graph, v plan.Variant, c schedule.Collective, root int) schedule.Schedule {
	t.Helper()
	s, err := plan.New(g).Build(v, plan.Request{Collective: c, Root: topology.Rank(root)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func run(t testing.TB, g *topology.Graph, s schedule.Schedule, bytes int64, opts ...sim.Option) *sim.Result {
	t.Helper()
	r, err := sim.Run(g, s, bytes, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every variant, collective and graph: classes of ranks, and rings as recurrences, come out as the messages do, on every
// rank and to the tick.
func TestClassesAreExact(t *testing.T) {
	graphs := map[string]*topology.Graph{
		"local 5":    preset(t, "local", 5, nil),
		"local 8":    preset(t, "local", 8, nil),
		"hosts 13":   preset(t, "hosts", 13, map[string]string{"hosts": "4"}),
		"rail 16":    preset(t, "rail", 16, nil),
		"rail 64":    preset(t, "rail", 64, map[string]string{"hosts-per-rack": "2"}),
		"llama3 100": preset(t, "llama3", 100, map[string]string{"racks-per-pod": "3"}),
		"wan 24":     preset(t, "wan", 24, map[string]string{"sites": "3", "per-host": "4"}),
	}
	for name, g := range graphs {
		p := plan.New(g)
		for _, c := range schedule.Collectives() {
			for _, v := range p.Variants(c) {
				s, err := p.Build(v, plan.Request{Collective: c, Root: 1})
				if err != nil {
					t.Fatal(err)
				}
				want := schedule.Contract{Collective: c}
				if c.Rooted() {
					want.Root = 1
				}
				for _, bytes := range []int64{0, 4 * int64(s.Layout().Chunks()), 1 << 20, 52 * 100003} {
					opts := []sim.Option{sim.For(want), sim.Unverified()}
					a := run(t, g, s, bytes, append(opts, sim.At(sim.Messages))...)
					b := run(t, g, s, bytes, append(opts, sim.At(sim.Classes))...)
					if a.Digest != b.Digest || !slices.Equal(a.Finish, b.Finish) {
						t.Errorf("%s, %v by %v, %d bytes: %s takes %v (%v), messages %v\n%v\n%v", name, c, v, bytes, b.Method, b.Time, b.Tiers, a.Time, b.Finish, a.Finish)
					}
				}
			}
		}
	}
}

// A ring over links that all differ, with ranks that are late, slow, and jitter, is the same by events, by stepping and, where
// there is one, by its closed form.
func TestRingsAreExact(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	methods := map[string]int{}
	for i := range 300 {
		n := 2 + rng.IntN(40)
		places := make([]topology.Place, n)
		for r := range places {
			places[r] = topology.Place{Host: fmt.Sprint("h", r/2), Rack: fmt.Sprint("r", r/6), Site: fmt.Sprint("s", r/18)}
		}
		tiers := make([]topology.Link, 0, 4)
		for _, l := range []topology.Level{topology.Host, topology.Rack, topology.Site, topology.World} {
			tiers = append(tiers, topology.Link{Level: l, Alpha: float64(rng.IntN(1000)) * 1e-9, Beta: float64(rng.IntN(1000)) * 1e-12})
		}
		reduce := 0.0
		if i%3 > 0 {
			reduce = float64(rng.IntN(400)) * 1e-12
		}
		g, err := topology.New(topology.Spec{Places: places, Tiers: tiers, Reduce: reduce})
		if err != nil {
			t.Fatal(err)
		}
		c := []schedule.Collective{schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather}[rng.IntN(3)]
		s := build(t, g, plan.Variant{Algorithm: plan.Ring}, c, 0)
		chunk := rng.IntN(3000)
		bytes := int64(4 * n * chunk)
		if rng.IntN(3) == 0 {
			bytes += int64(4 * rng.IntN(n))
		}
		opts := []sim.Option{sim.For(schedule.Contract{Collective: c}), sim.Unverified()}
		if k := rng.IntN(4); k > 0 {
			opts = append(opts, sim.Slices(int64((4*chunk+k-1)/k)))
		}
		if rng.IntN(2) == 0 {
			over := sim.Time(rng.IntN(300)) * sim.Nanosecond
			opts = append(opts, sim.Costs(func(l topology.Link) sim.Cost {
				return sim.Cost{
					Latency: sim.Time(l.Alpha*1e12) + 7, Gap: 3 * sim.Nanosecond, Overhead: over, PerByte: sim.RateOf(l.Beta*1e12 + 0.3), Near: l.Level == topology.Host,
				}
			}))
		}
		disturbed := rng.IntN(2) == 0
		if disturbed {
			switch rng.IntN(3) {
			case 0:
				opts = append(opts, sim.Jitter(rng.Float64()*3, rng.Uint64()))
			case 1:
				opts = append(opts, sim.Late(topology.Rank(rng.IntN(n)), sim.Time(rng.IntN(5000))*sim.Nanosecond), sim.Jitter(0.5, 1))
			case 2:
				opts = append(opts, sim.Slow(topology.Rank(rng.IntN(n)), 1+rng.Float64()*5))
			}
		}
		level := sim.Classes
		if disturbed {
			level = sim.Messages
		}
		a := run(t, g, s, bytes, append(opts, sim.At(sim.Messages))...)
		b := run(t, g, s, bytes, append(opts, sim.At(level), sim.Stepped())...)
		methods[b.Method]++
		if !slices.Equal(a.Finish, b.Finish) || a.Tiers != b.Tiers {
			t.Fatalf("seed %d, case %d: %v over %d ranks, %d bytes:\n%s %v %v\n%s %v %v", seed, i, c, n, bytes, b.Method, b.Finish, b.Tiers, a.Method, a.Finish, a.Tiers)
		}
	}
	t.Log(methods)
}

// The figures that LogGOPSim prints for 1 GiB at L = 2.5 µs, o = 0.5 µs, g = 0.1 µs and G = 20 ps a byte.
func TestLogGOPSim(t *testing.T) {
	costs := sim.Costs(func(topology.Link) sim.Cost {
		return sim.Cost{Latency: 2500 * sim.Nanosecond, Overhead: 500 * sim.Nanosecond, Gap: 100 * sim.Nanosecond, PerByte: sim.RateOf(20)}
	})
	for _, tc := range []struct {
		n  int
		a  plan.Algorithm
		ms float64
	}{{512, plan.Ring, 46.443}, {65536, plan.HalvingDoubling, 43.061}} {
		g := flat(t, tc.n, 0, 0, 0)
		s := build(t, g, plan.Variant{Algorithm: tc.a}, schedule.AllReduce, 0)
		for _, level := range []sim.Level{sim.Messages, sim.Classes} {
			r := run(t, g, s, 1<<30, costs, sim.Slices(0), sim.At(level))
			got := r.Time.Seconds() * 1e3
			if math.Abs(got/tc.ms-1) > 1e-4 {
				t.Errorf("%v over %d ranks, %v: %.4f ms, want %v", tc.a, tc.n, level, got, tc.ms)
			}
			t.Log(r.Method, r.Time, r.Classes, r.Messages(), r.Bound)
		}
	}
}
