package shm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport"
)

const (
	helloTimeout = 5 * time.Second        // for a connection to say who it is
	closeTimeout = 500 * time.Millisecond // for peers to answer the goodbye
)

var (
	never    time.Time // no deadline
	pageSize = os.Getpagesize()
)

type endpoint struct {
	group    [32]byte // hash of the name
	rank     int
	addr     string
	bell     transport.Bell
	inner    *bell  // the bell that peers get: the rank's own, or the relay's
	relay    *relay // nil without one
	listener *net.UnixListener
	release  func() // tells the Transport that the rank no longer listens

	ctx        context.Context // ends when the endpoint has closed
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	done       chan struct{} // closed when Close is through

	regions atomic.Pointer[[]*region] // by address; copied when it changes
	stage   atomic.Uint64             // how much of their staging areas links use

	mu         sync.Mutex
	closed     bool
	stopped    bool // no connection is tracked any more
	peers      map[string]*peer
	conns      map[*net.UnixConn]bool
	lastRegion uint32
}

func listen(group string, rank int, b transport.Bell, release func()) (transport.Endpoint, error) {
	e := &endpoint{
		group: sha256.Sum256([]byte(group)), rank: rank, bell: b, release: release,
		peers: make(map[string]*peer), conns: make(map[*net.UnixConn]bool), done: make(chan struct{}),
	}
	e.stage.Store(stageSize)
	var err error
	if e.listener, e.addr, err = listenRandom(); err != nil {
		return nil, fmt.Errorf("shm: listen: %w: %w", transport.ErrNotSupported, err)
	}
	if own, ok := b.(*bell); ok {
		e.inner = own
	} else {
		if e.relay, err = startRelay(b); err != nil {
			e.listener.Close()
			return nil, err
		}
		e.inner = e.relay.inner
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.goroutines.Add(1)
	go e.accept()
	return e, nil
}

func (e *endpoint) Addr() string { return e.addr }

// Admit does nothing: the kernel keeps other hosts and other users out.
func (e *endpoint) Admit([]transport.Peer) {}

func (e *endpoint) checkOpen() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return transport.ErrClosed
	}
	return nil
}

// accept serves connections until the listener closes.
func (e *endpoint) accept() {
	defer e.goroutines.Done()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		c, err := e.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, say: that may pass
			pause.Reset(5 * time.Millisecond)
			select {
			case <-pause.C:
			case <-e.ctx.Done():
				return
			}
		case e.track(c):
			e.goroutines.Add(1)
			go e.serve(c)
		}
	}
}

func (e *endpoint) helloDeadline() time.Time { return time.Now().Add(helloTimeout) }

// track makes Close end a connection. It closes it at once and returns false when Close is through with
// that.
func (e *endpoint) track(c *net.UnixConn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		c.Close()
		return false
	}
	e.conns[c] = true
	return true
}

func (e *endpoint) untrack(c *net.UnixConn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
	c.Close()
}

// peer returns the peer at an address, which is made if need be. mu is held.
func (e *endpoint) peer(addr string) *peer {
	p := e.peers[addr]
	if p == nil {
		p = &peer{
			endpoint: e, addr: addr, wake: make(chan struct{}, 1), acked: make(chan struct{}),
			links: make(map[transport.LinkID]*link), pending: make(map[transport.LinkID]*segment),
			early: make(map[transport.LinkID]bool),
		}
		e.peers[addr] = p
		if len(e.peers) > 1 {
			e.stage.Store(sharedStage)
		}
	}
	return p
}

func (e *endpoint) Open(to transport.Peer, id transport.LinkID) (transport.Link, error) {
	if !validAddr(to.Addr) || to.Addr == e.addr || to.Rank == e.rank || to.Rank < 0 || to.Rank > maxRank {
		return nil, fmt.Errorf("shm: open: rank %d to rank %d at %q: %w", e.rank, to.Rank, to.Addr, transport.ErrUnreachable)
	}
	out, fd, err := newSegment()
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	l, err := e.open(to, id, out, fd)
	if err != nil {
		out.release()
		return nil, err
	}
	return l, nil
}

