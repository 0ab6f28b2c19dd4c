package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

var groups atomic.Int64

// withRanks runs f on n goroutine ranks of a fresh group over the mem transport and fails the test with every
// error. A rank that fails aborts its communicator, so that the others do not wait for it. The deadline only
// ends a test that hangs.
func withRanks(t testing.TB, n int, f func(ctx context.Context, c *collective.Comm) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	group := fmt.Sprintf("%s-%d", t.Name(), groups.Add(1))
	shared := mem.New()
	comms := make([]*collective.Comm, n)
	each(t, n, func(rank int) (err error) {
		comms[rank], err = collective.Join(ctx, collective.Config{
			Rank: rank, Size: n, Group: group, Transports: []transport.Transport{shared},
		})
		return err
	})
	if t.Failed() {
		return
	}
	each(t, n, func(rank int) error {
		err := f(ctx, comms[rank])
		if err != nil {
			comms[rank].Abort(err)
		}
		return err
	})
	for rank, c := range comms {
		if err := c.Close(); err != nil {
			t.Errorf("rank %d: Close: %v", rank, err)
		}
	}
}

func each(t testing.TB, n int, f func(rank int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for rank := range n {
		wg.Go(func() { errs[rank] = f(rank) })
	}
	wg.Wait()
	for rank, err := range errs {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// is returns nil if err Is want, else an error that says what came instead.
func is(what string, err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%s = %v, want %v", what, err, want)
}

// register adds a gradient of each length, named by its index.
func register[T Elem](r *Reducer[T], lengths ...int) ([]*Param[T], error) {
	params := make([]*Param[T], len(lengths))
	for i, n := range lengths {
		p, err := r.Register(fmt.Sprint("g", i), n)
		if err != nil {
			return nil, err
		}
		params[i] = p
	}
	return params, nil
}

// sealedReducer makes a Reducer with gradients of the given lengths.
func sealedReducer[T Elem](ctx context.Context, c *collective.Comm, cfg Config, lengths ...int) (*Reducer[T], []*Param[T], error) {
	r, err := New[T](c, cfg)
	if err != nil {
		return nil, nil, err
	}
	params, err := register(r, lengths...)
	if err != nil {
		return nil, nil, err
	}
	return r, params, r.Seal(ctx)
}
