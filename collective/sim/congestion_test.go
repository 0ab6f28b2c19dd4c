package sim_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

func network(t testing.TB, g *topology.Graph, faults ...string) *topology.Network {
	t.Helper()
	n, err := g.Network()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		list, err := n.ParseFault(f)
		if err == nil {
			n, err = n.With(list...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// Cases worked out by hand. NICs have 48 GB/s of payload, and hosts of the clos presets 8 ranks.
func TestRates(t *testing.T) {
	const nic = 48.0
	clos := network(t, preset(t, "clos2", 64, map[string]string{"hosts-per-rack": "2"})) // 16 ranks a rack, 16 spines
	// One rack of 28 ranks under one switch with 4 wires of a NIC's rate up: 1:7.
	narrow := network(t, preset(t, "clos2", 112, map[string]string{"hosts-per-rack": "7", "oversub": "7"}))
	for _, tc := range []struct {
		name  string
		net   *topology.Network
		pairs []sim.Pair
		flows int
		c     topology.Choice
		want  []float64 // GB/s
	}{
		{name: "alone", net: clos, pairs: []sim.Pair{{From: 0, To: 8}}, want: []float64{nic}},
		{name: "two out of one NIC", net: clos, pairs: []sim.Pair{{From: 0, To: 8}, {From: 0, To: 9}}, want: []float64{nic / 2, nic / 2}},
		{name: "incast of 7", net: clos, pairs: incast(15, 1, 2, 3, 4, 5, 6, 7), want: repeat(nic/7, 7)},
		{name: "incast and a bystander", net: clos, pairs: append(incast(15, 1, 2, 3), sim.Pair{From: 1, To: 14}), want: []float64{nic / 3, nic / 3, nic / 3, nic * 2 / 3}},
		// What the one that shares leaves, the other takes: 0 to 15 has a third, so 0 to 14 two.
		{name: "two levels", net: clos, pairs: append(incast(15, 0, 1, 2), sim.Pair{From: 0, To: 14}, sim.Pair{From: 3, To: 14}), want: []float64{nic / 3, nic / 3, nic / 3, nic / 2, nic / 2}},
		{name: "to itself", net: clos, pairs: []sim.Pair{{From: 3, To: 3}, {From: 3, To: 15}}, want: []float64{math.Inf(1), nic}},
		{name: "in a host", net: clos, pairs: []sim.Pair{{From: 0, To: 1}, {From: 0, To: 2}}, want: []float64{370.8 / 2, 370.8 / 2}},
		{name: "1:7 sprayed", net: narrow, pairs: across(56), flows: 56, c: topology.Choice{Spread: true}, want: repeat(nic/7, 56)},
	} {
		got, err := sim.Rates(tc.net, tc.pairs, tc.flows, tc.c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] /= 1e9; math.Abs(got[i]/tc.want[i]-1) > 1e-6 && got[i] != tc.want[i] {
				t.Errorf("%s: %v GB/s, want %v", tc.name, got, tc.want)
				break
			}
		}
	}
	// Two flows of one rack that the hash puts onto one spine share its wire; on two spines neither notices the other.
	met := map[float64]int{}
	for seed := range uint64(64) {
		rates, err := sim.Rates(clos, []sim.Pair{{From: 0, To: 16}, {From: 1, To: 40}}, 1, topology.Choice{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		a, _ := clos.Route(nil, 0, 16, topology.Choice{Seed: seed})
		b, _ := clos.Route(nil, 1, 40, topology.Choice{Seed: seed})
		want := nic * 1e9
		if a[1] == b[1] {
			want /= 2
		}
		if math.Abs(rates[0]/want-1) > 1e-6 || math.Abs(rates[1]/want-1) > 1e-6 {
			t.Errorf("seed %d: %v, want %v", seed, rates, want)
		}
		met[want]++
	}
	if len(met) != 2 {
		t.Errorf("in 64 draws the two flows met never or always: %v", met)
	}
}

func incast(to topology.Rank, from ...topology.Rank) (pairs []sim.Pair) {
	for _, r := range from {
		pairs = append(pairs, sim.Pair{From: r, To: to})
	}
	return pairs
}

func across(n topology.Rank) (pairs []sim.Pair) {
	for r := range n {
		pairs = append(pairs, sim.Pair{From: r, To: r + n})
	}
	return pairs
}

func repeat(x float64, n int) (out []float64) {
	for range n {
		out = append(out, x)
	}
	return out
}

// Where no two transfers meet on a wire, the network takes as long as its tiers say.
func TestCongestionOfOne(t *testing.T) {
	for _, tc := range []struct {
		preset string
		n      int
		v      plan.Variant
	}{
		{"nvlink", 8, plan.Variant{Algorithm: plan.HalvingDoubling}}, {"nvlink", 8, plan.Variant{Algorithm: plan.Ring}},
		{"llama3", 16, plan.Variant{Algorithm: plan.HalvingDoubling}}, {"llama3", 16, plan.Variant{Algorithm: plan.Ring}},
		{"rail", 256, plan.Variant{Algorithm: plan.HalvingDoubling}}, {"rail", 64, plan.Variant{Algorithm: plan.Ring}},
	} {
		g := preset(t, tc.preset, tc.n, nil)
		s := build(t, g, tc.v, schedule.AllReduce, 0)
		for _, bytes := range []int64{0, 4, int64(tc.n) << 20} {
			for _, slices := range []int64{0, 256 << 10} {
				a := run(t, g, s, bytes, sim.Unverified(), sim.Slices(slices), sim.At(sim.Messages))
				b := run(t, g, s, bytes, sim.Unverified(), sim.Slices(slices), sim.At(sim.Congestion))
				if d := math.Abs(float64(b.Time - a.Time)); d > 1000+1e-6*float64(a.Time) || a.Tiers != b.Tiers {
					t.Errorf("%s %d by %v, %d bytes in slices of %d: %v, without sharing %v", tc.preset, tc.n, tc.v, bytes, slices, b.Time, a.Time)
				}
			}
		}
	}
}

// Halving and doubling between two racks of 56 ranks with 1:7 between them: sprayed, the exchange across takes seven times as long;
// hashed, longer than that. Equal runs are equal.
func TestOversubscription(t *testing.T) {
	g := preset(t, "clos2", 128, map[string]string{"hosts-per-rack": "8", "oversub": "7", "alpha": "0"})
	s := build(t, g, plan.Variant{Algorithm: plan.HalvingDoubling}, schedule.AllReduce, 0)
	const bytes = 128 << 20
	times := make(map[int]sim.Time)
	for flows, c := range map[int]topology.Choice{9: {Spread: true}, 1: {}} {
		opts := []sim.Option{sim.Slices(0), sim.At(sim.Congestion), sim.Routed(flows, c), sim.Costs(func(topology.Link) sim.Cost { return sim.Cost{} })}
		r := run(t, g, s, bytes, opts...)
		if again := run(t, g, s, bytes, opts...); again.Digest != r.Digest {
			t.Errorf("one seed gave %x and %x", r.Digest, again.Digest)
		}
		times[flows] = r.Time
		for _, w := range r.Wires {
			if w.Busy > 1+1e-6 {
				t.Errorf("wire from %s to %s is busy for %g of the time", w.From, w.To, w.Busy)
			}
		}
		up := r.Layers[2]
		if want := int64(2 * 2 * 128 * bytes / 2); up.Bytes < want || up.Bytes > want+100 { // two exchanges, up and down
			t.Errorf("%d bytes through the spine, want %d", up.Bytes, want)
		}
		if !c.Spread && up.Most < 1.2*up.Mean {
			t.Errorf("the busiest wire is as busy as %g of the mean", up.Most/up.Mean)
		}
	}
	const rate, inside = 48e9, 370.8e9
	reduce := g.Reduce()
	want := 0.0
	for half := float64(bytes) / 2; half >= bytes/128; half /= 2 {
		switch {
		case half == bytes/2:
			want += 2*7*half/rate + half*reduce
		case half >= bytes/16:
			want += 2*half/rate + half*reduce
		default:
			want += 2*half/inside + half*reduce
		}
	}
	if got := times[9].Seconds(); math.Abs(got/want-1) > 1e-6 {
		t.Errorf("sprayed: %g s, want %g", got, want)
	}
	if times[1] < times[9]*11/10 {
		t.Errorf("hashed: %v, sprayed %v", times[1], times[9])
	}
}

// Sixteen flows give the slowest pair of an exchange between the pods of Meta's cluster of 24,576 GPUs more than twice what one gives it,
// about 2.1 times as Meta has it. The slowest is an extreme of draws: over seeds 0 to 20 it gains 2.12 to 2.76 times, 2.35 in the middle; of two pods
// 2.01 to 2.79, 2.23 in the middle; and of 65,536 ranks, each with the one 8,192 further, 2.35 to 2.95, 2.50 in the middle.
func TestWorstPair(t *testing.T) {
	const ranks, pod = 24576, 3072
	n := network(t, preset(t, "llama3", ranks, nil))
	var pairs []sim.Pair
	for r := range topology.Rank(ranks) {
		pairs = append(pairs, sim.Pair{From: r, To: (r + pod) % ranks})
	}
	var gains []float64
	for seed := range uint64(5) {
		var worst []float64
		for _, flows := range []int{1, 16} {
			rates, err := sim.Rates(n, pairs, flows, topology.Choice{Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			worst = append(worst, slices.Min(rates)/1e9)
		}
		t.Logf("seed %d: %.2f GB/s by one flow, %.2f by sixteen, %.2f times", seed, worst[0], worst[1], worst[1]/worst[0])
		if worst[1] > 48.0/7*1.05 {
			t.Errorf("the worst of all pairs has %.2f GB/s, more than its part", worst[1])
		}
		gains = append(gains, worst[1]/worst[0])
	}
	slices.Sort(gains)
	if gain := gains[len(gains)/2]; gain < 2 || gain > 2.6 {
		t.Errorf("by sixteen flows the worst pair has %.2f times as much", gain)
	}
}

// Halving and doubling between two racks of 1,024 ranks that sixteen wires join: the busiest wire has carried more than 1.2 times the mean of
// its 1,024 flows, as hashes have it; where each pair sprays over all wires, the mean.
func TestBusiestWire(t *testing.T) {
	g := preset(t, "clos2", 2048, map[string]string{"hosts-per-rack": "128", "oversub": "64"})
	s := build(t, g, plan.Variant{Algorithm: plan.HalvingDoubling}, schedule.AllReduce, 0)
	for spread, want := range map[bool][2]float64{false: {1.2, 1.5}, true: {1, 1.0001}} {
		flows := 1
		if spread {
			flows = 16
		}
		r := run(t, g, s, 64<<20, sim.Unverified(), sim.Slices(0), sim.Rounds(), sim.Routed(flows, topology.Choice{Seed: 1, Spread: spread}))
		l := r.Layers[len(r.Layers)-1]
		ratio := l.Most / l.Mean
		t.Logf("spread %v: %d of %d wires used, the busiest %.3f times the mean", spread, l.Used, l.Wires, ratio)
		if l.Used != 64 || ratio < want[0] || ratio > want[1] {
			t.Errorf("spread %v: the busiest of %d wires has %.3f times the mean, want %v", spread, l.Used, ratio, want)
		}
	}
}

// A network without a way leaves those waiting that need it, and says so.
func TestNoRoute(t *testing.T) {
	g := preset(t, "clos2", 32, map[string]string{"hosts-per-rack": "2"})
	cut := network(t, g, "rank3")
	var route *sim.RouteError
	if _, err := sim.Rates(cut, []sim.Pair{{From: 3, To: 20}}, 1, topology.Choice{}); !errors.As(err, &route) {
		t.Errorf("got %v, want a RouteError", err)
	}
	s := build(t, g, plan.Variant{Algorithm: plan.HalvingDoubling}, schedule.AllReduce, 0)
	var stuck *sim.StuckError
	if _, err := sim.Run(g, s, 1<<20, sim.Wired(cut)); !errors.As(err, &stuck) || stuck.Lost == 0 {
		t.Errorf("got %v, want a StuckError with lost messages", err)
	}
	// Around a spine there is a way.
	lost := run(t, g, s, 1<<20, sim.Wired(network(t, g, "world0.3")))
	whole := run(t, g, s, 1<<20, sim.At(sim.Congestion))
	if one := run(t, preset(t, "local", 1, nil), build(t, preset(t, "local", 1, nil), plan.Variant{Algorithm: plan.Ring}, schedule.AllReduce, 0), 4, sim.At(sim.Congestion)); one.Messages() != 0 {
		t.Errorf("one rank alone sends %d messages", one.Messages())
	}
	if lost.Time < whole.Time {
		t.Errorf("%v without a spine, %v with it", lost.Time, whole.Time)
	}
	var bad *sim.OptionError
	for name, f := range map[string]func() error{
		"flows":   func() error { _, err := sim.Run(g, s, 4, sim.Routed(0, topology.Choice{})); return err },
		"refresh": func() error { _, err := sim.Run(g, s, 4, sim.Refresh(math.NaN())); return err },
		"level":   func() error { _, err := sim.Run(g, s, 4, sim.At(sim.Messages), sim.Wired(cut)); return err },
		"wires":   func() error { _, err := sim.Run(g, s, 4, sim.At(sim.Congestion), sim.Queue(sim.PairWires)); return err },
		"network": func() error {
			_, err := sim.Run(g, s, 4, sim.Wired(network(t, preset(t, "local", 4, nil))))
			return err
		},
		"many": func() error { _, err := sim.Rates(cut, nil, 1<<20, topology.Choice{}); return err },
		"no rank": func() error {
			_, err := sim.Rates(cut, []sim.Pair{{From: 0, To: 32}}, 1, topology.Choice{})
			return err
		},
	} {
		if err := f(); !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want an OptionError", name, err)
		}
	}
}

// Rates that are worked out rarely, or once a round, come near those of every change.
func TestRounds(t *testing.T) {
	for _, racks := range []string{"2", "4"} {
		g := preset(t, "llama3", 128, map[string]string{"racks-per-pod": racks})
		for _, v := range []plan.Variant{{Algorithm: plan.HalvingDoubling}, {Algorithm: plan.Tree}, {Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling}} {
			s := build(t, g, v, schedule.AllReduce, 0)
			opts := []sim.Option{sim.Slices(0), sim.At(sim.Congestion), sim.Unverified()}
			exact := run(t, g, s, 64<<20, append(opts, sim.Refresh(0))...)
			for name, o := range map[string]sim.Option{"rarely": sim.Refresh(0.3), "by rounds": sim.Rounds()} {
				r := run(t, g, s, 64<<20, append(opts, o)...)
				ratio := float64(r.Time) / float64(exact.Time)
				t.Logf("racks of %s, %v, %s: %.3f of %v", racks, v, name, ratio, exact.Time)
				if ratio < 0.75 || ratio > 1.25 {
					t.Errorf("pods of %s racks, %v, %s: %v, want %v", racks, v, name, r.Time, exact.Time)
				}
				if r.Tiers != exact.Tiers {
					t.Errorf("%v, %s: traffic %v, want %v", v, name, r.Tiers, exact.Tiers)
				}
			}
		}
	}
}

// A long ring, as a recurrence over links that all share at once, takes what its messages take one by one, where every link is in
// use all the time.
func TestCongestedRing(t *testing.T) {
	for _, flows := range []int{1, 4} {
		g := preset(t, "llama3", 64, map[string]string{"racks-per-pod": "2"})
		s := build(t, g, plan.Variant{Algorithm: plan.Ring}, schedule.AllReduce, 0)
		opts := []sim.Option{sim.Slices(0), sim.Unverified(), sim.Routed(flows, topology.Choice{Seed: 3})}
		a := run(t, g, s, 64<<20, append(opts, sim.Refresh(0))...)
		b := run(t, g, s, 64<<20, append(opts, sim.Stepped())...)
		if ratio := float64(b.Time) / float64(a.Time); a.Tiers != b.Tiers || ratio < 0.999 || ratio > 1.1 || a.Method == b.Method {
			t.Errorf("%d flows: %v by %s, %v by %s", flows, b.Time, b.Method, a.Time, a.Method)
		}
		for i := range a.Layers {
			if a.Layers[i].Bytes != b.Layers[i].Bytes || a.Layers[i].Used != b.Layers[i].Used {
				t.Errorf("%d flows: layers carry %+v, one by one %+v", flows, b.Layers[i], a.Layers[i])
			}
		}
	}
}
