package tcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// A tap stands before a port and keeps what passes.
type tap struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	mu       sync.Mutex
	seen     []byte
	conns    []net.Conn
}

func newTap(t *testing.T, target string) *tap {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{listener: l, target: target}
	tp.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d, err := net.Dial("tcp", target)
			if err != nil {
				c.Close()
				continue
			}
			tp.mu.Lock()
			tp.conns = append(tp.conns, c, d)
			tp.mu.Unlock()
			tp.wg.Go(func() { tp.pass(c, d) })
			tp.wg.Go(func() { tp.pass(d, c) })
		}
	})
	t.Cleanup(tp.close)
	return tp
}

func (tp *tap) pass(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		tp.mu.Lock()
		tp.seen = append(tp.seen, buf[:n]...)
		tp.mu.Unlock()
		if _, e := to.Write(buf[:n]); err != nil || e != nil {
			return
		}
	}
}

func (tp *tap) close() {
	tp.listener.Close()
	tp.mu.Lock()
	for _, c := range tp.conns {
		c.Close()
	}
	tp.mu.Unlock()
	tp.wg.Wait()
}

// tapped sends a payload through a tap, as often as again says, and returns the payload and what passed.
func tapped(t *testing.T, tr *Transport, id string, size int, again func(payload, seen []byte) bool) (payload, seen []byte) {
	g := transporttest.NewGroupAs(t, tr, 2, id)
	name, target, _ := strings.Cut(g.Peers[1].Addr, "@")
	tp := newTap(t, target)
	peer := g.Peers[1]
	peer.Addr = name + "@" + tp.listener.Addr().String()
	a, err := g.Endpoints[0].Open(peer, stripetest.LinkID)
	if err != nil {
		t.Fatal(err)
	}
	b := g.Open(t, 1, 0, stripetest.LinkID)
	payload = make([]byte, size)
	rand.Read(payload)
	for {
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
		if e := transporttest.Await(g.Bells[0], "the frame to be written", func() bool { return a.Completed() > 0 }); e != nil {
			t.Fatal(e)
		}
		tp.mu.Lock()
		seen = bytes.Clone(tp.seen)
		tp.mu.Unlock()
		if again == nil || !again(payload, seen) {
			return payload, seen
		}
	}
}

// inClear returns whether any 16 bytes of payload, at any offset, are in seen.
func inClear(payload, seen []byte) bool {
	runs := make(map[[16]byte]bool)
	for i := 0; i+16 <= len(payload); i++ {
		runs[[16]byte(payload[i:])] = true
	}
	for i := 0; i+16 <= len(seen); i++ {
		if runs[[16]byte(seen[i:])] {
			return true
		}
	}
	return false
}

