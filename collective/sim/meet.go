package sim

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// run runs to the end, and reports whether every lane came to its own. Where little is done in a window, one goroutine does it for all
// crewmen, as to wait for each other would take them longer.
func (x *windows) run() bool {
	x.barrier.of = int32(len(x.crew))
	inParts(len(x.crew), func(i int) { x.crew[i].start() })
	for window := x.meet(); window != never; {
		next := make([]uint64, len(x.crew))
		inParts(len(x.crew), func(i int) { next[i] = x.crew[i].together(window) })
		window = x.alone(next[0])
	}
	exact := make([]bool, len(x.crew))
	inParts(len(x.crew), func(i int) { exact[i] = x.crew[i].alike == nil || x.crew[i].endAlike() })
	if slices.Contains(exact, false) {
		for _, w := range x.crew {
			w.alike.cascades = nil
		}
		return x.again(x.size) && x.run()
	}
	steps := int64(0)
	for _, w := range x.crew {
		steps += w.steps
	}
	return steps == x.f.Steps()
}

// together goes from window to window beside the other crewmen as long as much is done in them, and returns the next one, or never.
func (w *crewman) together(window uint64) uint64 {
	for window != never {
		w.through(window)
		if len(w.x.crew) == 1 {
			window = min(w.q.next(), w.due)
			continue
		}
		w.tell()
		w.x.barrier.wait()
		if window = w.hear(); w.pace.slow {
			break
		}
	}
	return window
}

// alone goes from window to window for all crewmen as long as little is done in them, and returns the next one, or never.
func (x *windows) alone(window uint64) uint64 {
	for window != never && x.crew[0].slow {
		for _, w := range x.crew {
			w.through(window)
		}
		window = x.meet()
	}
	return window
}

// meet has all crewmen meet, and returns the next window.
func (x *windows) meet() (window uint64) {
	for _, w := range x.crew {
		w.tell()
	}
	for _, w := range x.crew {
		window = w.hear()
	}
	return window
}

// tell says to the other crewmen when they have something to do next.
func (w *crewman) tell() { w.soonest[w.turn] = min(w.q.next(), w.earliest, w.due) }

// hear takes what all have told and sent, and returns the next window.
func (w *crewman) hear() uint64 {
	turn := w.turn
	window, ran := uint64(never), 0
	for _, v := range w.x.crew {
		window = min(window, v.soonest[turn])
		ran += v.ran[turn]
		for _, e := range v.out[turn][w.me] {
			w.q.push(e, e.group>>w.x.shard-w.lo)
		}
	}
	w.pace.add(ran)
	w.turn, w.earliest = turn^1, never
	w.ran[w.turn] = 0
	for i := range w.out[w.turn] { // what the others have read
		w.out[w.turn][i] = w.out[w.turn][i][:0]
	}
	return window
}

// A pace is how much is done in a window, by all crewmen. All of them find the same.
type pace struct {
	windows, arrivals int
	slow              bool
}

const (
	// paceWindows is after how many windows a pace changes at the latest.
	paceWindows = 64
	// paceArrivals is how many arrivals a window has that are worth it to wait for each other.
	paceArrivals = 32
)

func (p *pace) add(arrivals int) {
	p.windows++
	p.arrivals += arrivals
	if much := p.arrivals >= paceWindows*paceArrivals; much || p.windows == paceWindows {
		*p = pace{slow: !much}
	}
}

// A barrier lets goroutines wait for each other, again and again.
type barrier struct {
	of   int32
	here atomic.Int32
	turn atomic.Uint32
	mu   sync.Mutex
	cond sync.Cond
}

// spins is how often a goroutine looks whether the others are there before it sleeps.
const spins = 1 << 12

func (b *barrier) wait() {
	turn := b.turn.Load()
	if b.here.Add(1) == b.of {
		b.here.Store(0)
		b.mu.Lock()
		b.turn.Add(1)
		b.mu.Unlock()
		b.cond.Broadcast()
		return
	}
	for i := range spins {
		if b.turn.Load() != turn {
			return
		}
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
	b.mu.Lock()
	for b.turn.Load() == turn {
		b.cond.Wait()
	}
	b.mu.Unlock()
}
