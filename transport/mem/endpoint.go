package mem

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// linkKey names one end of a link within its endpoint.
type linkKey struct {
	addr string // of the peer's endpoint, not its rank: a successor of a closed endpoint is somebody else
	id   transport.LinkID
}

type endpoint struct {
	network *Network
	key     rankKey
	serial  uint64
	bell    transport.Bell
	heap    transport.Heap

	// mu of the endpoint with the lower serial is locked first where two are needed.
	mu      sync.Mutex
	closed  bool
	links   map[linkKey]*link // ends that are open on this side
	pending map[linkKey]*pair // opened by the peer, not yet by this side
}

// Admit does nothing: all ranks are in this process.
func (e *endpoint) Admit([]transport.Peer) {}

// errGone is the cause of a link to an endpoint that is closed.
var errGone = errors.New("its endpoint is closed")

func (e *endpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	if peer.Addr == "" || peer.Rank == e.key.rank || peer.Rank < 0 {
		return nil, fmt.Errorf("mem: open: rank %d to rank %d at %q: %w", e.key.rank, peer.Rank, peer.Addr, transport.ErrUnreachable)
	}
	other := e.network.find(rankKey{e.key.group, peer.Rank}, peer.Addr)
	lock(e, other)
	defer unlock(e, other)
	if e.closed {
		return nil, fmt.Errorf("mem: open: %w", transport.ErrClosed)
	}
	key := linkKey{peer.Addr, id}
	if e.links[key] != nil {
		return nil, fmt.Errorf("mem: open: rank %d to rank %d, communicator %d, channel %d: %w",
			e.key.rank, peer.Rank, id.Comm, id.Channel, transport.ErrExists)
	}
	p, mine := e.pending[key], 1
	if p != nil {
		delete(e.pending, key)
	} else {
		p, mine = newPair(), 0
		switch back := (linkKey{e.Addr(), id}); {
		case other == nil || other.closed:
			p.ends[1].end.Store(&ending{err: &transport.LostError{Peer: peer.Rank, Cause: errGone}})
		case other.pending[back] != nil:
			// This side has opened and closed the id before, and the peer has not opened it yet.
			return nil, fmt.Errorf("mem: open: rank %d to rank %d, communicator %d, channel %d: %w",
				e.key.rank, peer.Rank, id.Comm, id.Channel, transport.ErrExists)
		default:
			if other.pending == nil {
				other.pending = make(map[linkKey]*pair)
			}
			other.pending[back] = p
		}
	}
	l := &p.ends[mine]
	l.key = key
	if e.links == nil {
		e.links = make(map[linkKey]*link)
	}
	e.links[key] = l
	l.endpoint.Store(e) // from here on the peer rings this rank's bell
	return l, nil
}

// lock locks e and other, if there is one, in the order of their serials.
func lock(e, other *endpoint) {
	switch {
	case other == nil:
		e.mu.Lock()
	case e.serial < other.serial:
		e.mu.Lock()
		other.mu.Lock()
	default:
		other.mu.Lock()
		e.mu.Lock()
	}
}

func unlock(e, other *endpoint) {
	e.mu.Unlock()
	if other != nil {
		other.mu.Unlock()
	}
}

// forget drops a link that has ended on this side.
func (e *endpoint) forget(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links[l.key] == l {
		delete(e.links, l.key)
	}
}

// Alloc returns memory of the Go heap, which every link of this package sends by reference, as it does all
// other memory.
func (e *endpoint) Alloc(size int) ([]byte, error) { return e.heap.Alloc(size) }

func (e *endpoint) Free(mem []byte) error { return e.heap.Free(mem) }

func (e *endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	links, pending := e.links, e.pending
	e.links, e.pending = nil, nil
	e.mu.Unlock()
	e.heap.Close()
	e.network.remove(e)
	for _, l := range links {
		l.finish(&ending{err: transport.ErrPeerClosed, drain: true})
	}
	for _, p := range pending {
		p.ends[1].finish(&ending{err: transport.ErrPeerClosed, drain: true})
	}
	return nil
}
