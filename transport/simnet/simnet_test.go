package simnet_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/simnet"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// Every case of the suite runs on paths of each kind, in a bubble.
func TestConformance(t *testing.T) {
	paths := map[string]func(a, b int) simnet.Path{
		"instant":   func(a, b int) simnet.Path { return simnet.Path{} },
		"delay":     func(a, b int) simnet.Path { return simnet.Path{Delay: 3 * time.Millisecond} },
		"bandwidth": func(a, b int) simnet.Path { return simnet.Path{BytesPerSecond: 1e9} },
		"both, different ways": func(a, b int) simnet.Path {
			return simnet.Path{Delay: time.Duration(1+a) * time.Microsecond, BytesPerSecond: float64(1+b) * 1e8}
		},
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			for _, c := range transporttest.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c.Run(t, func(t testing.TB, n int) *transporttest.Group {
							return transporttest.NewGroup(t, simnet.New(path), n)
						})
					})
				})
			}
		})
	}
}

// world is a group of ranks in a bubble, with the time since it was made.
type world struct {
	*transporttest.Group
	t     *testing.T
	net   *simnet.Network
	start time.Time
}

func bubble(t *testing.T, n int, path func(a, b int) simnet.Path, f func(w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(path)
		f(world{transporttest.NewGroup(t, net, n), t, net, time.Now()})
	})
}

func all(p simnet.Path) func(a, b int) simnet.Path {
	return func(int, int) simnet.Path { return p }
}

func (w world) post(l transport.Link, bytes int) {
	w.t.Helper()
	if ok, err := l.Post(&transport.Header{Kind: transport.Data, Length: uint32(bytes)}, make([]byte, bytes)); !ok {
		w.t.Fatalf("post of %d bytes: %v", bytes, err)
	}
}

// recv waits for a frame, checks the instant at which the bell brings it, and releases it.
func (w world) recv(rank int, l transport.Link, want time.Duration) {
	w.t.Helper()
	if err := transporttest.Await(w.Bells[rank], "a frame", func() bool {
		f, err := l.Poll()
		if err != nil {
			w.t.Fatal(err)
		}
		return f != nil
	}); err != nil {
		w.t.Fatal(err)
	}
	l.Release()
	w.at("frame", want)
}

func (w world) at(what string, want time.Duration) {
	w.t.Helper()
	if got := time.Since(w.start); got != want {
		w.t.Errorf("%s at %v, want %v", what, got, want)
	}
}

func (w world) awaitErr(rank int, l transport.Link) error {
	w.t.Helper()
	if err := transporttest.Await(w.Bells[rank], "the end", func() bool { return l.Err() != nil }); err != nil {
		w.t.Fatal(err)
	}
	return l.Err()
}

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// 1 MB/s: a microsecond a byte.
var slow = simnet.Path{Delay: 5 * ms, BytesPerSecond: 1e6}

func TestArrival(t *testing.T) {
	bubble(t, 2, all(slow), func(w world) {
		a, b := w.Pair(t, transport.LinkID{Channel: 1})
		a2, b2 := w.Pair(t, transport.LinkID{Channel: 2})
		w.post(a, 1000)
		w.post(a2, 500) // shares the wire
		w.post(b, 1000) // the other direction has its own
		w.post(a, 0)
		w.recv(1, b, 1*ms+5*ms)
		w.recv(0, a, 1*ms+5*ms)
		w.recv(1, b2, 1500*us+5*ms)
		w.recv(1, b, 1500*us+5*ms)
		// The wire has been idle: the next transmission begins now.
		w.post(a, 100)
		w.recv(1, b, 6500*us+100*us+5*ms)
		if n := a.Completed(); n != 3 {
			t.Errorf("%d frames completed, want 3", n)
		}
	})
}

func TestDirectionsDiffer(t *testing.T) {
	bubble(t, 3, func(a, b int) simnet.Path {
		return simnet.Path{Delay: time.Duration(10*a+b) * ms}
	}, func(w world) {
		id := transport.LinkID{}
		l01, l10 := w.Open(t, 0, 1, id), w.Open(t, 1, 0, id)
		l02, l20 := w.Open(t, 0, 2, id), w.Open(t, 2, 0, id)
		w.post(l01, 1)
		w.post(l02, 1)
		w.post(l10, 1)
		w.recv(1, l10, 1*ms)
		w.recv(2, l20, 2*ms)
		w.recv(0, l01, 10*ms)
	})
}

