package p2p_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/p2p"
)

// patience ends a test that hangs; no passing test waits for it.
const patience = time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func newHost(t testing.TB, cfg p2p.Config) *p2p.Host {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}
	}
	h, err := p2p.New(context.Background(), cfg)
	if err != nil {
		t.Fatalf("new host: %v", err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

const echoProtocol = "/test/echo"

// serveEcho makes a host answer with what it was told, and who told it.
func serveEcho(t testing.TB, h *p2p.Host) {
	t.Helper()
	err := h.Handle(echoProtocol, func(s p2p.Stream) {
		defer s.Close()
		b := make([]byte, 5)
		if _, err := io.ReadFull(s, b); err == nil {
			_, _ = fmt.Fprintf(s, "%s from %s", b, s.PeerID()) // a peer that is gone reads nothing
		}
	})
	if err != nil {
		t.Fatalf("handle: %v", err)
	}
}

// echo says hello to whoever has these addresses.
func echo(ctx context.Context, h *p2p.Host, addrs []string) (string, error) {
	s, err := h.Open(ctx, addrs, echoProtocol)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if _, err := s.Write([]byte("hello")); err != nil {
		return "", err
	}
	b, err := io.ReadAll(s)
	if err == nil && len(b) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(b), err
}

func TestStreams(t *testing.T) {
	ctx := testContext(t)
	a, b := newHost(t, p2p.Config{}), newHost(t, p2p.Config{})
	serveEcho(t, b)
	for _, part := range []string{"", "/tcp/", "/quic-v1/"} {
		var addrs []string
		for _, addr := range b.Addrs() {
			if strings.Contains(addr, part) {
				addrs = append(addrs, addr)
			}
		}
		if len(addrs) == 0 {
			t.Fatalf("no address with %q in %q", part, b.Addrs())
		}
		got, err := echo(ctx, newHost(t, p2p.Config{}), addrs)
		if err != nil || !strings.HasPrefix(got, "hello from ") {
			t.Errorf("%q: got %q, %v", addrs, got, err)
		}
	}
	if got, err := echo(ctx, a, b.Addrs()); err != nil || got != "hello from "+a.ID() {
		t.Errorf("got %q, %v, want the sender's identity", got, err)
	}
	s, err := a.Open(ctx, b.Addrs(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.PeerID() != b.ID() || s.RemoteAddr().String() != b.ID() || s.LocalAddr().String() != a.ID() || s.LocalAddr().Network() != "p2p" {
		t.Errorf("stream from %v to %v (%s), want %s to %s", s.LocalAddr(), s.RemoteAddr(), s.PeerID(), a.ID(), b.ID())
	}
}

func TestOpenErrors(t *testing.T) {
	ctx := testContext(t)
	a, b, c := newHost(t, p2p.Config{}), newHost(t, p2p.Config{}), newHost(t, p2p.Config{})
	var addr *p2p.AddrError
	for name, addrs := range map[string][]string{
		"none": nil, "no multiaddr": {"127.0.0.1:1"}, "no identity": {"/ip4/127.0.0.1/tcp/1"}, "two peers": {b.Addrs()[0], c.Addrs()[0]},
	} {
		if _, err := a.Open(ctx, addrs, "/x"); !errors.As(err, &addr) {
			t.Errorf("%s: got %v, want an AddrError", name, err)
		}
	}
	var protocol *p2p.ProtocolError
	if _, err := a.Open(ctx, b.Addrs(), "/nobody/serves/this"); !errors.As(err, &protocol) || protocol.Peer != b.ID() {
		t.Errorf("unserved: got %v, want a ProtocolError of %s", err, b.ID())
	}
	// The peer at that address is somebody else.
	place, _, _ := strings.Cut(b.Addrs()[0], "/p2p/")
	var dial *p2p.DialError
	if _, err := a.Open(ctx, []string{place + "/p2p/" + c.ID()}, "/x"); !errors.As(err, &dial) || dial.Peer != c.ID() {
		t.Errorf("somebody else: got %v, want a DialError", err)
	}
	if _, err := a.Open(ctx, []string{"/p2p/" + c.ID()}, "/x"); err == nil {
		// a has learned nothing of c that works
		t.Error("a peer without an address was reached")
	}
	if _, err := a.Open(ctx, a.Addrs(), "/x"); !errors.As(err, &dial) {
		t.Errorf("itself: got %v, want a DialError", err)
	}
	gone, cancel := context.WithCancelCause(ctx)
	cause := errors.New("enough")
	cancel(cause)
	if _, err := a.Open(gone, b.Addrs(), "/x"); !errors.Is(err, cause) {
		t.Errorf("cancelled: got %v, want the cause", err)
	}
	if err := b.Handle("/x", func(p2p.Stream) {}); err != nil {
		t.Errorf("handle: %v", err)
	}
	if err := b.Handle("/x", func(p2p.Stream) {}); !errors.Is(err, transport.ErrExists) {
		t.Errorf("handle twice: got %v, want ErrExists", err)
	}
	if err := b.Handle("/x", nil); err != nil {
		t.Errorf("handle nil: %v", err)
	}
	if _, err := a.Open(ctx, b.Addrs(), "/x"); err == nil {
		t.Error("a protocol that is not served any more was opened")
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := a.Open(ctx, b.Addrs(), "/x"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after close: got %v, want ErrClosed", err)
	}
	if err := a.Handle("/x", func(p2p.Stream) {}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("handle after close: got %v, want ErrClosed", err)
	}
}

func TestNewErrors(t *testing.T) {
	ctx := context.Background()
	if _, err := p2p.New(ctx, p2p.Config{Bootstrap: []string{"nonsense"}}); !errors.As(err, new(*p2p.AddrError)) {
		t.Errorf("bootstrap: got %v, want an AddrError", err)
	}
	if _, err := p2p.New(ctx, p2p.Config{Listen: []string{"nonsense"}}); err == nil {
		t.Error("listened on nonsense")
	}
	if _, err := p2p.New(ctx, p2p.Config{IdentityFile: t.TempDir()}); !errors.As(err, new(*p2p.IdentityFileError)) {
		t.Errorf("identity: got %v, want an IdentityFileError", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p2p.New(gone, p2p.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestIdentityFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	a := newHost(t, p2p.Config{IdentityFile: path})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b, c := newHost(t, p2p.Config{IdentityFile: path}), newHost(t, p2p.Config{})
	if a.ID() != b.ID() || a.ID() == c.ID() {
		t.Errorf("identities %s, %s from one file and %s from none", a.ID(), b.ID(), c.ID())
	}
}

// After the gate has closed only members are heard, and strangers are hung up on.
func TestGate(t *testing.T) {
	ctx := testContext(t)
	member, stranger, h := newHost(t, p2p.Config{}), newHost(t, p2p.Config{}), newHost(t, p2p.Config{})
	serveEcho(t, h)
	serveEcho(t, stranger)
	for _, x := range []*p2p.Host{member, stranger} {
		if _, err := echo(ctx, x, h.Addrs()); err != nil {
			t.Fatalf("before the gate: %v", err)
		}
	}
	open, err := stranger.Open(ctx, h.Addrs(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if err := h.Gate([]string{"nonsense"}); !errors.As(err, new(*p2p.AddrError)) {
		t.Errorf("gate with nonsense: got %v, want an AddrError", err)
	}
	if err := h.Gate([]string{member.ID()}); err != nil {
		t.Fatal(err)
	}
	if n, err := open.Read(make([]byte, 1)); err == nil {
		t.Errorf("the stranger's stream gave %d bytes, want its end", n)
	}
	if got, err := echo(ctx, stranger, h.Addrs()); err == nil {
		t.Errorf("the stranger got %q", got)
	}
	if _, err := h.Open(ctx, stranger.Addrs(), echoProtocol); !errors.As(err, new(*p2p.StrangerError)) {
		t.Errorf("opening to the stranger: got %v, want a StrangerError", err)
	}
	if got, err := echo(ctx, member, h.Addrs()); err != nil {
		t.Errorf("the member got %q, %v", got, err)
	}
	if err := h.Gate(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := echo(ctx, stranger, h.Addrs()); err != nil {
		t.Errorf("after the gate has been opened: %v", err)
	}
}

// The identity authenticates connections of other transports, on both sides, as often as it is used.
func TestIdentityTLS(t *testing.T) {
	a, b, c := newHost(t, p2p.Config{}).Identity(), newHost(t, p2p.Config{}).Identity(), newHost(t, p2p.Config{}).Identity()
	for _, id := range []transport.Identity{a, b} {
		if err := id.Check(); err != nil {
			t.Fatalf("identity %s: %v", id.ID, err)
		}
	}
	handshake := func(client, server *tls.Config) (clientState, serverState tls.ConnectionState, clientErr, serverErr error) {
		x, y := net.Pipe()
		cl, sv := tls.Client(x, client), tls.Server(y, server)
		done := make(chan error, 1)
		go func() {
			err := sv.Handshake()
			if err == nil {
				_, err = sv.Write([]byte{1})
			}
			_ = y.Close()
			done <- err
		}()
		clientErr = cl.Handshake()
		if clientErr == nil {
			_, clientErr = cl.Read(make([]byte, 1))
		}
		_ = x.Close()
		serverErr = <-done
		return cl.ConnectionState(), sv.ConnectionState(), clientErr, serverErr
	}
	conf := func(id transport.Identity, peer string) *tls.Config {
		c := id.TLS(peer)
		c.NextProtos = []string{"ringtree/1"}
		return c
	}
	client, server := conf(a, b.ID), conf(b, "")
	for range 2 { // one configuration serves many connections
		cs, ss, err1, err2 := handshake(client, server)
		if err1 != nil || err2 != nil {
			t.Fatalf("handshake: client %v, server %v", err1, err2)
		}
		if got, err := a.PeerID(cs); err != nil || got != b.ID {
			t.Errorf("the client sees %s, %v, want %s", got, err, b.ID)
		}
		if got, err := b.PeerID(ss); err != nil || got != a.ID {
			t.Errorf("the server sees %s, %v, want %s", got, err, a.ID)
		}
		if cs.Version != tls.VersionTLS13 || cs.NegotiatedProtocol != "ringtree/1" {
			t.Errorf("version %x, protocol %q", cs.Version, cs.NegotiatedProtocol)
		}
	}
	var wrong *transport.IdentityError
	if _, _, err, _ := handshake(conf(a, c.ID), conf(b, "")); !errors.As(err, &wrong) || wrong.Want != c.ID || wrong.Got != b.ID {
		t.Errorf("the client wants another: got %v, want an IdentityError", err)
	}
	if _, _, _, err := handshake(conf(a, b.ID), conf(b, c.ID)); !errors.As(err, &wrong) || wrong.Want != c.ID || wrong.Got != a.ID {
		t.Errorf("the server wants another: got %v, want an IdentityError", err)
	}
	if _, _, _, err := handshake(&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"ringtree/1"}}, conf(b, "")); err == nil {
		t.Error("a client without a certificate was accepted")
	}
	if got, err := a.PeerID(tls.ConnectionState{}); err == nil {
		t.Errorf("no certificate: got %q", got)
	}
}

// A host that only a relay can reach is reached through it, with or without the wish for a direct connection: on one host
// there is no address translator to punch a hole in, so that stays a wish.
func TestRelay(t *testing.T) {
	t.Run("relay", func(t *testing.T) { testRelay(t, p2p.Config{Relay: true}) })
	t.Run("hole punching", func(t *testing.T) { testRelay(t, p2p.Config{HolePunch: true}) })
}

func testRelay(t *testing.T, cfg p2p.Config) {
	ctx := testContext(t)
	relay := newHost(t, p2p.Config{RelayService: true})
	behind := cfg
	behind.Listen, behind.Bootstrap = []string{}, relay.Addrs()
	hidden := newHost(t, behind)
	if got := hidden.Addrs(); len(got) > 0 && !strings.Contains(got[0], "/p2p-circuit") {
		t.Fatalf("the hidden host has addresses %q", got)
	}
	serveEcho(t, hidden)
	guest := newHost(t, cfg)
	var through []string
	for _, a := range relay.Addrs() {
		through = append(through, a+"/p2p-circuit/p2p/"+hidden.ID())
	}
	tick := time.NewTicker(50 * time.Millisecond) // the relay grants the place when the hidden host has found it
	defer tick.Stop()
	for {
		got, err := echo(ctx, guest, through)
		if err == nil {
			if got != "hello from "+guest.ID() {
				t.Errorf("got %q", got)
			}
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not reached through the relay: %v", err)
		}
	}
	// Without the option, a host does not use relays.
	if got, err := echo(ctx, newHost(t, p2p.Config{}), through); err == nil {
		t.Errorf("a host without relays got %q", got)
	}
}

// Where UDP cannot be listened on, control streams go over TCP.
func TestWithoutUDP(t *testing.T) {
	ctx := testContext(t)
	cfg := p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/192.0.2.1/udp/1/quic-v1"}} // TEST-NET-1: no machine's address
	a, b := newHost(t, cfg), newHost(t, cfg)
	serveEcho(t, b)
	for _, addr := range b.Addrs() {
		if strings.Contains(addr, "/udp/") {
			t.Errorf("address %s, want TCP alone", addr)
		}
	}
	if got, err := echo(ctx, a, b.Addrs()); err != nil || got != "hello from "+a.ID() {
		t.Errorf("got %q, %v", got, err)
	}
	// Nor does it matter that an address over UDP is known which nobody answers at.
	hole, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	_, port, _ := net.SplitHostPort(hole.LocalAddr().String())
	addrs := append([]string{"/ip4/127.0.0.1/udp/" + port + "/quic-v1/p2p/" + b.ID()}, b.Addrs()...)
	if got, err := echo(ctx, newHost(t, cfg), addrs); err != nil || !strings.HasPrefix(got, "hello from ") {
		t.Errorf("with a deaf address: got %q, %v", got, err)
	}
}

// Bootstrap peers are known by their identity alone.
func TestBootstrap(t *testing.T) {
	ctx := testContext(t)
	known := newHost(t, p2p.Config{})
	serveEcho(t, known)
	h := newHost(t, p2p.Config{Bootstrap: known.Addrs()})
	if got, err := echo(ctx, h, []string{"/p2p/" + known.ID()}); err != nil || got != "hello from "+h.ID() {
		t.Errorf("got %q, %v", got, err)
	}
	// One that does not answer is no error, and Close does not wait for it.
	dead := strings.Replace(known.Addrs()[0], known.ID(), h.ID(), 1)
	newHost(t, p2p.Config{Bootstrap: []string{dead}})
}

// Hosts on one network find each other.
func TestMDNS(t *testing.T) {
	if !canMulticast() {
		t.Skip("this machine has no interface with multicast and an address")
	}
	ctx := testContext(t)
	cfg := p2p.Config{MDNS: true, Listen: []string{"/ip4/0.0.0.0/tcp/0"}}
	a, b := newHost(t, cfg), newHost(t, cfg)
	serveEcho(t, b)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := echo(ctx, a, []string{"/p2p/" + b.ID()})
		if err == nil {
			if got != "hello from "+a.ID() {
				t.Errorf("got %q", got)
			}
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not found: %v", err)
		}
	}
}

func canMulticast() bool {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err == nil && i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && len(addrs) > 0 {
			return true
		}
	}
	return false
}
