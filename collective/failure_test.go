package collective_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
)

// everyLayout calls f for small groups over every kind of link by every algorithm.
func everyLayout(t *testing.T, f func(t *testing.T, l layout)) {
	for _, links := range linkKinds() {
		for _, n := range short(1, 3, 2, 5) {
			for _, a := range short(2, algorithms()...) {
				l := layout{ranks: n, links: links, hosts: 2, algorithm: a}
				t.Run(fmt.Sprint(l), func(t *testing.T) {
					t.Parallel() // they mostly wait
					f(t, l)
				})
			}
		}
	}
}

// errWrong is a result that is not what the operation promises.
var errWrong = errors.New("wrong data")

// gather is an operation that no rank can finish without all others.
func gather(ctx context.Context, c *collective.Comm) error {
	data := contribution(c)
	if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
		return err
	}
	for i, got := range data {
		if want := int32(i * c.Size() * (c.Size() - 1) / 2); got != want {
			return fmt.Errorf("%w: element %d is %d, want %d", errWrong, i, got, want)
		}
	}
	return nil
}

// contribution is a rank's data of gather.
func contribution(c *collective.Comm) []int32 {
	data := make([]int32, 1000)
	for i := range data {
		data[i] = int32(i * c.Rank())
	}
	return data
}

// untilEnd repeats gather until the communicator has ended. What other ranks had sent before they gave up may complete
// the operation that they gave up, but not the next one.
func untilEnd(ctx context.Context, c *collective.Comm) error {
	for range 2 {
		if err := gather(ctx, c); err != nil {
			return err
		}
	}
	return errors.New("the communicator still works")
}

// When one rank's context ends it gets an error that names a rank it waited for and Is the context's, and every other rank
// one that says who gave up.
func TestContextEnds(t *testing.T) {
	cause := errors.New("the operator went home")
	ends := map[string]struct {
		run  func(ctx context.Context, c *collective.Comm) error
		want []error
	}{
		"canceled": {func(ctx context.Context, c *collective.Comm) error {
			ctx, cancel := context.WithCancel(ctx)
			go cancel()
			return gather(ctx, c)
		}, []error{context.Canceled}},
		"canceled before": {func(ctx context.Context, c *collective.Comm) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return gather(ctx, c)
		}, []error{context.Canceled}},
		"with a cause": {func(ctx context.Context, c *collective.Comm) error {
			ctx, cancel := context.WithCancelCause(ctx)
			go cancel(cause)
			return gather(ctx, c)
		}, []error{context.Canceled, cause}},
		"deadline": {func(ctx context.Context, c *collective.Comm) error {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			return gather(ctx, c)
		}, []error{context.DeadlineExceeded}},
		"timeout": {func(ctx context.Context, c *collective.Comm) error {
			return collective.AllReduce(ctx, c, contribution(c), buffer.Sum, collective.WithTimeout(20*time.Millisecond))
		}, []error{context.DeadlineExceeded}},
		"timeout of a started operation": {func(ctx context.Context, c *collective.Comm) error {
			w, err := collective.StartAllReduce(ctx, c, contribution(c), buffer.Sum, collective.WithTimeout(20*time.Millisecond))
			if err != nil {
				return err
			}
			return w.Wait(ctx)
		}, []error{context.DeadlineExceeded}},
	}
	everyLayout(t, func(t *testing.T, l layout) {
		for name, end := range ends {
			comms := join(t, l)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			// Rank 0 comes when it is too late; the last rank gives up.
			quitter := l.ranks - 1
			over := make(chan struct{})
			errs := ranksDo(l.ranks, func(r int) error {
				switch r {
				case 0:
					<-over
				case quitter:
					defer close(over)
					return end.run(ctx, comms[r])
				}
				return untilEnd(ctx, comms[r])
			})
			for r, err := range errs {
				if r != quitter {
					var abort *collective.AbortError
					if !errors.Is(err, collective.ErrAborted) || !errors.As(err, &abort) || abort.Rank != quitter {
						t.Errorf("%s: rank %d: got %v, want an AbortError that names rank %d", name, r, chain(err), quitter)
					}
					continue
				}
				var peer *collective.PeerError
				if !errors.As(err, &peer) || peer.Rank < 0 || peer.Rank >= l.ranks || peer.Rank == r || peer.Op != "all_reduce" {
					t.Errorf("%s: rank %d: got %v, want a PeerError that names a rank it waited for", name, r, chain(err))
				}
				for _, want := range end.want {
					if !errors.Is(err, want) {
						t.Errorf("%s: rank %d: got %v, want it to be %v", name, r, chain(err), want)
					}
				}
				if got := comms[r].Err(); !errors.Is(got, end.want[0]) {
					t.Errorf("%s: rank %d: Err is %v, want %v", name, r, got, end.want[0])
				}
			}
		}
	})
}

