package stripe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ringtree/ringtree/transport"
)

const (
	// stagger is the head start of a candidate before the next is tried beside it (as in RFC 8305, section 5).
	stagger = 250 * time.Millisecond
	// The pause before a peer that asks for patience is asked again doubles from firstPause to lastPause.
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
	// patience is how many dial timeouts a peer may be alive without knowing its members.
	patience = 12
)

// errSilent is the cause of a loss when the peer answers, but never opens its session.
var errSilent = errors.New("the peer did not connect in time")

// dial opens the session from this side, unless the peer's comes first.
func (p *peer) dial(ctx context.Context) {
	timeout := p.ep.cfg.DialTimeout
	start, pause := time.Now(), firstPause
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		conn, place, said, err := p.race(attempt)
		cancel()
		switch {
		case ctx.Err() != nil: // the peer's session has come, or the endpoint closes
			if conn != nil {
				conn.Close()
			}
			return
		case err != nil:
			p.dialFailed(ctx, err)
			return
		case said == welcome:
			if p.established(conn) {
				p.dialRest(place)
			}
			return
		}
		conn.Close()
		limit := timeout
		if said == notYet {
			limit *= patience
		}
		if time.Since(start) > limit {
			p.lose(errSilent)
			return
		}
		timer.Reset(pause)
		pause = min(2*pause, lastPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// dialFailed gives up, or, when the peer has been told to wait for this session, lets it try.
func (p *peer) dialFailed(ctx context.Context, err error) {
	p.mu.Lock()
	wait := p.yielded && p.state == dialing
	if wait {
		p.state = idle
	}
	p.mu.Unlock()
	if wait {
		timer := time.NewTimer(p.ep.cfg.DialTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	p.lose(err)
}

// established makes connection 0 the session's.
func (p *peer) established(conn Conn) bool {
	p.mu.Lock()
	ok := p.state == dialing
	if ok {
		p.state, p.session, p.wires[0].taken = up, p.offer, true
	}
	p.mu.Unlock()
	if !ok {
		conn.Close()
		return false
	}
	p.attach(0, conn)
	return true
}

// dialRest adds the other connections.
func (p *peer) dialRest(place string) {
	for i := 1; i < len(p.wires); i++ {
		if !p.ep.start(1) {
			return
		}
		go func() {
			defer p.ep.goroutines.Done()
			ctx, cancel := context.WithTimeout(p.ctx, p.ep.cfg.DialTimeout)
			defer cancel()
			conn, err := p.ep.cfg.Dial(ctx, place, p.id, p.nonce)
			if err == nil {
				var said answer
				said, err = p.greet(ctx, conn, i)
				if err == nil && said != welcome {
					err = errSilent
				}
				if err != nil {
					conn.Close()
				}
			}
			if err != nil {
				if p.ctx.Err() == nil {
					p.lose(fmt.Errorf("connection %d: %w", i, err))
				}
				return
			}
			p.attach(i, conn)
		}()
	}
}

// An attempt is the outcome of dialling one candidate.
type attempt struct {
	conn  Conn
	place string
	said  answer
	err   error
}

// race tries the candidates, each with a head start before the next, and returns the first that answers. They
// are greeted one at a time, so that the peer never accepts a connection which this side gives up.
func (p *peer) race(ctx context.Context) (Conn, string, answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(p.places))
	greeting := make(chan struct{}, 1)
	try := func(place string) {
		a := attempt{place: place}
		a.conn, a.err = p.ep.cfg.Dial(ctx, place, p.id, p.nonce)
		if a.err != nil {
			results <- a
			return
		}
		select {
		case greeting <- struct{}{}: // kept by who succeeds
			a.said, a.err = p.greet(ctx, a.conn, 0)
			if a.err != nil {
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
	launch := func() bool {
		if next == len(p.places) || !p.ep.start(1) {
			return false
		}
		place := p.places[next]
		next++
		running++
		go func() {
			defer p.ep.goroutines.Done()
			try(place)
		}()
		return true
	}
	launch()
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	var errs []error
	for running > 0 {
		select {
		case a := <-results:
			running--
			if a.err == nil {
				return a.conn, a.place, a.said, nil
			}
			errs = append(errs, a.err)
			if launch() {
				timer.Reset(stagger)
			}
		case <-timer.C:
			if launch() {
				timer.Reset(stagger)
			}
		}
	}
	if len(errs) == 0 {
		return nil, "", 0, transport.ErrClosed
	}
	return nil, "", 0, errors.Join(errs...)
}

// greet says hello on a new connection and hears the answer. A refusal is a [*transport.RefusedError].
func (p *peer) greet(ctx context.Context, conn Conn, index int) (answer, error) {
	e := p.ep
	h := hello{
		index: uint8(index), conns: uint8(e.cfg.Conns), window: uint16(e.cfg.Window),
		from: uint32(e.cfg.Rank), to: uint32(p.rank), fromNonce: e.cfg.Nonce, toNonce: p.nonce,
		session: p.offer, group: e.group, silent: uint32(e.cfg.Silent.Milliseconds()),
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var said answer
	err := func() error {
		if err := writeAll(conn, h.append(make([]byte, 0, helloSize))); err != nil {
			return err
		}
		var buf [answerSize]byte
		if _, err := io.ReadFull(conn, buf[:]); err != nil {
			return err
		}
		return said.parse(buf[:])
	}()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, fmt.Errorf("greeting: %w", err)
	}
	if why := transport.Refusal(said); said < welcome {
		return 0, &transport.RefusedError{Why: why}
	}
	return said, nil
}

// writeAll writes b and flushes it.
func writeAll(conn Conn, b []byte) error {
	if _, err := conn.Write(b); err != nil {
		return err
	}
	if f, ok := conn.(flusher); ok {
		return f.Flush()
	}
	return nil
}
