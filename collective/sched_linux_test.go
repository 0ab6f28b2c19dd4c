package collective_test

import (
	"context"
	"fmt"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// A schedOutcome says what the schedulers, Go's and the kernel's, had to do with a number of operations.
type schedOutcome struct {
	Ops        int
	Goroutines uint64 // that were put on a thread
	Waited     int64  // ns that threads of the process waited for a core
	Wall       int64  // ns
}

// playSched measures rounds of 8-byte all-reduces, and returns the best one.
func playSched(ctx context.Context, c *collective.Comm, _ role, _ func(), _ <-chan struct{}) (schedOutcome, error) {
	data := make([]float32, 2)
	round := func(ops int) (schedOutcome, error) {
		began, waited, switched := time.Now(), queueTime(), goroutineStarts()
		for range ops {
			if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
				return schedOutcome{}, err
			}
		}
		return schedOutcome{ops, goroutineStarts() - switched, queueTime() - waited, int64(time.Since(began))}, nil
	}
	if _, err := round(1000); err != nil { // warms up
		return schedOutcome{}, err
	}
	best := schedOutcome{}
	for i := range 8 {
		o, err := round(10_000)
		if err != nil {
			return schedOutcome{}, err
		}
		if i == 0 || o.Goroutines < best.Goroutines {
			best = o
		}
	}
	return best, nil
}

// goroutineStarts returns how often goroutines of this process have gone from runnable to running. The runtime samples one
// in eight of them.
func goroutineStarts() uint64 {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	var n uint64
	for _, count := range s[0].Value.Float64Histogram().Counts {
		n += count
	}
	return n
}

// An all-reduce between two processes that have a core each is done without a switch of goroutines: both ranks poll and
// neither parks.
func TestNoGoroutineSwitch(t *testing.T) {
	needShm(t)
	group := groupName()
	all := []*process{}
	for r := range 2 {
		all = append(all, start(t, role{Play: "sched", Group: group, Size: 2, Ranks: []int{r}}))
	}
	var problems []string
	for r, p := range all {
		outcomes := wait(t, "outcome", p.outcomes)
		if len(outcomes) != 1 || outcomes[0].Error != "" {
			t.Fatalf("rank %d reports %+v", r, outcomes)
		}
		o := outcomes[0].Sched
		t.Logf("rank %d: %d operations in %v: %d goroutines put on a thread (sampled), threads waited %v for a core",
			r, o.Ops, time.Duration(o.Wall), o.Goroutines, time.Duration(o.Waited))
		switch {
		case o.Goroutines < uint64(o.Ops)/100:
		case o.Waited > o.Wall/200:
			problems = append(problems, fmt.Sprintf("rank %d's threads waited for a core for %.1f %% of the best round", r, 100*float64(o.Waited)/float64(o.Wall)))
		default:
			t.Errorf("rank %d: %d goroutines put on a thread in %d operations, want next to none", r, o.Goroutines, o.Ops)
		}
	}
	if len(problems) > 0 {
		t.Skip("this machine is too busy to tell: " + strings.Join(problems, "; "))
	}
}
