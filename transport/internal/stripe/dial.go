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
	first := p.remembered()
	for {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		a, err := p.race(attempt, first)
		cancel()
		conn, said := a.conn, a.said
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
			if p.established(a) {
				p.dialMore(p.ep.cfg.Conns)
			}
			return
		}
		conn.Close()
		first = a.route // it has answered once
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
func (p *peer) established(a attempt) bool {
	p.mu.Lock()
	ok := p.state == dialing
	if ok {
		p.state, p.session, p.wires[0].taken = up, p.offer, true
		p.at, p.dialled = a.candidate, 1
		p.take(a.route)
	}
	p.mu.Unlock()
	if !ok {
		a.conn.Close()
		return false
	}
	p.attach(0, a.conn)
	return true
}

// dialMore adds connections until there are n. mu is not held.
func (p *peer) dialMore(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != up || p.leaving {
		return
	}
	p.grow(n)
	for ; p.dialled < n; p.dialled++ {
		if !p.ep.start(1) {
			return
		}
		go func(index int, c candidate) {
			defer p.ep.goroutines.Done()
			p.dialOne(index, c)
		}(p.dialled, p.at)
	}
}

// dialOne adds a connection. The session is lost when one of those fails that it has to have, or when the peer may have accepted it.
func (p *peer) dialOne(index int, c candidate) {
	ctx, cancel := context.WithTimeout(p.ctx, p.ep.cfg.DialTimeout)
	defer cancel()
	must := index < p.ep.cfg.Conns
	conn, err := p.ep.cfg.Carriers[c.carrier].Dial(ctx, c.at, p.id, p.nonce)
	if err == nil {
		var said answer
		said, err = p.greet(ctx, conn, index, route{carrier: c.carrier})
		must = must || !isRefused(err)
		if err == nil && said != welcome {
			err = errSilent
		}
		if err != nil {
			conn.Close()
		}
	}
	switch {
	case err == nil:
		p.attach(index, conn)
	case p.ctx.Err() != nil:
	case must && isGone(err) && p.awaitEnd(ctx):
	case must:
		p.lose(fmt.Errorf("connection %d: %w", index, err))
	default:
		p.ep.cfg.Logger.Warn("no more connections", "transport", p.ep.cfg.Name, "rank", p.ep.cfg.Rank, "peer", p.rank, "connection", index, "error", err)
	}
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*transport.RefusedError](err)
	return ok
}

// isGone reports whether the peer says that its end of the session is over. How it ended, the session's other connections say.
func isGone(err error) bool {
	refused, ok := errors.AsType[*transport.RefusedError](err)
	return ok && refused.Why == transport.RefusedGone
}

// awaitEnd waits for the session to end by what comes over its other connections, a goodbye most likely, and reports whether it has.
func (p *peer) awaitEnd(ctx context.Context) bool {
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ctx.Err() != nil || p.state == over
}

// greet says hello on a new connection and hears the answer. A refusal is a [*transport.RefusedError].
func (p *peer) greet(ctx context.Context, conn Conn, index int, r route) (answer, error) {
	e := p.ep
	h := hello{
		index: uint8(index), conns: uint8(e.cfg.Conns), most: uint8(e.cfg.Carriers[r.carrier].most(e.cfg.Conns)), window: uint16(e.cfg.Window),
		from: uint32(e.cfg.Rank), to: uint32(p.rank), fromNonce: e.cfg.Nonce, toNonce: p.nonce,
		session: p.offer, group: e.group, silent: uint32(e.cfg.Carriers[r.carrier].Silent.Milliseconds()),
		why: r.why, clear: e.cfg.Carriers[r.carrier].Clear,
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
