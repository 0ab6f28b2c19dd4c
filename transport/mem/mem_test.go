package mem_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func makeGroup(t testing.TB, n int) *transporttest.Group {
	return transporttest.NewGroup(t, mem.New(), n)
}

func TestConformance(t *testing.T) { transporttest.Run(t, makeGroup) }

func TestConformanceInBubble(t *testing.T) {
	for _, c := range transporttest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Run(t, makeGroup) })
		})
	}
}

// An endpoint that closes before its peer has opened still delivers what it posted.
func TestCloseBeforePeerOpens(t *testing.T) {
	g := makeGroup(t, 2)
	a := g.Open(t, 0, 1, transport.LinkID{})
	if ok, err := a.Post(&transport.Header{Kind: transport.Data, Length: 2}, []byte("hi")); !ok {
		t.Fatal(err)
	}
	if err := g.Endpoints[0].Close(); err != nil {
		t.Fatal(err)
	}
	b := g.Open(t, 1, 0, transport.LinkID{})
	f, err := b.Poll()
	if err != nil || string(f.Payload) != "hi" {
		t.Fatalf("got %v, %v, want the frame", f, err)
	}
	b.Release()
	if _, err := b.Poll(); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("got %v, want ErrPeerClosed", err)
	}
	// A new link to the closed endpoint is lost, and names the peer.
	var lost *transport.LostError
	if err := g.Open(t, 1, 0, transport.LinkID{Comm: 1}).Err(); !errors.As(err, &lost) || lost.Peer != 0 {
		t.Errorf("got %v, want a LostError of rank 0", err)
	}
}

// Any payload goes by reference, not only memory of Alloc.
func TestByReference(t *testing.T) {
	g := makeGroup(t, 2)
	a, b := g.Pair(t, transport.LinkID{})
	p := []byte("plain")
	if ok, err := a.Post(&transport.Header{Kind: transport.Data, Length: 5}, p); !ok {
		t.Fatal(err)
	}
	f, err := b.Poll()
	if err != nil {
		t.Fatal(err)
	}
	if &f.Payload[0] != &p[0] {
		t.Error("the payload was copied")
	}
	b.Release()
}

// Groups and networks are closed worlds.
func TestWorlds(t *testing.T) {
	if shared, again := mem.Default(), mem.Default(); shared != again || mem.New() == shared {
		t.Error("Default is one network, New another")
	}
	n := mem.New()
	bell := transport.NewBell()
	var eps []transport.Endpoint
	for _, group := range []string{"a", "b"} {
		for rank := range 2 {
			ep, err := n.Listen(t.Context(), group, rank, bell)
			if err != nil {
				t.Fatal(err)
			}
			defer ep.Close()
			eps = append(eps, ep)
		}
	}
	// Rank 0 of group a to rank 1 of group b.
	l, err := eps[0].Open(transport.Peer{Rank: 1, Addr: eps[3].Addr()}, transport.LinkID{})
	if err == nil {
		err = l.Err()
	}
	if !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("link into another group: got %v, want ErrPeerLost", err)
	}
	if _, err := eps[0].Open(transport.Peer{Rank: 0, Addr: eps[0].Addr()}, transport.LinkID{}); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("link to itself: got %v, want ErrUnreachable", err)
	}
	if _, err := n.Listen(t.Context(), "a", 2, nil); err == nil {
		t.Error("listen without a bell: no error")
	}
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		self, peer transport.Peer
		want       bool
	}{
		{transport.Peer{Process: "p"}, transport.Peer{Rank: 1, Process: "p"}, true},
		{transport.Peer{Process: "p"}, transport.Peer{Rank: 1, Process: "q"}, false},
		{transport.Peer{Host: "h"}, transport.Peer{Host: "h", Rank: 1}, false},
	} {
		if got := mem.New().Reaches(c.self, c.peer); got != c.want {
			t.Errorf("%+v to %+v: got %v, want %v", c.self, c.peer, got, c.want)
		}
	}
}

// An ID may be opened again when both ends have closed it, however the orders mix.
func TestReopen(t *testing.T) {
	g := makeGroup(t, 2)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 200 {
		first := r.IntN(2)
		a := g.Open(t, first, 1-first, transport.LinkID{})
		early := r.IntN(2) == 0
		if early {
			a.Close()
			if _, err := g.Endpoints[first].Open(g.Peers[1-first], transport.LinkID{}); !errors.Is(err, transport.ErrExists) {
				t.Fatalf("seed %d, round %d: open again before the peer opened: got %v, want ErrExists", seed, round, err)
			}
		}
		b := g.Open(t, 1-first, first, transport.LinkID{})
		if err := b.Err(); early != errors.Is(err, transport.ErrPeerClosed) {
			t.Fatalf("seed %d, round %d: closed before: %v, Err: %v", seed, round, early, err)
		}
		a.Close()
		b.Close()
	}
}

// BenchmarkPingPong passes 8 bytes to and fro in one goroutine: the cost of the link without that of waiting.
func BenchmarkPingPong(b *testing.B) {
	g := transporttest.NewGroup(b, mem.New(), 2)
	l, k := g.Pair(b, transport.LinkID{})
	h, p := transport.Header{Kind: transport.Data, Length: 8}, make([]byte, 8)
	b.ReportAllocs()
	for b.Loop() {
		for _, ends := range [2][2]transport.Link{{l, k}, {k, l}} {
			if ok, err := ends[0].Post(&h, p); !ok {
				b.Fatal(err)
			}
			if f, err := ends[1].Poll(); f == nil {
				b.Fatal(err)
			}
			ends[1].Release()
		}
	}
}

// Example joins two ranks of one process and passes one frame.
func Example() {
	ctx := context.Background()
	net := mem.New()
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
	id := transport.LinkID{Comm: 1}
	a, err := eps[0].Open(transport.Peer{Rank: 1, Addr: eps[1].Addr()}, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := eps[1].Open(transport.Peer{Rank: 0, Addr: eps[0].Addr()}, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	payload := []byte("gradient")
	if _, err := a.Post(&transport.Header{Kind: transport.Data, Length: uint32(len(payload))}, payload); err != nil {
		fmt.Println(err)
		return
	}
	frame, err := b.Poll()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, completed %d\n", frame.Payload, a.Completed())
	b.Release()
	fmt.Println("completed", a.Completed())
	// Output:
	// gradient, completed 0
	// completed 1
}
