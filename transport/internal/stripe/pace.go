package stripe

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A receiver says every reportTime, and at most once in a shortest round trip, what has arrived. That makes a sample of the delivery rate.
	reportTime = 10 * time.Millisecond
	// The delivery rate is the best of the last rateSamples. Windows have opened when it has not grown by fullGrowth in fullSamples.
	rateSamples = 14
	fullGrowth  = 1.25
	fullSamples = 4
	// A trial that finds grown times the rate goes on.
	grown = 1.1
	// burstTime is for how long the path carries what may be sent at once: timers are no finer than a millisecond.
	burstTime = 2 * time.Millisecond
	// leastPiece is what is written between two looks at the clock, in bytes, where the rate is low.
	leastPiece = 16 << 10
	// A rate that nothing has confirmed for staleTime is forgotten; so long a time is no sample.
	staleTime = time.Second
	// What has piled up until there is a rate, or after foreign trials in a row, drains in up to drainSamples. If it does not, others have filled the queue:
	// who holds back then leaves the path to them, so there is no rate for foreignTime.
	drainSamples = 10
	foreign      = 6
	foreignTime  = 5 * time.Second
)

// gains are the rates of sending, over the delivery rate, from sample to sample. Two try whether the path carries more, which is
// reported a round trip later; two let drain what that has piled up; then it is kept just below, so that nothing piles up by errors of
// measurement. The cycle is that of BBR (Cardwell et al., ACM Queue 14(5), 2016), which has one of either.
var gains = [...]float64{probe, probe, 0.75, 0.75, cruise, cruise, cruise, cruise, cruise, cruise, cruise, cruise}

const (
	probe   = 1.25
	cruise  = 0.98
	verdict = 2 // of gains: with its sample, all of the trial has been reported
	drained = 3 // with this one, what it has piled up should be gone
	drainBy = 0.5
)

// An arrival is how much of the bulk had arrived when the peer's clock said so.
type arrival struct {
	bytes uint64
	clock time.Duration
}

// A meter counts what arrives of the peer's bulk, and when to say so.
type meter struct {
	bytes     atomic.Uint64
	due       atomic.Int64 // on the endpoint's clock
	reporting atomic.Bool  // a report is queued
}

// A pacer holds the bulk to a little less than what arrives of it at the peer, on long paths. A sender with its windows full keeps what is beyond the path in
// the queue before its narrowest line, and all acknowledgements to the peer wait there: the peer's windows, which would be large enough for the round trip of an empty
// path, are too small then, and those that left slow start early stay so for minutes. So both directions are quicker if neither fills the queue.
// Windows still bound what is on the way, and the reaction to losses is theirs.
type pacer struct {
	on atomic.Bool // there is a rate

	mu      sync.Mutex
	last    [2]arrival           // oldest first
	samples [rateSamples]float64 // bytes a second, a ring
	n       int                  // of all samples
	rate    float64              // the best of samples
	best    float64              // that has been reached, for
	stuck   int                  // samples
	phase   int                  // of gains
	before  float64              // rate when the trial began
	idle    time.Duration        // of samples that say nothing about the path, in a row
	crowded int                  // trials in a row after which the queue has not drained
	drains  int                  // samples in which it may drain
	until   time.Duration        // there is no rate, by the peer's clock
	next    time.Time            // when something may be sent
}

// gain returns the rate of sending, over the delivery rate.
func (p *pacer) gain() float64 {
	if p.drains > 0 {
		return drainBy
	}
	return gains[p.phase]
}

