package collective_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
)

// A deed is what one rank does in a group of ranks that disagree.
type deed func(ctx context.Context, c *collective.Comm) error

func allReduce[T buffer.Elem](count int, op buffer.Op) deed {
	return func(ctx context.Context, c *collective.Comm) error {
		return collective.AllReduce(ctx, c, make([]T, count), op)
	}
}

func broadcast(count, root int) deed {
	return func(ctx context.Context, c *collective.Comm) error {
		return collective.Broadcast(ctx, c, make([]float32, count), root%c.Size())
	}
}

func reduce(count, root int) deed {
	return func(ctx context.Context, c *collective.Comm) error {
		data := make([]float32, count)
		return collective.Reduce(ctx, c, data, data, buffer.Sum, root%c.Size())
	}
}

func allGather(count int) deed {
	return func(ctx context.Context, c *collective.Comm) error {
		return collective.AllGather(ctx, c, make([]float32, count*c.Size()), make([]float32, count))
	}
}

func reduceScatter(count int) deed {
	return func(ctx context.Context, c *collective.Comm) error {
		return collective.ReduceScatter(ctx, c, make([]float32, count), make([]float32, count*c.Size()), buffer.Sum)
	}
}

func barrier(ctx context.Context, c *collective.Comm) error { return collective.Barrier(ctx, c) }

