package collective_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
)

// Once an operation has run for the first time, it allocates nothing: not by any algorithm, over any link, in memory of the
// caller or of the communicator.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	deeds := map[string]func(ctx context.Context, c *collective.Comm, data, all []float32) error{
		"all-reduce": func(ctx context.Context, c *collective.Comm, data, _ []float32) error {
			return collective.AllReduce(ctx, c, data, buffer.Sum)
		},
		"average": func(ctx context.Context, c *collective.Comm, data, _ []float32) error {
			return collective.AllReduce(ctx, c, data, buffer.Avg)
		},
		"reduce-scatter": func(ctx context.Context, c *collective.Comm, data, all []float32) error {
			return collective.ReduceScatter(ctx, c, data, all, buffer.Sum)
		},
		"all-gather": func(ctx context.Context, c *collective.Comm, data, all []float32) error {
			return collective.AllGather(ctx, c, all, data)
		},
		"broadcast": func(ctx context.Context, c *collective.Comm, data, _ []float32) error {
			return collective.Broadcast(ctx, c, data, 1)
		},
		"reduce": func(ctx context.Context, c *collective.Comm, data, _ []float32) error {
			return collective.Reduce(ctx, c, data, data, buffer.Sum, 1)
		},
		"barrier": func(ctx context.Context, c *collective.Comm, _, _ []float32) error {
			return collective.Barrier(ctx, c)
		},
		"two in turn": func(ctx context.Context, c *collective.Comm, data, all []float32) error {
			if err := collective.AllReduce(ctx, c, all, buffer.Sum); err != nil {
				return err
			}
			return collective.AllReduce(ctx, c, data, buffer.Max)
		},
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection drops caches of the runtime, which then fill again
	for _, links := range linkKinds() {
		for _, l := range []layout{
			{ranks: 2, links: links}, {ranks: 3, links: links, algorithm: plan.Ring}, {ranks: 4, links: links, hosts: 2, algorithm: plan.Hierarchical},
			{ranks: 4, links: links, algorithm: plan.Tree}, {ranks: 1, links: links},
		} {
			comms := join(t, l)
			for name, deed := range deeds {
				for _, count := range []int{2, 5000} {
					for _, m := range []memory{plain, registered} {
						allocs, err := allocsPerCall(t, comms, m, count, deed)
						if err != nil {
							t.Fatal(err)
						}
						if allocs > 0 {
							t.Errorf("%v: %s of %d: %d allocations a call on all ranks together, want none", l, name, count, allocs)
						}
					}
				}
			}
		}
	}
}

// allocsPerCall is testing.AllocsPerRun for all ranks at once: it counts what the whole process allocates.
func allocsPerCall(t *testing.T, comms []*collective.Comm, m memory, count int,
	deed func(ctx context.Context, c *collective.Comm, data, all []float32) error) (uint64, error) {
	const warm, calls = 20, 100
	var before, after runtime.MemStats
	var first error
	for _, err := range ranksDo(len(comms), func(r int) error {
		c, ctx := comms[r], t.Context()
		mem, err := m.alloc(c, buffer.Float32, count*(1+len(comms)))
		if err != nil {
			return err
		}
		both, err := buffer.View[float32](mem)
		if err != nil {
			return err
		}
		data, all := both[:count], both[count:]
		for i := range warm + calls {
			if i == warm {
				// Between the barriers no rank does anything else.
				if err := collective.Barrier(ctx, c); err != nil {
					return err
				}
				if r == 0 {
					runtime.ReadMemStats(&before)
				}
				if err := collective.Barrier(ctx, c); err != nil {
					return err
				}
			}
			if err := deed(ctx, c, data, all); err != nil {
				return fmt.Errorf("call %d: %w", i, err)
			}
		}
		if err := collective.Barrier(ctx, c); err != nil {
			return err
		}
		if r == 0 {
			runtime.ReadMemStats(&after)
		}
		if err := collective.Barrier(ctx, c); err != nil {
			return err
		}
		return m.free(c, mem)
	}) {
		if first == nil {
			first = err
		}
	}
	return (after.Mallocs - before.Mallocs) / calls, first
}
