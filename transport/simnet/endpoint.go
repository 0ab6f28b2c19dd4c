package simnet

import (
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/transport"
)

// linkKey names one end of a link within its endpoint.
type linkKey struct {
	rank int // the peer's
	addr string
	id   transport.LinkID
}

// An endpoint's fields are under the network's mu.
type endpoint struct {
	network *Network
	key     rankKey
	addr    string
	bell    transport.Bell
	heap    transport.Heap
	closed  bool
	links   map[linkKey]*link // ends that are open on this side
	pending map[linkKey]*link // this side's ends of links that only the peer has opened
}

// errGone is the cause of a link to an endpoint that is closed.
var errGone = errors.New("its endpoint is closed")

func (e *endpoint) Addr() string { return e.addr }

// Admit does nothing: all ranks are in this process.
func (e *endpoint) Admit([]transport.Peer) {}

func (e *endpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	if peer.Addr == "" || peer.Rank == e.key.rank || peer.Rank < 0 {
		return nil, fmt.Errorf("simnet: open: rank %d to rank %d at %q: %w", e.key.rank, peer.Rank, peer.Addr, transport.ErrUnreachable)
	}
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("simnet: open: %w", transport.ErrClosed)
	}
	other := n.ranks[rankKey{e.key.group, peer.Rank}]
	if other != nil && other.addr != peer.Addr {
		other = nil
	}
	key := linkKey{peer.Rank, peer.Addr, id}
	back := linkKey{e.key.rank, e.addr, id}
	if e.links[key] != nil || other != nil && other.pending[back] != nil {
		return nil, fmt.Errorf("simnet: open: rank %d to rank %d, communicator %d, channel %d: %w",
			e.key.rank, peer.Rank, id.Comm, id.Channel, transport.ErrExists)
	}
	l := e.pending[key]
	if l != nil {
		delete(e.pending, key)
	} else {
		l = newLink(n, e.key.rank, peer.Rank)
		l.key, l.peer.key = key, back
		if other == nil {
			l.lose(errGone)
		} else {
			other.pending[back] = l.peer
		}
	}
	l.endpoint = e
	e.links[key] = l
	if n.isCut(e.key.rank, peer.Rank) {
		l.lose(errCut)
	}
	return l, nil
}

func (e *endpoint) Alloc(size int) ([]byte, error) { return e.heap.Alloc(size) }

func (e *endpoint) Free(mem []byte) error { return e.heap.Free(mem) }

func (e *endpoint) Close() error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.heap.Close()
	if n.ranks[e.key] == e {
		delete(n.ranks, e.key)
	}
	for _, ends := range []map[linkKey]*link{e.links, e.pending} {
		for _, l := range ends {
			l.finish(transport.ErrPeerClosed, false)
		}
	}
	e.links, e.pending = nil, nil
	return nil
}
