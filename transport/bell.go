package transport

import (
	"context"
	"sync/atomic"
	"time"
)

// The states of a channelBell.
const (
	bellIdle uint32 = iota
	bellArmed
)

// channelBell is a Bell for ranks that are rung by goroutines of their own process.
type channelBell struct {
	state  atomic.Uint32
	token  chan struct{} // holds one wake-up at most
	timer  *time.Timer   // made at the first Sleep with a limit, then reused
	closed atomic.Bool
}

// NewBell returns a [Bell] that goroutines of this process ring through a Go channel. Sleeping on it parks the
// goroutine only, never a thread, and its timers are the time package's, so it works in a testing/synctest
// bubble. Ringing it after Close is harmless.
func NewBell() Bell { return &channelBell{token: make(chan struct{}, 1)} }

func (b *channelBell) Ring() {
	// The exchange picks one ringer, so a burst of rings costs one send.
	if b.state.Load() == bellArmed && b.state.CompareAndSwap(bellArmed, bellIdle) {
		select {
		case b.token <- struct{}{}:
		default: // a late token of an earlier ring is there: it wakes as well as ours
		}
	}
}

func (b *channelBell) Arm() {
	b.drain()
	b.state.Store(bellArmed)
}

func (b *channelBell) Disarm() {
	b.state.Store(bellIdle)
	b.drain()
}

// drain takes away a token that nobody waits for. One that a slow ringer sends later ends a Sleep early,
// which a Bell may do.
func (b *channelBell) drain() {
	select {
	case <-b.token:
	default:
	}
}

func (b *channelBell) Sleep(ctx context.Context, limit time.Duration) {
	defer b.state.Store(bellIdle)
	if b.closed.Load() {
		return
	}
	if limit <= 0 {
		select {
		case <-b.token:
		case <-ctx.Done():
		}
		return
	}
	if b.timer == nil {
		b.timer = time.NewTimer(limit)
	} else {
		b.timer.Reset(limit)
	}
	select {
	case <-b.token:
	case <-ctx.Done():
	case <-b.timer.C:
	}
	b.timer.Stop()
}

func (b *channelBell) Close() error {
	b.closed.Store(true)
	return nil
}
