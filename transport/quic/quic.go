package quic

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// Transport is the QUIC [transport.Transport]. It is safe for concurrent use.
type Transport struct {
	id    transport.Identity
	cfg   config
	caps  transport.Caps
	quic  *quicgo.Config
	ranks stripe.Ranks
	fixed repairCounters
}

var _ transport.Transport = (*Transport)(nil)

// New returns a transport that shows id to its peers. It fails when the identity is incomplete or an option is
// out of range.
func New(id transport.Identity, options ...Option) (*Transport, error) {
	t := &Transport{id: id, cfg: config{
		Settings: stripe.Defaults(), silent: DefaultSilentTimeout, listen: ":0", packet: DefaultPacketSize,
		gro: true, poll: true, repair: true, most: stripe.MaxConns,
	}}
	for _, o := range options {
		o(&t.cfg)
	}
	err := t.cfg.check()
	if err == nil {
		err = id.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("quic: %w", err)
	}
	t.caps = transport.Caps{Scope: transport.ScopeNetwork, Encrypted: true, Window: t.cfg.Settings.Window}
	// The windows carry a gigabit over 100 ms from the start and ten with time; quic-go's own begin at 512 KiB.
	t.quic = &quicgo.Config{
		Versions:             []quicgo.Version{quicgo.Version1},
		HandshakeIdleTimeout: t.cfg.Settings.DialTimeout,
		// The endpoints watch each other more closely. This ends what they have forgotten: quic-go bears with a
		// silence of three probe timeouts, which on a busy path are seconds.
		MaxIdleTimeout:                 max(4*t.cfg.silent, 10*time.Second),
		InitialStreamReceiveWindow:     8 << 20,
		MaxStreamReceiveWindow:         64 << 20,
		InitialConnectionReceiveWindow: 16 << 20,
		MaxConnectionReceiveWindow:     128 << 20,
		MaxIncomingStreams:             1,
		MaxIncomingUniStreams:          -1,
		InitialPacketSize:              uint16(t.cfg.packet),
		// It would make packets too long for repair, to win one per cent of length.
		DisablePathMTUDiscovery: t.cfg.repair,
	}
	return t, nil
}

// Name returns "quic".
func (t *Transport) Name() string { return "quic" }

// Caps returns the network scope, encrypted, by copy, with a window of [Window] frames.
func (t *Transport) Caps() transport.Caps { return t.caps }

// NewBell returns [transport.NewBell].
func (t *Transport) NewBell() (transport.Bell, error) { return transport.NewBell(), nil }

