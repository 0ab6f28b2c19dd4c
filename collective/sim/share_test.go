package sim

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

// carried returns what each wire of a fabric carries, and the most that one of its flows has.
func carried(f *fabric) (sum, most []float64) {
	sum, most = make([]float64, len(f.wires)), make([]float64, len(f.wires))
	for _, slot := range f.active {
		t := &f.transfers[slot]
		k := 0
		for _, w := range t.wires {
			i := max(w, ^w)
			sum[i] += t.flows[k]
			most[i] = max(most[i], t.flows[k])
			if w < 0 {
				k++
			}
		}
	}
	return sum, most
}

// Rates are max-min fair on every kind of network: no wire carries more than it can, and every flow either has all that it may or
// crosses a full wire on which nobody has more (Bertsekas and Gallager, 6.5.2). Transfers that join later take nothing from the others.
func TestMaxMinFair(t *testing.T) {
	const eps = 1e-6
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, preset := range topology.Presets() {
		g, err := topology.Preset(preset, 200, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := g.Network()
		if err != nil {
			t.Fatal(err)
		}
		for trial := range 12 {
			net := n
			if trial%3 == 2 { // slow wires
				for range 5 {
					if net, err = net.With(topology.Fault{Wire: topology.WireID(rng.IntN(n.Wires())), Factor: 0.1 + 0.8*rng.Float64()}); err != nil {
						t.Fatal(err)
					}
				}
			}
			f := newFabric(net, 1+rng.IntN(5), topology.Choice{Seed: rng.Uint64(), Spread: trial%4 == 3})
			count := 1 + rng.IntN(400)
			put := func() {
				slot := f.slot()
				a, b := rng.IntN(200), rng.IntN(200)
				if trial%2 == 1 { // a few receivers
					b = rng.IntN(5)
				}
				if !f.route(slot, topology.Rank(a), topology.Rank(b)) {
					t.Fatalf("%s: no route from %d to %d", preset, a, b)
				}
				m := &f.transfers[slot]
				if rng.IntN(4) == 0 {
					m.most = rng.Float64() * 0.1
				}
				f.add(slot)
			}
			for range count {
				put()
			}
			f.solve()
			f.alone()
			sum, most := carried(f)
			for w := range sum {
				if rate := f.wires[w].rate; sum[w] > rate*(1+eps) || math.Abs(f.wires[w].used-sum[w]) > rate*eps {
					t.Fatalf("seed %d, %s: wire %d carries %g of %g, used is %g", seed, preset, w, sum[w], rate, f.wires[w].used)
				}
			}
			for _, slot := range f.active {
				m := &f.transfers[slot]
				k, held := 0, false
				for _, w := range m.wires {
					i := max(w, ^w)
					full := sum[i] >= f.wires[i].rate*(1-eps)
					held = held || full && m.flows[k] >= most[i]*(1-eps) || m.flows[k] >= m.most/float64(f.k)*(1-eps)
					if w < 0 {
						if !held {
							t.Fatalf("seed %d, %s, %d transfers of %d flows: a flow has %g and could have more", seed, preset, count, f.k, m.flows[k])
						}
						k, held = k+1, false
					}
				}
			}
			for range 20 {
				put()
				f.join(f.active[len(f.active)-1])
			}
			sum, _ = carried(f)
			for w := range sum {
				if rate := f.wires[w].rate; sum[w] > rate*(1+eps) {
					t.Fatalf("seed %d, %s: with more transfers wire %d carries %g of %g", seed, preset, w, sum[w], rate)
				}
			}
		}
	}
}
