package shm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// A peer that answers nothing does not hold up Close, which then counts as no more than its time.
func TestCloseWithStuckPeer(t *testing.T) {
	g := transporttest.NewGroup(t, New(), 1)
	s := newStranger(t) // its connections are never accepted
	l, err := g.Endpoints[0].Open(transport.Peer{Rank: 1, Addr: s.addr}, testID)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Endpoints[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Err(); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// Nobody listens at the peer's address.
func TestConnectionRefused(t *testing.T) {
	g := transporttest.NewGroup(t, New(), 1)
	l, err := g.Endpoints[0].Open(transport.Peer{Rank: 4, Addr: addrPrefix + "nobody"}, testID)
	if err != nil {
		t.Fatal(err)
	}
	if err := transporttest.Await(g.Bells[0], "the refusal", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	var lost *transport.LostError
	if err := l.Err(); !errors.As(err, &lost) || lost.Peer != 4 || !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v, want a LostError of rank 4 because of ECONNREFUSED", err)
	}
}

func TestListenErrors(t *testing.T) {
	tr := New()
	b := transport.NewBell()
	ep, err := tr.Listen(t.Context(), "g", 3, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Listen(t.Context(), "g", 3, b); !errors.Is(err, transport.ErrExists) {
		t.Errorf("listen twice: got %v, want ErrExists", err)
	}
	if err := ep.Close(); err != nil {
		t.Fatal(err)
	}
	if ep, err = tr.Listen(t.Context(), "g", 3, b); err != nil {
		t.Fatalf("listen after close: %v", err)
	}
	ep.Close()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Listen(done, "g", 4, b); !errors.Is(err, context.Canceled) {
		t.Errorf("listen with a context that is done: got %v", err)
	}
	bads := []int{-1}
	if strconv.IntSize == 64 {
		highest := int64(maxRank)
		bads = append(bads, int(highest+1))
	}
	for _, bad := range bads {
		if _, err := tr.Listen(t.Context(), "g", bad, b); err == nil {
			t.Errorf("listen as rank %d: no error", bad)
		}
	}
	if _, err := tr.Listen(t.Context(), "g", 0, nil); err == nil {
		t.Error("listen without a bell: no error")
	}
	closed, err := newFutexBell()
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	closed.Ring() // harmless
	if ep, err = tr.Listen(t.Context(), "g", 5, closed); err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	if _, err := ep.Open(transport.Peer{Rank: 1, Addr: addrPrefix + "x"}, testID); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("open with a closed bell: got %v, want ErrClosed", err)
	}
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		self, peer transport.Peer
		want       bool
	}{
		{transport.Peer{Host: "a"}, transport.Peer{Host: "a", Process: "p"}, true},
		{transport.Peer{Host: "a"}, transport.Peer{Host: "b"}, false},
		{transport.Peer{}, transport.Peer{}, false},
	} {
		if got := New().Reaches(c.self, c.peer); got != c.want {
			t.Errorf("%+v to %+v: got %v, want %v", c.self, c.peer, got, c.want)
		}
	}
}

// Example joins two ranks, which would be two processes, and passes one frame.
func Example() {
	ctx := context.Background()
	tr := New()
	var eps [2]transport.Endpoint
	var bells [2]transport.Bell
	for rank := range eps {
		var err error
		if bells[rank], err = tr.NewBell(); err != nil {
			fmt.Println(err)
			return
		}
		defer bells[rank].Close()
		if eps[rank], err = tr.Listen(ctx, "example", rank, bells[rank]); err != nil {
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
	for {
		bells[1].Arm()
		frame, err := b.Poll()
		if err != nil {
			fmt.Println(err)
			return
		}
		if frame != nil {
			bells[1].Disarm()
			fmt.Printf("%s\n", frame.Payload)
			b.Release()
			return
		}
		bells[1].Sleep(ctx, 0)
	}
	// Output: gradient
}

// An endpoint that closes before its peer has opened still delivers what it posted: Close waits for the
// peer to take in its segments.
func TestCloseBeforePeerOpens(t *testing.T) {
	for range 20 {
		g := transporttest.NewGroup(t, New(), 2)
		a := g.Open(t, 0, 1, testID)
		if ok, err := a.Post(&transport.Header{Kind: transport.Data, Length: 1000}, make([]byte, 1000)); !ok {
			t.Fatal(err)
		}
		if err := g.Endpoints[0].Close(); err != nil {
			t.Fatal(err)
		}
		b := g.Open(t, 1, 0, testID)
		f, err := b.Poll()
		if f == nil {
			t.Fatalf("got %v, want the frame", err)
		}
		b.Release()
		if _, err := b.Poll(); !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("got %v, want ErrPeerClosed", err)
		}
	}
}

// Links that ended are unmapped: by their owner when it looks again, else by the collector.
func TestUnmapped(t *testing.T) {
	// mapped counts the mappings of a segment, by its inode.
	maps := func() []string {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(b), "\n")
	}
	inode := func(s *segment) string {
		start := fmt.Sprintf("%08x-", uintptr(unsafe.Pointer(unsafe.SliceData(s.mem))))
		for _, line := range maps() {
			if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(line, start) && strings.Contains(line, "ringtree-link") {
				return f[4]
			}
		}
		t.Fatalf("no mapping at %s", start)
		return ""
	}
	mapped := func(inode string) (n int) {
		for _, line := range maps() {
			if f := strings.Fields(line); len(f) > 5 && f[4] == inode && strings.Contains(line, "ringtree-link") {
				n++
			}
		}
		return n
	}
	g := transporttest.NewGroup(t, New(), 2)
	for i, observed := range []bool{true, true, true, false, false, false} {
		a, b := g.Pair(t, transport.LinkID{Comm: 50, Channel: uint16(i)})
		ends := []transport.Link{a, b}
		var inodes []string
		for rank, l := range ends {
			if err := transporttest.Await(g.Bells[rank], "the segment", func() bool { return l.(*link).in.Load() != nil }); err != nil {
				t.Fatal(err)
			}
			inodes = append(inodes, inode(l.(*link).out))
		}
		for _, inode := range inodes {
			if n := mapped(inode); n != 2 {
				t.Errorf("a segment is mapped %d times, want 2", n)
			}
		}
		for _, l := range ends {
			l.Close()
			if observed {
				l.Poll()
			}
		}
		a, b, ends = nil, nil, nil
		for _, inode := range inodes {
			if n := mapped(inode); observed && n != 0 {
				t.Errorf("a segment is mapped %d times after both owners have seen the end, want 0", n)
			}
			for deadline := time.Now().Add(transporttest.Patience); mapped(inode) != 0; runtime.GC() {
				if time.Now().After(deadline) {
					t.Fatal("a segment is still mapped after collection")
				}
			}
		}
	}
}

// A link that is closed before the peer's segment has come does not keep it when it comes.
func TestClosedBeforeSegment(t *testing.T) {
	g := transporttest.NewGroup(t, New(), 2)
	a := g.Open(t, 0, 1, testID)
	a.Close()
	if _, err := g.Endpoints[0].Open(g.Peers[1], testID); !errors.Is(err, transport.ErrExists) {
		t.Errorf("open again before the peer has opened: got %v, want ErrExists", err)
	}
	b := g.Open(t, 1, 0, testID)
	if err := transporttest.Await(g.Bells[1], "the peer's Close", func() bool { return b.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	b.Close()
	e := g.Endpoints[0].(*endpoint)
	if err := transporttest.Await(g.Bells[0], "the segment", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		p := e.peers[g.Peers[1].Addr]
		return len(p.early) == 0 && len(p.pending) == 0
	}); err != nil {
		t.Fatal(err)
	}
	again := [2]transport.Link{g.Open(t, 0, 1, testID), g.Open(t, 1, 0, testID)}
	for i, l := range again {
		if err := l.Err(); err != nil {
			t.Errorf("rank %d: link opened again: %v", i, err)
		}
	}
}

// A link uses all of its staging area while its endpoint has one peer, and the part that is set for several from when it is
// next empty; a frame of the longest payload goes either way.
func TestStageShrinks(t *testing.T) {
	w := newWire(t)
	h := &transport.Header{Kind: transport.Data, Length: 100_000}
	fill := func() (n int) {
		t.Helper()
		for {
			ok, err := w.a.Post(h, make([]byte, h.Length))
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return n
			}
			n++
		}
	}
	drain := func() {
		t.Helper()
		for w.b.taken < w.a.posted {
			f, err := w.b.Poll()
			if err != nil || f == nil || len(f.Payload) != int(h.Length) {
				t.Fatalf("got frame %+v, %v, want %d bytes", f, err, h.Length)
			}
			w.b.Release()
		}
	}
	if n := fill(); n != stageSize/100_000 {
		t.Errorf("%d frames with one peer, want %d", n, stageSize/100_000)
	}
	w.a.endpoint.peer("another")
	drain()
	if n := fill(); n != sharedStage/100_000 {
		t.Errorf("%d frames with two peers, want %d", n, sharedStage/100_000)
	}
	drain()
	h.Length = transport.MaxPayload
	if n := fill(); n != 1 {
		t.Errorf("%d frames of the longest payload, want 1", n)
	}
	drain()
}
