package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// settleTime is how long a member that has the commit waits for those that it has told. Who has not confirmed by then has
// a connection that hangs, and will be missed by the first operation.
const settleTime = 2 * time.Second

// lingerTime is how long streams are kept for the last word to arrive.
const lingerTime = time.Second

// maxQueued is how many messages may wait to be written to one peer. A machine sends fewer.
const maxQueued = 32

// A party drives one machine with streams: one goroutine runs the machine, one for each stream reads and one
// writes.
type party struct {
	host    Host
	doorman *doorman
	inv     *Invitation
	door    uint64
	log     *slog.Logger
	refused func(*RefusedError) // may be nil

	events chan event
	over   chan struct{} // closed when the machine has ended
	calls  context.Context
	first  Stream // of the guest's first call; used once

	// Of the goroutine that runs the machine:
	machine machine
	conns   map[link]*conn
	nextIn  link
	writers sync.WaitGroup
	readers sync.WaitGroup
}

// An event is something that the machine should know.
type event struct {
	caller *caller // a new stream, else:
	conn   *conn
	msg    *message // nil: the conn has ended with err
	err    error
}

// A conn is one link.
type conn struct {
	link   link
	peer   string
	out    chan *message // closed by hang-up
	tables atomic.Bool   // whether the peer may send one: it has been asked

	// Of the machine's goroutine:
	hung    bool
	limited Stream // with a limit to its reads; nil: none
}

func newParty(d *doorman, inv *Invitation, door uint64, opts Options) *party {
	return &party{
		host: d.host, doorman: d, inv: inv, door: door, log: opts.Logger, refused: opts.Refused,
		events: make(chan event, 64), over: make(chan struct{}), conns: make(map[link]*conn), nextIn: 1,
	}
}

// accept takes over a stream with its first message. It is for the doorman.
func (p *party) accept(c caller) {
	if !p.post(event{caller: &c}) {
		refuseCaller(c, GivenUp)
	}
}

// post hands an event to the machine, and reports false if that has ended.
func (p *party) post(e event) bool {
	select {
	case p.events <- e:
		return true
	case <-p.over:
		return false
	}
}

// run drives the machine to its end.
func (p *party) run(ctx context.Context) (*Group, int, error) {
	calls, stop := context.WithCancel(context.Background())
	p.calls = calls
	defer stop()
	settle := time.NewTimer(settleTime)
	settle.Stop()
	defer settle.Stop()
	giveUp := ctx.Done()
	for {
		for _, e := range p.machine.take() {
			switch e.kind {
			case effectDecided:
				settle.Reset(settleTime)
			case effectEnd:
				stop()
				p.finish(e.err)
				return e.group, e.rank, e.err
			default:
				p.perform(e)
			}
		}
		select {
		case e := <-p.events:
			p.take(e)
		case <-giveUp:
			giveUp = nil // the machine may be past it
			p.machine.giveUp(context.Cause(ctx))
		case <-settle.C:
			p.machine.enough()
		}
	}
}

// perform does what the machine wants done.
func (p *party) perform(e effect) {
	switch e.kind {
	case effectCall:
		c := p.newConn(e.link, e.whom.ID)
		first := p.first
		p.first = nil
		p.writers.Go(func() { p.dial(c, e.whom, first) })
	case effectSend:
		c := p.conns[e.link]
		if c == nil || c.hung {
			return
		}
		if e.msg.Kind == kindPull {
			c.tables.Store(true)
		}
		select {
		case c.out <- e.msg:
		default: // the peer does not read
			p.hangUp(c)
			p.machine.lost(c.link, errors.New("membership: peer does not read"))
		}
	case effectTrust:
		if c := p.conns[e.link]; c != nil && c.limited != nil && !c.hung {
			_ = c.limited.SetReadDeadline(time.Time{})
			c.limited = nil
		}
	case effectHangUp:
		if c := p.conns[e.link]; c != nil {
			p.hangUp(c)
		}
	case effectRefused:
		p.log.Info("refused", "group", p.inv.Name(), "peer", e.refused.Peer, "rank", e.refused.Rank, "code", e.refused.Code.String(),
			"reason", e.refused.Reason)
		if p.refused != nil {
			p.refused(e.refused)
		}
	}
}

