package stripe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An endpoint looks every beatTime, and at least beats times in a silent timeout, whether its peers say something, and
// speaks to those whom it has nothing to tell.
const (
	beats    = 5
	beatTime = 250 * time.Millisecond
)

// A peer is in doubt after so many beats without a word: its host is asked whether its process is there.
const (
	doubt      = 2
	askingTime = time.Second
	// settled is how many beats after a refusal everything has been read that was sent before.
	settled = 3
)

// beatOf returns the time between two beats for a silent timeout.
func beatOf(silent time.Duration) time.Duration { return min(silent/beats, beatTime) }

// An asker is a Conn that can ask the peer's host whether the process at the other end is there. Refused returns true
// when the host says that it is not, and false when it has said nothing in time.
type asker interface {
	Refused(ctx context.Context) bool
}

// A pulse is what an endpoint knows of a peer's being alive.
type pulse struct {
	heard, sent uint64 // sums over the connections at the last beat
	silent      int    // beats without anything heard
	begun       bool   // its host has been asked once
	asking      bool
	refused     bool // its host says that it is not there
	since       int  // beats since then
	wrong       bool // its host has said so before, and it spoke: a firewall, perhaps
}

var (
	// errSilence is the cause of a loss of a peer that is connected and says nothing.
	errSilence = errors.New("silent")
	// errGone is the cause of a loss of a peer whose process has ended.
	errGone = errors.New("its host says that the process is gone")
)

// watch ends sessions over a carrier whose peers have been silent for its timeout, and speaks to those whom this side
// has not told anything. It counts beats, not time, so that a process which is itself stopped for a while does not take
// that for the silence of others. A peer that is starved may be silent for long; one whose process has ended is told apart
// by its host, which refuses what is sent to it.
func (e *Endpoint) watch(carrier int) {
	defer e.goroutines.Done()
	silent := e.cfg.Carriers[carrier].Silent
	beat := beatOf(silent)
	limit := int(silent / beat)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var peers []*peer
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-ticker.C:
		}
		e.mu.Lock()
		peers = peers[:0]
		for _, p := range e.peers {
			peers = append(peers, p)
		}
		e.mu.Unlock()
		for _, p := range peers {
			if r := p.route.Load(); r == nil || r.carrier != carrier {
				continue
			}
			p.watchPath()
			p.widen()
			switch silentBeats, gone := p.beat(); {
			case gone:
				p.lose(errGone)
			case silentBeats >= limit:
				p.lose(fmt.Errorf("%w for %v", errSilence, silent))
			}
		}
		clear(peers)
	}
}

// heard counts what has been heard of a peer.
func (p *peer) heard() (reads uint64) {
	for _, w := range p.active() {
		if w.attached.Load() {
			reads += w.intake.reads.Load()
		}
	}
	return reads
}

// beat takes the pulse of a peer. It returns for how many beats it has been silent, and whether its process is gone.
func (p *peer) beat() (silent int, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.wires[0]
	if p.state != up || !first.attached.Load() {
		return 0, false
	}
	heard, sent := p.heard(), uint64(0)
	for _, w := range p.active() {
		sent += w.sent.Load()
	}
	q := &p.pulse
	if sent == q.sent && first.pulsing.CompareAndSwap(false, true) {
		first.control(control{kind: kindPulse})
		first.rouse()
	}
	q.sent = sent
	if q.refused {
		q.since++
	}
	if heard == q.heard {
		q.silent++
	} else {
		q.heard, q.silent = heard, 0
		if q.refused && q.since >= settled {
			q.refused, q.wrong = false, true
		}
	}
	// Once in the beginning, to find out what the host's word is worth.
	if a, ok := first.conn.(asker); ok && !q.asking && !q.refused && !q.wrong && (!q.begun || q.silent >= doubt) && p.ep.start(1) {
		q.asking, q.begun = true, true
		go p.ask(a)
	}
	return q.silent, q.silent >= doubt && q.refused && !q.wrong
}

// ask asks the peer's host for it.
func (p *peer) ask(a asker) {
	defer p.ep.goroutines.Done()
	ctx, cancel := context.WithTimeout(p.ctx, askingTime)
	defer cancel()
	refused := a.Refused(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulse.asking = false
	if refused {
		p.pulse.refused, p.pulse.since = true, 0
	}
}

// CheckSilent reports whether a silent timeout can be used.
func CheckSilent(d time.Duration) error {
	if d < 100*time.Millisecond || d > time.Hour {
		return fmt.Errorf("silent timeout of %v, want 100 ms to 1 h", d)
	}
	return nil
}
