package stripe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// TestSpread holds the number of connections that is found on paths of several kinds.
func TestSpread(t *testing.T) {
	const window, ms = 1 << 20, time.Millisecond
	for name, tc := range map[string]struct {
		rtt, min     time.Duration
		rate         func(conns int) float64 // MB/s
		most         int
		epochs       int
		want, widest int
		text         string
	}{
		"windows limit":         {105 * ms, 100 * ms, func(n int) float64 { return 10 * float64(n) }, 32, 9, 32, 32, "32 connections, as the windows of 4 were too small for a round trip of 100ms with 1.000 % of packets lost: 40, then 320 MB/s"},
		"an odd most":           {105 * ms, 100 * ms, func(n int) float64 { return 10 * float64(n) }, 11, 20, 11, 11, "11 connections"},
		"the link is full at 8": {105 * ms, 100 * ms, func(n int) float64 { return 10 * min(float64(n), 8) }, 32, 10, 8, 16, "8 connections"},
		"processors limit":      {105 * ms, 100 * ms, func(int) float64 { return 40 }, 32, 10, 4, 8, ""},
		"tried again":           {105 * ms, 100 * ms, func(int) float64 { return 40 }, 32, 3 + firstWait + 1, 8, 8, "8 connections"},
		"something queues":      {130 * ms, 100 * ms, func(n int) float64 { return 10 * float64(n) }, 32, 10, 4, 4, ""},
		"a short path":          {1 * ms, 1 * ms, func(n int) float64 { return 1000 * float64(n) }, 32, 10, 4, 4, ""},
		"windows have room":     {105 * ms, 100 * ms, func(n int) float64 { return 1 }, 32, 10, 4, 4, ""},
		"nothing is known":      {0, 0, func(n int) float64 { return 10 * float64(n) }, 32, 10, 4, 4, ""},
	} {
		s := spread{conns: 4, least: 4, most: tc.most, nextWait: firstWait}
		var now course
		now.RTT, now.MinRTT = tc.rtt, tc.min
		widest := 4
		for range tc.epochs {
			now.Window = uint64(s.conns) * window
			now.busy += time.Second
			now.bytes += uint64(1e6 * tc.rate(s.conns))
			now.Sent, now.Lost = now.Sent+1000, now.Lost+10
			widest = max(widest, s.decide(now))
			if s.decide(now) != s.conns {
				t.Errorf("%s: a decision without work", name)
			}
		}
		if s.conns != tc.want || widest != tc.widest || !strings.HasPrefix(s.text(), tc.text) || s.text() != "" && tc.text == "" {
			t.Errorf("%s: %d connections, at most %d, %q; want %d, %d, %q", name, s.conns, widest, s.text(), tc.want, tc.widest, tc.text)
		}
	}
}

// A slowConn is one whose window lets through slowRate, over a path of slowTrip.
type slowConn struct{ net.Conn }

const (
	slowRate = 4e6 // bytes a second
	slowTrip = 100 * time.Millisecond
)

func (slowConn) PeerID() string { return "" }

func (slowConn) Course() Course {
	return Course{RTT: slowTrip, MinRTT: slowTrip, Window: slowRate * uint64(slowTrip) / uint64(time.Second)}
}

func (c slowConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > small {
		<-time.After(time.Duration(float64(n) / slowRate * float64(time.Second)))
	}
	return n, err
}

// slowPair returns two endpoints that can dial each other over connections that wrap returns for either, and their bells. dials is how many connections can be
// dialled; 0: any number.
func slowPair(t *testing.T, most, dials int, log *slog.Logger, wrap func(c net.Conn, rank int) Conn) (eps [2]*Endpoint, bells [2]transport.Bell) {
	t.Helper()
	var serves [2]func(Conn)
	var mu sync.Mutex
	left := dials
	var peers []transport.Peer
	for i := range eps {
		settings := Defaults()
		settings.Logger, settings.Window = log, MaxWindow
		bells[i] = transport.NewBell()
		eps[i] = New(Config{
			Settings: settings, Name: "slow", Caps: transport.Caps{Window: settings.Window}, Group: "g", Rank: i, Bell: bells[i],
			Nonce: NewNonce(), Release: func() {},
			Carriers: []Carrier{{
				Silent: time.Minute, Most: most, Places: []string{"slow:1"},
				Start: func(serve func(Conn)) { serves[i] = serve },
				Dial: func(context.Context, string, string, Nonce) (Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					if left--; dials > 0 && left < 0 {
						return nil, errors.New("enough")
					}
					mine, theirs := net.Pipe()
					go serves[1-i](wrap(theirs, 1-i))
					return wrap(mine, i), nil
				},
			}},
		})
		peers = append(peers, transport.Peer{Rank: i, Addr: eps[i].Addr()})
	}
	for _, ep := range eps {
		ep.Admit(peers)
		t.Cleanup(func() { ep.Close() })
	}
	return eps, bells
}