// take hands an event to the machine.
func (p *party) take(e event) {
	if e.caller != nil {
		c := p.newConn(p.nextIn, e.caller.stream.PeerID())
		p.nextIn += 2
		p.serve(c, e.caller.stream)
		p.machine.receive(c.link, c.peer, e.caller.first)
		return
	}
	c := e.conn
	if c.hung {
		return
	}
	if e.msg != nil {
		p.machine.receive(c.link, c.peer, e.msg)
		return
	}
	p.hangUp(c)
	p.machine.lost(c.link, e.err)
}

func (p *party) newConn(l link, peer string) *conn {
	c := &conn{link: l, peer: peer, out: make(chan *message, maxQueued)}
	p.conns[l] = c
	return c
}

// hangUp lets the writer finish and ends the link.
func (p *party) hangUp(c *conn) {
	if !c.hung {
		c.hung = true
		close(c.out)
		delete(p.conns, c.link)
	}
}

// finish ends all links. What has been sent is written; after a failure, the others get the time to read it.
func (p *party) finish(failed error) {
	close(p.over)
	for {
		select {
		case e := <-p.events:
			if e.caller != nil {
				code := GivenUp
				if failed == nil {
					code = Complete
				}
				p.readers.Go(func() { refuseCaller(*e.caller, code) })
			}
			continue
		default:
		}
		break
	}
	for _, c := range p.conns {
		p.hangUp(c)
	}
	p.writers.Wait()
	if failed != nil {
		p.readers.Wait()
	}
}

// dial opens the stream of a link that this side opens, and is its writer then. s is not nil if it is open already.
func (p *party) dial(c *conn, whom contact, s Stream) {
	ctx, cancel := context.WithTimeout(p.calls, greetingTime)
	defer cancel()
	var err error
	switch {
	case s != nil:
	case whom.ID == p.host.ID():
		s = p.doorman.callSelf()
	default:
		s, err = p.host.Open(ctx, whom.Addrs, protocolName)
	}
	if err == nil && s.PeerID() != whom.ID {
		_ = s.Close()
		err = fmt.Errorf("membership: %s answers for %s", s.PeerID(), whom.ID)
	}
	if err != nil {
		p.post(event{conn: c, err: err})
		for range c.out { // until the machine hangs up
		}
		return
	}
	p.readers.Go(func() { p.read(c, s) })
	p.write(c, s)
}

// serve starts the goroutines of a stream that a peer has opened. Its reads keep the limit that the doorman has set
// until the machine trusts it.
func (p *party) serve(c *conn, s Stream) {
	c.limited = s
	p.writers.Go(func() { p.write(c, s) })
	p.readers.Go(func() { p.read(c, s) })
}

// write writes what the machine sends until it hangs up.
func (p *party) write(c *conn, s Stream) {
	var err error
	for m := range c.out {
		if err != nil {
			continue // the reader tells the machine
		}
		var b []byte
		if b, err = m.encode(); err == nil {
			_ = s.SetWriteDeadline(time.Now().Add(p.writeTime(len(b))))
			_, err = s.Write(b)
		}
		if err != nil {
			_ = s.Close()
		}
	}
	// Closing both directions at once would make some systems drop what the peer has not read.
	half, ok := s.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = s.Close()
		return
	}
	_ = s.SetReadDeadline(time.Now().Add(lingerTime))
}

// writeTime bounds a write: a second for the last words, else what a slow line needs.
func (p *party) writeTime(bytes int) time.Duration {
	select {
	case <-p.over:
		return lingerTime
	default:
		return greetingTime + time.Duration(bytes)*10*time.Microsecond
	}
}

// read hands messages to the machine until the stream ends.
func (p *party) read(c *conn, s Stream) {
	defer s.Close()
	size := func() int {
		if c.tables.Load() {
			return p.inv.Size
		}
		return 0
	}
	for {
		m, err := decodeMessage(s, size)
		if err != nil {
			p.post(event{conn: c, err: err})
			return
		}
		if !p.post(event{conn: c, msg: m}) {
			// The machine has ended: wait for the peer to hang up, too, or for the writer's limit.
			_, _ = s.Read(make([]byte, 1))
			return
		}
	}
}
