package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// abandon lets rank 1 of 2 give up a reduction to rank 0 and overwrite its data at once. It returns an error if rank 0
// makes something else of it than an abort or the sums of the data before.
func abandon(t *testing.T, links string, m memory, count int, late bool, pause func()) error {
	comms := join(t, layout{ranks: 2, links: links})
	defer closeAll(t, comms)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	errs := ranksDo(2, func(r int) error {
		mem, err := m.alloc(comms[r], buffer.Int64, count)
		if err != nil {
			return err
		}
		data, err := buffer.View[int64](mem)
		if err != nil {
			return err
		}
		for i := range data {
			data[i] = int64(i)
		}
		if r == 1 {
			go func() {
				pause()
				cancel()
			}()
			err := collective.Reduce(ctx, comms[1], nil, data, buffer.Sum, 0)
			for i := range data {
				data[i] = -1
			}
			close(gone)
			if err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("rank 1: got %w, want %v", err, context.Canceled)
			}
			return nil
		}
		if late {
			<-gone
		}
		err = collective.Reduce(t.Context(), comms[0], data, data, buffer.Sum, 0)
		if err != nil {
			if !errors.Is(err, collective.ErrAborted) {
				return fmt.Errorf("rank 0: got %w, want %v", err, collective.ErrAborted)
			}
			return nil
		}
		for i, got := range data {
			if got != int64(2*i) {
				return fmt.Errorf("rank 0: no error, and element %d is %d, want %d", i, got, 2*i)
			}
		}
		return nil
	})
	cancel()
	return errors.Join(errs...)
}

// A peer that gave up has its memory back. What it does to it then never shows in another rank's result.
func TestAbandonedDataIsNotUsed(t *testing.T) {
	for _, links := range linkKinds() {
		for name, m := range map[string]memory{"plain": plain, "registered": registered} {
			for _, count := range []int{1, 8, 1000, 100_000} {
				if err := abandon(t, links, m, count, true, runtime.Gosched); err != nil {
					t.Errorf("%s, %d elements of %s memory: %v", links, count, name, err)
				}
			}
		}
	}
}

// The same while rank 0 reads.
func TestAbandonedDataUnderTheReader(t *testing.T) {
	if raceEnabled {
		t.Skip("the race is there: rank 0 notices it and drops what it has read")
	}
	for _, links := range linkKinds() {
		for range short(20, make([]struct{}, 100)...) {
			seed := rand.Uint64()
			spins := rand.New(rand.NewPCG(seed, 0)).IntN(200)
			if err := abandon(t, links, registered, 200_000, false, func() {
				for range spins {
					runtime.Gosched()
				}
			}); err != nil {
				t.Fatalf("%s, seed %d: %v", links, seed, err)
			}
		}
	}
}