func deeds(all ...deed) deed {
	return func(ctx context.Context, c *collective.Comm) error {
		for _, d := range all {
			if err := d(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// Ranks that call different things all get a MismatchError, in time, whoever waits for whom. A rank whose part of its own
// call was over before it could know gets it from its next call.
func TestMismatch(t *testing.T) {
	cases := []struct {
		name   string
		odd    deed // of one rank
		others deed
		fields []string // nil: depends on who meets whom first
	}{
		{"count", allReduce[float32](3, buffer.Sum), allReduce[float32](4, buffer.Sum), []string{"count"}},
		{"count, other algorithm", allReduce[float32](3, buffer.Sum), allReduce[float32](300_000, buffer.Sum), []string{"count"}},
		{"count, other algorithm, the other way", allReduce[float32](300_000, buffer.Sum), allReduce[float32](1, buffer.Sum), []string{"count"}},
		{"nothing and something", allReduce[float32](0, buffer.Sum), allReduce[float32](1, buffer.Sum), []string{"count"}},
		{"dtype", allReduce[float32](5, buffer.Sum), allReduce[int32](5, buffer.Sum), []string{"dtype"}},
		{"op", allReduce[float32](5, buffer.Sum), allReduce[float32](5, buffer.Max), []string{"op"}},
		{"root", broadcast(7, 0), broadcast(7, 1), []string{"root", "operation number", "an earlier operation"}},
		{"root of a reduce", reduce(7, 0), reduce(7, 1), []string{"root", "operation number", "an earlier operation"}},
		{"root, long", broadcast(100_000, 0), broadcast(100_000, 1), []string{"root", "operation number", "an earlier operation"}},
		{"broadcast and all-reduce", broadcast(1, 0), allReduce[float32](1, buffer.Sum), nil},
		{"all-reduce and broadcast", allReduce[float32](1, buffer.Sum), broadcast(1, 1), nil},
		{"reduce and all-reduce", reduce(1, 1), allReduce[float32](1, buffer.Sum), nil},
		{"barrier and broadcast", barrier, broadcast(1, 0), nil},
		{"barrier and all-reduce", barrier, allReduce[float32](10_000, buffer.Sum), nil},
		{"all-gather and reduce-scatter", allGather(5), reduceScatter(5), []string{"collective"}},
		{"order", deeds(allReduce[float32](5, buffer.Sum), broadcast(5, 0)), deeds(broadcast(5, 0), allReduce[float32](5, buffer.Sum)), nil},
		{"order of counts", deeds(allReduce[float32](5, buffer.Sum), allReduce[float32](6, buffer.Sum)), deeds(allReduce[float32](6, buffer.Sum), allReduce[float32](5, buffer.Sum)), []string{"count"}},
		{"one more", deeds(broadcast(1, 0), broadcast(1, 0)), deeds(broadcast(1, 0), barrier), nil},
	}
	sizes := short(1, 3, 2, 5, 8)
	for _, links := range linkKinds() {
		for _, n := range sizes {
			algorithms := []plan.Algorithm{plan.Auto, plan.Tree, plan.Ring, plan.HalvingDoubling, plan.Direct, plan.Hierarchical}
			if n == 2 || n == 8 || links == overPairs { // the others tell more
				algorithms = algorithms[:2]
			}
			for _, a := range short(2, algorithms...) {
				l := layout{ranks: n, links: links, hosts: 2, algorithm: a}
				t.Run(fmt.Sprint(l), func(t *testing.T) {
					// All cases at once: they mostly wait.
					var all sync.WaitGroup
					for _, tc := range cases {
						for _, odd := range []int{0, n - 1} {
							all.Go(func() {
								err := disagree(t.Context(), l, func(r int) deed {
									if r == odd {
										return tc.odd
									}
									return tc.others
								}, tc.fields)
								if err != nil {
									t.Errorf("%s by rank %d: %v", tc.name, odd, err)
								}
							})
						}
					}
					all.Wait()
				})
			}
		}
	}
}

// disagree lets every rank of a new group do its deed, which must fail on every rank by a mismatch.
func disagree(ctx context.Context, l layout, what func(r int) deed, fields []string) error {
	comms, err := form(ctx, l, groupName(), transports(l.links))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := ranksDo(l.ranks, func(r int) error {
		err := what(r)(ctx, comms[r])
		for i := 0; err == nil && i < 10; i++ {
			err = collective.Barrier(ctx, comms[r])
		}
		return err
	})
	for r, err := range errs {
		var m *collective.MismatchError
		switch {
		case !errors.Is(err, collective.ErrMismatch) || !errors.As(err, &m):
			errs[r] = fmt.Errorf("rank %d: got %v, want a MismatchError", r, chain(err))
		case m.Local == m.Remote || m.Rank == m.Peer || m.Rank < 0 || m.Rank >= l.ranks || m.Peer < 0 || m.Peer >= l.ranks:
			errs[r] = fmt.Errorf("rank %d: %+v does not say who differs in what", r, m)
		case fields != nil && !slices.Contains(fields, m.Field):
			errs[r] = fmt.Errorf("rank %d: %v: differs in %q, want %q", r, m, m.Field, fields)
		case !errors.Is(comms[r].Err(), collective.ErrMismatch):
			errs[r] = fmt.Errorf("rank %d: Err after a mismatch is %v", r, comms[r].Err())
		default:
			errs[r] = nil
		}
	}
	return errors.Join(append(errs, ranksDo(l.ranks, func(r int) error { return comms[r].Close() })...)...)
}

// Every rank calls something of its own.
func TestEverybodyDisagrees(t *testing.T) {
	for _, links := range linkKinds() {
		all := []deed{allReduce[float32](9, buffer.Sum), allGather(9), reduceScatter(9), reduce(9, 2), broadcast(9, 4), barrier}
		t.Run(links, func(t *testing.T) {
			if err := disagree(t.Context(), layout{ranks: len(all), links: links}, func(r int) deed { return all[r] }, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// Data is never wrong: what a rank got without an error before the mismatch is what it asked for.
func TestMismatchLeavesEarlierResults(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 3, links: links})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		errs := ranksDo(3, func(r int) error {
			data := []int64{int64(r)}
			for i := range 20 {
				data[0] = int64(r + i)
				if err := collective.AllReduce(ctx, comms[r], data, buffer.Sum); err != nil {
					return err // of a rank that is further: its news overtakes its data
				}
				if want := int64(3 + 3*i); data[0] != want {
					return fmt.Errorf("got %d, want %d", data[0], want)
				}
			}
			if r == 1 {
				return collective.Barrier(ctx, comms[r])
			}
			return collective.AllReduce(ctx, comms[r], data, buffer.Sum)
		})
		for r, err := range errs {
			if !errors.Is(err, collective.ErrMismatch) {
				t.Errorf("%s, rank %d: got %v, want a MismatchError", links, r, err)
			}
		}
	}
}

// A rank that merely comes late is no mismatch: the others ask, get no answer, and go on when it comes.
func TestLateRankIsNoMismatch(t *testing.T) {
	for _, links := range linkKinds() {
		t.Run(links, func(t *testing.T) {
			const n = 4
			waited := make(chan struct{}, n)
			each(t, join(t, layout{ranks: n, links: links}), func(ctx context.Context, c *collective.Comm) error {
				for i := range 3 {
					if c.Rank() == 0 {
						for range n - 1 {
							<-waited
						}
					}
					data := []int32{int32(c.Rank())}
					w, err := collective.StartAllReduce(ctx, c, data, buffer.Sum)
					if err != nil {
						return err
					}
					if c.Rank() != 0 {
						// Longer than a rank waits before it asks.
						patient, cancel := context.WithTimeout(ctx, 250*time.Millisecond)
						if err := w.Wait(patient); !errors.Is(err, context.DeadlineExceeded) {
							cancel()
							return fmt.Errorf("round %d: Wait without rank 0: got %v, want its deadline", i, err)
						}
						cancel()
						if w.Err() != nil {
							return fmt.Errorf("round %d: Err while running: %v", i, w.Err())
						}
						waited <- struct{}{}
					}
					if err := w.Wait(ctx); err != nil {
						return err
					}
					if data[0] != 6 {
						return fmt.Errorf("round %d: got %d, want 6", i, data[0])
					}
				}
				return nil
			})
		})
	}
}
