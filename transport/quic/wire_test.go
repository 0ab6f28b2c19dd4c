package quic

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// A tap keeps what sockets send.
type tap struct {
	mu   sync.Mutex
	seen []byte
}

func (tp *tap) keep(b []byte) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.seen = append(tp.seen, b...)
}

func TestNothingInClear(t *testing.T) {
	id := newIdentity(t)
	var tp tap
	tapped := func(c *config) { c.tap = tp.keep }
	tr, err := New(id, onLoopback, patient, tapped)
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	payload := make([]byte, 100_000)
	rand.Read(payload)
	if ok, err := a.Post(&transport.Header{Kind: transport.Data, Length: uint32(len(payload))}, payload); !ok {
		t.Fatal(err)
	}
	var f *transport.Frame
	if e := transporttest.Await(g.Bells[1], "a frame", func() bool { f, err = b.Poll(); return f != nil || err != nil }); e != nil {
		t.Fatal(e)
	}
	if err != nil || !bytes.Equal(f.Payload, payload) {
		t.Fatalf("the payload did not arrive: %v", err)
	}
	b.Release()
	runs := make(map[[16]byte]bool)
	for i := 0; i+16 <= len(payload); i++ {
		runs[[16]byte(payload[i:])] = true
	}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for i := 0; i+16 <= len(tp.seen); i++ {
		if runs[[16]byte(tp.seen[i:])] {
			t.Fatal("the payload is on the wire in clear")
		}
	}
	if total := len(tp.seen); total < len(payload) {
		t.Errorf("the tap saw %d bytes, want at least the %d of the payload", total, len(payload))
	}
}

type reporter chan string

func (r reporter) Write(b []byte) (int, error) { r <- string(b); return len(b), nil }

func logTo(reports chan string) Option {
	return Logger(slog.New(slog.NewTextHandler(reporter(reports), nil)))
}

