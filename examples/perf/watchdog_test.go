package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 8 * time.Second
		ctx, d := watch(t.Context(), limit)
		defer d.stop()
		start := time.Now()
		for range 5 { // calls that end in time
			d.at("all_reduce of 8 B")
			timer := time.NewTimer(limit - time.Second)
			select {
			case <-ctx.Done():
				t.Fatalf("fired after %v, though every call took less than %v", time.Since(start), limit)
			case <-timer.C:
			}
		}
		d.call()
		begun := time.Now()
		<-ctx.Done()
		var stuck *stuckError
		if err := context.Cause(ctx); !errors.As(err, &stuck) || stuck.what != "all_reduce of 8 B" || !stuck.Timeout() {
			t.Errorf("cause: got %v, want a stuckError of all_reduce of 8 B", err)
		}
		if took := time.Since(begun); took < limit || took > limit+limit/watchdogTicks {
			t.Errorf("fired after %v, want %v to %v", took, limit, limit+limit/watchdogTicks)
		}
		if got, want := stuck.Error(), "all_reduce of 8 B took longer than 8s"; got != want {
			t.Errorf("text: got %q, want %q", got, want)
		}
	})
}

func TestWatchdogStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, d := watch(t.Context(), time.Second)
		d.stop()
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cause after stop: got %v, want %v", err, context.Canceled)
		}
	})
}
