package stripe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// state is how far a session has come.
//
//	idle --Open--> dialing --welcome--> up --bye or loss--> over
//	  \___________________\___hello____/
type state uint8

const (
	idle state = iota
	dialing
	up
	over
)

// maxUnopened bounds the links of a peer that this side has not opened.
const maxUnopened = 1 << 16

// lingering is how long the side that answers a goodbye waits for the other to hang up.
const lingering = time.Second

// A peer is another rank's endpoint and the session with it.
type peer struct {
	ep    *Endpoint
	rank  int
	id    string // the identity that it has to prove
	nonce Nonce
	ways  [][]string // where it listens, by carrier; nil if it came by itself

	offer    [16]byte        // the session that this side dials with; fixed when it begins to
	ctx      context.Context // ends with the session
	cancel   context.CancelFunc
	wires    []*wire // nil from count
	count    atomic.Int32
	width    atomic.Int32 // how many of them this side sends over
	bulk     bulk
	trip     atomic.Int64 // shortest round trip so far, if the path is long
	meter    meter
	pacer    pacer
	finished chan struct{} // closed when the session is over
	route    atomic.Pointer[route]

	mu         sync.Mutex
	state      state
	session    [16]byte
	links      map[transport.LinkID]*link
	unopened   int
	everOpened bool
	yielded    bool // this side has told the peer to wait for its own session
	cancelDial context.CancelFunc
	end        *remoteEnd // of links that are opened when the session is over
	leaving    bool       // this side wants to say bye
	saidBye    bool
	byes       uint32 // connections on which the peer has said bye
	byeMask    uint32 // and on which it will
	readers    int
	pulse      pulse
	spread     spread    // of the watch
	dialled    int       // connections that this side has begun to dial, at
	at         candidate // which is nothing if the peer has begun the session
}

func newPeer(e *Endpoint, rank int, id string, nonce Nonce) *peer {
	p := &peer{
		ep: e, rank: rank, id: id, nonce: nonce,
		finished: make(chan struct{}), links: make(map[transport.LinkID]*link),
	}
	p.ctx, p.cancel = context.WithCancel(e.ctx)
	most := e.cfg.Conns
	for _, c := range e.cfg.Carriers {
		most = max(most, c.most(e.cfg.Conns))
	}
	p.wires = make([]*wire, most)
	p.grow(e.cfg.Conns)
	p.width.Store(int32(e.cfg.Conns))
	return p
}

// active returns the connections that there are, and the places of some that are yet to come.
func (p *peer) active() []*wire { return p.wires[:p.count.Load()] }

// grow makes places for n connections. mu is held, or nobody else knows p.
func (p *peer) grow(n int) {
	for i := int(p.count.Load()); i < n; i++ {
		p.wires[i] = newWire(p, i)
		p.count.Store(int32(i + 1))
	}
}

// open returns this side's end of a link.
func (p *peer) open(id transport.LinkID) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[id]
	switch {
	case l == nil:
		l = newLink(p, id)
		if p.state == over {
			l.remote.Store(p.end)
		}
		p.links[id] = l
	case l.opened:
		return nil, fmt.Errorf("rank %d to rank %d, communicator %d, channel %d: %w",
			p.ep.cfg.Rank, p.rank, id.Comm, id.Channel, transport.ErrExists)
	default:
		p.unopened--
	}
	l.opened, p.everOpened = true, true
	return l, nil
}

// incoming returns the link that a message is for, which is made if the peer was first. It returns nil for a
// credit that comes when all is over.
func (p *peer) incoming(id transport.LinkID, k kind) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[id]
	if l == nil && k != kindCredit {
		if p.unopened++; p.unopened > maxUnopened {
			return nil, &transport.FrameError{Reason: fmt.Sprintf("more than %d links that this side has not opened", maxUnopened)}
		}
		l = newLink(p, id)
		p.links[id] = l
	}
	return l, nil
}

// reap forgets a link that is through.
func (p *peer) reap(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[l.id] == l && l.opened && (l.through() || p.state == over && l.ended.Load()) {
		delete(p.links, l.id)
	}
}

// enqueue adds a frame to the queue of a connection, which it returns, or to the bulk: nil.
func (p *peer) enqueue(e entry) *wire {
	best := p.wires[0]
	least := int64(-1)
	for _, w := range p.active()[1:] {
		if e.size <= small {
			break
		}
		switch {
		case !w.attached.Load():
		case w.shares():
			p.bulk.add(e)
			return nil
		case w.prompt != nil:
			if q := w.queued.Load(); least < 0 || q < least {
				best, least = w, q
			}
		}
	}
	best.enqueue(e)
	return best
}

