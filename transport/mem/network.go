package mem

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// window is the number of frames that a direction of a link holds.
const window = 8

// caps describes every link of this package.
var caps = transport.Caps{Scope: transport.ScopeProcess, ByReference: true, Window: window}

// A Network is a [transport.Transport] and a closed world: endpoints find each other by Network and group
// name. It is safe for concurrent use and keeps nothing of endpoints that are closed.
type Network struct {
	mu     sync.Mutex
	serial uint64 // of the last endpoint, so that a rank's successor in a group is another address
	ranks  map[rankKey]*endpoint
}

type rankKey struct {
	group string
	rank  int
}

var _ transport.Transport = (*Network)(nil)

// New returns an empty network.
func New() *Network { return &Network{ranks: make(map[rankKey]*endpoint)} }

var defaultNetwork = New()

// Default returns the network that this process shares: ranks that were not told of a common Network meet
// there by their group's name.
func Default() *Network { return defaultNetwork }

// Name returns "mem".
func (n *Network) Name() string { return "mem" }

// Caps returns the process scope, by reference, with a window of 8 frames.
func (n *Network) Caps() transport.Caps { return caps }

// NewBell returns [transport.NewBell].
func (n *Network) NewBell() (transport.Bell, error) { return transport.NewBell(), nil }

// Reaches reports whether both ranks are in one process.
func (n *Network) Reaches(self, peer transport.Peer) bool {
	return self.Process != "" && self.Process == peer.Process
}

// Listen makes the endpoint of rank in group. It fails with [transport.ErrExists] while another endpoint of
// that rank and group is open, and with the context's error when ctx is done. A rank must not be negative.
func (n *Network) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if rank < 0 || bell == nil {
		return nil, fmt.Errorf("mem: listen: rank %d, bell %v: need a rank of at least 0 and a bell", rank, bell)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	key := rankKey{group, rank}
	if n.ranks[key] != nil {
		return nil, fmt.Errorf("mem: listen: rank %d of group %q: %w", rank, group, transport.ErrExists)
	}
	n.serial++
	ep := &endpoint{network: n, key: key, serial: n.serial, bell: bell}
	n.ranks[key] = ep
	return ep, nil
}

// find returns the open endpoint of a rank if it has that address, else nil.
func (n *Network) find(key rankKey, addr string) *endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ep := n.ranks[key]; ep != nil && ep.Addr() == addr {
		return ep
	}
	return nil
}

func (n *Network) remove(ep *endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ranks[ep.key] == ep {
		delete(n.ranks, ep.key)
	}
}

// Addr returns the endpoint's number in its network.
func (e *endpoint) Addr() string { return strconv.FormatUint(e.serial, 10) }
