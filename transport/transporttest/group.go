// Package transporttest holds the conformance suite of transports: what every [transport.Transport] must do,
// whatever carries its frames. A new transport is one call away from all of it:
//
//	func TestConformance(t *testing.T) {
//		transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
//			return transporttest.NewGroup(t, mytransport.New(), n)
//		})
//	}
//
// A transport with virtual time runs each of [Cases] in a bubble of its own. [Exercise] checks one end of a
// link, for tests whose ends are in different processes.
package transporttest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// Patience is how long the suite waits for an event before it calls it lost. No passing test waits for it.
const Patience = 30 * time.Second

// A Group is the endpoints of ranks 0 to n-1 of one group in this process.
type Group struct {
	Transport transport.Transport
	Name      string // of the group
	Endpoints []transport.Endpoint
	Bells     []transport.Bell
	Peers     []transport.Peer // as formation would make them known

	// Allocs is how many allocations a frame may cost, on average: 0 but for transports that stand on code of
	// others which allocates. A Maker may raise it.
	Allocs float64
}

// A Maker makes a group of n ranks for one test and registers what ends it with t.Cleanup.
type Maker func(t testing.TB, n int) *Group

var groups atomic.Uint64 // groups made, for their names

// NewGroup listens with n ranks on tr and closes everything when the test ends. All ranks are described as
// one process on one host.
func NewGroup(t testing.TB, tr transport.Transport, n int) *Group {
	t.Helper()
	return newGroup(t, tr, n, "", tr.NewBell)
}

// NewGroupAs is [NewGroup] for a transport that shows the identity id to its peers.
func NewGroupAs(t testing.TB, tr transport.Transport, n int, id string) *Group {
	t.Helper()
	return newGroup(t, tr, n, id, tr.NewBell)
}

// NewGroupWithBells is [NewGroup] with bells that need not be the transport's own.
func NewGroupWithBells(t testing.TB, tr transport.Transport, n int, newBell func() (transport.Bell, error)) *Group {
	t.Helper()
	return newGroup(t, tr, n, "", newBell)
}

func newGroup(t testing.TB, tr transport.Transport, n int, id string, newBell func() (transport.Bell, error)) *Group {
	t.Helper()
	name := fmt.Sprintf("%s/%d", t.Name(), groups.Add(1))
	g := &Group{Transport: tr, Name: name}
	for rank := range n {
		bell, err := newBell()
		if err != nil {
			t.Fatalf("rank %d: new bell: %v", rank, err)
		}
		ep, err := tr.Listen(context.Background(), name, rank, bell)
		if err != nil {
			t.Fatalf("rank %d: listen: %v", rank, err)
		}
		t.Cleanup(func() {
			if err := ep.Close(); err != nil {
				t.Errorf("rank %d: close of the endpoint: %v", rank, err)
			}
			if err := bell.Close(); err != nil {
				t.Errorf("rank %d: close of the bell: %v", rank, err)
			}
		})
		g.Endpoints = append(g.Endpoints, ep)
		g.Bells = append(g.Bells, bell)
		g.Peers = append(g.Peers, transport.Peer{Rank: rank, Host: "host", Process: "process", Addr: ep.Addr(), ID: id})
	}
	for _, ep := range g.Endpoints {
		ep.Admit(g.Peers)
	}
	for _, peer := range g.Peers[1:] {
		if !tr.Reaches(g.Peers[0], peer) {
			t.Fatalf("rank 0 does not reach rank %d", peer.Rank)
		}
	}
	return g
}

// Open opens rank's end of a link to peer.
func (g *Group) Open(t testing.TB, rank, peer int, id transport.LinkID) transport.Link {
	t.Helper()
	l, err := g.Endpoints[rank].Open(g.Peers[peer], id)
	if err != nil {
		t.Fatalf("rank %d: open of link %v to rank %d: %v", rank, id, peer, err)
	}
	return l
}

// Pair opens both ends of a link between ranks 0 and 1.
func (g *Group) Pair(t testing.TB, id transport.LinkID) (a, b transport.Link) {
	t.Helper()
	return g.Open(t, 0, 1, id), g.Open(t, 1, 0, id)
}

// Await sleeps on bell until done returns true. It fails when no ring makes it look again within [Patience].
func Await(bell transport.Bell, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return await(ctx, bell, what, done)
}

func await(ctx context.Context, bell transport.Bell, what string, done func() bool) error {
	for {
		if done() {
			return nil
		}
		bell.Arm()
		if done() {
			bell.Disarm()
			return nil
		}
		bell.Sleep(ctx, 0)
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for %s: no ring of the bell in %v (there now: %v)", what, Patience, done())
		}
	}
}

func (g *Group) await(t testing.TB, rank int, what string, done func() bool) {
	t.Helper()
	if err := Await(g.Bells[rank], what, done); err != nil {
		t.Fatalf("rank %d: %v", rank, err)
	}
}

// recv waits for the next frame of a link.
func (g *Group) recv(t testing.TB, rank int, l transport.Link) *transport.Frame {
	t.Helper()
	var frame *transport.Frame
	var err error
	g.await(t, rank, "a frame", func() bool {
		frame, err = l.Poll()
		return frame != nil || err != nil
	})
	if err != nil {
		t.Fatalf("rank %d: poll: got %v, want a frame", rank, err)
	}
	return frame
}

// recvEnd reads frames until the link ends, and returns their number and the error.
func (g *Group) recvEnd(t testing.TB, rank int, l transport.Link) (frames int, err error) {
	t.Helper()
	for {
		var frame *transport.Frame
		g.await(t, rank, "the end of the link", func() bool {
			frame, err = l.Poll()
			return frame != nil || err != nil
		})
		if err != nil {
			return frames, err
		}
		frames++
		l.Release()
	}
}

// send waits until the link takes a frame.
func (g *Group) send(t testing.TB, rank int, l transport.Link, h transport.Header, payload []byte) {
	t.Helper()
	var ok bool
	var err error
	g.await(t, rank, "room in the window", func() bool {
		ok, err = l.Post(&h, payload)
		return ok || err != nil
	})
	if err != nil {
		t.Fatalf("rank %d: post: %v", rank, err)
	}
}
