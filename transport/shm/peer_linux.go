package shm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// A peer is the other end of all links to one address. Its mutable fields are under the endpoint's mu, but
// for the atomic ones, which the data path reads.
type peer struct {
	endpoint *endpoint
	addr     string

	bell       atomic.Pointer[futexWord]           // from its hello
	regions    atomic.Pointer[map[uint32]*mapping] // its memory of Alloc; copied when it changes
	lastRegion atomic.Uint32                       // the newest that it announced

	links   map[transport.LinkID]*link    // open on this side
	pending map[transport.LinkID]*segment // opened by the peer, not by this side
	early   map[transport.LinkID]bool     // opened and closed by this side, with the peer's segment yet to come
	in      *net.UnixConn                 // which the peer dialled
	dialled bool                          // out is there or will be
	out     *net.UnixConn                 // which this side dialled
	queue   []queued                      // for out
	wake    chan struct{}                 // holds one wake-up for who sends the queue
	acked   chan struct{}                 // closed when the peer has taken in the goodbye, or is gone
	said    bool                          // the peer's goodbye has come
	gone    bool
	cause   error // why it is gone
}

type queued struct {
	m  message
	fd int // owned; -1: none
}

// maxPending bounds the links that a peer can open ahead of this side.
const maxPending = 1 << 16

