package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	operations := map[string]func(ctx context.Context, c *collective.Comm, data, all []float32) error{
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
			return collective.Broadcast(ctx, c, data, c.Size()-1)
		},
		"reduce": func(ctx context.Context, c *collective.Comm, data, _ []float32) error {
			return collective.Reduce(ctx, c, data, data, buffer.Sum, c.Size()-1)
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
	const tolerance = 0.02 // that of a counter of the whole process
	const longest = 5000
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection drops caches of the runtime, which then fill again
	for _, links := range linkKinds() {
		for _, l := range []layout{
			{ranks: 2, links: links}, {ranks: 3, links: links, algorithm: plan.Ring}, {ranks: 4, links: links, hosts: 2, algorithm: plan.Hierarchical},
			{ranks: 4, links: links, algorithm: plan.Tree}, {ranks: 1, links: links},
		} {
			comms := join(t, l)
			data := map[string][][]float32{"plain": make([][]float32, l.ranks), "registered": make([][]float32, l.ranks)}
			each(t, comms, func(_ context.Context, c *collective.Comm) (err error) {
				data["plain"][c.Rank()] = make([]float32, longest*(1+l.ranks))
				data["registered"][c.Rank()], err = collective.Alloc[float32](c, longest*(1+l.ranks))
				return err
			})
			for name, deed := range operations {
				for _, count := range []int{2, longest} {
					for kind, mem := range data {
						deed := func(ctx context.Context, c *collective.Comm) error {
							m := mem[c.Rank()]
							return deed(ctx, c, m[:count], m[count:count*(1+l.ranks)])
						}
						// The runtime and the endpoints may have something of their own to do: what the calls need, they
						// need every time.
						allocs := math.Inf(1)
						for try := 0; try < 5 && allocs > tolerance; try++ {
							got, _, err := allocsPerCall(t, comms, 200, deed)
							if err != nil {
								t.Fatal(err)
							}
							allocs = min(allocs, got)
						}
						if allocs > tolerance {
							t.Errorf("%v: %s of %d, %s memory: %.2f allocations a call on all ranks together, want none", l, name, count, kind, allocs)
						}
					}
				}
			}
		}
	}
}

// allocsPerCall is testing.AllocsPerRun for all ranks at once, and says how many bytes, too: it counts what the whole process allocates.
func allocsPerCall(t *testing.T, comms []*collective.Comm, calls int, deed func(ctx context.Context, c *collective.Comm) error) (allocs, bytes float64, err error) {
	warm := min(10, calls)
	var before, after runtime.MemStats
	errs := ranksDo(len(comms), func(r int) error {
		c, ctx := comms[r], t.Context()
		read := func(m *runtime.MemStats) error {
			// Between two barriers no rank does anything else.
			if err := collective.Barrier(ctx, c); err != nil {
				return err
			}
			if r == 0 {
				runtime.ReadMemStats(m)
			}
			return collective.Barrier(ctx, c)
		}
		for i := range warm + calls {
			if i == warm {
				if err := read(&before); err != nil {
					return err
				}
			}
			if err := deed(ctx, c); err != nil {
				return fmt.Errorf("call %d: %w", i, err)
			}
		}
		return read(&after)
	})
	per := 1 / float64(calls)
	return per * float64(after.Mallocs-before.Mallocs), per * float64(after.TotalAlloc-before.TotalAlloc), errors.Join(errs...)
}
