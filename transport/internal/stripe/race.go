package stripe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// stagger is the head start of a place before the next of its carrier is tried beside it (as in RFC 8305, section 5).
const stagger = 250 * time.Millisecond

// A route is the carrier of a session, and why it is that one.
type route struct {
	carrier int // index in Config.Carriers
	why     why
}

// noRoute is no carrier at all.
var noRoute = route{carrier: -1}

// remembered returns the carrier to begin with, or noRoute.
func (p *peer) remembered() route {
	name := p.ep.cfg.Memory.carrier(p.id)
	for i, c := range p.ep.cfg.Carriers {
		if name != "" && c.Name == name && len(p.ways[i]) > 0 {
			return route{i, whyBefore}
		}
	}
	return noRoute
}

// take notes which way a session goes. mu is held.
func (p *peer) take(r route) {
	p.route.Store(&r)
	p.ep.cfg.Memory.note(p.id, p.ep.cfg.Carriers[r.carrier].Name, r.why)
}

// via returns the name of the session's carrier, and why it is not the best one; "" while that is not known, and
// where there is no choice.
func (p *peer) via() (name, why string) {
	r := p.route.Load()
	if r == nil {
		return "", ""
	}
	cfg := &p.ep.cfg
	return cfg.Carriers[r.carrier].Name, r.why.text(cfg.Carriers[0].Name, cfg.HeadStart)
}

// note says what the connections have been doing about their path.
func (p *peer) note() string {
	var all Repairs
	conns := 0
	for _, w := range p.active() {
		if !w.attached.Load() {
			continue
		}
		conns++
		if c, ok := w.conn.(repairing); ok {
			r := c.Repairs()
			all.Numbered += r.Numbered
			all.Parity += r.Parity
			all.Repaired += r.Repaired
			all.Lost += r.Lost
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	said := slices.DeleteFunc([]string{p.spread.text(), p.pacer.text(), all.text(conns)}, func(s string) bool { return s == "" })
	return strings.Join(said, "; ")
}

// text says it for people; "" when nothing has been done.
func (r Repairs) text(conns int) string {
	if r.Numbered == 0 && r.Repaired == 0 {
		return ""
	}
	return fmt.Sprintf("losses repaired on %d connection(s): %d in, %d beyond repair; %d packets out with %.1f %% of parity",
		conns, r.Repaired, r.Lost, r.Numbered, 100*float64(r.Parity)/float64(max(r.Numbered, 1)))
}

// A candidate is a place to dial.
type candidate struct {
	carrier int
	at      string
	after   time.Duration // since the beginning of the race
}

// candidates returns the peer's places in the order of their starts. Each carrier has a head start before the next, first,
// if there is one, before the best.
func (p *peer) candidates(first route) []candidate {
	var all []candidate
	add := func(carrier int, from time.Duration) {
		for i, at := range p.ways[carrier] {
			all = append(all, candidate{carrier, at, from + time.Duration(i)*stagger})
		}
	}
	head := p.ep.cfg.Memory.headStart(p.ep.cfg.HeadStart)
	from := time.Duration(0)
	if first != noRoute {
		add(first.carrier, 0)
		from = head
	}
	for i := range p.ways {
		if i == first.carrier || len(p.ways[i]) == 0 {
			continue
		}
		add(i, from)
		from += head
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.after, b.after) })
	return all
}

// whyNow returns why a session has this carrier that is begun now. left is how many places of each carrier have not failed, and
// unfit says that the first carrier has connected and does not suit the path.
func (p *peer) whyNow(carrier int, first route, left []atomic.Int32, unfit bool) why {
	switch {
	case len(left) == 1:
		return whyOnly
	case carrier == first.carrier:
		return first.why
	}
	better, silent := false, false
	for i := range carrier {
		better = better || len(p.ways[i]) > 0
		silent = silent || left[i].Load() > 0
	}
	switch {
	case carrier == 0:
		return whyBest
	case unfit:
		return whyUnfit
	case !better:
		return whyMissing
	case silent:
		return whySilent
	}
	return whyFailed
}