// Reaches reports whether both ranks listen, and peer has an identity.
func (t *Transport) Reaches(self, peer transport.Peer) bool {
	return self.Addr != "" && peer.Addr != "" && peer.ID != ""
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
		return nil, fmt.Errorf("quic: listen: %w", err)
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

// Identity, Settings and Carrier let transport/network make endpoints that use QUIC beside others.

// Identity returns the identity that New was given.
func (t *Transport) Identity() transport.Identity { return t.id }

// Settings returns what all carriers of an endpoint must agree on.
func (t *Transport) Settings() stripe.Settings { return t.cfg.Settings }

// Repair returns what the repair of losses has done for the sockets of the transport (see [LossRepair]).
func (t *Transport) Repair() RepairStats { return t.fixed.read() }

// Carrier makes the way to and from the endpoint with that nonce. free gives it back when the endpoint has closed.
func (t *Transport) Carrier(ctx context.Context, name string, nonce stripe.Nonce) (c stripe.Carrier, free func(), err error) {
	s, err := acquire(ctx, t)
	if err != nil {
		return c, nil, err
	}
	d := &door{transport: t, socket: s, nonce: nonce}
	c = stripe.Carrier{
		Name: name, Silent: t.cfg.silent, Most: t.cfg.most, Places: s.places, Dial: d.dial, Stop: d.stop,
		Start: func(serve func(stripe.Conn)) {
			d.welcome = serve
			s.add(d)
		},
	}
	return c, s.release, nil
}

// A door is an endpoint's place at a socket.
type door struct {
	transport *Transport
	socket    *socket
	nonce     stripe.Nonce
	welcome   func(stripe.Conn) // the endpoint's
	guests    stripe.Guests
}

func (d *door) stop() {
	d.socket.remove(d)
	d.guests.Close()
}

// serverName is how a client tells which endpoint behind a socket it means, before the handshake.
func serverName(n stripe.Nonce) string { return n.String() + ".ringtree" }

// dial connects to one place of a peer and makes sure that it is the identity id.
func (d *door) dial(ctx context.Context, addr, id string, nonce stripe.Nonce) (stripe.Conn, error) {
	to, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	tlsConfig := stripe.ClientTLS(d.transport.id, id)
	tlsConfig.ServerName = serverName(nonce)
	from, done, err := d.socket.from(ctx, d.transport)
	if err != nil {
		return nil, err
	}
	tlsConfig.NextProtos = from.protocols()
	qc, err := from.quic.Dial(ctx, to, tlsConfig, d.transport.quic)
	if err != nil {
		done()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	c, err := func() (*conn, error) {
		peer, err := stripe.Proved(d.transport.id, qc.ConnectionState().TLS, id)
		if err != nil {
			return nil, err
		}
		stream, err := qc.OpenStreamSync(ctx)
		if err != nil {
			return nil, err
		}
		from.watch(qc, true)
		return &conn{stream, qc, peer, from, sync.OnceFunc(done)}, nil
	}()
	if err != nil {
		qc.CloseWithError(0, "")
		done()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return c, nil
}

func resolve(ctx context.Context, addr string) (net.Addr, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return net.UDPAddrFromAddrPort(ap), nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	p, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ips[0].Unmap(), uint16(p))), nil
}

// serve makes sure who has connected, and hands the connection to the endpoint.
func (d *door) serve(qc *quicgo.Conn) {
	t := d.transport
	ctx, cancel := context.WithTimeout(qc.Context(), t.cfg.Settings.DialTimeout)
	defer cancel()
	peer, err := stripe.Proved(t.id, qc.ConnectionState().TLS, "")
	var stream *quicgo.Stream
	if err == nil {
		stream, err = qc.AcceptStream(ctx)
	}
	if err != nil {
		qc.CloseWithError(0, "")
		t.cfg.Settings.Logger.Warn("connection refused", "transport", "quic", "from", qc.RemoteAddr(), "error", err)
		return
	}
	d.welcome(&conn{stream, qc, peer, d.socket.port, func() {}})
}

// A conn is a connection with its one stream.
type conn struct {
	*quicgo.Stream
	quic *quicgo.Conn
	peer string
	port *port
	done func() // gives its port back
}

var _ stripe.Conn = (*conn)(nil)

func (c *conn) PeerID() string { return c.peer }

// Repairs returns what has been repaired between the two addresses of the connection, for the first of those that share them.
func (c *conn) Repairs() stripe.Repairs {
	at, ok := addrPort(c.quic.RemoteAddr())
	if !ok || c.port.fix == nil {
		return stripe.Repairs{}
	}
	return c.port.fix.done(at, connWorker{c.quic})
}

// Course returns how the connection fares as a sender.
func (c *conn) Course() stripe.Course {
	s := c.quic.ConnectionStats()
	return stripe.Course{RTT: s.SmoothedRTT, MinRTT: s.MinRTT, Window: s.CongestionWindow, Sent: s.PacketsSent, Lost: s.PacketsLost}
}

func (c *conn) Close() error {
	err := c.quic.CloseWithError(0, "")
	c.done()
	return err
}

// A closer closes a connection that has no stream yet.
type closer struct{ *quicgo.Conn }

func (c closer) Close() error { return c.CloseWithError(0, "") }
