package stripe

import (
	"sync"
	"sync/atomic"
	"time"
)

// bulkBytes is how much a connection takes from the bulk at once when little is left: a frame as the planner cuts them, so that no connection keeps
// what another one could send sooner. While there is plenty for all it takes more, and waits less often for the next.
const bulkBytes = 128 << 10

// shortIdle is how long a bulk may be empty without a gap on the way.
const shortIdle = time.Millisecond

// A bulk is the queue of large frames to a peer, of those connections that have to be waited for. Whichever has room first takes the next one:
// congestion windows differ by a lot where packets are lost, and whoever shares frames out evenly waits for the smallest.
type bulk struct {
	waiting atomic.Int64 // frames in the queue

	mu     sync.Mutex
	frames []entry
	bytes  int // in frames
	out    int // frames in the queue or being written
	since  time.Time
	work   work
	// There has been something to do from spell to idle, or still is.
	spell, idle time.Time
}

// work is what a queue has got done.
type work struct {
	busy  time.Duration // time in which there was something to do
	bytes uint64        // written by then
}

func (b *bulk) add(e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == 0 {
		b.since = time.Now()
		if b.since.Sub(b.idle) > shortIdle {
			b.spell = b.since
		}
	}
	b.out++
	b.frames = append(b.frames, e)
	b.bytes += e.size
	b.waiting.Store(int64(len(b.frames)))
}

// take appends the next frames to batch, for one of so many connections.
func (b *bulk) take(batch []entry, conns int) []entry {
	if b.waiting.Load() == 0 {
		return batch
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n, bytes := 0, 0
	most := min(max(b.bytes/(2*conns), bulkBytes), writeBytes)
	for n < len(b.frames) && n < writeSegments/2 && (n == 0 || bytes+b.frames[n].size <= most) {
		bytes += b.frames[n].size
		n++
	}
	batch = append(batch, b.frames[:n]...)
	b.frames = dequeue(b.frames, n)
	b.bytes -= bytes
	b.waiting.Store(int64(len(b.frames)))
	return batch
}

// wrote ends the writing of a frame that take returned; bytes is 0 if it was dropped.
func (b *bulk) wrote(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.work.bytes += uint64(bytes)
	if b.out--; b.out == 0 {
		b.idle = time.Now()
		b.work.busy += b.idle.Sub(b.since)
	}
}

// busyUntil returns for how long before t there had been something to do all the time.
func (b *bulk) busyUntil(t time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == 0 && b.idle.Before(t) {
		return 0
	}
	return max(0, t.Sub(b.spell))
}

// done returns the work so far.
func (b *bulk) done() work {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.work
	if b.out > 0 {
		w.busy += time.Since(b.since)
	}
	return w
}

// clear forgets what is queued.
func (b *bulk) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frames, b.bytes = nil, 0
	b.waiting.Store(0)
}
