package simnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// window is the number of frames that a direction of a link holds: more than any path of interest has on
// the way.
const window = 1024

// caps describes every link of this package.
var caps = transport.Caps{Scope: transport.ScopeNetwork, ByReference: true, Window: window}

// A Path is one direction between two ranks.
type Path struct {
	Delay          time.Duration // propagation; below 0 counts as 0
	BytesPerSecond float64       // bandwidth; 0 or less: without limit
}

// transmission returns how long a payload occupies the wire.
func (p Path) transmission(bytes int) time.Duration {
	if !(p.BytesPerSecond > 0) {
		return 0
	}
	ns := math.Round(float64(bytes) / p.BytesPerSecond * 1e9)
	if ns >= float64(century) {
		return century
	}
	return time.Duration(ns)
}

// century bounds what is added up, so that absurd paths do not overflow an instant.
const century instant = math.MaxInt64 / 4

// A Network is a [transport.Transport] and a closed world, as a mem.Network is. It is safe for concurrent
// use.
type Network struct {
	path   func(a, b int) Path
	prefix string // of its addresses

	// mu guards everything in the network, its endpoints and links.
	mu       sync.Mutex
	epoch    time.Time // when the first rank listened: the zero of all instants
	serial   uint64    // of the last endpoint
	ranks    map[rankKey]*endpoint
	wires    map[direction]*wire
	cutPairs map[direction]bool // from the lower to the higher rank
	cutRanks map[int]bool
}

type rankKey struct {
	group string
	rank  int
}

type direction struct{ from, to int }

// A wire is shared by all links in one direction of a pair of ranks.
type wire struct {
	path Path
	free instant // when its last transmission ends
}

// An instant is a time since the network's epoch.
type instant = time.Duration

var _ transport.Transport = (*Network)(nil)

var networks atomic.Uint64 // made so far, for their addresses

// New returns a network whose directions are what path says. path is called once for each direction, when
// the first link between the two ranks is opened, and must not call the network.
func New(path func(a, b int) Path) *Network {
	return &Network{
		path: path, prefix: "simnet-" + strconv.FormatUint(networks.Add(1), 10) + "-",
		ranks: make(map[rankKey]*endpoint), wires: make(map[direction]*wire),
		cutPairs: make(map[direction]bool), cutRanks: make(map[int]bool),
	}
}

// Name returns "simnet".
func (n *Network) Name() string { return "simnet" }

// Caps returns the network scope, by reference, with a window of 1024 frames.
func (n *Network) Caps() transport.Caps { return caps }

// NewBell returns [transport.NewBell].
func (n *Network) NewBell() (transport.Bell, error) { return transport.NewBell(), nil }

// Reaches reports whether peer's address is of this network, whatever its host and process are said to be.
func (n *Network) Reaches(_, peer transport.Peer) bool { return strings.HasPrefix(peer.Addr, n.prefix) }

// Listen makes the endpoint of rank in group. It fails with [transport.ErrExists] while another endpoint of
// that rank and group is open, and with the context's error when ctx is done. A rank must not be negative.
func (n *Network) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if rank < 0 || bell == nil {
		return nil, fmt.Errorf("simnet: listen: rank %d, bell %v: need a rank of at least 0 and a bell", rank, bell)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epoch.IsZero() {
		n.epoch = time.Now()
	}
	key := rankKey{group, rank}
	if n.ranks[key] != nil {
		return nil, fmt.Errorf("simnet: listen: rank %d of group %q: %w", rank, group, transport.ErrExists)
	}
	n.serial++
	e := &endpoint{
		network: n, key: key, addr: n.prefix + strconv.FormatUint(n.serial, 10), bell: bell,
		links: make(map[linkKey]*link), pending: make(map[linkKey]*link),
	}
	n.ranks[key] = e
	return e, nil
}

// errCut is the cause of a loss by Cut or CutRank.
var errCut = errors.New("the simulated network is cut")

// Cut separates ranks a and b for good, in all groups: what is on the way is lost, and links between them, open
// or yet to be opened, end with a [*transport.LostError] on both sides, at once.
func (n *Network) Cut(a, b int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutPairs[direction{min(a, b), max(a, b)}] = true
	n.loseCut()
}

// CutRank separates a rank from all others as [Network.Cut] does.
func (n *Network) CutRank(rank int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutRanks[rank] = true
	n.loseCut()
}

func (n *Network) isCut(a, b int) bool {
	return n.cutRanks[a] || n.cutRanks[b] || n.cutPairs[direction{min(a, b), max(a, b)}]
}

// loseCut ends all links that a cut has met.
func (n *Network) loseCut() {
	for _, e := range n.ranks {
		for _, l := range e.links {
			if n.isCut(e.key.rank, l.key.rank) {
				l.lose(errCut)
				l.peer.lose(errCut)
			}
		}
	}
}

// now returns the current instant.
func (n *Network) now() instant { return time.Since(n.epoch) }

// wire returns the wire of a direction.
func (n *Network) wire(from, to int) *wire {
	d := direction{from, to}
	w := n.wires[d]
	if w == nil {
		w = &wire{path: n.path(from, to)}
		w.path.Delay = min(max(w.path.Delay, 0), century)
		n.wires[d] = w
	}
	return w
}
