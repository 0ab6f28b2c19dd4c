package sim_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// Schedules that look the same from many ranks come out, rank by rank and to the tick, as message by message: over ranks of 2 to 200 in hosts,
// racks and sites of any size, which the group fills or not, with links of any cost, of even and uneven vectors.
func TestTurnsAreExact(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	variants := []plan.Variant{
		{Algorithm: plan.Direct}, {Algorithm: plan.Direct}, {Algorithm: plan.Direct, OneShot: true},
		{Algorithm: plan.Hierarchical, Between: plan.Ring}, {Algorithm: plan.Hierarchical, Between: plan.Direct},
	}
	presets := []string{"llama3", "rail", "clos2", "clos3", "nvl72", "torus3d", "nvlink", "meta100k", "dragonfly", "wan"}
	cases, ran, folded := 120, 0, 0
	if testing.Short() {
		cases = 40
	}
	for i := range cases {
		var g *topology.Graph
		name := "random"
		if rng.IntN(3) > 0 {
			host, rack, site := 1+rng.IntN(5), 1+rng.IntN(4), 1+rng.IntN(4)
			n := host * rack * site * (1 + rng.IntN(3))
			switch {
			case n == 1:
				n = 2
			case rng.IntN(4) == 0: // the last is not full
				n = max(n-rng.IntN(host*rack), 2)
			}
			places := make([]topology.Place, n)
			for r := range places {
				places[r] = topology.Place{Host: fmt.Sprint("h", r/host), Rack: fmt.Sprint("r", r/(host*rack)), Site: fmt.Sprint("s", r/(host*rack*site))}
			}
			if rng.IntN(4) == 0 { // the ranks of a host are not all alike to each other
				for r := range places {
					places[r].Device = fmt.Sprint("d", r%host/2)
				}
			}
			var spec topology.Spec
			for _, l := range []topology.Level{topology.Device, topology.Host, topology.Rack, topology.Site, topology.World} {
				spec.Tiers = append(spec.Tiers, topology.Link{Level: l, Alpha: float64(rng.IntN(1000)) * 1e-9, Beta: float64(rng.IntN(300)) * 1e-12})
			}
			if sites := (n-1)/(host*rack*site) + 1; sites > 1 && rng.IntN(2) == 0 {
				spec.Paths = append(spec.Paths, topology.Path{From: "s0", To: "s1", Alpha: 3e-6, Beta: 1e-10})
			}
			spec.Places, spec.Reduce = places, float64(rng.IntN(100))*1e-12
			var err error
			if g, err = topology.New(spec); err != nil {
				t.Fatal(err)
			}
		} else {
			name = presets[rng.IntN(len(presets))]
			g = preset(t, name, 8*(1+rng.IntN(12)), nil)
		}
		n := g.Size()
		v, c := variants[rng.IntN(len(variants))], schedule.AllReduce
		if v.Algorithm == plan.Direct && !v.OneShot {
			c = []schedule.Collective{schedule.AllReduce, schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather, schedule.Barrier}[rng.IntN(5)]
		} else if v.Between == plan.Direct {
			c = []schedule.Collective{schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather}[rng.IntN(3)]
		}
		s := build(t, g, v, c, 0)
		length := rng.IntN(1 << 16)
		if rng.IntN(4) > 0 {
			length = length / s.Layout().Chunks() * s.Layout().Chunks()
		}
		opts := []sim.Option{sim.For(schedule.Contract{Collective: c}), sim.Unverified()}
		if rng.IntN(3) == 0 {
			opts = append(opts, sim.Slices(int64(4*length)/int64(1+rng.IntN(64))+4))
		}
		if rng.IntN(2) == 0 {
			over, eager := sim.Time(rng.IntN(300))*sim.Nanosecond, int64(rng.IntN(4)/3*1000)
			opts = append(opts, sim.Costs(func(l topology.Link) sim.Cost {
				return sim.Cost{
					Latency: sim.Time(l.Alpha*1e12) + 7, Gap: over / 7, Overhead: over, PerByte: sim.RateOf(l.Beta * 1e12), Eager: eager,
					Near: l.Level == topology.Host,
				}
			}))
		}
		if rng.IntN(8) == 0 {
			opts = append(opts, sim.Queue(sim.PairWires))
		}
		a := run(t, g, s, int64(4*length), append(opts, sim.At(sim.Messages), sim.ByEvents())...)
		b := run(t, g, s, int64(4*length), opts...)
		if b.Method == sim.InVolleys {
			ran++
		}
		if b.Classes < n {
			folded++
		}
		if a.Digest != b.Digest || !slices.Equal(a.Finish, b.Finish) || a.Tiers != b.Tiers || !slices.Equal(a.Ports, b.Ports) || a.Steps != b.Steps || a.Bound != b.Bound {
			t.Fatalf("seed %d, case %d: %v by %v over %d ranks of %s, %d bytes:\n%s %v %v %v\n%s %v %v %v", seed, i, c, v, n, name, 4*length,
				b.Method, b.Finish, b.Tiers, b.Ports, a.Method, a.Finish, a.Tiers, a.Ports)
		}
	}
	if t.Logf("of %d cases, %d in volleys, %d by classes", cases, ran, folded); ran == 0 || folded == 0 {
		t.Errorf("of %d cases, %d in volleys, %d by classes", cases, ran, folded)
	}
}

