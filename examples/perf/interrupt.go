package main

import (
	"context"
	"time"
)

// patience is how long the ranks of an interrupted process may take to end by themselves. Thousands of ranks take longer, one after
// another, and nothing that they would still do matters: their peers are in this process, or see it end.
const patience = 2 * time.Second

// An outcome is what the ranks of this process have come to.
type outcome struct {
	wrong int64
	err   error
}

// untilInterrupted returns the outcome of work, or false when ctx has ended and work has not, for longer than patience.
func untilInterrupted(ctx context.Context, work func(context.Context) (int64, error)) (o outcome, ended bool) {
	done := make(chan outcome, 1)
	go func() {
		wrong, err := work(ctx)
		done <- outcome{wrong, err}
	}()
	select {
	case o = <-done:
		return o, true
	case <-ctx.Done():
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case o = <-done:
		return o, true
	case <-timer.C:
		return outcome{}, false
	}
}
