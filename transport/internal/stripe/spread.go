package stripe

import (
	"fmt"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// A course is how the connections of a peer have fared as senders.
type course struct {
	Course
	work
}

// A Course is how a connection fares as a sender.
type Course struct {
	RTT, MinRTT time.Duration // round trip: smoothed, and the shortest so far; 0: not known
	Window      uint64        // bytes that may be on the way at once
	Sent, Lost  uint64        // packets so far; of those, how many it takes for lost now
}

// A coursed Conn says how it fares.
type coursed interface {
	Course() Course
}

const (
	// A decision about the number of connections takes epochTime and epochTrips round trips of work: long enough for new connections to
	// have opened their windows.
	epochTime  = 500 * time.Millisecond
	epochTrips = 10
	// unfilled is how much less than its windows a sender that they limit has on the way, on average over beginnings and ends.
	unfilled = 1.4
	// worthwhile is by how much twice as many connections must be quicker to stay.
	worthwhile = 1.1
	// After firstWait epochs a number of connections that was not worth while is tried again, and after twice as many each time.
	firstWait = 16
	lastWait  = 1024
)

// A spread is the number of connections over which this side sends to a peer. It is doubled while the windows of all of them, and nothing else,
// limit what is sent: they are full, and the round trip is as short as ever, so that nothing waits on the way. A window that has been halved by a loss
// grows by a packet in a round trip, so what a connection loses on a long path it gets back in minutes, and the more there
// are, the less one loss costs, and the quicker they grow together. Where more are no quicker, as where the processors are the limit, it goes back.
type spread struct {
	conns, least, most int
	former             int     // conns before the trial, with
	before             float64 // bytes a second
	last               course  // at the last decision
	trial              trial
	wait, nextWait     int // epochs until the next trial
	grown              growth
}

// trial is how far the trial of a number of connections has come.
type trial uint8

const (
	noTrial trial = iota
	opening       // the windows of new connections open
	judging
)

// growth is why there are more connections than in the beginning, for people.
type growth struct {
	rtt   time.Duration
	loss  float64 // of packets
	rates [2]float64
}

// decide takes how the connections have fared until now, and returns how many there are to be.
func (s *spread) decide(now course) int {
	d := now.work.busy - s.last.work.busy
	if now.MinRTT == 0 || d < epochTime || d < epochTrips*now.MinRTT {
		return s.conns
	}
	rate := float64(now.work.bytes-s.last.work.bytes) / d.Seconds()
	var lost, sent uint64
	if now.Lost > s.last.Lost && now.Sent > s.last.Sent { // packets that were thought lost may come all the same
		lost, sent = now.Lost-s.last.Lost, now.Sent-s.last.Sent
	}
	s.last = now
	switch s.trial {
	case opening:
		s.trial = judging
		return s.conns
	case judging:
		s.trial = noTrial
		if rate < worthwhile*s.before {
			s.conns = s.former
			s.wait, s.nextWait = s.nextWait, min(2*s.nextWait, lastWait)
			return s.conns
		}
		s.nextWait = firstWait
		s.grown.rates[1] = rate
	}
	if s.wait > 0 {
		s.wait--
		return s.conns
	}
	long := now.MinRTT >= longPath
	queueing := now.RTT-now.MinRTT > now.MinRTT/4
	full := unfilled*rate*now.MinRTT.Seconds() >= float64(now.Window)
	if !long || queueing || !full || s.conns == s.most {
		return s.conns
	}
	if s.conns == s.least {
		s.grown = growth{rtt: now.MinRTT, rates: [2]float64{rate, rate}}
	}
	if sent > 0 {
		s.grown.loss = max(s.grown.loss, float64(lost)/float64(sent))
	}
	s.former, s.before, s.trial = s.conns, rate, opening
	s.conns = min(2*s.conns, s.most)
	return s.conns
}

// text says why there are more connections than in the beginning; "" when there are not.
func (s *spread) text() string {
	if s.conns == s.least {
		return ""
	}
	return fmt.Sprintf("%d connections, as the windows of %d were too small for a round trip of %v with %.3f %% of packets lost: %.0f, then %.0f MB/s",
		s.conns, s.least, s.grown.rtt.Round(100*time.Microsecond), 100*s.grown.loss, s.grown.rates[0]/1e6, s.grown.rates[1]/1e6)
}

// widen looks whether there are to be more connections, or fewer in use. It belongs to the watch.
func (p *peer) widen() {
	most := p.ep.cfg.Carriers[p.route.Load().carrier].most(p.ep.cfg.Conns)
	if most == p.ep.cfg.Conns {
		return
	}
	now := course{work: p.bulk.done()}
	p.mu.Lock()
	early := now.busy-p.spread.last.busy < epochTime
	p.mu.Unlock()
	if early {
		return // as decide would say, for less
	}
	conns := 0
	for _, w := range p.active()[1:] {
		if !w.attached.Load() || !w.shares() {
			continue
		}
		c, ok := w.conn.(coursed)
		if !ok {
			continue
		}
		one := c.Course()
		if one.MinRTT == 0 {
			continue
		}
		conns++
		now.RTT += one.RTT
		if now.MinRTT == 0 || one.MinRTT < now.MinRTT {
			now.MinRTT = one.MinRTT
		}
		now.Window += one.Window
		now.Sent += one.Sent
		now.Lost += one.Lost
	}
	now.RTT /= time.Duration(max(conns, 1))
	p.mu.Lock()
	if p.state != up || p.leaving {
		p.mu.Unlock()
		return
	}
	s := &p.spread
	if s.most == 0 {
		*s = spread{conns: p.ep.cfg.Conns, least: p.ep.cfg.Conns, most: most, nextWait: firstWait}
	}
	n := s.decide(now)
	begun := p.dialled > 0
	p.mu.Unlock()
	if !p.setWidth(n) {
		return
	}
	if begun {
		p.dialMore(n)
	} else {
		p.wires[0].control(control{kind: kindMore})
		p.wires[0].rouse()
	}
}

// setWidth sets over how many connections this side sends, and reports whether that is another number.
func (p *peer) setWidth(n int) bool {
	other := int(p.width.Swap(int32(n))) != n
	if other {
		p.pacer.try()
	}
	if p.bulk.waiting.Load() > 0 {
		p.rouseOne() // those that were woken for what is there may not share in it any more
	}
	return other
}

// heardMore takes the peer's wish for n connections.
func (p *peer) heardMore(n int) error {
	p.mu.Lock()
	begun, most := p.dialled > 0, p.ep.cfg.Carriers[p.route.Load().carrier].most(p.ep.cfg.Conns)
	p.mu.Unlock()
	if !begun || n > most {
		return &transport.FrameError{Reason: fmt.Sprintf("a wish for %d connections of at most %d", n, most)}
	}
	p.dialMore(n)
	return nil
}
