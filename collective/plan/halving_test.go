package plan

import (
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
)

// Which legs send and receive is counted, and found by number, as the legs themselves say.
func TestHalvingCountsLegs(t *testing.T) {
	for _, c := range schedule.Collectives() {
		for n := 2; n <= 128; n *= 2 {
			s := newHalving(c, 0, n, order{}).(*halving)
			for v := range s.m {
				for _, in := range []bool{false, true} {
					count := 0
					for step := range s.steps() {
						if got := s.count(v, step, in); got != count {
							t.Fatalf("%v over %d: %d legs of %d before %d (in: %v), want %d", c, n, got, v, step, in, count)
						}
						g := s.leg(v, step)
						if in && g.recvHi == g.recvLo || !in && g.sendHi == g.sendLo {
							continue
						}
						if got, ok := s.find(v, count, in); !ok || got != step {
							t.Fatalf("%v over %d: leg %d of %d (in: %v) is %d, %v, want %d", c, n, count, v, in, got, ok, step)
						}
						count++
					}
					if got := s.count(v, s.steps(), in); got != count {
						t.Fatalf("%v over %d: %d legs of %d (in: %v), want %d", c, n, got, v, in, count)
					}
					for further := range 3 {
						if got, ok := s.find(v, count+further, in); ok {
							t.Fatalf("%v over %d: leg %d of %d (in: %v) is %d, want none", c, n, count+further, v, in, got)
						}
					}
				}
			}
		}
	}
}
