package sim_test

import (
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// What it takes to read a schedule and run it once, 1 GiB over 65,536 ranks of the llama3 preset, and some rows over 262,144. Memory is
// /usr/bin/time -v's business:
//
//	go test -c ./collective/sim && /usr/bin/time -v ./sim.test -test.run ^$ -test.benchtime 1x -test.bench 'Large/ring-exact$'
func BenchmarkLarge(b *testing.B) {
	type row struct {
		name string
		v    plan.Variant
		opts []sim.Option
	}
	rows := []row{
		{"ring-exact", plan.Variant{Algorithm: plan.Ring}, nil},
		{"ring-jitter", plan.Variant{Algorithm: plan.Ring}, []sim.Option{sim.Jitter(0.1, 1)}},
		{"hd-messages", plan.Variant{Algorithm: plan.HalvingDoubling}, []sim.Option{sim.Slices(0), sim.At(sim.Messages)}},
		{"hd-classes", plan.Variant{Algorithm: plan.HalvingDoubling}, []sim.Option{sim.Slices(0)}},
		{"tree-64-messages", plan.Variant{Algorithm: plan.Tree}, []sim.Option{sim.Slices(8 << 20), sim.At(sim.Messages)}},
		{"tree-64-classes", plan.Variant{Algorithm: plan.Tree}, []sim.Option{sim.Slices(8 << 20)}},
		{"hd-congestion-1", plan.Variant{Algorithm: plan.HalvingDoubling}, []sim.Option{sim.Slices(0), sim.At(sim.Congestion)}},
		{"hd-congestion-16", plan.Variant{Algorithm: plan.HalvingDoubling}, []sim.Option{sim.Slices(0), sim.Routed(16, topology.Choice{})}},
		{"ring-congestion", plan.Variant{Algorithm: plan.Ring}, []sim.Option{sim.At(sim.Congestion)}},
		{"hier-hd", plan.Variant{Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling}, []sim.Option{sim.Slices(0)}},
	}
	large := func(name string, n int, r row) {
		b.Run(name, func(b *testing.B) {
			g := preset(b, "llama3", n, nil)
			s := build(b, g, r.v, schedule.AllReduce, 0)
			messages := int64(0)
			for b.Loop() {
				messages += run(b, g, s, 1<<30, append(r.opts, sim.Unverified())...).Messages()
			}
			b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
		})
	}
	for _, r := range rows {
		large(r.name, 65536, r)
	}
	for _, r := range rows {
		switch r.name {
		case "ring-exact", "hd-messages", "hd-congestion-1", "hier-hd":
			large(r.name+"-262144", 262144, r)
		}
	}
}

// What a message takes, the schedule having been read.
func BenchmarkMessages(b *testing.B) {
	for _, bc := range []struct {
		name, preset string
		n            int
		v            plan.Variant
		slices       int64
	}{
		{"hd", "llama3", 1024, plan.Variant{Algorithm: plan.HalvingDoubling}, 0},
		{"tree", "llama3", 1024, plan.Variant{Algorithm: plan.Tree}, 1 << 20},
		{"ring", "llama3", 256, plan.Variant{Algorithm: plan.Ring}, 0},
		{"direct", "llama3", 256, plan.Variant{Algorithm: plan.Direct}, 0},
		{"hier", "llama3", 1024, plan.Variant{Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling}, 0},
	} {
		b.Run(bc.name, func(b *testing.B) {
			g := preset(b, bc.preset, bc.n, nil)
			m, err := sim.New(g, build(b, g, bc.v, schedule.AllReduce, 0), sim.At(sim.Messages), sim.Slices(bc.slices), sim.Unverified())
			if err != nil {
				b.Fatal(err)
			}
			messages := int64(0)
			for b.Loop() {
				r, err := m.Run(64 << 20)
				if err != nil {
					b.Fatal(err)
				}
				messages += r.Messages()
			}
			b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// What it takes to read a schedule over 1,024 ranks and run it once, as a test does: all-reduces by their algorithm's name, then the others.
func BenchmarkSmall(b *testing.B) {
	g := preset(b, "rail", 1024, nil)
	for _, c := range schedule.Collectives() {
		for _, v := range plan.New(g).Variants(c) {
			name := v.String()
			if c != schedule.AllReduce {
				name = c.String() + "/" + name
			}
			bytes := int64(64 << 20)
			if v.OneShot { // every rank sends the whole of it to every other
				bytes = 16 << 10
			}
			b.Run(name, func(b *testing.B) {
				s := build(b, g, v, c, 0)
				for b.Loop() {
					run(b, g, s, bytes, sim.For(schedule.Contract{Collective: c}), sim.Unverified())
				}
			})
		}
	}
}
