package shm

import (
	"context"
	"fmt"
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// window is the number of descriptors of a direction of a link.
const window = 32

// maxInline is the longest payload inside a descriptor, in bytes.
const maxInline = 72

// caps describes every link of this package.
var caps = transport.Caps{Scope: transport.ScopeHost, ByReference: true, Placement: true, Window: window, Inline: maxInline}

// Transport is the shared-memory [transport.Transport]. It is safe for concurrent use.
type Transport struct {
	mu    sync.Mutex
	ranks map[rankKey]bool // that listen by this Transport
}

type rankKey struct {
	group string
	rank  int
}

var _ transport.Transport = (*Transport)(nil)

// New returns the transport. It does nothing yet, on any system: see [Available].
func New() *Transport { return &Transport{ranks: make(map[rankKey]bool)} }

// Available returns nil where shared memory can be had: on Linux with sealed memfds and abstract sockets. Its
// error Is [transport.ErrNotSupported] elsewhere.
func Available() error { return available() }

// NewBell returns a bell that any process with which its rank is linked can ring. It fails with
// [transport.ErrNotSupported] where there is no shared memory.
func NewBell() (transport.Bell, error) { return newBell() }

// Name returns "shm".
func (t *Transport) Name() string { return "shm" }

// Caps returns the host scope, by reference, with a window of 32 frames (of the longest, if they must be staged, four, or one
// where the endpoint has several peers).
func (t *Transport) Caps() transport.Caps { return caps }

// NewBell returns a futex bell.
func (t *Transport) NewBell() (transport.Bell, error) { return newBell() }

// Reaches reports whether both ranks are on one host.
func (t *Transport) Reaches(self, peer transport.Peer) bool {
	return self.Host != "" && self.Host == peer.Host
}

// Listen makes the endpoint of rank in group. It fails with [transport.ErrExists] while an endpoint of that
// rank and group, made by t, is open; with the context's error when ctx is done; and with
// [transport.ErrNotSupported] where there is no shared memory. A rank must not be negative.
func (t *Transport) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if rank < 0 || rank > maxRank || bell == nil {
		return nil, fmt.Errorf("shm: listen: rank %d, bell %v: need a rank of 0 to %d and a bell", rank, bell, maxRank)
	}
	key := rankKey{group, rank}
	t.mu.Lock()
	exists := t.ranks[key]
	t.ranks[key] = true
	t.mu.Unlock()
	if exists {
		return nil, fmt.Errorf("shm: listen: rank %d of group %q: %w", rank, group, transport.ErrExists)
	}
	release := func() {
		t.mu.Lock()
		delete(t.ranks, key)
		t.mu.Unlock()
	}
	ep, err := listen(group, rank, bell, release)
	if err != nil {
		release()
		return nil, err
	}
	return ep, nil
}

// maxRank is the highest rank that the control messages can name.
const maxRank = 1<<31 - 1