// rouseOne wakes a connection for what is in the bulk, unless all are at work and will see it.
func (p *peer) rouseOne() {
	for _, w := range p.active()[1:] {
		if w.attached.Load() && w.shares() && w.rouse() {
			return
		}
	}
}

// attach starts to use a connection. It closes it if the session is over.
func (p *peer) attach(index int, conn Conn) {
	w := p.wires[index]
	p.mu.Lock()
	if p.state == over || !p.ep.start(2) {
		p.mu.Unlock()
		conn.Close()
		return
	}
	w.conn = conn
	if c, ok := conn.(prompt); ok {
		// An error is the connection's, which is waited for then, and says so.
		if raw, err := c.SyscallConn(); err == nil {
			w.prompt, w.readiness = c, raw
		}
	}
	if c, ok := conn.(clearable); ok && index > 0 && p.ep.cfg.Carriers[p.route.Load().carrier].Clear {
		c.Clear()
	}
	w.attached.Store(true)
	p.readers++
	leaving := p.leaving
	p.mu.Unlock()
	go func() {
		defer p.ep.goroutines.Done()
		if err := w.write(); err != nil {
			p.lose(fmt.Errorf("connection %d: %w", index, err))
		}
	}()
	go func() {
		defer p.ep.goroutines.Done()
		err := w.read()
		if err != nil {
			p.lose(fmt.Errorf("connection %d: %w", index, err))
		}
		p.mu.Lock()
		p.readers--
		last := p.readers == 0 && p.state == over
		p.mu.Unlock()
		if last {
			p.hangUp()
		}
	}()
	if leaving {
		p.sayBye()
	}
}

// lose ends the session because the peer cannot be heard any more.
func (p *peer) lose(cause error) {
	p.finish(&remoteEnd{err: &transport.LostError{Peer: p.rank, Cause: cause}, session: true})
	p.hangUp()
}

// finish makes the session over, once, and ends its links.
func (p *peer) finish(end *remoteEnd) bool {
	p.mu.Lock()
	if p.state == over {
		p.mu.Unlock()
		return false
	}
	p.state, p.end = over, end
	links := make([]*link, 0, len(p.links))
	for _, l := range p.links {
		links = append(links, l)
	}
	if p.cancelDial != nil {
		p.cancelDial()
	}
	p.mu.Unlock()
	for _, l := range links {
		own := *end
		if end.drain {
			// All that came has come. A link of which the peer has promised more is broken.
			own.final = l.arrived.Load()
			if said := l.remote.Load(); said != nil && own.final < said.final {
				own = remoteEnd{session: true, err: &transport.LostError{Peer: p.rank, Cause: &transport.FrameError{
					Reason: fmt.Sprintf("goodbye after %d frames of %d", own.final, said.final),
				}}}
			}
		}
		l.lose(&own)
		p.reap(l)
	}
	p.ep.bell.Ring()
	close(p.finished)
	return true
}

// hangUp closes the connections and ends their writers.
func (p *peer) hangUp() {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bulk.clear()
	for _, w := range p.active() {
		w.stop()
		if w.conn != nil {
			w.conn.Close()
		}
	}
}

// sayBye ends the session in good order from this side: each connection says bye behind what is queued.
func (p *peer) sayBye() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	mask := uint32(0)
	for i, w := range p.active() {
		if w.attached.Load() {
			mask |= 1 << i
		}
	}
	if p.saidBye || mask == 0 {
		return
	}
	p.saidBye = true
	for i, w := range p.active() {
		if mask&(1<<i) != 0 {
			w.sayBye(mask)
		}
	}
}

// heardBye notes the peer's bye on a connection, and ends the session when it was the last.
func (p *peer) heardBye(index int, mask uint32) error {
	p.mu.Lock()
	if mask&(1<<index) == 0 || mask>>len(p.wires) != 0 || p.byeMask != 0 && p.byeMask != mask {
		p.mu.Unlock()
		return &transport.FrameError{Reason: fmt.Sprintf("bye for connections %#x on connection %d", mask, index)}
	}
	p.byeMask = mask
	p.byes |= 1 << index
	all := p.byes == mask
	p.mu.Unlock()
	if !all {
		return nil
	}
	// The answer goes first: who waits for it may go the moment that it is there.
	p.sayBye()
	if p.finish(&remoteEnd{err: transport.ErrPeerClosed, drain: true, session: true}) {
		// The peer hangs up when it has read this side's bye.
		time.AfterFunc(lingering, p.hangUp)
	}
	return nil
}