func TestRounding(t *testing.T) {
	bubble(t, 2, all(simnet.Path{BytesPerSecond: 3e9}), func(w world) {
		a, b := w.Pair(t, transport.LinkID{})
		for range 3 {
			w.post(a, 1000) // 333.33 ns, rounded for each frame
		}
		w.recv(1, b, 333)
		w.recv(1, b, 666)
		w.recv(1, b, 999)
	})
}

func TestAbsurdPaths(t *testing.T) {
	for _, p := range []simnet.Path{
		{Delay: -1, BytesPerSecond: -5}, {BytesPerSecond: math.NaN()}, {BytesPerSecond: math.Inf(1)},
	} {
		bubble(t, 2, all(p), func(w world) {
			a, b := w.Pair(t, transport.LinkID{})
			w.post(a, 1000)
			w.recv(1, b, 0)
		})
	}
	bubble(t, 2, all(simnet.Path{Delay: math.MaxInt64, BytesPerSecond: 1e-300}), func(w world) {
		a, b := w.Pair(t, transport.LinkID{})
		for range 20 {
			w.post(a, 1000)
		}
		if f, err := b.Poll(); f != nil || err != nil {
			t.Errorf("got %v, %v, want nothing for centuries", f, err)
		}
	})
}

// A ring of n ranks, each of which passes on what it gets: every rank has the last block after n-1 hops.
func TestRing(t *testing.T) {
	for _, n := range []int{2, 3, 5, 8} {
		bubble(t, n, all(slow), func(w world) {
			const bytes = 250
			ends := make(chan time.Duration, n)
			for rank := range n {
				next, prev := (rank+1)%n, (rank+n-1)%n
				// Two ranks are each other's next and previous: a channel a direction keeps the links apart.
				out := w.Open(t, rank, next, transport.LinkID{Channel: uint16(rank)})
				in := w.Open(t, rank, prev, transport.LinkID{Channel: uint16(prev)})
				go func() {
					h := transport.Header{Kind: transport.Data, Length: bytes}
					block := make([]byte, bytes)
					for range n - 1 {
						if ok, err := out.Post(&h, block); !ok {
							t.Errorf("rank %d: post: %v", rank, err)
						}
						if err := transporttest.Await(w.Bells[rank], "a block", func() bool { f, _ := in.Poll(); return f != nil }); err != nil {
							t.Errorf("rank %d: %v", rank, err)
							break
						}
						in.Release()
					}
					ends <- time.Since(w.start)
				}()
			}
			want := time.Duration(n-1) * (bytes*us + 5*ms)
			for range n {
				if got := <-ends; got != want {
					t.Errorf("%d ranks: a rank ends at %v, want %v", n, got, want)
				}
			}
		})
	}
}

func TestFailOvertakes(t *testing.T) {
	bubble(t, 2, all(slow), func(w world) {
		a, b := w.Pair(t, transport.LinkID{})
		w.post(a, 100)
		w.post(a, 100000) // 100 ms on the wire
		a.Fail([]byte("why"))
		var remote *transport.RemoteError
		if err := w.awaitErr(1, b); !errors.As(err, &remote) {
			t.Errorf("got %v, want a RemoteError", err)
		}
		w.at("the Fail", 5*ms)
		<-time.After(time.Second)
		if f, err := b.Poll(); f != nil || !errors.As(err, &remote) {
			t.Errorf("long after the Fail: got %v, %v, want a RemoteError: what it overtook is gone", f, err)
		}
	})
}

func TestCloseComesLast(t *testing.T) {
	bubble(t, 2, all(slow), func(w world) {
		a, b := w.Pair(t, transport.LinkID{})
		w.post(a, 1000)
		a.Close()
		w.recv(1, b, 6*ms)
		if err := w.awaitErr(1, b); !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("got %v, want ErrPeerClosed", err)
		}
		w.at("the Close", 6*ms)
		b.Close()
	})
	bubble(t, 2, all(slow), func(w world) {
		a, b := w.Pair(t, transport.LinkID{})
		a.Close()
		w.awaitErr(1, b)
		w.at("the Close of an idle link", 5*ms)
	})
}