func (e *endpoint) open(to transport.Peer, id transport.LinkID, out *segment, fd int) (*link, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("shm: open: %w", transport.ErrClosed)
	}
	p := e.peer(to.Addr)
	if p.links[id] != nil || p.early[id] {
		return nil, fmt.Errorf("shm: open: rank %d to rank %d, communicator %d, channel %d: %w",
			e.rank, to.Rank, id.Comm, id.Channel, transport.ErrExists)
	}
	if !p.dialled && !p.gone {
		bellFD, err := e.inner.dup()
		if err != nil {
			return nil, err
		}
		p.dialled = true
		p.enqueue(message{kind: msgHello, group: e.group, rank: e.rank, to: to.Rank, addr: e.addr}, bellFD)
		closeFD(bellFD)
		if table := e.regions.Load(); table != nil {
			for _, r := range byID(*table) {
				p.enqueue(r.announcement(), r.fd)
			}
		}
		e.goroutines.Add(1)
		go p.dial()
	}
	p.enqueue(message{kind: msgSegment, id: id}, fd)
	l := &link{endpoint: e, peer: p, id: id, rank: to.Rank, out: out, area: e.stage.Load()}
	if in := p.pending[id]; in != nil {
		delete(p.pending, id)
		l.arrived = true
		l.attach(in)
	}
	p.links[id] = l
	if p.gone {
		l.lose(p.cause, p.said)
	}
	return l, nil
}

// forget drops a link that has ended on this side.
func (e *endpoint) forget(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := l.peer
	if p.links[l.id] != l {
		return
	}
	delete(p.links, l.id)
	if !l.arrived && !p.gone {
		p.early[l.id] = true
	}
}

func (e *endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		<-e.done
		return nil
	}
	e.closed = true
	var links []*link
	var peers []*peer
	for _, p := range e.peers {
		peers = append(peers, p)
		for _, l := range p.links {
			links = append(links, l)
		}
	}
	e.mu.Unlock()
	defer close(e.done)
	for _, l := range links {
		l.finish(stateClosed, nil)
	}
	e.sayGoodbye(peers)

	e.cancel()
	e.listener.Close()
	e.mu.Lock()
	e.stopped = true
	for c := range e.conns {
		c.Close()
	}
	e.mu.Unlock()
	e.goroutines.Wait()
	if e.relay != nil {
		e.relay.close()
	}
	e.free(peers)
	e.release()
	return nil
}

// sayGoodbye tells the peers that this is a close in good order, and waits for a bounded time until they have
// taken in everything that was sent to them before.
func (e *endpoint) sayGoodbye(peers []*peer) {
	deadline := time.NewTimer(closeTimeout)
	defer deadline.Stop()
	until := time.Now().Add(closeTimeout)
	e.mu.Lock()
	var waiting []*peer
	for _, p := range peers {
		if p.gone {
			continue
		}
		if p.dialled {
			p.enqueue(message{kind: msgGoodbye}, -1)
			waiting = append(waiting, p)
		}
		for _, c := range []*net.UnixConn{p.in, p.out} {
			if c != nil {
				c.SetWriteDeadline(until)
			}
		}
	}
	e.mu.Unlock()
	expired := false
	for _, p := range waiting {
		if expired {
			break
		}
		select {
		case <-p.acked:
		case <-deadline.C:
			expired = true
		}
	}
	// To those who dialled us, so that they can tell it from a crash. What they answer no longer matters.
	for _, p := range peers {
		e.mu.Lock()
		c := p.in
		e.mu.Unlock()
		if c != nil {
			write(c, message{kind: msgGoodbye}, -1)
		}
	}
}

// free drops what the endpoint maps, after its goroutines have ended. Frames that are held keep their
// regions; memory of Alloc stays until Free.
func (e *endpoint) free(peers []*peer) {
	for _, p := range peers {
		for _, s := range p.pending {
			s.release()
		}
		if table := p.regions.Swap(nil); table != nil {
			for _, m := range *table {
				m.release()
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peers = nil
	if table := e.regions.Load(); table != nil {
		for _, r := range *table {
			closeFD(r.fd)
			r.fd = -1
		}
	}
}
