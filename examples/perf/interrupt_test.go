package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestUntilInterrupted(t *testing.T) {
	wrong := errors.New("wrong")
	t.Run("undisturbed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			got, ended := untilInterrupted(t.Context(), func(context.Context) (int64, error) { return 3, wrong })
			if want := (outcome{3, wrong}); got != want || !ended {
				t.Errorf("got %v, ended %t, want %v", got, ended, want)
			}
		})
	})
	for _, tc := range []struct {
		name  string
		takes time.Duration
		ended bool
	}{{"soon", patience - 1, true}, {"slowly", patience + 1, false}, {"never", 1 << 62, false}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancel(t.Context())
				release := make(chan struct{})
				defer close(release)
				start := time.Now()
				_, ended := untilInterrupted(ctx, func(ctx context.Context) (int64, error) {
					interrupt()
					<-ctx.Done()
					timer := time.NewTimer(tc.takes)
					defer timer.Stop()
					select {
					case <-timer.C:
					case <-release:
					}
					return 0, ctx.Err()
				})
				if took := time.Since(start); ended != tc.ended || took != min(tc.takes, patience) {
					t.Errorf("got ended %t after %v, want %t after %v", ended, took, tc.ended, min(tc.takes, patience))
				}
			})
		})
	}
}