// TestGarbage talks nonsense to the port of ranks that go on with their work.
func TestGarbage(t *testing.T) {
	id, stranger := newIdentity(t), newIdentity(t)
	reports := make(chan string, 100)
	tr, err := New(id, onLoopback, SilentTimeout(19*time.Second), logTo(reports))
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	name, port, _ := strings.Cut(g.Peers[1].Addr, "@")
	c, err := net.Dial("udp", port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 200 {
		packet := make([]byte, 1+7*i)
		rand.Read(packet)
		if i%2 == 0 { // a long header of QUIC version 1, as far as it goes
			copy(packet, []byte{0xc3, 0, 0, 0, 1, 8})
		}
		c.Write(packet)
	}
	for _, client := range []struct {
		name   string
		spoil  func(c *tls.Config)
		report bool // the handshake succeeds, so that the endpoint has somebody to refuse
	}{
		{"no certificate", func(c *tls.Config) { c.Certificates = nil }, false},
		{"another protocol", func(c *tls.Config) { c.NextProtos = []string{"h3"} }, false},
		{"nobody's name", func(c *tls.Config) { c.ServerName = "example.org" }, false},
		{"silent", func(*tls.Config) {}, true},
	} {
		cfg := stripe.ServerTLS(stranger, "")
		nonce, err := stripe.ParseNonce(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg.ServerName = serverName(nonce)
		client.spoil(cfg)
		ctx, cancel := context.WithTimeout(t.Context(), transporttest.Patience)
		qc, err := quicgo.DialAddr(ctx, port, cfg, nil)
		if err == nil {
			if !client.report { // a client may think that it is through before the server has seen its certificate
				<-qc.Context().Done()
			}
			qc.CloseWithError(0, "")
		}
		cancel()
		if client.report {
			if line := <-reports; !strings.Contains(line, "connection refused") {
				t.Errorf("%s: reported %q, want a refusal", client.name, line)
			}
		}
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), transporttest.Patience)
	defer cancel()
	go func() { done <- transporttest.Exercise(ctx, a, g.Bells[0], 3, 50) }()
	if err := errors.Join(transporttest.Exercise(ctx, b, g.Bells[1], 3, 50), <-done); err != nil {
		t.Error(err)
	}
}

// All ranks of a process share a socket, which goes with the last of them.
func TestOneSocket(t *testing.T) {
	users := func() (n, total int) {
		socketsMu.Lock()
		defer socketsMu.Unlock()
		for _, s := range sockets {
			total += s.users
		}
		return len(sockets), total
	}
	id, other := newIdentity(t), newIdentity(t)
	var eps []transport.Endpoint
	ports := make(map[string]bool)
	for rank, who := range []transport.Identity{id, id, other} {
		tr, err := New(who, onLoopback, patient)
		if err != nil {
			t.Fatal(err)
		}
		ep, err := tr.Listen(t.Context(), "g", rank, transport.NewBell())
		if err != nil {
			t.Fatal(err)
		}
		eps = append(eps, ep)
		_, port, _ := strings.Cut(ep.Addr(), "@")
		ports[port] = true
	}
	if len(ports) != 1 {
		t.Errorf("ports %v, want one", ports)
	}
	if n, total := users(); n != 1 || total != 3 {
		t.Errorf("%d sockets with %d users, want 1 with 3", n, total)
	}
	tr, err := New(id, onLoopback, patient, PacketSize(1200)) // what it accepts differs
	if err != nil {
		t.Fatal(err)
	}
	ep, err := tr.Listen(t.Context(), "g", 9, transport.NewBell())
	if err != nil {
		t.Fatal(err)
	}
	if _, port, _ := strings.Cut(ep.Addr(), "@"); ports[port] {
		t.Error("other settings share a socket")
	}
	for _, ep := range append(eps, ep) {
		if err := ep.Close(); err != nil {
			t.Error(err)
		}
	}
	if n, total := users(); n != 0 {
		t.Errorf("after Close: %d sockets with %d users", n, total)
	}
}

func TestNewErrors(t *testing.T) {
	id := newIdentity(t)
	for name, c := range map[string]struct {
		id     transport.Identity
		option Option
	}{
		"no identity":      {option: Conns(1)},
		"half an identity": {transport.Identity{ID: "x"}, Conns(1)},
		"no connection":    {id, Conns(0)},
		"fewer with time":  {id, MostConns(3)},
		"too many in time": {id, MostConns(33)},
		"window":           {id, Window(1000)},
		"dial timeout":     {id, DialTimeout(0)},
		"silent timeout":   {id, SilentTimeout(time.Millisecond)},
		"never silent":     {id, SilentTimeout(0)},
		"small packets":    {id, PacketSize(1199)},
		"large packets":    {id, PacketSize(1453)},
		"no logger":        {id, Logger(nil)},
	} {
		if tr, err := New(c.id, c.option); err == nil {
			t.Errorf("%s: got %v, want an error", name, tr)
		}
	}
	tr, err := New(id, ListenOn("256.0.0.1:x"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the rank is free again
		if ep, err := tr.Listen(t.Context(), "g", 0, transport.NewBell()); err == nil || errors.Is(err, transport.ErrExists) {
			t.Errorf("listen nowhere: got %v, %v, want the system's error", ep, err)
		}
	}
	if ep, err := tr.Listen(t.Context(), "g", 0, nil); err == nil {
		t.Errorf("listen without a bell: got %v, want an error", ep)
	}
}

// Buffers that are too small are reported once.
func TestBufferWarning(t *testing.T) {
	reports := make(chan string, 100)
	cfg := config{}
	logTo(reports)(&cfg)
	var once sync.Once
	reportBuffers(&once, cfg.Settings.Logger, enoughBuffer, enoughBuffer, true, nil)
	reportBuffers(&once, cfg.Settings.Logger, 0, 0, false, nil) // unknown
	for range 2 {
		reportBuffers(&once, cfg.Settings.Logger, enoughBuffer-1, enoughBuffer, true, nil)
	}
	if len(reports) != 1 {
		t.Fatalf("%d reports, want 1", len(reports))
	}
	if line := <-reports; !strings.Contains(line, "UDP buffers") || !strings.Contains(line, "rmem_max") {
		t.Errorf("reported %q", line)
	}
}

// Where the system refuses a buffer of the wanted size, one of the largest size that it allows is taken.
func TestSizeBuffer(t *testing.T) {
	for _, allowed := range []int{wantedRead, wantedRead / 4, enoughBuffer - 1} {
		got := 0
		err := sizeBuffer(func(n int) error {
			if n > allowed {
				return errors.New("too much")
			}
			got = n
			return nil
		}, wantedRead)
		if allowed < enoughBuffer && err == nil || allowed >= enoughBuffer && (err != nil || got != allowed) {
			t.Errorf("%d bytes allowed: got %d, %v", allowed, got, err)
		}
	}
}

// A rank that nobody answers for is lost.
func TestNobodyThere(t *testing.T) {
	id := newIdentity(t)
	tr, err := New(id, onLoopback, DialTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 1, id.ID)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l, err := g.Endpoints[0].Open(transport.Peer{Rank: 1, Addr: "0123456789abcdef@" + silent.LocalAddr().String(), ID: id.ID}, stripetest.LinkID)
	if err != nil {
		t.Fatal(err)
	}
	if err := transporttest.Await(g.Bells[0], "the loss", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	var lost *transport.LostError
	if err := l.Err(); !errors.As(err, &lost) || lost.Peer != 1 {
		t.Errorf("got %v, want a LostError of rank 1", err)
	}
}
