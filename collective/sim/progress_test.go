package sim_test

import (
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
)

// Whichever way a run goes by messages, it says how far it is: more each time, and never more than all.
func TestProgress(t *testing.T) {
	for _, tc := range []struct {
		preset string
		n      int
		v      plan.Variant
		bytes  int64
		opts   []sim.Option
		method string
	}{
		{"llama3", 64, plan.Variant{Algorithm: plan.Direct}, 1 << 20, nil, sim.InVolleys},
		{"rail", 1024, plan.Variant{Algorithm: plan.Tree}, 64 << 20, nil, sim.ByWindows},
		{"rail", 256, plan.Variant{Algorithm: plan.Tree}, 64 << 20, []sim.Option{sim.ByEvents()}, "messages"},
		{"rail", 64, plan.Variant{Algorithm: plan.Ring}, 64 << 20, []sim.Option{sim.Stepped(), sim.Jitter(0.1, 1), sim.Slices(1 << 10)}, ""},
	} {
		g := preset(t, tc.preset, tc.n, nil)
		var told []float64
		opts := append(tc.opts, sim.Unverified(), sim.Progress(func(done float64) { told = append(told, done) }))
		r := run(t, g, build(t, g, tc.v, schedule.AllReduce, 0), tc.bytes, opts...)
		if tc.method != "" && r.Method != tc.method {
			t.Errorf("%v over %d ranks of %s: ran as %s, want %s", tc.v, tc.n, tc.preset, r.Method, tc.method)
		}
		if len(told) == 0 {
			t.Errorf("%v over %d ranks of %s, %s: said nothing", tc.v, tc.n, tc.preset, r.Method)
		}
		last := 0.0
		for _, done := range told {
			if done < last || done > 1 {
				t.Errorf("%v over %d ranks of %s, %s: got %v, want more each time, up to 1", tc.v, tc.n, tc.preset, r.Method, told)
				break
			}
			last = done
		}
		if tc.method == sim.InVolleys && last != 1 {
			t.Errorf("%v over %d ranks of %s, %s: ended at %v, want 1", tc.v, tc.n, tc.preset, r.Method, last)
		}
	}
}