func TestCut(t *testing.T) {
	cuts := map[string]func(n *simnet.Network){
		"Cut":          func(n *simnet.Network) { n.Cut(0, 1) },
		"Cut, swapped": func(n *simnet.Network) { n.Cut(1, 0) },
		"CutRank":      func(n *simnet.Network) { n.CutRank(1) },
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, all(slow), func(w world) {
				id := transport.LinkID{}
				a, b := w.Pair(t, id)
				half := w.Open(t, 0, 1, transport.LinkID{Channel: 9})
				c, d := w.Open(t, 0, 2, id), w.Open(t, 2, 0, id)
				w.post(a, 1000)
				w.post(a, 1000)
				<-time.After(6 * ms) // the first has arrived, the second is on the way
				cut(w.net)
				check := func(what string, err error, peer int) {
					t.Helper()
					var lost *transport.LostError
					if !errors.As(err, &lost) || lost.Peer != peer || !errors.Is(err, transport.ErrPeerLost) {
						t.Errorf("%s: got %v, want a LostError of rank %d", what, err, peer)
					}
				}
				check("sender", a.Err(), 1)
				check("receiver", b.Err(), 0)
				check("half-open", half.Err(), 1)
				_, err := a.Post(&transport.Header{Kind: transport.Data}, nil)
				check("post", err, 1)
				w.recv(1, b, 6*ms)
				<-time.After(time.Second)
				_, err = b.Poll()
				check("poll", err, 0)
				check("opened later", w.Open(t, 0, 1, transport.LinkID{Channel: 1}).Err(), 1)
				check("opened later", w.Open(t, 1, 0, transport.LinkID{Channel: 1}).Err(), 0)
				check("opened by the peer before the cut", w.Open(t, 1, 0, transport.LinkID{Channel: 9}).Err(), 0)
				w.post(c, 10) // others are not cut
				w.recv(2, d, 6*ms+time.Second+10*us+5*ms)
			})
		})
	}
}

// A cut wakes ranks that sleep.
func TestCutRings(t *testing.T) {
	bubble(t, 2, all(slow), func(w world) {
		a, b := w.Pair(t, transport.LinkID{})
		time.AfterFunc(7*ms, func() { w.net.Cut(0, 1) })
		for rank, l := range []transport.Link{a, b} {
			if err := w.awaitErr(rank, l); !errors.Is(err, transport.ErrPeerLost) {
				t.Errorf("rank %d: got %v, want ErrPeerLost", rank, err)
			}
			w.at("the cut", 7*ms)
		}
	})
}

func TestReaches(t *testing.T) {
	n, other := simnet.New(all(slow)), simnet.New(all(slow))
	g, h := transporttest.NewGroup(t, n, 2), transporttest.NewGroup(t, other, 2)
	if !n.Reaches(g.Peers[0], g.Peers[1]) || n.Reaches(g.Peers[0], h.Peers[1]) || n.Reaches(g.Peers[0], transport.Peer{Rank: 1}) {
		t.Error("a network reaches its own ranks, and no others")
	}
	if _, err := n.Listen(t.Context(), "x", -1, transport.NewBell()); err == nil {
		t.Error("listen as rank -1: no error")
	}
}

// Outside of a bubble the time is real.
func TestRealTime(t *testing.T) {
	g := transporttest.NewGroup(t, simnet.New(all(simnet.Path{Delay: ms, BytesPerSecond: 1e9})), 2)
	a, b := g.Pair(t, transport.LinkID{})
	done := make(chan error, 1)
	go func() { done <- transporttest.Exercise(t.Context(), a, g.Bells[0], 3, 50) }()
	if err := transporttest.Exercise(t.Context(), b, g.Bells[1], 3, 50); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Example sends 1000 bytes over a link of 1 MB/s and 5 ms. In a testing/synctest bubble the 6 ms pass at
// once; here they are real.
func Example() {
	ctx := context.Background()
	net := simnet.New(func(a, b int) simnet.Path {
		return simnet.Path{Delay: 5 * time.Millisecond, BytesPerSecond: 1e6}
	})
	var eps [2]transport.Endpoint
	bells := [2]transport.Bell{transport.NewBell(), transport.NewBell()}
	for rank := range eps {
		var err error
		if eps[rank], err = net.Listen(ctx, "example", rank, bells[rank]); err != nil {
			fmt.Println(err)
			return
		}
		defer eps[rank].Close()
	}
	a, err := eps[0].Open(transport.Peer{Rank: 1, Addr: eps[1].Addr()}, transport.LinkID{})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := eps[1].Open(transport.Peer{Rank: 0, Addr: eps[0].Addr()}, transport.LinkID{})
	if err != nil {
		fmt.Println(err)
		return
	}
	start := time.Now()
	if _, err := a.Post(&transport.Header{Kind: transport.Data, Length: 1000}, make([]byte, 1000)); err != nil {
		fmt.Println(err)
		return
	}
	for {
		bells[1].Arm()
		if frame, err := b.Poll(); frame != nil || err != nil {
			bells[1].Disarm()
			fmt.Println(frame.Length, "bytes, not before 6 ms:", time.Since(start) >= 6*time.Millisecond)
			b.Release()
			return
		}
		bells[1].Sleep(ctx, 0)
	}
	// Output: 1000 bytes, not before 6 ms: true
}
