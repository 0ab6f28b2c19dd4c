package p2p

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multistream"

	"github.com/ringtree/ringtree/transport"
)

// A Host is a process's identity and its control streams. Its methods may be called from any goroutine.
type Host struct {
	host     host.Host
	identity transport.Identity
	gate     *gate
	log      *slog.Logger
	mdns     mdns.Service // nil: off
	stop     context.CancelFunc
	work     sync.WaitGroup // connecting to bootstrap peers

	mu       sync.Mutex
	handlers map[string]bool // protocols that are served
	closed   bool
	done     chan struct{} // closed at the end of Close

	sharing sync.Mutex
	shared  map[string]any
}

// New starts a host. The context bounds the start only; [Host.Close] ends the host. A bootstrap peer that does not
// answer is logged and no error. Errors: [*IdentityFileError], [*AddrError], or what the system says about listening.
func New(ctx context.Context, cfg Config) (*Host, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg.withDefaults()
	bootstrap, err := groupAddrs(cfg.Bootstrap)
	if err != nil {
		return nil, err
	}
	key, err := cfg.key()
	if err != nil {
		return nil, err
	}
	identity, err := tlsIdentity(key)
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	g := newGate()
	for i := range bootstrap {
		g.helpers[bootstrap[i].ID] = true
	}
	opts, err := cfg.options(key, g, bootstrap)
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	h := &Host{
		identity: identity, gate: g, log: cfg.Logger, handlers: make(map[string]bool), shared: make(map[string]any),
		done: make(chan struct{}),
	}
	if h.host, err = libp2p.New(opts...); err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	life, stop := context.WithCancel(context.Background())
	h.stop = stop
	if cfg.MDNS {
		h.mdns = mdns.NewMdnsService(h.host, mdnsService, found{h})
		if err := h.mdns.Start(); err != nil {
			h.mdns = nil
			return nil, errors.Join(fmt.Errorf("p2p: discovery on the local network: %w", err), h.Close())
		}
	}
	for _, info := range bootstrap {
		h.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
		h.work.Go(func() {
			if err := h.host.Connect(life, info); err != nil && life.Err() == nil {
				h.log.Warn("bootstrap peer not reached", "peer", info.ID.String(), "error", err)
			}
		})
	}
	return h, nil
}

// key returns the private key that the config asks for.
func (c *Config) key() (crypto.PrivKey, error) {
	if c.IdentityFile == "" {
		key, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("p2p: %w", err)
		}
		return key, nil
	}
	raw, err := loadKey(c.IdentityFile)
	if err != nil {
		return nil, err
	}
	return libp2pKey(raw)
}

func libp2pKey(raw ed25519.PrivateKey) (crypto.PrivKey, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("p2p: %w", err)
	}
	return key, nil
}

// ID returns the host's identity: a libp2p peer ID in its usual text form.
func (h *Host) ID() string { return h.identity.ID }

// Identity returns the same identity as other transports use it.
func (h *Host) Identity() transport.Identity { return h.identity }

// Addrs returns the addresses at which the host can be reached now, each with its identity: those that work from afar
// first, those of this machine only last. It is empty after Close.
func (h *Host) Addrs() []string {
	self := "/p2p/" + h.identity.ID
	var addrs []string
	for _, a := range h.host.Addrs() {
		addrs = append(addrs, a.String()+self)
	}
	slices.SortStableFunc(addrs, func(a, b string) int { return rankAddr(a) - rankAddr(b) })
	return addrs
}

// Handle serves a protocol: serve is called, on a goroutine of its own, with each stream that a peer opens, and closes
// it. nil ends the service; streams that are open stay so. It returns [transport.ErrExists] when the protocol is
// served and [transport.ErrClosed] after Close.
func (h *Host) Handle(protocolName string, serve func(Stream)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return transport.ErrClosed
	case serve == nil:
		h.host.RemoveStreamHandler(protocol.ID(protocolName))
		delete(h.handlers, protocolName)
		return nil
	case h.handlers[protocolName]:
		return transport.ErrExists
	}
	h.handlers[protocolName] = true
	h.host.SetStreamHandler(protocol.ID(protocolName), func(s network.Stream) {
		if id := s.Conn().RemotePeer(); !h.gate.heard(id) {
			h.log.Warn("stream of a stranger refused", "peer", id.String(), "protocol", protocolName)
			_ = s.Reset()
			return
		}
		serve(stream{s})
	})
	return nil
}

// Open opens a stream to the one peer whose addresses these are, over a connection that is there or a new one. An
// address may be /p2p/ and the identity alone, if the host knows the peer's addresses by discovery or bootstrap. It
// returns an [*AddrError], [*DialError], [*ProtocolError] or [*StrangerError], the context's error, or
// [transport.ErrClosed].
func (h *Host) Open(ctx context.Context, addrs []string, protocolName string) (Stream, error) {
	info, err := parseAddrs(addrs)
	if err != nil {
		return nil, err
	}
	id := info.ID.String()
	if !h.gate.heard(info.ID) {
		return nil, &StrangerError{id}
	}
	if info.ID == h.host.ID() {
		return nil, &DialError{id, errors.New("that is this host itself")}
	}
	h.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.TempAddrTTL)
	if sw, ok := h.host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(info.ID) // the caller decides how often to try
	}
	s, err := h.host.NewStream(network.WithAllowLimitedConn(ctx, "control stream"), info.ID, protocol.ID(protocolName))
	var unknown multistream.ErrNotSupported[protocol.ID]
	switch {
	case err == nil:
		return stream{s}, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("p2p: opening a stream to %s: %w", id, context.Cause(ctx))
	case h.isClosed():
		return nil, transport.ErrClosed
	case errors.As(err, &unknown):
		return nil, &ProtocolError{id, protocolName, err}
	}
	return nil, &DialError{id, err}
}

// Gate lets only these identities in from now on and hangs up on all others. Bootstrap peers stay connected, for they
// may be relays, but their streams are not served. nil opens the gate again; an identity that cannot be read is an
// [*AddrError] and changes nothing.
func (h *Host) Gate(ids []string) error {
	var members map[peer.ID]bool
	if ids != nil {
		members = make(map[peer.ID]bool, len(ids))
	}
	for _, text := range ids {
		id, err := peer.Decode(text)
		if err != nil {
			return &AddrError{text, "is no identity"}
		}
		members[id] = true
	}
	h.gate.set(members)
	for _, id := range h.host.Network().Peers() {
		if !h.gate.admits(id) {
			h.log.Info("hanging up on a stranger", "peer", id.String())
			_ = h.host.Network().ClosePeer(id) // what the stranger's connection says of its end is of no use
		}
	}
	return nil
}

// Share returns what make returned the first time that Share was called with this key: a place for what
// belongs to the host and ends with it. make may use the host, but not Share.
func (h *Host) Share(key string, make func() any) any {
	h.sharing.Lock()
	defer h.sharing.Unlock()
	v, ok := h.shared[key]
	if !ok {
		v = make()
		h.shared[key] = v
	}
	return v
}

func (h *Host) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Close ends all streams and connections. It is idempotent.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		<-h.done
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	defer close(h.done)
	h.stop()
	var errs []error
	if h.mdns != nil {
		errs = append(errs, h.mdns.Close())
	}
	errs = append(errs, h.host.Close())
	h.work.Wait()
	return errors.Join(errs...)
}
