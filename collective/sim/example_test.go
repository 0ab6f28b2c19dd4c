package sim_test

import (
	"fmt"
	"time"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// A cluster nobody here owns all-reduces 1 GiB over 65,536 ranks in under a tenth of a second.
func ExampleRun() {
	g, err := topology.Preset("rail", 65536, nil)
	if err != nil {
		panic(err)
	}
	s, err := plan.New(g).Build(plan.Variant{Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling}, plan.Request{Collective: schedule.AllReduce})
	if err != nil {
		panic(err)
	}
	r, err := sim.Run(g, s, 1<<30, sim.Slices(0))
	if err != nil {
		panic(err)
	}
	fmt.Println("under 100 ms:", r.Time.Duration() < 100*time.Millisecond)
	fmt.Println("messages:", r.Messages())
	// Output:
	// under 100 ms: true
	// messages: 2621440
}

// Below some length a tree beats a ring on this cluster.
func Example_crossover() {
	g, err := topology.Preset("hosts", 16, map[string]string{"hosts": "16"})
	if err != nil {
		panic(err)
	}
	p := plan.New(g)
	var runs []*sim.Simulation
	for _, a := range []plan.Algorithm{plan.Tree, plan.Ring} {
		s, err := p.Build(plan.Variant{Algorithm: a}, plan.Request{Collective: schedule.AllReduce})
		if err != nil {
			panic(err)
		}
		m, err := sim.New(g, s, sim.Unverified())
		if err != nil {
			panic(err)
		}
		runs = append(runs, m)
	}
	faster := func(bytes int64) plan.Algorithm {
		tree, err := runs[0].Run(bytes)
		if err != nil {
			panic(err)
		}
		ring, err := runs[1].Run(bytes)
		if err != nil {
			panic(err)
		}
		if tree.Time < ring.Time {
			return plan.Tree
		}
		return plan.Ring
	}
	fmt.Println("64 KiB:", faster(64<<10))
	fmt.Println("4 GiB:", faster(4<<30))
	// Output:
	// 64 KiB: tree
	// 4 GiB: ring
}

// Losing one of a pod's four spines costs at most a third here, and halving and doubling goes on.
func Example_lostSpine() {
	g, err := topology.Preset("clos2", 64, map[string]string{"hosts-per-rack": "1", "oversub": "2"})
	if err != nil {
		panic(err)
	}
	s, err := plan.New(g).Build(plan.Variant{Algorithm: plan.HalvingDoubling}, plan.Request{Collective: schedule.AllReduce})
	if err != nil {
		panic(err)
	}
	whole, err := g.Network()
	if err != nil {
		panic(err)
	}
	faults, err := whole.ParseFault("world0.3")
	if err != nil {
		panic(err)
	}
	broken, err := whole.With(faults...)
	if err != nil {
		panic(err)
	}
	spray := sim.Routed(8, topology.Choice{Spread: true})
	before, err := sim.Run(g, s, 64<<20, sim.Wired(whole), spray)
	if err != nil {
		panic(err)
	}
	after, err := sim.Run(g, s, 64<<20, sim.Wired(broken), spray)
	if err != nil {
		panic(err)
	}
	cost := float64(after.Time)/float64(before.Time) - 1
	fmt.Println("costs something:", cost > 0.01)
	fmt.Println("more than expected:", cost > 1.0/3)
	// Output:
	// costs something: true
	// more than expected: false
}
