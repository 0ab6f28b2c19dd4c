package stripe

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func TestMessageBytes(t *testing.T) {
	m := message{
		kind: kindFail, link: transport.LinkID{Comm: 0x100f0e0d0c0b0a09, Channel: 0x0403}, length: 0x106,
		seq: 0x1817161514131211, credit: 0x201f1e1d1c1b1a19,
	}
	const want = "0400030406010000090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
	b := m.append([]byte("x"))
	if got := hex.EncodeToString(b); got != "78"+want {
		t.Errorf("got  %s\nwant 78%s", got, want)
	}
	var back message
	if err := back.parse(b[1:]); err != nil || back != m {
		t.Errorf("got %+v, %v, want %+v", back, err, m)
	}
}

func TestMessageErrors(t *testing.T) {
	good := func(m message) []byte { return m.append(nil) }
	for name, b := range map[string][]byte{
		"empty":              nil,
		"short":              good(message{kind: kindClose})[:31],
		"kind 0":             make([]byte, messageSize),
		"kind 9":             good(message{kind: kindArrived + 1}),
		"more of nothing":    good(message{kind: kindMore}),
		"more than allowed":  good(message{kind: kindMore, length: MaxConns + 1}),
		"reserved byte":      append([]byte{byte(kindClose), 1}, make([]byte, 30)...),
		"frame with length":  good(message{kind: kindFrame, length: 1}),
		"credit with number": good(message{kind: kindCredit, seq: 1}),
		"long reason":        good(message{kind: kindFail, length: transport.MaxReason + 1}),
		"bye for nothing":    good(message{kind: kindBye}),
		"bye with a link":    good(message{kind: kindBye, length: 1, link: transport.LinkID{Comm: 1}}),
		"pulse with credit":  good(message{kind: kindPulse, credit: 1}),
		"arrived by a link":  good(message{kind: kindArrived, link: transport.LinkID{Comm: 1}}),
		"arrived too late":   good(message{kind: kindArrived, credit: 1 << 63}),
	} {
		var m message
		var frame *transport.FrameError
		if err := m.parse(b); !errors.As(err, &frame) {
			t.Errorf("%s: got %v, want a FrameError", name, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for k := kindFrame; k <= kindArrived; k++ {
		m := message{kind: k}
		f.Add(m.append(nil))
	}
	f.Add(bytes.Repeat([]byte{0xff}, messageSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if err := m.parse(b); err != nil {
			var frame *transport.FrameError
			if !errors.As(err, &frame) {
				t.Fatalf("%x: got %v, want a FrameError", b, err)
			}
			return
		}
		if again := m.append(nil); !bytes.Equal(again, b[:messageSize]) {
			t.Fatalf("%x: written back as %x", b, again)
		}
	})
}

func FuzzHello(f *testing.F) {
	h := hello{index: 1, conns: 4, most: 32, window: 8, from: 1, to: 2, silent: 1200, clear: true}
	f.Add(h.append(nil))
	f.Add(make([]byte, helloSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h hello
		if err := h.parse(b); err != nil {
			var frame *transport.FrameError
			var refused *transport.RefusedError
			if !errors.As(err, &frame) && !errors.As(err, &refused) {
				t.Fatalf("%x: got %v, want a FrameError or a RefusedError", b, err)
			}
			return
		}
		if again := h.append(nil); !bytes.Equal(again, b[:helloSize]) {
			t.Fatalf("%x: written back as %x", b, again)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, a := range []answer{welcome, notYet, yield, answer(transport.RefusedGone), 0} {
		f.Add(a.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a answer
		if err := a.parse(b); err != nil {
			return
		}
		if a != answer(transport.RefusedSettings) && !bytes.Equal(a.append(nil), b[:answerSize]) {
			t.Fatalf("%x: accepted as %d", b, a)
		}
	})
}

func FuzzAddr(f *testing.F) {
	f.Add("0123456789abcdef@127.0.0.1:80,[::1]:81,host:82")
	f.Add("0123456789abcdef@quic/127.0.0.1:80,tcp/[::1]:81")
	f.Add("@")
	f.Fuzz(func(t *testing.T, addr string) {
		n, places, err := ParseAddr(addr)
		if err != nil {
			return
		}
		again, morePlaces, err := ParseAddr(FormatAddr(n, places))
		if err != nil || again != n || !slices.Equal(places, morePlaces) {
			t.Fatalf("%q: %v %q, then %v %q, %v", addr, n, places, again, morePlaces, err)
		}
		if len(places) == 0 || len(places) > maxPlaces {
			t.Fatalf("%q: %d places", addr, len(places))
		}
	})
}

func TestPlaces(t *testing.T) {
	got, err := Places(netip.MustParseAddrPort("127.0.0.1:99"))
	if err != nil || len(got) != 1 || got[0] != "127.0.0.1:99" {
		t.Errorf("got %q, %v, want the address itself", got, err)
	}
	got, err = Places(netip.MustParseAddrPort("[::]:99"))
	if err != nil || len(got) == 0 {
		t.Fatalf("got %q, %v, want all addresses", got, err)
	}
	near := false
	for _, place := range got {
		ap, err := netip.ParseAddrPort(place)
		if err != nil || ap.Port() != 99 || ap.Addr().IsUnspecified() {
			t.Errorf("place %q: %v", place, err)
		}
		if near && !ap.Addr().IsLoopback() {
			t.Errorf("%q behind loopback", place)
		}
		near = near || ap.Addr().IsLoopback()
	}
}

func TestSettings(t *testing.T) {
	if err := Defaults().Check(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for name, spoil := range map[string]func(s *Settings){
		"no connection":   func(s *Settings) { s.Conns = 0 },
		"33 connections":  func(s *Settings) { s.Conns = MaxConns + 1 },
		"no window":       func(s *Settings) { s.Window = 0 },
		"large window":    func(s *Settings) { s.Window = MaxWindow + 1 },
		"no dial timeout": func(s *Settings) { s.DialTimeout = 0 },
		"no logger":       func(s *Settings) { s.Logger = nil },
	} {
		s := Defaults()
		spoil(&s)
		if s.Check() == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

// A pipeConn is one end of a connection in memory.
type pipeConn struct{ net.Conn }

func (pipeConn) PeerID() string { return "" }

// A victim is an endpoint, rank 0, whose peer is the test itself, speaking bytes.
type victim struct {
	t    testing.TB
	ep   *Endpoint
	bell transport.Bell
	refs chan string
}

func newVictim(t testing.TB, settings Settings, silent time.Duration) *victim {
	v := &victim{t: t, bell: transport.NewBell(), refs: make(chan string, 64)}
	settings.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		select {
		case v.refs <- string(b):
		default:
		}
		return len(b), nil
	}), nil))
	v.ep = New(Config{
		Settings: settings, Name: "pipe", Caps: transport.Caps{Window: settings.Window}, Group: "g", Bell: v.bell, Nonce: NewNonce(),
		Release: func() {},
		Carriers: []Carrier{{
			Silent: silent, Places: []string{"pipe:1"},
			Dial: func(context.Context, string, string, Nonce) (Conn, error) { return nil, io.ErrUnexpectedEOF },
		}},
	})
	t.Cleanup(func() { v.ep.Close() })
	v.ep.Admit([]transport.Peer{{Rank: 0}, {Rank: 1}})
	return v
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// connect hands one end of a connection to the endpoint and returns the other.
func (v *victim) connect() net.Conn {
	mine, theirs := net.Pipe()
	go v.ep.serve(0, pipeConn{theirs})
	return mine
}

// hello returns what rank 1 would say.
func (v *victim) hello(from Nonce, index int) hello {
	return hello{
		index: uint8(index), conns: uint8(v.ep.cfg.Conns), most: uint8(v.ep.cfg.Carriers[0].most(v.ep.cfg.Conns)), window: uint16(v.ep.cfg.Window), from: 1, fromNonce: from,
		toNonce: v.ep.cfg.Nonce, group: v.ep.group, silent: uint32(v.ep.cfg.Carriers[0].Silent.Milliseconds()),
	}
}

// greet says hello and returns the answer.
func (v *victim) greet(c net.Conn, h hello) answer {
	v.t.Helper()
	if _, err := c.Write(h.append(nil)); err != nil {
		v.t.Fatal(err)
	}
	var buf [answerSize]byte
	if _, err := io.ReadFull(c, buf[:]); err != nil {
		v.t.Fatal(err)
	}
	var a answer
	if err := a.parse(buf[:]); err != nil {
		v.t.Fatal(err)
	}
	return a
}

func (v *victim) awaitErr(l transport.Link) error {
	v.t.Helper()
	if err := transporttest.Await(v.bell, "the end of the link", func() bool { return l.Err() != nil }); err != nil {
		v.t.Fatal(err)
	}
	return l.Err()
}

func TestHellos(t *testing.T) {
	settings := Defaults()
	settings.Conns = 2
	v := newVictim(t, settings, 0)
	from := NewNonce()
	for _, c := range []struct {
		name  string
		spoil func(h *hello)
		want  transport.Refusal
	}{
		{"stranger", func(h *hello) { h.from = 2 }, transport.RefusedStranger},
		{"own rank", func(h *hello) { h.from = 0 }, transport.RefusedStranger},
		{"group", func(h *hello) { h.group[0]++ }, transport.RefusedGroup},
		{"endpoint", func(h *hello) { h.toNonce[0]++ }, transport.RefusedGone},
		{"rank", func(h *hello) { h.to = 3 }, transport.RefusedGone},
		{"conns", func(h *hello) { h.conns, h.most = 3, 3 }, transport.RefusedSettings},
		{"connections with time", func(h *hello) { h.most = 9 }, transport.RefusedSettings},
		{"window", func(h *hello) { h.window++ }, transport.RefusedSettings},
		{"silent", func(h *hello) { h.silent = 1000 }, transport.RefusedSettings},
		{"data in clear", func(h *hello) { h.clear = true }, transport.RefusedSettings},
		{"second connection first", func(h *hello) { h.index = 1 }, transport.RefusedGone},
	} {
		h := v.hello(from, 0)
		c.spoil(&h)
		conn := v.connect()
		if got := v.greet(conn, h); got != answer(c.want) {
			t.Errorf("%s: got answer %d, want %v", c.name, got, c.want)
		}
		conn.Close()
		if line := <-v.refs; !strings.Contains(line, "refused") || !strings.Contains(line, c.want.String()) {
			t.Errorf("%s: logged %q, want the refusal", c.name, line)
		}
	}
	// Another version is refused whatever else it says.
	conn := v.connect()
	h := v.hello(from, 0)
	b := h.append(nil)
	b[4] = 99
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	var buf [answerSize]byte
	if _, err := io.ReadFull(conn, buf[:]); err != nil || transport.Refusal(buf[6]) != transport.RefusedSettings {
		t.Errorf("another version: got %x, %v", buf, err)
	}
	conn.Close()
	<-v.refs
	// What is no hello is not answered.
	conn = v.connect()
	if _, err := conn.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), helloSize/16)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf[:]); err == nil {
		t.Errorf("garbage: got %d bytes, want the end", n)
	}
	<-v.refs
	// The first is welcome, the second too, and then no more.
	conn = v.connect()
	defer conn.Close()
	if got := v.greet(conn, v.hello(from, 0)); got != welcome {
		t.Fatalf("got answer %d, want welcome", got)
	}
	for _, c := range []struct {
		index int
		want  answer
	}{{0, answer(transport.RefusedExists)}, {1, welcome}, {1, answer(transport.RefusedGone)}} {
		conn := v.connect()
		defer conn.Close()
		if got := v.greet(conn, v.hello(from, c.index)); got != c.want {
			t.Errorf("connection %d: got answer %d, want %d", c.index, got, c.want)
		}
	}
}

// A peer that closes its endpoint while connections are still being made refuses these. How it ended, its goodbye says; only if none comes is it lost.
func TestGoneBeforeGoodbye(t *testing.T) {
	for _, polite := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			settings := Defaults()
			settings.Conns = 2
			v := newVictim(t, settings, 0)
			conns := make(chan net.Conn, 2)
			v.ep.cfg.Carriers[0].Dial = func(context.Context, string, string, Nonce) (Conn, error) {
				mine, theirs := net.Pipe()
				go func() {
					var h hello
					var buf [helloSize]byte
					if _, err := io.ReadFull(mine, buf[:]); err != nil || h.parse(buf[:]) != nil {
						t.Errorf("hello: %v", err)
					}
					said := welcome
					if h.index > 0 {
						said = answer(transport.RefusedGone)
					}
					mine.Write(said.append(nil))
					if h.index == 0 {
						conns <- mine
					}
					io.Copy(io.Discard, mine)
					mine.Close()
				}()
				return pipeConn{theirs}, nil
			}
			l, err := v.ep.Open(transport.Peer{Rank: 1, Addr: FormatAddr(NewNonce(), []Place{{At: "pipe:1"}})}, transport.LinkID{Comm: 1})
			if err != nil {
				t.Fatal(err)
			}
			first := <-conns
			synctest.Wait()
			if err := l.Err(); err != nil {
				t.Fatalf("before the goodbye: got %v", err)
			}
			want := transport.ErrPeerLost
			if polite {
				first.Write((&message{kind: kindBye, length: 1}).append(nil))
				want = transport.ErrPeerClosed
			}
			if err := v.awaitErr(l); !errors.Is(err, want) {
				t.Errorf("goodbye %v: got %v, want %v", polite, err, want)
			}
			v.ep.Close()
		})
	}
}

