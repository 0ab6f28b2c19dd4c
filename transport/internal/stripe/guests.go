package stripe

import (
	"io"
	"sync"
)

// maxGuests bounds the connections that have yet to prove who they are.
const maxGuests = 256

// Guests are connections that are being greeted. When there are too many, the one that has taken longest is
// closed: a member is through within a few round trips, so those who keep connections without a word do not
// keep members out. The zero value is ready, and it is safe for concurrent use.
type Guests struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	queue  []io.Closer // oldest first
}

// Serve runs f, which ends when c is closed, in a goroutine of its own.
func (g *Guests) Serve(c io.Closer, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		c.Close()
		return
	}
	if len(g.queue) == maxGuests {
		oldest := g.queue[0]
		g.queue = dequeue(g.queue, 1)
		oldest.Close()
	}
	g.queue = append(g.queue, c)
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		f()
		g.leave(c)
	}()
}

func (g *Guests) leave(c io.Closer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.queue {
		if other == c {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			return
		}
	}
}

// Close closes all guests and waits for them to leave.
func (g *Guests) Close() {
	g.mu.Lock()
	g.closed = true
	for _, c := range g.queue {
		c.Close()
	}
	g.queue = nil
	g.mu.Unlock()
	g.wg.Wait()
}
