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

// What hosts hand on within themselves, run at the end and by what was found before, comes out to the tick as every message does: over hosts of
// any size whose links and processors are of any speed, so that what goes down there is through before the next comes, or piles up, or meets what
// goes up.
func TestCascadesAreExact(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	cases, apart, groups, again := 200, 0, 0, 0
	if testing.Short() {
		cases = 50
	}
	for i := range cases {
		hosts, host, rack := 2+rng.IntN(30), 2+rng.IntN(9), 1+rng.IntN(12)
		n := hosts*host - rng.IntN(host)
		places := make([]topology.Place, n)
		for r := range places {
			places[r] = topology.Place{Host: fmt.Sprint("h", r/host), Rack: fmt.Sprint("r", r/(host*rack))}
		}
		near, far := 1+rng.IntN(40), 1+rng.IntN(300)
		g, err := topology.New(topology.Spec{Places: places, Reduce: float64(rng.IntN(8)*rng.IntN(20)) * 1e-12, Tiers: []topology.Link{
			{Level: topology.Host, Alpha: float64(1+rng.IntN(1000)) * 1e-9, Beta: float64(near) * 1e-12},
			{Level: topology.Rack, Alpha: float64(1+rng.IntN(9000)) * 1e-9, Beta: float64(far) * 1e-12},
			{Level: topology.Site, Alpha: float64(1+rng.IntN(9000)) * 1e-9, Beta: float64(far+rng.IntN(9)) * 1e-12},
		}})
		if err != nil {
			t.Fatal(err)
		}
		v := plan.Variant{Algorithm: plan.Tree}
		if rng.IntN(4) == 0 && n == hosts*host {
			v = plan.Variant{Algorithm: plan.Hierarchical, Between: plan.Tree}
		}
		s := build(t, g, v, schedule.AllReduce, 0)
		chunk := 1 + rng.IntN(1<<14)
		length := chunk * s.Layout().Chunks()
		opts := []sim.Option{sim.Slices(int64(4*chunk)/int64(1+rng.IntN(64)) + 4), sim.Unverified()}
		m, err := sim.New(g, s, append(opts, sim.FewAlike(), sim.Crew(1+rng.IntN(3)))...)
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int{3 * length, length} { // the second goes on from the first
			want := run(t, g, s, int64(4*length), append(opts, sim.At(sim.Messages), sim.ByEvents())...)
			r, err := m.Run(int64(4 * length))
			if err != nil {
				t.Fatal(err)
			}
			same(t, r, want, fmt.Sprintf("seed %d, case %d", seed, i))
		}
		a, of := sim.Cascades(m)
		apart, groups = apart+a, groups+of
		if of == 0 {
			again++
		}
	}
	t.Logf("%d of %d hosts' cascades were on their own; %d runs had none", apart, groups, again)
	if apart < groups/4 || groups == 0 {
		t.Errorf("seed %d: only %d of %d hosts' cascades were on their own", seed, apart, groups)
	}
}

func same(t *testing.T, r, want *sim.Result, what string) {
	t.Helper()
	if !slices.Equal(r.Finish, want.Finish) || r.Tiers != want.Tiers || r.Steps != want.Steps || !slices.Equal(r.Ports, want.Ports) {
		t.Fatalf("%s: %s\n%v %v %v\n%s\n%v %v %v", what, r.Method, r.Finish, r.Tiers, r.Ports, want.Method, want.Finish, want.Tiers, want.Ports)
	}
}

// The same of trees over a thousand ranks and more, by the slices that they have by default.
func TestCascadesAreExactForPresets(t *testing.T) {
	for name, n := range map[string]int{"rail": 1024, "llama3": 2048, "hosts": 1000} {
		g := preset(t, name, n, nil)
		for _, c := range []schedule.Collective{schedule.AllReduce, schedule.Broadcast, schedule.Reduce} {
			s := build(t, g, plan.Variant{Algorithm: plan.Tree}, c, 0)
			opts := []sim.Option{sim.For(schedule.Contract{Collective: c}), sim.Unverified()}
			want := run(t, g, s, 64<<20, append(opts, sim.At(sim.Messages))...)
			m, err := sim.New(g, s, append(opts, sim.FewAlike())...)
			if err != nil {
				t.Fatal(err)
			}
			r, err := m.Run(64 << 20)
			if err != nil {
				t.Fatal(err)
			}
			same(t, r, want, fmt.Sprint(name, " ", c))
			apart, groups := sim.Cascades(m)
			t.Logf("%s, %v: %d of %d hosts' cascades were on their own", name, c, apart, groups)
			if name == "rail" && c == schedule.AllReduce && apart != groups {
				t.Errorf("%s, %v: only %d of %d hosts' cascades were on their own", name, c, apart, groups)
			}
		}
	}
}