// An attempt is the outcome of dialling one candidate.
type attempt struct {
	candidate
	route
	conn Conn
	said answer
	err  error
}

// race tries the candidates and returns the first that answers. When one fails, the next of its carrier starts at once, and
// that of another carrier when nothing is left to wait for. They are greeted one at a time, so that the peer never accepts a
// connection which this side gives up. A connection of the first carrier that does not suit its path lets the other carriers
// start at once, and stands back until they have had the head start, or failed.
func (p *peer) race(ctx context.Context, first route) (attempt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := p.candidates(first)
	left := make([]atomic.Int32, len(p.ways))
	for i, places := range p.ways {
		left[i].Store(int32(len(places)))
	}
	results := make(chan attempt, len(all))
	greeting := make(chan struct{}, 1)
	var unfit atomic.Bool
	stoodBack, alone := make(chan struct{}, len(all)), make(chan struct{})
	lonely := false // alone is closed
	// standBack waits where the first carrier has connected, and another one may suit the path better. It returns why the session is
	// to have that carrier all the same, whyOnly if that is for the others to say.
	standBack := func(c candidate, conn Conn) why {
		if c.carrier != 0 || first.carrier == 0 || !p.alternatives() {
			return whyOnly
		}
		w, fits := fit(conn)
		if fits {
			return w
		}
		unfit.Store(true)
		stoodBack <- struct{}{}
		patience := time.NewTimer(p.ep.cfg.HeadStart)
		defer patience.Stop()
		select {
		case <-patience.C:
		case <-alone:
		case <-ctx.Done():
		}
		return w
	}
	try := func(c candidate) {
		a := attempt{candidate: c}
		a.conn, a.err = p.ep.cfg.Carriers[c.carrier].Dial(ctx, c.at, p.id, p.nonce)
		if a.err != nil {
			left[c.carrier].Add(-1)
			results <- a
			return
		}
		w := standBack(c, a.conn)
		select {
		case greeting <- struct{}{}: // kept by who succeeds
			if w == whyOnly {
				w = p.whyNow(c.carrier, first, left, unfit.Load())
			}
			a.route = route{c.carrier, w}
			a.said, a.err = p.greet(ctx, a.conn, 0, a.route)
			if a.err != nil {
				left[c.carrier].Add(-1)
				<-greeting
			}
		case <-ctx.Done():
			a.err = ctx.Err()
		}
		if a.err != nil {
			a.conn.Close()
		}
		results <- a
	}
	next, running := 0, 0
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	launch := func() {
		if next == len(all) || !p.ep.start(1) {
			return
		}
		c := all[next]
		next++
		running++
		go func() {
			defer p.ep.goroutines.Done()
			try(c)
		}()
		if next < len(all) {
			timer.Reset(max(all[next].after-time.Since(began), 0))
		}
	}
	launch()
	var errs []error
	for running > 0 {
		select {
		case a := <-results:
			running--
			if a.err == nil {
				return a, nil
			}
			errs = append(errs, a.err)
			if refused := (*transport.RefusedError)(nil); errors.As(a.err, &refused) {
				return attempt{}, a.err // it says the same whichever way it is asked
			}
			if next < len(all) && (running == 0 || all[next].carrier == a.candidate.carrier) {
				launch()
			}
			if !lonely && others(left) == 0 {
				lonely = true
				close(alone)
			}
		case <-stoodBack:
			rest := slices.DeleteFunc(all[next:], func(c candidate) bool { return c.carrier == 0 })
			all = all[:next+len(rest)]
			if len(rest) > 0 {
				began = time.Now().Add(-rest[0].after)
				timer.Reset(0)
			}
		case <-timer.C:
			launch()
		}
	}
	if len(errs) == 0 {
		return attempt{}, transport.ErrClosed
	}
	return attempt{}, errors.Join(errs...)
}

// others returns how many places of carriers behind the first have not failed.
func others(left []atomic.Int32) (n int32) {
	for i := range left[1:] {
		n += left[1+i].Load()
	}
	return n
}
