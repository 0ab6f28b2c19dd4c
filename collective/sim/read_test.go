package sim_test

import (
	"runtime"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// What a run finds does not depend on how many processors read its schedule and routed its messages.
func TestProcessors(t *testing.T) {
	g := preset(t, "meta100k", 1031, nil)
	for _, v := range []plan.Variant{
		{Algorithm: plan.HalvingDoubling}, {Algorithm: plan.Tree}, {Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling},
	} {
		s := build(t, g, v, schedule.AllReduce, 0)
		for _, opts := range [][]sim.Option{
			{}, {sim.At(sim.Messages), sim.Slices(0)}, {sim.Jitter(0.3, 5)}, {sim.Routed(2, topology.Choice{}), sim.Rounds(), sim.Slices(0)},
		} {
			opts = append(opts, sim.Unverified())
			one := runtime.GOMAXPROCS(1)
			want := run(t, g, s, 1<<20, opts...)
			runtime.GOMAXPROCS(4)
			got := run(t, g, s, 1<<20, opts...)
			runtime.GOMAXPROCS(one)
			if got.Digest != want.Digest || got.Classes != want.Classes || got.Time != want.Time {
				t.Errorf("%v: %x of %d classes in %v by four, %x of %d in %v by one", v, got.Digest, got.Classes, got.Time, want.Digest,
					want.Classes, want.Time)
			}
		}
	}
}