// Whoever sends, the one who has begun the session or the other, gets more connections where the windows of a few limit it, as many as there may be,
// and as many as can be made; frames arrive in order all the while, and the links say why.
func TestMoreConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		sender, most, dials int
		want                string
	}{
		"from who has begun":    {0, 16, 0, "16 connections"},
		"from the other":        {1, 8, 0, "8 connections"},
		"no more can be made":   {0, 32, 6, "no more connections"},
		"their number is fixed": {0, 4, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var logged bytes.Buffer
				eps, bells := slowPair(t, tc.most, tc.dials, slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					return logged.Write(b)
				}), nil)), func(c net.Conn, _ int) Conn { return slowConn{c} })
				var links [2]transport.Link
				for i := range links {
					l, err := eps[i].Open(transport.Peer{Rank: 1 - i, Addr: eps[1-i].Addr()}, transport.LinkID{Comm: 1})
					if err != nil {
						t.Fatal(err)
					}
					links[i] = l
					synctest.Wait() // so that rank 0 begins the session
				}
				from, to := tc.sender, 1-tc.sender
				said := func() string {
					mu.Lock()
					defer mu.Unlock()
					return links[from].Caps().Note + logged.String()
				}
				// Until there are as many connections as wanted, and the last frame says so.
				const limit = 20000
				sent := make(chan error, 1)
				go func() {
					for i, last := uint64(0), false; !last; i++ {
						payload := make([]byte, 16<<10)
						binary.LittleEndian.PutUint64(payload, i)
						h := transport.Header{Kind: transport.Data, Length: uint32(len(payload))}
						if last = i == limit || tc.want == "" && i == limit/10 || tc.want != "" && strings.Contains(said(), tc.want); last {
							h.Root = 1
						}
						err := transporttest.Await(bells[from], "room", func() bool {
							ok, err := links[from].Post(&h, payload)
							return ok || err != nil
						})
						if err = errors.Join(err, links[from].Err()); err != nil {
							sent <- err
							return
						}
					}
					sent <- nil
				}()
				for i, last := uint64(0), false; !last; i++ {
					var f *transport.Frame
					var err error
					if e := transporttest.Await(bells[to], "a frame", func() bool {
						f, err = links[to].Poll()
						return f != nil || err != nil
					}); e != nil || err != nil {
						t.Fatal(i, e, err)
					}
					if got := binary.LittleEndian.Uint64(f.Payload); got != i {
						t.Fatalf("frame %d came as number %d", i, got)
					}
					last = f.Root == 1
					links[to].Release()
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				if got := said(); !strings.Contains(got, tc.want) || tc.want == "" && strings.Contains(got, "connections") {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// Only who has begun a session can be asked for more connections, and only for as many as there may be.
func TestWishes(t *testing.T) {
	id := transport.LinkID{Comm: 1}
	wish := message{kind: kindMore, length: 5}
	if err := attack(t, append(frameBytes(id, 0, 100), wish.append(nil)...)); !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("a wish for more connections from who has dialled: got %v, want ErrPeerLost", err)
	}
	v := newVictim(t, Defaults(), 0)
	p := newPeer(v.ep, 1, "", NewNonce())
	p.route.Store(&route{})
	p.dialled = 1
	if err := p.heardMore(DefaultConns + 1); !isFrameError(err) {
		t.Errorf("a wish for more connections than there may be: got %v, want a FrameError", err)
	}
	if err := p.heardMore(DefaultConns); err != nil {
		t.Errorf("a wish for as many as there may be: %v", err)
	}
}

// A frame that waits for a connection which has been given up meanwhile goes by another one, which is woken.
func TestFewerConnections(t *testing.T) {
	v := newVictim(t, Defaults(), 0)
	p := newPeer(v.ep, 1, "", NewNonce())
	p.wires = append(p.wires, make([]*wire, 8)...)
	p.grow(8)
	p.setWidth(8)
	for _, w := range p.active() {
		w.attached.Store(true)
	}
	kept, given := p.wires[1], p.wires[7]
	kept.sleeping = true
	p.bulk.add(entry{size: 1 << 16})
	if !p.setWidth(DefaultConns) || kept.sleeping || given.shares() {
		t.Errorf("a connection that is kept sleeps: %t; one that is not takes frames: %t", kept.sleeping, given.shares())
	}
	<-kept.wake
	if kept.sleeping = true; p.setWidth(DefaultConns) {
		t.Error("as many connections as before are another number")
	}
}