func TestNothingInClear(t *testing.T) {
	id := newIdentity(t)
	tr, err := New(id, onLoopback)
	if err != nil {
		t.Fatal(err)
	}
	payload, seen := tapped(t, tr, id.ID, 100_000, nil)
	if len(seen) < len(payload) {
		t.Fatalf("the tap saw %d bytes, want at least the %d of the payload", len(seen), len(payload))
	}
	if inClear(payload, seen) {
		t.Error("the payload is on the wire in clear")
	}
	// Large payloads of PlainData are, as soon as there are connections for them, and small ones are not.
	if tr, err = New(id, onLoopback, PlainData()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(transporttest.Patience)
	payload, seen = tapped(t, tr, id.ID, 100_000, func(payload, seen []byte) bool {
		return time.Now().Before(deadline) && !bytes.Contains(seen, payload[1000:1016])
	})
	if !inClear(payload, seen) {
		t.Error("with PlainData, the tap does not find the payload")
	}
	times := 0
	if payload, seen = tapped(t, tr, id.ID, 4096, func(_, _ []byte) bool { times++; return times < 50 }); inClear(payload, seen) {
		t.Error("with PlainData, a small payload is on the wire in clear")
	}
	// The tap can tell.
	if tr, err = New(transport.Identity{}, onLoopback, Plain()); err != nil {
		t.Fatal(err)
	}
	if payload, seen = tapped(t, tr, "", 100_000, nil); !inClear(payload, seen) {
		t.Error("without TLS, the tap does not find the payload")
	}
}

// TestGarbage talks nonsense to the port of a rank that goes on with its work.
func TestGarbage(t *testing.T) {
	id := newIdentity(t)
	reports := make(chan string, 100)
	log := slog.New(slog.NewTextHandler(reporter(reports), nil))
	tr, err := New(id, onLoopback, Logger(log))
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	_, port, _ := strings.Cut(g.Peers[1].Addr, "@")
	random := make([]byte, 10_000)
	rand.Read(random)
	garbage := map[string]func(c net.Conn){
		"nothing":     func(c net.Conn) {},
		"random":      func(c net.Conn) { c.Write(random) },
		"HTTP":        func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
		"half record": func(c net.Conn) { c.Write([]byte{22, 3, 1, 0x40, 0, 1, 2, 3}) },
		"no certificate": func(c net.Conn) {
			s := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"ringtree/1"}})
			s.Write(random)
			s.Read(make([]byte, 1))
		},
		"no protocol": func(c net.Conn) {
			cfg := id.TLS("")
			s := tls.Client(c, cfg)
			s.Write(random)
			s.Read(make([]byte, 1))
		},
		"old TLS": func(c net.Conn) {
			s := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
			if err := s.Handshake(); err == nil {
				t.Error("TLS 1.2 is accepted")
			}
		},
	}
	for name, say := range garbage {
		c, err := net.Dial("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		say(c)
		c.Close()
		if line := <-reports; !strings.Contains(line, "connection refused") {
			t.Errorf("%s: reported %q, want a refusal", name, line)
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

type reporter chan string

func (r reporter) Write(b []byte) (int, error) { r <- string(b); return len(b), nil }

func TestNewErrors(t *testing.T) {
	id := newIdentity(t)
	for name, c := range map[string]struct {
		id      transport.Identity
		options []Option
	}{
		"no identity":         {},
		"half an identity":    {id: transport.Identity{ID: "x"}},
		"identity and plain":  {id: id, options: []Option{Plain()}},
		"plain twice":         {options: []Option{Plain(), PlainData()}},
		"plain data alone":    {id: id, options: []Option{PlainData(), Conns(1)}},
		"no connection":       {id: id, options: []Option{Conns(0)}},
		"window":              {id: id, options: []Option{Window(-1)}},
		"dial timeout":        {id: id, options: []Option{DialTimeout(-1)}},
		"silent timeout":      {id: id, options: []Option{SilentTimeout(time.Millisecond)}},
		"no logger":           {id: id, options: []Option{Logger(nil)}},
		"too many connection": {id: id, options: []Option{Conns(33)}},
	} {
		if tr, err := New(c.id, c.options...); err == nil {
			t.Errorf("%s: got %v, want an error", name, tr)
		}
	}
	tr, err := New(id, ListenOn("256.0.0.1:x"))
	if err != nil {
		t.Fatal(err)
	}
	if ep, err := tr.Listen(t.Context(), "g", 0, transport.NewBell()); err == nil {
		t.Errorf("listen nowhere: got %v, want an error", ep)
	}
	if ep, err := tr.Listen(t.Context(), "g", 0, nil); err == nil {
		t.Errorf("listen without a bell: got %v, want an error", ep)
	}
}

// An unknown congestion control is reported, and does no harm.
func TestCongestion(t *testing.T) {
	id := newIdentity(t)
	reports := make(chan string, 100)
	for name, warn := range map[string]bool{"reno": false, "no-such-control": true} {
		tr, err := New(id, onLoopback, Congestion(name), Logger(slog.New(slog.NewTextHandler(reporter(reports), nil))))
		if err != nil {
			t.Fatal(err)
		}
		g := transporttest.NewGroupAs(t, tr, 2, id.ID)
		a, b := g.Pair(t, stripetest.LinkID)
		if ok, err := a.Post(&transport.Header{Kind: transport.Data}, nil); !ok {
			t.Fatal(err)
		}
		if err := transporttest.Await(g.Bells[1], "a frame", func() bool { f, err := b.Poll(); return f != nil || err != nil }); err != nil {
			t.Fatal(err)
		}
		b.Release()
		if err := b.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if warn {
			for !strings.Contains(<-reports, "congestion control not available") {
			}
		}
	}
}

// A rank that nobody answers for is lost, and so is one at a port where nobody listens.
func TestNobodyThere(t *testing.T) {
	id := newIdentity(t)
	tr, err := New(id, onLoopback, DialTimeout(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 1, id.ID)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for i, at := range []string{silent.Addr().String(), closed.Addr().String(), closed.Addr().String() + "," + silent.Addr().String()} {
		nonce := strings.Repeat(string(rune('a'+i)), 16)
		l, err := g.Endpoints[0].Open(transport.Peer{Rank: 1, Addr: nonce + "@" + at, ID: id.ID}, stripetest.LinkID)
		if err != nil {
			t.Fatal(err)
		}
		if err := transporttest.Await(g.Bells[0], "the loss", func() bool { return l.Err() != nil }); err != nil {
			t.Fatal(err)
		}
		var lost *transport.LostError
		if err := l.Err(); !errors.As(err, &lost) || lost.Peer != 1 {
			t.Errorf("%s: got %v, want a LostError of rank 1", at, err)
		}
	}
}

// A place where nobody listens does not keep a rank from being found at the next.
func TestSeveralPlaces(t *testing.T) {
	id := newIdentity(t)
	tr, err := New(id, onLoopback)
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	g.Peers[1].Addr = strings.Replace(g.Peers[1].Addr, "@", "@"+closed.Addr().String()+","+silent.Addr().String()+",", 1)
	a := g.Open(t, 0, 1, stripetest.LinkID)
	if ok, err := a.Post(&transport.Header{Kind: transport.Data}, nil); !ok {
		t.Fatal(err)
	}
	b := g.Open(t, 1, 0, stripetest.LinkID)
	var f *transport.Frame
	if e := transporttest.Await(g.Bells[1], "a frame", func() bool { f, err = b.Poll(); return f != nil || err != nil }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	b.Release()
}
