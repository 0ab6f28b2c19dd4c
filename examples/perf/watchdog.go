package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// A stuckError is a call that took longer than allowed.
type stuckError struct {
	what  string
	limit time.Duration
}

func (e *stuckError) Error() string { return fmt.Sprintf("%s took longer than %v", e.what, e.limit) }

// Timeout makes a stuckError recognisable as a deadline.
func (e *stuckError) Timeout() bool { return true }

// A watchdog cancels a context when no call has begun for longer than the limit. A deadline for every call would cost an
// allocation and a timer each, as much as a small collective takes; here a call costs one store.
type watchdog struct {
	calls  atomic.Uint64
	limit  time.Duration
	cancel context.CancelCauseFunc
	what   atomic.Pointer[string]
	timer  *time.Timer
	seen   uint64
	idle   int
}

// watchdogTicks is how often the watchdog looks within the limit; it fires between limit and limit*(1+1/watchdogTicks).
const watchdogTicks = 8

// watch returns a context for the calls and their watchdog.
func watch(parent context.Context, limit time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(parent)
	d := &watchdog{limit: limit, cancel: cancel}
	d.at("the first call")
	// The timer's function reads d.timer, so it may only run once that is set.
	d.timer = time.AfterFunc(time.Hour, d.tick)
	d.timer.Reset(limit / watchdogTicks)
	return ctx, d
}

// at names what the calls that follow are.
func (d *watchdog) at(what string) {
	d.what.Store(&what)
	d.call()
}

// call says that a call begins or that one has ended.
func (d *watchdog) call() { d.calls.Add(1) }

func (d *watchdog) tick() {
	now := d.calls.Load()
	if now != d.seen {
		d.seen, d.idle = now, 0
	} else if d.idle++; d.idle >= watchdogTicks {
		d.cancel(&stuckError{*d.what.Load(), d.limit})
		return
	}
	d.timer.Reset(d.limit / watchdogTicks)
}

// stop ends the watching and the context.
func (d *watchdog) stop() {
	d.timer.Stop()
	d.cancel(context.Canceled)
}
