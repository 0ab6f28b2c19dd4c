package stripe

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// beats is how many times in a silent timeout an endpoint looks, and speaks if it has nothing to say.
const beats = 5

// A meter counts the reads of a connection that returned something.
type meter struct {
	io.Reader
	reads atomic.Uint64
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Reader.Read(b)
	if n > 0 {
		m.reads.Add(1)
	}
	return n, err
}

// A pulse is what an endpoint knows of a peer's being alive.
type pulse struct {
	heard, sent uint64 // sums over the connections at the last beat
	silent      int    // beats without anything heard
}

// errSilence is the cause of a loss of a peer that is connected and says nothing.
var errSilence = errors.New("silent")

// watch ends sessions over a carrier whose peers have been silent for its timeout, and speaks to those whom this side
// has not told anything. It counts beats, not time, so that a process which is itself stopped for a while does not take
// that for the silence of others.
func (e *Endpoint) watch(carrier int) {
	defer e.goroutines.Done()
	silent := e.cfg.Carriers[carrier].Silent
	ticker := time.NewTicker(silent / beats)
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
			if r := p.route.Load(); r != nil && r.carrier == carrier && p.beat() {
				p.lose(fmt.Errorf("%w for %v", errSilence, silent))
			}
		}
		clear(peers)
	}
}

// beat takes the pulse of a peer, and reports whether it has been silent for too long.
func (p *peer) beat() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.wires[0]
	if p.state != up || !first.attached.Load() {
		return false
	}
	var heard, sent uint64
	for _, w := range p.wires {
		if w.attached.Load() {
			heard += w.in.reads.Load()
			sent += w.sent.Load()
		}
	}
	if sent == p.pulse.sent && first.pulsing.CompareAndSwap(false, true) {
		first.control(control{kind: kindPulse})
	}
	p.pulse.sent = sent
	if heard != p.pulse.heard {
		p.pulse.heard, p.pulse.silent = heard, 0
		return false
	}
	p.pulse.silent++
	return p.pulse.silent >= beats
}

// CheckSilent reports whether a silent timeout can be used.
func CheckSilent(d time.Duration) error {
	if d < 100*time.Millisecond || d > time.Hour {
		return fmt.Errorf("silent timeout of %v, want 100 ms to 1 h", d)
	}
	return nil
}