// What makes ranks differ: where links do not repeat themselves, every rank is run.
func TestTurns(t *testing.T) {
	oneShot := plan.Variant{Algorithm: plan.Direct, OneShot: true}
	direct, between := plan.Variant{Algorithm: plan.Direct}, plan.Variant{Algorithm: plan.Hierarchical, Between: plan.Ring}
	for _, tc := range []struct {
		preset  string
		params  map[string]string
		n       int
		v       plan.Variant
		classes int
		method  string
	}{
		{"llama3", nil, 64, direct, 16, sim.InVolleys},
		{"llama3", nil, 64, between, 2, "classes"},     // one of each host of a rack
		{"llama3", nil, 72, direct, 72, sim.ByWindows}, // half a rack, and salvos that mix
		{"rail", map[string]string{"hosts-per-rack": "2"}, 64, direct, 16, sim.InVolleys},
		{"rail", map[string]string{"hosts-per-rack": "2"}, 32, oneShot, 16, sim.InVolleys},
		{"rail", map[string]string{"hosts-per-rack": "2"}, 64, between, 2, "classes"},
		{"clos3", map[string]string{"racks-per-pod": "1"}, 96, direct, 32, sim.InVolleys},
		{"meta100k", nil, 64, direct, 16, sim.InVolleys},
		{"wan", map[string]string{"sites": "4", "per-host": "4"}, 64, direct, 16, sim.InVolleys},
		{"nvlink", nil, 72, direct, 1, sim.InVolleys},
		{"hosts", map[string]string{"hosts": "70"}, 70, direct, 1, sim.InVolleys},
	} {
		g := preset(t, tc.preset, tc.n, tc.params)
		s := build(t, g, tc.v, schedule.AllReduce, 0)
		m, err := sim.New(g, s)
		if err != nil {
			t.Fatal(err)
		}
		for i, chunk := range []int64{4096, 64, 4100, 256 << 10, 0} {
			bytes := chunk * int64(tc.n)
			if i == 2 {
				bytes += 4 // chunks that differ
			}
			r, err := m.Run(bytes)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 && (r.Method != tc.method || r.Classes != tc.classes) {
				t.Errorf("%v over %d ranks of %s: %d %s, want %d %s", tc.v, tc.n, tc.preset, r.Classes, r.Method, tc.classes, tc.method)
			}
			if want := run(t, g, s, bytes, sim.At(sim.Messages), sim.Unverified()); r.Digest != want.Digest || !slices.Equal(r.Ports, want.Ports) {
				t.Errorf("%v over %d ranks of %s, %d bytes: %v by %s, %v by %s", tc.v, tc.n, tc.preset, bytes, r.Time, r.Method, want.Time, want.Method)
			}
		}
	}
}

// Ranks that are alike are run one by one where classes would not do: they have fewer pairs than ranks.
func TestPairsAreNotFolded(t *testing.T) {
	g := preset(t, "nvlink", 48, nil)
	for _, v := range []plan.Variant{{Algorithm: plan.Direct}, {Algorithm: plan.HalvingDoubling}} {
		s := build(t, g, v, schedule.AllReduce, 0)
		a := run(t, g, s, 48<<14, sim.Queue(sim.PairWires))
		b := run(t, g, s, 48<<14, sim.Queue(sim.PairWires), sim.At(sim.Messages))
		if a.Digest != b.Digest || a.Classes != 48 {
			t.Errorf("%v: %v of %d classes, want %v", v, a.Time, a.Classes, b.Time)
		}
	}
}

// A schedule that is not what it says of itself is refused, and one of more operations than are allowed, though few of them are read.
func TestTurnsAreChecked(t *testing.T) {
	g := preset(t, "llama3", 64, nil)
	s := build(t, g, plan.Variant{Algorithm: plan.Tree}, schedule.AllReduce, 0)
	var bad *schedule.VerifyError
	if _, err := sim.Run(g, turns{s, 16}, 1<<20, sim.Unverified()); !errors.As(err, &bad) {
		t.Errorf("a tree that turns: got %v, want a VerifyError", err)
	}
	want := run(t, g, s, 1<<20)
	for _, by := range []int{-1, 0, 7, 64, 128} { // no turns
		if r := run(t, g, turns{s, by}, 1<<20, sim.Unverified()); r.Digest != want.Digest {
			t.Errorf("turned by %d: %v, want %v", by, r.Time, want.Time)
		}
	}
	var over *schedule.LimitError
	s = build(t, g, plan.Variant{Algorithm: plan.Direct}, schedule.AllReduce, 0)
	if _, err := sim.New(g, s, sim.Limit(4*64*63-1)); !errors.As(err, &over) {
		t.Errorf("got %v, want a LimitError", err)
	}
	if _, err := sim.New(g, s, sim.Limit(4*64*63)); err != nil {
		t.Error(err)
	}
}

// turns says that it is the same from so many ranks on.
type turns struct {
	schedule.Schedule
	by int
}

func (s turns) Turn() int { return s.by }
