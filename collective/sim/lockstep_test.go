package sim_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// Rounds of ranks that all do the same, taken in step, give what they give rank by rank: every rank's end, what every wire carried, and the
// rest, on networks of many kinds, with any costs, flows and hashes. Where ranks do different things, or a record of messages is kept, it is
// rank by rank.
func TestInStep(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	cases := 60
	if testing.Short() {
		cases = 20
	}
	methods := make(map[string]int)
	for i := range cases {
		n := 1 << (1 + rng.IntN(8))
		name := []string{"llama3", "clos2", "rail", "dragonfly", "torus3d", "nvlink", "hosts"}[rng.IntN(7)]
		params := map[string]string(nil)
		if name == "llama3" {
			params = map[string]string{"racks-per-pod": []string{"1", "3", "8"}[rng.IntN(3)]}
		}
		v := plan.Variant{Algorithm: []plan.Algorithm{plan.HalvingDoubling, plan.HalvingDoubling, plan.HalvingDoubling, plan.Tree, plan.Direct}[rng.IntN(5)]}
		c := []schedule.Collective{schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather, schedule.Barrier}[rng.IntN(4)]
		if name == "nvlink" {
			n = min(n, 64)
		}
		alike := i%4 == 0
		if alike {
			v.Algorithm = plan.HalvingDoubling
		} else if rng.IntN(4) == 0 {
			n += 1 + rng.IntN(3)
		}
		g := preset(t, name, n, params)
		s, err := plan.New(g).Build(v, plan.Request{Collective: c})
		if err != nil {
			continue
		}
		bytes := int64(4*n) * int64(rng.IntN(1<<12))
		if !alike && rng.IntN(4) == 0 {
			bytes += 4
		}
		opts := []sim.Option{
			sim.For(schedule.Contract{Collective: c}), sim.Slices(0), sim.Unverified(), sim.Rounds(),
			sim.Routed(1+rng.IntN(5), topology.Choice{Seed: rng.Uint64(), Spread: rng.IntN(3) == 0}),
		}
		if rng.IntN(2) == 0 {
			over := sim.Time(rng.IntN(300)) * sim.Nanosecond
			opts = append(opts, sim.Costs(func(l topology.Link) sim.Cost {
				return sim.Cost{Latency: sim.Time(l.Alpha * 1e12), Gap: over / 7, Overhead: over, PerByte: sim.RateOf(l.Beta * 1.5e12), Near: l.Level == topology.Host}
			}))
		}
		m, err := sim.New(g, s, opts...)
		if err != nil {
			t.Fatal(err)
		}
		a, err := m.Run(bytes)
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Run(bytes)
		if err != nil {
			t.Fatal(err)
		}
		b := run(t, g, s, bytes, append(opts, sim.Record(1<<20))...)
		methods[a.Method]++
		if b.Method == sim.InStep {
			t.Fatalf("a run with records is %s", b.Method)
		}
		if !slices.Equal(a.Finish, b.Finish) || a.Digest != b.Digest || again.Digest != a.Digest || a.Tiers != b.Tiers || !slices.Equal(a.Ports, b.Ports) ||
			!slices.Equal(a.Load, b.Load) || !slices.Equal(a.Layers, b.Layers) || !slices.Equal(a.Wires, b.Wires) || !slices.Equal(a.Load, again.Load) {
			t.Fatalf("seed %d, case %d: %v by %v over %d ranks of %s, %d bytes: %v by %s, %v by %s", seed, i, c, v, n, name, bytes, a.Time, a.Method, b.Time, b.Method)
		}
	}
	if methods[sim.InStep] < cases/10 || len(methods) < 2 {
		t.Errorf("seed %d: runs by %v", seed, slices.Collect(maps.Keys(methods)))
	}
}

// Ranks in step that have no way to each other are told as ever.
func TestInStepWithoutWay(t *testing.T) {
	g := preset(t, "clos2", 32, map[string]string{"hosts-per-rack": "2"})
	s := build(t, g, plan.Variant{Algorithm: plan.HalvingDoubling}, schedule.AllReduce, 0)
	m, err := sim.New(g, s, sim.Rounds(), sim.Wired(network(t, g, "rank3")))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var stuck *sim.StuckError
		if _, err := m.Run(32 << 10); !errors.As(err, &stuck) || stuck.Lost == 0 {
			t.Errorf("got %v, want a StuckError with lost messages", err)
		}
	}
	if r := run(t, g, s, 32<<10, sim.Rounds(), sim.Wired(network(t, g, "world0.3"))); r.Method != sim.InStep {
		t.Errorf("around a lost spine it goes %s", r.Method)
	}
}
