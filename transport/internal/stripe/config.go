package stripe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// Limits and defaults of the settings.
const (
	MaxConns     = 32
	MaxWindow    = 256
	DefaultConns = 4
	// DefaultWindow is what 1 Gbit/s carries in a round trip of 100 ms, in frames of 128 KiB as the planner cuts them, and a third
	// more. A window is memory only while frames are on the way.
	DefaultWindow = 128
	// DefaultTimeout is of dialling. A peer that refuses says so at once, and the deadline of an operation holds in any case; what
	// takes long is the handshakes of many ranks that start at the same time on few cores.
	DefaultTimeout = 20 * time.Second
)

// small is the longest payload that travels on connection 0, in bytes.
const small = 4096

// A Conn is an ordered, reliable stream to a peer that has proved who it is.
type Conn interface {
	io.Reader
	io.Writer
	// Close ends the connection at once, in both directions, and unblocks Read and Write.
	Close() error
	// PeerID is the identity that the peer has proved, "" where nothing is authenticated.
	PeerID() string
}

// A vectored Conn writes several slices in one system call.
type vectored interface {
	WriteBuffers(segments [][]byte) error
}

// A prompt Conn does without waiting what can be done at once, so that who sends or waits for a frame can do it himself. Nobody has to
// be woken for it.
type prompt interface {
	// TryRead reads what has come, into a, and what is beyond it into b. 0 and nil: nothing has come. It may use the capacity
	// of a behind its length.
	TryRead(a, b []byte) (int, error)
	// TryWrite writes segments, behind what it has kept of earlier ones, and uses them up. It returns the rest, which comes first the next
	// time, and whether nothing is left, neither here nor there.
	TryWrite(segments [][]byte) (rest [][]byte, done bool, err error)
	// SyscallConn says when it is worth while to try again.
	SyscallConn() (syscall.RawConn, error)
}

// A clearable Conn can stop encrypting, in both directions, after what has been read and written so far.
type clearable interface {
	Clear()
}

// A flusher is a Conn that collects what is written until Flush.
type flusher interface {
	Flush() error
}

// A repairing Conn repairs losses on its way.
type repairing interface {
	Repairs() Repairs
}

// Repairs counts what the repair of losses has done.
type Repairs struct {
	Numbered uint64 // packets sent that can be repaired
	Parity   uint64 // packets sent to repair them: the overhead
	Repaired uint64 // packets received by repair
	Lost     uint64 // packets that were beyond repair
}

// Settings are what the transports leave to their callers. All ranks of a group must have the same Conns and
// Window.
type Settings struct {
	Conns       int           // connections per peer, 1 to MaxConns
	Window      int           // frames per direction of a link, 1 to MaxWindow
	DialTimeout time.Duration // for a peer to answer; greater than zero
	Logger      *slog.Logger  // never nil
}

// Defaults returns the settings that nobody has changed.
func Defaults() Settings {
	return Settings{
		Conns: DefaultConns, Window: DefaultWindow, DialTimeout: DefaultTimeout,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Check reports whether the settings are within their limits.
func (s Settings) Check() error {
	switch {
	case s.Conns < 1 || s.Conns > MaxConns:
		return fmt.Errorf("%d connections per peer, want 1 to %d", s.Conns, MaxConns)
	case s.Window < 1 || s.Window > MaxWindow:
		return fmt.Errorf("window of %d frames, want 1 to %d", s.Window, MaxWindow)
	case s.DialTimeout <= 0:
		return fmt.Errorf("dial timeout of %v, want more than 0", s.DialTimeout)
	case s.Logger == nil:
		return fmt.Errorf("logger is nil")
	}
	return nil
}

// A Config is what an endpoint is made of.
type Config struct {
	Settings
	Name  string // of the transport, for messages
	Caps  transport.Caps
	Group string
	Rank  int
	Bell  transport.Bell
	Nonce Nonce
	// ID is the identity that this endpoint shows, "" if nothing is authenticated.
	ID string
	// Carriers are the ways in which connections are made, best first; at least one.
	Carriers []Carrier
	// HeadStart is how long a carrier may try before the next one does so beside it.
	HeadStart time.Duration
	// Memory remembers which carriers reached whom; nil: nothing is remembered.
	Memory *Memory
	// Release is called when the endpoint has closed.
	Release func()
}

// A Carrier makes connections for an endpoint, and accepts those of its peers.
type Carrier struct {
	// Name tells carriers of one endpoint apart, in its address and for people. "": there is only this one.
	Name string
	// Silent is how long a peer may say nothing before it counts as lost; 0 leaves that to the connections. It
	// must be equal in the whole group.
	Silent time.Duration
	// Prompt says that the connections can be tried without waiting, so that they can be read to where frames are wanted: links are then
	// [transport.ExpectingLink]s.
	Prompt bool
	// Clear makes the connections but the first go on in clear when they have been greeted. It must be equal in the whole group.
	Clear bool
	// Most is how many connections there may become, up to MaxConns, where those that the Settings say are too few; they have a Course then,
	// and Silent is not 0. Less than the Settings' is as many. It must be equal in the whole group.
	Most int
	// Places are the host:port at which the carrier accepts connections, best first.
	Places []string
	// Dial connects to one of the peer's places, and fails with a [*transport.IdentityError] when who
	// answers is not the identity id. The peer's nonce says which endpoint is meant where several listen at
	// one port.
	Dial func(ctx context.Context, place, id string, nonce Nonce) (Conn, error)
	// Start begins to accept: serve takes every connection whose peer has proved who it is, and returns when the
	// connection has its place or is closed.
	Start func(serve func(Conn))
	// Stop ends that. Nothing calls serve after it has returned.
	Stop func()
}

// most is how many connections two endpoints may have.
func (c *Carrier) most(conns int) int { return max(c.Most, conns) }

// Ranks holds which ranks of which groups listen, so that none does twice. The zero value is ready, and it is
// safe for concurrent use.
type Ranks struct {
	mu sync.Mutex
	in map[rankKey]bool
}

type rankKey struct {
	group string
	rank  int
}

// Take takes a rank of a group for an endpoint with that bell, or returns [transport.ErrExists], ctx's error, or what is wrong
// with the arguments. What it returns gives the rank back.
func (r *Ranks) Take(ctx context.Context, group string, rank int, bell transport.Bell) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if rank < 0 || rank > MaxRank || bell == nil {
		return nil, fmt.Errorf("rank %d, bell %v: need a rank of 0 to %d and a bell", rank, bell, MaxRank)
	}
	key := rankKey{group, rank}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.in[key] {
		return nil, fmt.Errorf("rank %d of group %q: %w", rank, group, transport.ErrExists)
	}
	if r.in == nil {
		r.in = make(map[rankKey]bool)
	}
	r.in[key] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.in, key)
	}, nil
}
