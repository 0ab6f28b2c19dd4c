package sim_test

import (
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// A message up to S bytes leaves at once; a longer one asks, and leaves when the receiver has come to its receive and said so. All
// by hand: L = 1 µs, 1 ns a byte.
func TestRendezvous(t *testing.T) {
	const latency, limit = sim.Microsecond, 4096
	g := flat(t, 2, 0, 0, 0)
	s := build(t, g, plan.Variant{Algorithm: plan.Direct}, schedule.Broadcast, 0)
	for _, tc := range []struct {
		bytes int64
		late  sim.Time // of the receiver
		want  sim.Time
	}{
		{4096, 0, latency + 4096*sim.Nanosecond},
		{4100, 0, 3*latency + 4100*sim.Nanosecond},
		{4096, 50 * sim.Microsecond, 50 * sim.Microsecond},
		{4100, 50 * sim.Microsecond, 50*sim.Microsecond + 2*latency + 4100*sim.Nanosecond},
		{4100, sim.Microsecond / 2, 3*latency + 4100*sim.Nanosecond}, // there before it is asked
	} {
		opts := []sim.Option{
			sim.For(schedule.Contract{Collective: schedule.Broadcast}), sim.Slices(0), sim.At(sim.Messages),
			sim.Costs(func(topology.Link) sim.Cost {
				return sim.Cost{Latency: latency, PerByte: sim.RateOf(1000), Eager: limit}
			}),
		}
		if tc.late > 0 {
			opts = append(opts, sim.Late(1, tc.late))
		}
		if r := run(t, g, s, tc.bytes, opts...); r.Time != tc.want {
			t.Errorf("%d bytes to a receiver that comes at %v: %v, want %v", tc.bytes, tc.late, r.Time, tc.want)
		}
	}
}

// Classes of ranks and rings as recurrences ask as messages do, on either side of S and across it.
func TestRendezvousIsExact(t *testing.T) {
	g := preset(t, "rail", 64, map[string]string{"hosts-per-rack": "2"})
	for _, a := range []plan.Algorithm{plan.Ring, plan.Tree, plan.HalvingDoubling, plan.Hierarchical} {
		s := build(t, g, plan.Variant{Algorithm: a}, schedule.AllReduce, 0)
		last := sim.Time(0)
		for _, limit := range []int64{1 << 30, 8192, 4096, 1} { // a lower limit makes more messages ask
			opts := []sim.Option{sim.Unverified(), sim.Costs(eager(limit))}
			x := run(t, g, s, 64*5000, append(opts, sim.At(sim.Messages))...)
			y := run(t, g, s, 64*5000, append(opts, sim.At(sim.Classes))...)
			if x.Digest != y.Digest || !slices.Equal(x.Finish, y.Finish) {
				t.Errorf("%v, S = %d: %s takes %v, messages %v", a, limit, y.Method, y.Time, x.Time)
			}
			if x.Time < last {
				t.Errorf("%v: with S = %d it takes %v, with more %v", a, limit, x.Time, last)
			}
			last = x.Time
		}
	}
}

// Slices and chunks that are an element apart, on either side of S, ask together: a receiver that comes late does not find the short one
// where the long one should be, and wait for ever.
func TestRendezvousOfUnevenSlices(t *testing.T) {
	g := preset(t, "rail", 16, nil)
	for _, v := range []plan.Variant{{Algorithm: plan.Ring}, {Algorithm: plan.Tree}, {Algorithm: plan.HalvingDoubling}, {Algorithm: plan.Direct}} {
		s := build(t, g, v, schedule.AllReduce, 0)
		for _, length := range []int{16*750 + 7, 16*752 + 1} { // 250 or 251 elements in one of three slices
			for limit := int64(4 * 248); limit <= 4*252; limit += 4 {
				opts := []sim.Option{sim.Unverified(), sim.Slices(1200), sim.At(sim.Messages), sim.Late(1, sim.Millisecond)}
				free := run(t, g, s, 4*int64(length), append(opts, sim.Costs(eager(0)))...).Time
				if got := run(t, g, s, 4*int64(length), append(opts, sim.Costs(eager(limit)))...).Time; got < free {
					t.Fatalf("%v of %d elements, S = %d: %v, less than %v without", v, length, limit, got, free)
				}
			}
		}
	}
}

// eager returns costs of links with a limit beyond which messages ask.
func eager(limit int64) func(topology.Link) sim.Cost {
	return func(l topology.Link) sim.Cost {
		return sim.Cost{Latency: sim.Time(l.Alpha * 1e12), PerByte: sim.RateOf(l.Beta * 1e12), Near: l.Level == topology.Host, Eager: limit}
	}
}