// enqueue appends a message, with a copy of fd, to what goes to the peer. A file descriptor that cannot be
// copied loses the peer, because a message is missing then. The endpoint's mu is held.
func (p *peer) enqueue(m message, fd int) {
	if p.gone {
		return
	}
	if fd >= 0 {
		var err error
		if fd, err = dupFD(fd); err != nil {
			p.lose(err)
			return
		}
	}
	p.queue = append(p.queue, queued{m, fd})
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns and empties the queue, and says whether the peer is gone.
func (p *peer) take() (queue []queued, gone bool) {
	p.endpoint.mu.Lock()
	defer p.endpoint.mu.Unlock()
	queue, p.queue = p.queue, nil
	return queue, p.gone
}

// dial connects to the peer and sends it the queue, until the endpoint stops.
func (p *peer) dial() {
	e := p.endpoint
	defer e.goroutines.Done()
	defer func() {
		queue, _ := p.take()
		for _, q := range queue {
			closeFD(q.fd)
		}
	}()
	c, err := dial(e.ctx, p.addr)
	if err != nil {
		p.lost(err)
		return
	}
	if !e.track(c) {
		return
	}
	defer e.untrack(c)
	e.mu.Lock()
	p.out = c // closed by lose, or below if the peer is gone already
	e.mu.Unlock()
	e.goroutines.Add(1)
	go p.readReplies(c)
	for {
		queue, gone := p.take()
		for _, q := range queue {
			if err == nil && !gone {
				err = write(c, q.m, q.fd)
			}
			closeFD(q.fd)
		}
		if gone {
			return
		}
		if err != nil {
			p.lost(err)
			return
		}
		select {
		case <-p.wake:
		case <-e.ctx.Done():
			return
		}
	}
}

// readReplies reads what comes back on the connection that this side dialled, until it ends.
func (p *peer) readReplies(c *net.UnixConn) {
	e := p.endpoint
	defer e.goroutines.Done()
	defer c.Close()
	for {
		m, fd, err := read(c)
		closeFD(fd)
		if err == nil && m.kind != msgAck && m.kind != msgGoodbye {
			err = &transport.FrameError{Reason: fmt.Sprintf("control message of kind %d in an answer", m.kind)}
		}
		if err != nil {
			p.lost(err)
			return
		}
		e.mu.Lock()
		if m.kind == msgGoodbye {
			p.said = true
		} else {
			p.ack()
		}
		e.mu.Unlock()
	}
}

// ack ends the wait for the peer's answer to the goodbye. The endpoint's mu is held.
func (p *peer) ack() {
	select {
	case <-p.acked:
	default:
		close(p.acked)
	}
}

// errConnection is the cause of a loss that shows as the plain end of a connection.
var errConnection = errors.New("its process ended")

// lost records that the peer is gone and why.
func (p *peer) lost(cause error) {
	p.endpoint.mu.Lock()
	defer p.endpoint.mu.Unlock()
	p.lose(cause)
}

// lose is lost with the endpoint's mu held.
func (p *peer) lose(cause error) {
	if p.gone {
		return
	}
	if errors.Is(cause, io.EOF) || errors.Is(cause, unix.ECONNRESET) || errors.Is(cause, unix.EPIPE) {
		cause = errConnection
	}
	p.gone, p.cause = true, cause
	p.ack()
	for _, l := range p.links {
		l.lose(cause, p.said)
	}
	for _, c := range []*net.UnixConn{p.in, p.out} {
		if c != nil {
			c.Close()
		}
	}
	select {
	case p.wake <- struct{}{}: // lets the goroutine of the queue end
	default:
	}
}

// serve reads a connection that a peer dialled.
func (e *endpoint) serve(c *net.UnixConn) {
	defer e.goroutines.Done()
	defer e.untrack(c)
	p, err := e.welcome(c)
	if err != nil {
		return // whoever it was is no peer
	}
	for {
		m, fd, err := read(c)
		if err == nil {
			err = p.handle(c, m, fd)
			closeFD(fd)
		}
		if err != nil {
			p.lost(err)
			return
		}
	}
}

// welcome reads the hello of a connection and returns the peer that it comes from.
func (e *endpoint) welcome(c *net.UnixConn) (*peer, error) {
	if err := checkUser(c); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(e.helloDeadline()); err != nil {
		return nil, err
	}
	m, fd, err := read(c)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	if err := c.SetReadDeadline(never); err != nil {
		return nil, err
	}
	if m.kind != msgHello || m.group != e.group || m.to != e.rank || m.rank == e.rank || m.addr == e.addr {
		return nil, &transport.FrameError{Reason: "hello for somebody else"}
	}
	if err := checkMemfd(fd, pageSize); err != nil {
		return nil, err
	}
	word, err := mapFD(fd, pageSize, unix.MAP_POPULATE)
	if err != nil {
		return nil, err
	}
	w := &futexWord{word}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peer(m.addr)
	if p.in != nil || p.gone {
		word.release()
		return nil, &transport.FrameError{Reason: "second hello of a peer"}
	}
	p.in = c
	p.bell.Store(w)
	w.ring() // for all that this side did before it knew the bell
	return p, nil
}

// handle takes in one message of the peer. The caller closes fd.
func (p *peer) handle(c *net.UnixConn, m message, fd int) error {
	switch m.kind {
	case msgSegment:
		s, err := mapSegment(fd)
		if err != nil {
			return err
		}
		if err := p.addSegment(m.id, s); err != nil {
			s.release()
			return err
		}
	case msgRegion:
		if err := p.addRegion(m, fd); err != nil {
			return err
		}
	case msgUnregion:
		if err := p.dropRegion(m.region); err != nil {
			return err
		}
	case msgGoodbye:
		p.endpoint.mu.Lock()
		p.said = true
		p.endpoint.mu.Unlock()
		return write(c, message{kind: msgAck}, -1)
	default:
		return &transport.FrameError{Reason: fmt.Sprintf("control message of kind %d", m.kind)}
	}
	p.endpoint.bell.Ring()
	return nil
}

// addSegment gives a segment to its link, or keeps it until the link is opened.
func (p *peer) addSegment(id transport.LinkID, s *segment) error {
	p.endpoint.mu.Lock()
	defer p.endpoint.mu.Unlock()
	if l := p.links[id]; l != nil && !l.arrived {
		l.arrived = true
		l.attach(s)
		return nil
	}
	if p.early[id] {
		delete(p.early, id)
		s.release()
		return nil
	}
	if p.pending[id] != nil || len(p.pending) >= maxPending {
		return &transport.FrameError{Reason: fmt.Sprintf("segment of link %v, with %d pending", id, len(p.pending))}
	}
	p.pending[id] = s
	return nil
}
