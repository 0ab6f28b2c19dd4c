package transporttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// sleeper runs a rank that has armed its bell when sleeper returns, and sleeps until done says true. The
// returned function waits for it.
func sleeper(t *testing.T, bell transport.Bell, what string, done func() bool) (wait func()) {
	t.Helper()
	armed := newSignal()
	returned := make(chan error, 1)
	go func() {
		returned <- Await(announce{bell, armed}, what, done)
		armed.set()
	}()
	<-armed.c
	return func() {
		t.Helper()
		if err := <-returned; err != nil {
			t.Error(err)
		}
	}
}

// announce sets a signal when the rank enters Sleep, which it does after it has armed its bell and looked.
type announce struct {
	transport.Bell
	asleep *signal
}

func (a announce) Sleep(ctx context.Context, limit time.Duration) {
	a.asleep.set()
	a.Bell.Sleep(ctx, limit)
}

// testBellRings makes each event happen to a rank that sleeps.
func testBellRings(t *testing.T, make Maker) {
	g := make(t, 2)
	channel := uint16(0)
	open := func() (a, b transport.Link) {
		channel++
		a, b = g.Pair(t, transport.LinkID{Comm: 1, Channel: channel})
		g.send(t, 0, a, header(1, 0, 8), payload(1, 0, 8)) // connected
		g.recv(t, 1, b)
		b.Release()
		g.send(t, 1, b, header(1, 0, 8), payload(1, 0, 8))
		g.recv(t, 0, a)
		a.Release()
		return a, b
	}
	ended := func(l transport.Link) func() bool { return func() bool { return l.Err() != nil } }

	a, b := open()
	wait := sleeper(t, g.Bells[1], "a frame", func() bool { f, err := b.Poll(); return f != nil || err != nil })
	g.send(t, 0, a, header(1, 0, 8), payload(1, 0, 8))
	wait()
	b.Release()

	big := payload(1, 0, transport.MaxPayload)
	h := header(1, 0, len(big))
	posted := uint64(2)
	for {
		ok, err := a.Post(&h, big)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		posted++
	}
	g.recv(t, 1, b)
	wait = sleeper(t, g.Bells[0], "room in the window", func() bool { ok, err := a.Post(&h, big); return ok || err != nil })
	b.Release()
	wait()
	for range posted - 2 {
		g.recv(t, 1, b)
		b.Release()
	}

	a, b = open()
	wait = sleeper(t, g.Bells[1], "the peer's Fail", ended(b))
	a.Fail(nil)
	wait()

	a, b = open()
	wait = sleeper(t, g.Bells[1], "the peer's Close", ended(b))
	a.Close()
	wait()

	a, _ = open()
	wait = sleeper(t, g.Bells[0], "this end's Fail in another goroutine", ended(a))
	a.Fail(nil)
	wait()

	a, _ = open()
	wait = sleeper(t, g.Bells[0], "this end's Close in another goroutine", ended(a))
	a.Close()
	wait()

	a, b = open()
	waits := []func(){sleeper(t, g.Bells[0], "its endpoint's Close", ended(a)), sleeper(t, g.Bells[1], "the peer endpoint's Close", ended(b))}
	if err := g.Endpoints[0].Close(); err != nil {
		t.Error(err)
	}
	for _, wait := range waits {
		wait()
	}
}

// testNoLostWakeUp passes a frame to and fro between ranks that always sleep; then one way, waiting for each
// to be completed, so that every step hangs on exactly one ring; then streams with both sides sleeping
// whenever they can. One lost wake-up stops it.
func testNoLostWakeUp(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	rounds, streamed := 1500, 300
	if testing.Short() { // an emulated machine moves some megabytes a second
		rounds, streamed = 200, 20
	}
	ends := []transport.Link{a, b}
	var failed sync.Once
	recv := func(rank int) bool {
		err := Await(g.Bells[rank], "a frame", func() bool { f, _ := ends[rank].Poll(); return f != nil })
		if err != nil {
			failed.Do(func() { t.Errorf("rank %d: %v", rank, err) })
			return false
		}
		ends[rank].Release()
		return true
	}
	send := func(rank int, h *transport.Header, p []byte) bool {
		err := Await(g.Bells[rank], "room", func() bool { ok, _ := ends[rank].Post(h, p); return ok })
		if err != nil {
			failed.Do(func() { t.Errorf("rank %d: %v", rank, err) })
		}
		return err == nil
	}
	small := payload(1, 0, 8)
	together(t, 2, func(rank int) error {
		h := header(1, 0, len(small))
		for range rounds {
			if rank == 0 && !send(rank, &h, small) || !recv(rank) || rank == 1 && !send(rank, &h, small) {
				return nil
			}
		}
		return nil
	})
	if g.Transport.Caps().ByReference {
		lent, err := g.Endpoints[0].Alloc(4096)
		if err != nil {
			t.Fatal(err)
		}
		before := a.Completed()
		together(t, 2, func(rank int) error {
			h := header(1, 0, len(lent))
			for i := range uint64(rounds) {
				if rank == 1 {
					if !recv(1) {
						return nil
					}
					continue
				}
				if !send(0, &h, lent) {
					return nil
				}
				if err := Await(g.Bells[0], "the release", func() bool { return a.Completed() == before+i+1 }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	large := payload(1, 0, transport.MaxPayload)
	together(t, 2, func(rank int) error {
		h := header(1, 0, len(large))
		for range streamed {
			if rank == 0 && !send(rank, &h, large) || rank == 1 && !recv(rank) {
				return nil
			}
		}
		return nil
	})
}

// testBell checks the contract of the bells of a group.
func testBell(t *testing.T, make Maker) {
	g := make(t, 1)
	bell := g.Bells[0]
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()

	bell.Ring() // nobody is armed: nothing
	bell.Arm()
	bell.Ring()
	bell.Sleep(ctx, 0) // returns at once
	bell.Arm()
	bell.Disarm()
	bell.Ring()

	var ringers sync.WaitGroup
	for range 300 {
		bell.Arm()
		for range 3 {
			ringers.Go(bell.Ring)
		}
		bell.Sleep(ctx, 0)
		ringers.Wait()
	}
	if ctx.Err() != nil {
		t.Fatal("Ring after Arm does not end Sleep")
	}

	// Limits and contexts end a sleep that nobody rings for; a sleep may also end early.
	start := time.Now()
	for time.Since(start) < 3*time.Millisecond {
		bell.Arm()
		bell.Sleep(ctx, time.Millisecond)
	}
	soon, stop := context.WithCancel(ctx)
	var canceller sync.WaitGroup
	canceller.Go(stop)
	for soon.Err() == nil {
		bell.Arm()
		bell.Sleep(soon, 0)
	}
	canceller.Wait()
	bell.Arm()
	bell.Sleep(soon, 0) // done before: returns at once
	if ctx.Err() != nil {
		t.Fatal("neither limit nor context ends a Sleep")
	}

	if raceEnabled {
		return
	}
	if n := testing.AllocsPerRun(100, func() {
		bell.Arm()
		bell.Ring()
		bell.Sleep(ctx, time.Second)
	}); n != 0 {
		t.Errorf("%v allocations per Sleep, want 0", n)
	}
}
