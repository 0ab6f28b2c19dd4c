package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// Transport is the TCP [transport.Transport]. It is safe for concurrent use.
type Transport struct {
	id         transport.Identity
	cfg        config
	caps       transport.Caps
	ranks      stripe.Ranks
	warnChoice sync.Once
}

var _ transport.Transport = (*Transport)(nil)

// New returns a transport that shows id to its peers. It fails when the identity is incomplete or an option is
// out of range. With [Plain] the identity is the zero value.
func New(id transport.Identity, options ...Option) (*Transport, error) {
	t := &Transport{id: id, cfg: config{Settings: stripe.Defaults(), listen: ":0", silent: DefaultSilentTimeout, congestion: DefaultCongestion}}
	for _, o := range options {
		o(&t.cfg)
	}
	err := t.cfg.check(id.ID != "" || id.TLS != nil || id.PeerID != nil)
	if err == nil && !t.cfg.plain {
		err = id.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	t.caps = transport.Caps{Scope: transport.ScopeNetwork, Encrypted: !t.cfg.plain && !t.cfg.clear, Window: t.cfg.Settings.Window}
	return t, nil
}

// Name returns "tcp".
func (t *Transport) Name() string { return "tcp" }

// Caps returns the network scope, encrypted unless [Plain] or [PlainData], by copy, with a window of [Window] frames.
func (t *Transport) Caps() transport.Caps { return t.caps }

// NewBell returns [transport.NewBell].
func (t *Transport) NewBell() (transport.Bell, error) { return transport.NewBell(), nil }

// Reaches reports whether both ranks listen, and peer has an identity where one is needed.
func (t *Transport) Reaches(self, peer transport.Peer) bool {
	return self.Addr != "" && peer.Addr != "" && (t.cfg.plain || peer.ID != "")
}

// Listen makes the endpoint of rank in group. It fails with [transport.ErrExists] while an endpoint of that
// rank and group, made by t, is open; with the context's error when ctx is done; and with the system's when it
// cannot listen. A rank must not be negative.
//
// The address of the endpoint is a name of its own, "@", and a list of host:port, best first, at which peers
// try it in turn.
func (t *Transport) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := t.listenAs(ctx, group, rank, bell)
	if err != nil {
		return nil, fmt.Errorf("tcp: listen: %w", err)
	}
	return ep, nil
}

func (t *Transport) listenAs(ctx context.Context, group string, rank int, bell transport.Bell) (*stripe.Endpoint, error) {
	release, err := t.ranks.Take(ctx, group, rank, bell)
	if err != nil {
		return nil, err
	}
	nonce := stripe.NewNonce()
	c, free, err := t.Carrier(ctx, "", nonce)
	if err != nil {
		release()
		return nil, err
	}
	return stripe.New(stripe.Config{
		Settings: t.cfg.Settings, Name: t.Name(), Caps: t.caps, Group: group, Rank: rank, Bell: bell,
		Nonce: nonce, ID: t.id.ID, Carriers: []stripe.Carrier{c},
		Release: func() {
			free()
			release()
		},
	}), nil
}

// Identity, Settings and Carrier let transport/network make endpoints that use TCP beside others.

// Identity returns the identity that New was given.
func (t *Transport) Identity() transport.Identity { return t.id }

// Settings returns what all carriers of an endpoint must agree on.
func (t *Transport) Settings() stripe.Settings { return t.cfg.Settings }

// Carrier makes the way to and from the endpoint with that nonce. free gives it back when the endpoint has closed.
func (t *Transport) Carrier(ctx context.Context, name string, _ stripe.Nonce) (c stripe.Carrier, free func(), err error) {
	lc := net.ListenConfig{Control: t.begin}
	listener, err := lc.Listen(ctx, "tcp", t.cfg.listen)
	if err != nil {
		return c, nil, err
	}
	places, err := placesOf(listener.Addr())
	if err != nil {
		listener.Close()
		return c, nil, err
	}
	s := &server{transport: t, listener: listener.(*net.TCPListener), closed: make(chan struct{})}
	c = stripe.Carrier{
		Name: name, Prompt: tried && t.cfg.wrap == nil, Clear: t.cfg.clear, Places: places, Dial: t.dial, Stop: s.stop,
		Start: func(serve func(stripe.Conn)) {
			s.welcome = serve
			s.accepting.Add(1)
			go s.accept()
		},
	}
	return c, func() {}, nil
}

func placesOf(a net.Addr) ([]string, error) {
	local, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return nil, err
	}
	return stripe.Places(local)
}

// A server accepts connections for an endpoint.
type server struct {
	transport *Transport
	listener  *net.TCPListener
	welcome   func(stripe.Conn) // the endpoint's
	accepting sync.WaitGroup
	guests    stripe.Guests
	closed    chan struct{}
}

func (s *server) accept() {
	defer s.accepting.Done()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		c, err := s.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, say: that may pass
			pause.Reset(5 * time.Millisecond)
			select {
			case <-pause.C:
			case <-s.closed:
				return
			}
		default:
			s.guests.Serve(c, func() { s.serve(c) })
		}
	}
}

// serve makes sure who has connected, and hands the connection to the endpoint.
func (s *server) serve(raw *net.TCPConn) {
	t := s.transport
	ctx, cancel := context.WithTimeout(context.Background(), t.cfg.Settings.DialTimeout)
	conn, err := t.secure(ctx, raw, "", false)
	cancel()
	if err != nil {
		raw.Close()
		select {
		case <-s.closed:
		default:
			t.cfg.Settings.Logger.Warn("connection refused", "transport", "tcp", "from", raw.RemoteAddr(), "error", err)
		}
		return
	}
	s.welcome(conn)
}

func (s *server) stop() {
	close(s.closed)
	s.listener.Close()
	s.accepting.Wait()
	s.guests.Close()
}

// dial connects to one place of a peer and makes sure that it is the identity id.
func (t *Transport) dial(ctx context.Context, addr, id string, _ stripe.Nonce) (stripe.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: t.begin} // tune sets it
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	raw := c.(*net.TCPConn)
	conn, err := t.secure(ctx, raw, id, true)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return conn, nil
}
