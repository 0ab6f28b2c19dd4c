package collective_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// Every operation can be started; all outstanding at once, they run in the order of the calls.
func TestStarted(t *testing.T) {
	for _, links := range linkKinds() {
		for _, n := range []int{1, 3} {
			each(t, join(t, layout{ranks: n, links: links}), func(ctx context.Context, c *collective.Comm) error {
				r := c.Rank()
				x := []int32{int32(r + 1)}
				gathered := make([]int32, n)
				scattered := make([]int32, 1)
				sent := []int32{int32(r)}
				total := make([]int32, n)
				starts := []func() (*collective.Work, error){
					func() (*collective.Work, error) { return collective.StartAllReduce(ctx, c, x, buffer.Sum) },
					func() (*collective.Work, error) { return collective.StartAllGather(ctx, c, gathered, x) },
					func() (*collective.Work, error) {
						return collective.StartReduceScatter(ctx, c, scattered, gathered, buffer.Max)
					},
					func() (*collective.Work, error) { return collective.StartBroadcast(ctx, c, sent, n-1) },
					func() (*collective.Work, error) {
						return collective.StartReduce(ctx, c, total, gathered, buffer.Sum, 0)
					},
					func() (*collective.Work, error) { return collective.StartBarrier(ctx, c) },
				}
				var works []*collective.Work
				for _, start := range starts {
					w, err := start()
					if err != nil {
						return err
					}
					works = append(works, w)
				}
				last := works[len(works)-1]
				<-last.Done()
				for i, w := range works { // the last is done, so all are
					select {
					case <-w.Done():
					default:
						return fmt.Errorf("number %d is not done, the last one is", i)
					}
					if err := errors.Join(w.Err(), w.Wait(ctx)); err != nil {
						return err
					}
				}
				sum := int32(n * (n + 1) / 2)
				want := slices.Repeat([]int32{sum}, n)
				if x[0] != sum || !slices.Equal(gathered, want) || scattered[0] != sum || sent[0] != int32(n-1) {
					return fmt.Errorf("rank %d: got %d %d %d %d, want %d %d %d %d", r, x, gathered, scattered, sent, sum, want, sum, n-1)
				}
				if want := slices.Repeat([]int32{sum * int32(n)}, n); r == 0 && !slices.Equal(total, want) {
					return fmt.Errorf("reduced to %d, want %d", total, want)
				}
				return nil
			})
		}
	}
}

// Wait ends with its own context, which leaves the operation as it is. A Work can be waited for by many.
func TestWaitGivesUp(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 2, links: links})
		w, err := collective.StartBarrier(t.Context(), comms[0])
		if err != nil {
			t.Fatal(err)
		}
		tired := errors.New("tired")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(tired)
		if err := w.Wait(ctx); !errors.Is(err, tired) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Wait: got %v, want %v and %v", links, err, tired, context.Canceled)
		}
		if err := w.Err(); err != nil {
			t.Errorf("%s: Err of a running operation: %v", links, err)
		}
		waiting := make(chan []error)
		go func() { waiting <- ranksDo(5, func(int) error { return w.Wait(t.Context()) }) }()
		if err := collective.Barrier(t.Context(), comms[1]); err != nil {
			t.Errorf("%s: %v", links, err)
		}
		if err := errors.Join(<-waiting...); err != nil {
			t.Errorf("%s: Wait: %v", links, err)
		}
		if err := w.Wait(ctx); err != nil { // it is done: a context that has ended does not matter
			t.Errorf("%s: Wait for what is done: %v", links, err)
		}
	}
}

// When an operation fails, those that are queued behind it fail by the same cause, and none is left waiting.
func TestQueueFailsTogether(t *testing.T) {
	comms := join(t, layout{ranks: 2, links: overMem})
	var works []*collective.Work
	for range 20 {
		w, err := collective.StartBarrier(t.Context(), comms[0])
		if err != nil {
			t.Fatal(err)
		}
		works = append(works, w)
	}
	comms[1].Abort(errors.New("no"))
	for i, w := range works {
		if err := w.Wait(t.Context()); !errors.Is(err, collective.ErrAborted) {
			t.Errorf("number %d: got %v, want %v", i, err, collective.ErrAborted)
		}
	}
}

// Many goroutines of a rank call at once. Their calls are alike, so it does not matter who comes first.
func TestManyCallers(t *testing.T) {
	for _, links := range linkKinds() {
		const n, callers, calls = 3, 6, 20
		each(t, join(t, layout{ranks: n, links: links}), func(ctx context.Context, c *collective.Comm) error {
			return errors.Join(ranksDo(callers, func(i int) error {
				for j := range calls {
					data := slices.Repeat([]int64{int64(c.Rank())}, 100)
					if (i+j)%2 == 0 {
						if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
							return err
						}
					} else {
						w, err := collective.StartAllReduce(ctx, c, data, buffer.Sum)
						if err != nil {
							return err
						}
						if err := w.Wait(ctx); err != nil {
							return err
						}
					}
					if want := slices.Repeat([]int64{n * (n - 1) / 2}, 100); !slices.Equal(data, want) {
						return fmt.Errorf("got %d, want %d", data, want)
					}
					// The other methods may be called at any time.
					if c.Err() != nil || c.Size() != n || c.Epoch() != 1 {
						return fmt.Errorf("size %d, epoch %d, %v", c.Size(), c.Epoch(), c.Err())
					}
				}
				return nil
			})...)
		})
	}
}