// heard takes a report. busy is how long there has been something to send all the time, until a round trip before now; queueing says whether something waits on
// the way.
func (p *pacer) heard(a arrival, busy time.Duration, queueing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.last[0]
	p.last[0], p.last[1] = p.last[1], a
	span := a.clock - from.clock
	if from.clock == 0 || span <= 0 || span > staleTime || a.bytes < from.bytes || a.clock < p.until {
		return
	}
	r := float64(a.bytes-from.bytes) / span.Seconds()
	on := p.on.Load()
	if on {
		// What arrives quicker than it was sent had been kept waiting on the way, or by the receiver.
		r = min(r, p.rate*slices.Max(gains[max(p.phase-2, 0):p.phase+1]))
	}
	limited := busy < span // by what there was to send
	if limited && !queueing {
		p.drains = 0 // who has little to send does not learn more
	}
	if limited && r <= p.rate {
		if p.idle += span; p.idle > staleTime {
			p.forget()
		}
		return
	}
	p.samples[p.n%rateSamples] = r
	p.n++
	p.rate = slices.Max(p.samples[:min(p.n, rateSamples)])
	if limited {
		return
	}
	p.idle = 0
	switch {
	case on && p.phase == verdict && p.rate >= grown*p.before:
		p.phase, p.before = 0, p.rate
	case on && p.drains > 0:
		if p.drains--; !queueing {
			p.drains = 0
		} else if p.drains == 0 {
			p.until = a.clock + foreignTime
			p.forget()
		}
	case on:
		if p.phase == drained {
			if p.crowded++; !queueing {
				p.crowded = 0
			} else if p.crowded == foreign {
				p.crowded, p.drains = 0, drainSamples
			}
		}
		if p.phase = (p.phase + 1) % len(gains); p.phase == 0 {
			p.before = p.rate
		}
	case r >= fullGrowth*p.best:
		p.best, p.stuck = r, 0
	default:
		if p.stuck++; p.stuck == fullSamples {
			p.phase, p.drains = drained+1, drainSamples
			p.on.Store(true)
		}
	}
}

// try tries at once whether the path carries more.
func (p *pacer) try() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.before = 0, p.rate
}

// forget ends pacing until there is another rate.
func (p *pacer) forget() {
	p.on.Store(false)
	p.n, p.rate, p.best, p.stuck, p.idle, p.crowded, p.drains = 0, 0, 0, 0, 0, 0, 0
}

// piece returns how much of n bytes may be written at once, and when.
func (p *pacer) piece(n int, now time.Time) (piece int, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := p.rate * p.gain()
	if rate <= 0 {
		return n, 0
	}
	n = min(n, max(leastPiece, int(rate*burstTime.Seconds()/4)))
	if earliest := now.Add(-burstTime); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	return n, p.next.Sub(now)
}

// text says at which rate, for people.
func (p *pacer) text() string {
	if !p.on.Load() {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("paced at the %.0f MB/s that arrive", p.rate/1e6)
}

// bulkCourse returns how the first of the connections that share the bulk fares, if it is there and says so.
func (p *peer) bulkCourse() (Course, bool) {
	for _, w := range p.active()[1:] {
		if w.attached.Load() {
			c, ok := w.conn.(coursed)
			if !ok {
				break
			}
			return c.Course(), true
		}
	}
	return Course{}, false
}

// watchPath looks whether the path is long. It belongs to the watch.
func (p *peer) watchPath() {
	if now, ok := p.bulkCourse(); ok {
		trip := now.MinRTT
		if trip < longPath {
			trip = 0
		}
		p.trip.Store(int64(trip))
	}
}

// arrived counts n bytes that have arrived on one of the connections that share the bulk, and lets the peer know.
func (p *peer) arrived(n int) {
	trip := time.Duration(p.trip.Load())
	if trip == 0 {
		return
	}
	m := &p.meter
	m.bytes.Add(uint64(n))
	now := p.ep.clock()
	if due := m.due.Load(); int64(now) < due || !m.due.CompareAndSwap(due, int64(now+max(reportTime, trip))) {
		return
	}
	if first := p.wires[0]; first.attached.Load() && m.reporting.CompareAndSwap(false, true) {
		first.control(control{kind: kindArrived})
		first.rouse()
	}
}

// heardArrived takes the peer's report.
func (p *peer) heardArrived(a arrival) {
	if now, ok := p.bulkCourse(); ok {
		p.pacer.heard(a, p.bulk.busyUntil(time.Now().Add(-now.RTT)), 2*now.RTT > 3*now.MinRTT)
	}
}

// writePaced writes b to the connection at the rate of the pacer.
func (w *wire) writePaced(b []byte) error {
	p := w.peer
	for len(b) > 0 {
		n := len(b)
		if p.pacer.on.Load() {
			var wait time.Duration
			if n, wait = p.pacer.piece(n, time.Now()); wait > 0 {
				w.pause(wait)
			}
		}
		if _, err := w.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// pause waits, or until the session ends.
func (w *wire) pause(d time.Duration) {
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d)
	}
	select {
	case <-w.timer.C:
	case <-w.peer.ctx.Done():
	}
}