// With two ranks the one that is waited for is certain.
func TestDeadlineNamesTheRank(t *testing.T) {
	for _, links := range linkKinds() {
		for _, a := range plan.Algorithms() {
			comms := join(t, layout{ranks: 2, links: links, algorithm: a})
			err := collective.Barrier(t.Context(), comms[1], collective.WithTimeout(10*time.Millisecond))
			var peer *collective.PeerError
			if !errors.As(err, &peer) || peer.Rank != 0 || peer.Op != "barrier" {
				t.Errorf("%s, %v: got %v, want a PeerError that names rank 0", links, a, chain(err))
			}
		}
	}
}

// A context that has ended does not matter to an operation that need not wait.
func TestEndedContextOfOneRank(t *testing.T) {
	c := join(t, layout{ranks: 1, links: overMem})[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := gather(ctx, c); err != nil {
		t.Errorf("all-reduce of one rank: %v", err)
	}
}

// A call whose context ends while it waits for its turn ends as well, although the operation before it has no deadline.
func TestContextEndsInQueue(t *testing.T) {
	for _, links := range linkKinds() {
		for _, how := range []string{"blocking", "started"} {
			comms := join(t, layout{ranks: 2, links: links})
			first, err := collective.StartBarrier(context.Background(), comms[1])
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			second := make(chan error, 1)
			go func() {
				if how == "blocking" {
					second <- collective.Barrier(ctx, comms[1])
					return
				}
				w, err := collective.StartBarrier(ctx, comms[1])
				if err == nil {
					<-w.Done()
					err = w.Err()
				}
				second <- err
			}()
			go cancel()
			if err := <-second; !errors.Is(err, context.Canceled) {
				t.Errorf("%s, %s: the second got %v, want %v", links, how, err, context.Canceled)
			}
			<-first.Done()
			if err := first.Err(); !errors.Is(err, context.Canceled) && !errors.Is(err, collective.ErrAborted) {
				t.Errorf("%s, %s: the first got %v, want the abort", links, how, err)
			}
			var other error // its first barrier may find what rank 1 had sent
			for i := 0; i < 2 && other == nil; i++ {
				other = collective.Barrier(t.Context(), comms[0])
			}
			if !errors.Is(other, collective.ErrAborted) {
				t.Errorf("%s, %s: rank 0 got %v, want %v", links, how, other, collective.ErrAborted)
			}
		}
	}
}

// A context that ends after its operation, or after that of a Work, changes nothing.
func TestContextEndsAfterwards(t *testing.T) {
	comms := join(t, layout{ranks: 2, links: overMem})
	each(t, comms, func(ctx context.Context, c *collective.Comm) error {
		first, cancel := context.WithCancel(ctx)
		defer cancel()
		w, err := collective.StartBarrier(first, c)
		if err != nil {
			return err
		}
		if err := w.Wait(ctx); err != nil {
			return err
		}
		if err := collective.Barrier(first, c); err != nil {
			return err
		}
		cancel()
		return collective.Barrier(ctx, c)
	})
}

// Abort, from any goroutine, ends the running operation on every rank, and what comes later.
func TestAbort(t *testing.T) {
	everyLayout(t, func(t *testing.T, l layout) {
		comms := join(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cause := io.ErrUnexpectedEOF // of the caller's own
		calling := make(chan struct{}, l.ranks)
		go func() {
			for range l.ranks - 1 {
				<-calling
			}
			comms[1].Abort(cause)
			comms[1].Abort(errors.New("the second abort does not count"))
		}()
		over := make(chan struct{})
		errs := ranksDo(l.ranks, func(r int) error {
			switch r {
			case 0: // without it nobody finishes; it comes too late
				<-over
			case 1:
				defer close(over)
				fallthrough
			default:
				calling <- struct{}{}
			}
			return untilEnd(ctx, comms[r])
		})
		for r, err := range errs {
			var abort *collective.AbortError
			if !errors.As(err, &abort) || abort.Rank != 1 || abort.Cause != cause.Error() {
				t.Errorf("rank %d: got %v, want an AbortError of rank 1", r, chain(err))
			}
			if errors.Is(err, cause) != (r == 1) {
				t.Errorf("rank %d: %v Is the cause: %v, want that on rank 1 only", r, chain(err), errors.Is(err, cause))
			}
		}
	})
}

// Every rank is aborted while operations run at full speed.
func TestAbortInFullFlight(t *testing.T) {
	for _, links := range linkKinds() {
		for range short(2, make([]struct{}, 10)...) {
			comms := join(t, layout{ranks: 4, links: links})
			rounds := make(chan int, 1)
			go func() {
				<-rounds
				comms[2].Abort(errors.New("enough"))
			}()
			for r, err := range ranksDo(4, func(r int) error {
				for i := 0; ; i++ {
					if err := collective.AllReduce(t.Context(), comms[r], make([]float32, 30_000), buffer.Sum); err != nil {
						return err
					}
					if r == 0 && i == 3 {
						rounds <- i
					}
				}
			}) {
				if !errors.Is(err, collective.ErrAborted) {
					t.Errorf("%s: rank %d: got %v, want %v", links, r, chain(err), collective.ErrAborted)
				}
			}
		}
	}
}

// An abort before the first operation, when no rank has a link yet, reaches all ranks as soon as they call something.
func TestAbortBefore(t *testing.T) {
	everyLayout(t, func(t *testing.T, l layout) {
		comms := join(t, l)
		comms[0].Abort(nil)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for r, err := range ranksDo(l.ranks, func(r int) error { return gather(ctx, comms[r]) }) {
			var abort *collective.AbortError
			if !errors.As(err, &abort) || abort.Rank != 0 || abort.Cause == "" {
				t.Errorf("rank %d: got %v, want an AbortError of rank 0", r, chain(err))
			}
		}
	})
}

// When a rank closes while others need it they get an error that names it, and its own operation ends.
func TestCloseDuringOperation(t *testing.T) {
	everyLayout(t, func(t *testing.T, l layout) {
		comms := join(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// Rank 1 is in an operation that rank 0 does not join; it closes.
		work, err := collective.StartAllReduce(ctx, comms[1], contribution(comms[1]), buffer.Sum)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- comms[1].Close() }()
		errs := ranksDo(l.ranks, func(r int) error {
			switch r {
			case 0:
				<-work.Done()
			case 1:
				return work.Wait(ctx)
			}
			return untilEnd(ctx, comms[r])
		})
		for r, err := range errs {
			if r == 1 {
				if !errors.Is(err, collective.ErrClosed) || !errors.Is(err, net.ErrClosed) {
					t.Errorf("rank 1: got %v, want %v", chain(err), collective.ErrClosed)
				}
				continue
			}
			if got, ok := named(err); !ok || got != 1 {
				t.Errorf("rank %d: got %v, want an error that names rank 1", r, chain(err))
			}
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// named returns the rank that an error blames.
func named(err error) (rank int, ok bool) {
	var peer *collective.PeerError
	var abort *collective.AbortError
	switch {
	case errors.As(err, &abort):
		return abort.Rank, true
	case errors.As(err, &peer):
		return peer.Rank, true
	}
	return -1, false
}

// A rank that closed before the others needed it is named, too.
func TestCloseBeforeOthers(t *testing.T) {
	everyLayout(t, func(t *testing.T, l layout) {
		comms := join(t, l)
		each(t, comms, gather)
		if err := comms[0].Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		errs := ranksDo(l.ranks-1, func(r int) error { return gather(ctx, comms[r+1]) })
		lost := 0
		for r, err := range errs {
			// A rank that waits for another one may hear of it from there, as that one's abort.
			var peer *collective.PeerError
			switch {
			case errors.As(err, &peer) && peer.Rank == 0:
				lost++
				if !errors.Is(err, transport.ErrPeerClosed) && !errors.Is(err, collective.ErrPeerLost) {
					t.Errorf("rank %d: got %v, want %v or %v", r+1, chain(err), transport.ErrPeerClosed, collective.ErrPeerLost)
				}
			case !errors.Is(err, collective.ErrAborted):
				t.Errorf("rank %d: got %v, want the loss of rank 0, or an abort for it", r+1, chain(err))
			}
		}
		if lost == 0 {
			t.Errorf("nobody names rank 0: %v", errs)
		}
	})
}

// The last operation is complete on all ranks although some close as soon as they have their own result.
func TestCloseRightAfter(t *testing.T) {
	everyLayout(t, func(t *testing.T, l layout) {
		for range 3 {
			comms := join(t, l)
			each(t, comms, func(ctx context.Context, c *collective.Comm) error {
				data := []int64{int64(c.Rank())}
				if err := collective.AllReduce(ctx, c, data, buffer.Max); err != nil {
					return err
				}
				if data[0] != int64(l.ranks-1) {
					return fmt.Errorf("got %d, want %d", data[0], l.ranks-1)
				}
				all := make([]int64, l.ranks)
				if err := collective.AllGather(ctx, c, all, data); err != nil {
					return err
				}
				if want := slices.Repeat(data, l.ranks); !slices.Equal(all, want) {
					return fmt.Errorf("got %d, want %d", all, want)
				}
				return c.Close()
			})
		}
	})
}

func TestCloseTwiceAndUseAfter(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 2, links: links})
		each(t, comms, gather)
		for _, c := range comms {
			for i := range 2 {
				if err := c.Close(); err != nil {
					t.Errorf("%s: Close number %d: %v", links, i+1, err)
				}
			}
			c.Abort(errors.New("too late to matter"))
			calls := map[string]func() error{
				"AllReduce":  func() error { return gather(t.Context(), c) },
				"Barrier":    func() error { return collective.Barrier(t.Context(), c) },
				"Err":        c.Err,
				"Alloc":      func() error { _, err := collective.Alloc[float32](c, 10); return err },
				"Start":      func() error { _, err := collective.StartBarrier(t.Context(), c); return err },
				"Split":      func() error { _, err := c.Split(t.Context(), 0, 0); return err },
				"Split away": func() error { _, err := c.Split(t.Context(), -1, 0); return err },
			}
			for name, call := range calls {
				if err := call(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s: %s after Close: got %v, want %v", links, name, err, net.ErrClosed)
				}
			}
			if c.Rank() < 0 || c.Size() != 2 || c.Epoch() != 1 || c.Topology().Size() != 2 {
				t.Errorf("%s: rank %d, size %d, epoch %d after Close", links, c.Rank(), c.Size(), c.Epoch())
			}
		}
	}
}

// Close from several goroutines, with operations, aborts and other closes in between.
func TestCloseAmidEverything(t *testing.T) {
	for _, links := range linkKinds() {
		for range short(2, make([]struct{}, 8)...) {
			comms := join(t, layout{ranks: 3, links: links})
			ranksDo(12, func(i int) error {
				c := comms[i%3]
				switch i / 3 {
				case 0:
					for gather(t.Context(), c) == nil {
					}
				case 1:
					w, err := collective.StartBarrier(t.Context(), c)
					if err == nil {
						return w.Wait(t.Context())
					}
				case 2:
					return c.Close()
				case 3:
					c.Abort(errors.New("stop"))
					return c.Close()
				}
				return nil
			})
			for r, c := range comms {
				if c.Err() == nil {
					t.Errorf("%s: rank %d works after Close", links, r)
				}
			}
		}
	}
}