// attack opens a session as rank 1, says what it is given, and hangs up. It returns when the endpoint has ended
// the session.
func attack(t testing.TB, stream []byte) error {
	settings := Defaults()
	settings.Conns = 1
	v := newVictim(t, settings, 0)
	from := NewNonce()
	conn := v.connect()
	if got := v.greet(conn, v.hello(from, 0)); got != welcome {
		t.Fatalf("got answer %d, want welcome", got)
	}
	go io.Copy(io.Discard, conn)
	l, err := v.ep.Open(transport.Peer{Rank: 1, Addr: FormatAddr(from, []Place{{At: "nobody:1"}})}, transport.LinkID{Comm: 1})
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(stream) // fails as soon as the endpoint has had enough
	conn.Close()
	for {
		f, err := l.Poll()
		if f != nil {
			if err := f.Check(); err != nil || int(f.Length) != len(f.Payload) {
				t.Fatalf("got frame %+v with %d bytes: %v", f.Header, len(f.Payload), err)
			}
			l.Release()
			continue
		}
		if err != nil {
			return err
		}
		if err := transporttest.Await(v.bell, "a frame or the end", func() bool {
			f, err := l.Poll()
			return f != nil || err != nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func frameBytes(id transport.LinkID, seq uint64, length int) []byte {
	m := message{kind: kindFrame, link: id, seq: seq}
	h := transport.Header{Kind: transport.Data, Length: uint32(length)}
	b, _ := h.AppendBinary(m.append(nil))
	return append(b, make([]byte, length)...)
}

func TestHostileSession(t *testing.T) {
	id := transport.LinkID{Comm: 1}
	say := func(ms ...message) (b []byte) {
		for _, m := range ms {
			b = m.append(b)
		}
		return b
	}
	many := []byte{}
	for i := range uint64(DefaultWindow) + 1 {
		many = append(many, frameBytes(transport.LinkID{Comm: 2}, i, 1)...)
	}
	for name, stream := range map[string][]byte{
		"unknown message":      bytes.Repeat([]byte{9}, 64),
		"frame ahead":          frameBytes(id, DefaultWindow, 1),
		"frame twice":          append(frameBytes(transport.LinkID{Comm: 2}, 0, 1), frameBytes(transport.LinkID{Comm: 2}, 0, 1)...),
		"window exceeded":      many,
		"credit for nothing":   say(message{kind: kindCredit, link: id, credit: 1}),
		"closed twice":         say(message{kind: kindClose, link: id}, message{kind: kindClose, link: id}),
		"frame after the last": append(say(message{kind: kindClose, link: transport.LinkID{Comm: 3}}), frameBytes(transport.LinkID{Comm: 3}, 0, 1)...),
		"fewer than sent":      append(frameBytes(transport.LinkID{Comm: 3}, 0, 1), say(message{kind: kindClose, link: transport.LinkID{Comm: 3}})...),
		"bye of another":       say(message{kind: kindBye, length: 2}),
		"more behind a bye":    say(message{kind: kindBye, length: 1}, message{kind: kindPulse}),
		"bad header":           append(say(message{kind: kindFrame, link: id}), make([]byte, transport.HeaderSize)...),
	} {
		err := attack(t, stream)
		var lost *transport.LostError
		var frame *transport.FrameError
		if name == "closed twice" || name == "more behind a bye" { // the good end may be seen first
			if errors.Is(err, transport.ErrPeerClosed) {
				continue
			}
		}
		if !errors.As(err, &lost) || lost.Peer != 1 || !errors.As(err, &frame) {
			t.Errorf("%s: got %v, want a LostError of rank 1 because of a FrameError", name, err)
		}
	}
	if err := attack(t, frameBytes(id, 0, 100)[:80]); !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("hung up in a frame: got %v, want ErrPeerLost", err)
	}
	if err := attack(t, append(frameBytes(id, 0, 100), say(message{kind: kindClose, link: id, seq: 2}, message{kind: kindBye, length: 1})...)); !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("goodbye with a frame missing: got %v, want ErrPeerLost", err)
	}
}

// FuzzSession says anything in a session: the endpoint ends it, and is none the worse.
func FuzzSession(f *testing.F) {
	id := transport.LinkID{Comm: 1}
	f.Add(frameBytes(id, 0, 100))
	f.Add(append(frameBytes(id, 1, 5000), frameBytes(id, 0, 0)...))
	for k := kindFrame; k <= kindMore; k++ {
		m := message{kind: k, link: id}
		f.Add(append(frameBytes(id, 0, 8), m.append(nil)...))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		if err := attack(t, stream); !errors.Is(err, transport.ErrPeerLost) && !errors.Is(err, transport.ErrPeerClosed) {
			var remote *transport.RemoteError
			if !errors.As(err, &remote) {
				t.Errorf("%x: got %v, want the end of the link", stream, err)
			}
		}
	})
}

// A peer that says nothing is lost, one that has nothing to say but pulses is not.
func TestSilence(t *testing.T) { synctest.Test(t, testSilence) }

func testSilence(t *testing.T) {
	settings := Defaults()
	settings.Conns = 1
	v := newVictim(t, settings, 100*time.Millisecond)
	from := NewNonce()
	conn := v.connect()
	if got := v.greet(conn, v.hello(from, 0)); got != welcome {
		t.Fatalf("got answer %d, want welcome", got)
	}
	defer conn.Close()
	l, err := v.ep.Open(transport.Peer{Rank: 1, Addr: FormatAddr(from, []Place{{At: "nobody:1"}})}, transport.LinkID{Comm: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Every pulse is answered, for three timeouts.
	var buf [messageSize]byte
	for range 3 * beats {
		if _, err := io.ReadFull(conn, buf[:]); err != nil {
			t.Fatal(err)
		}
		var m message
		if err := m.parse(buf[:]); err != nil || m.kind != kindPulse {
			t.Fatalf("got %+v, %v, want a pulse", m, err)
		}
		if err := l.Err(); err != nil {
			t.Fatalf("while there are answers: got %v", err)
		}
		if _, err := conn.Write(buf[:]); err != nil {
			t.Fatal(err)
		}
	}
	go io.Copy(io.Discard, conn)
	if err := v.awaitErr(l); !errors.Is(err, errSilence) || !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("got %v, want a LostError because of silence", err)
	}
}

// Close waits for a peer that takes what was posted, however slowly, and for no other.
func TestCloseDrains(t *testing.T) {
	for name, tc := range map[string]struct {
		reads, speaks bool
		least, most   time.Duration
	}{
		"slow":             {true, true, 5 * time.Second, draining},
		"silent":           {false, false, flushing, 2 * flushing},
		"speaks, no hands": {false, true, draining, draining + flushing},
	} {
		synctest.Test(t, func(t *testing.T) {
			settings := Defaults()
			settings.Conns = 1
			v := newVictim(t, settings, time.Minute)
			from := NewNonce()
			conn := v.connect()
			if got := v.greet(conn, v.hello(from, 0)); got != welcome {
				t.Fatalf("%s: got answer %d, want welcome", name, got)
			}
			l, err := v.ep.Open(transport.Peer{Rank: 1, Addr: FormatAddr(from, []Place{{At: "nobody:1"}})}, transport.LinkID{Comm: 1})
			if err != nil {
				t.Fatal(err)
			}
			frame := make([]byte, 64<<10)
			if ok, err := l.Post(&transport.Header{Kind: transport.Data, Length: uint32(len(frame))}, frame); !ok {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			var pulses sync.WaitGroup
			if tc.speaks {
				pulses.Go(func() {
					m := message{kind: kindPulse}
					for beat := time.NewTicker(beatTime); ; {
						select {
						case <-stop:
							return
						case <-beat.C:
							conn.Write(m.append(nil))
						}
					}
				})
			}
			bye := make(chan bool, 1)
			if tc.reads {
				go func() { // 10 KiB a second
					var last []byte
					tick := time.NewTicker(100 * time.Millisecond)
					defer tick.Stop()
					for buf := make([]byte, 1<<10); ; <-tick.C {
						n, err := conn.Read(buf)
						last = append(last, buf[:n]...)
						last = last[max(0, len(last)-messageSize):]
						var m message
						if len(last) == messageSize && m.parse(last) == nil && m.kind == kindBye {
							bye <- true
							conn.Write(m.append(nil))
							return
						}
						if err != nil {
							bye <- false
							return
						}
					}
				}()
			}
			begin := time.Now()
			v.ep.Close()
			if took := time.Since(begin); took < tc.least || took > tc.most {
				t.Errorf("%s: Close took %v, want %v to %v", name, took, tc.least, tc.most)
			}
			if tc.reads && !<-bye {
				t.Errorf("%s: the connection ended before the goodbye", name)
			}
			close(stop)
			conn.Close()
			pulses.Wait()
		})
	}
}

func TestGuests(t *testing.T) {
	var g Guests
	first, other := net.Pipe()
	defer other.Close()
	wait := func(c net.Conn) func() {
		return func() { c.Read(make([]byte, 1)) }
	}
	ended := make(chan struct{})
	g.Serve(first, func() { wait(first)(); close(ended) })
	for range maxGuests - 1 {
		c, other := net.Pipe()
		defer other.Close()
		g.Serve(c, wait(c))
	}
	select {
	case <-ended:
		t.Fatal("a guest was sent away with room for all")
	default:
	}
	c, another := net.Pipe()
	defer another.Close()
	g.Serve(c, wait(c))
	<-ended // the oldest made room
	g.Close()
	late, _ := net.Pipe()
	g.Serve(late, func() { t.Error("served after Close") })
	if _, err := late.Write([]byte{1}); err == nil {
		t.Error("a guest after Close: still open")
	}
}
