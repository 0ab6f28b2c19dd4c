package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// wantRemote fails unless err is the peer's Fail with reason.
func wantRemote(t *testing.T, what string, err error, reason []byte) {
	t.Helper()
	var remote *transport.RemoteError
	if !errors.As(err, &remote) || !bytes.Equal(remote.Reason, reason) {
		t.Errorf("%s: got %v, want a RemoteError with reason %q", what, err, reason)
	}
}

// wantClosed fails unless every use of a link that this side has ended says so.
func wantClosed(t *testing.T, what string, l transport.Link) {
	t.Helper()
	h := header(1, 0, 0)
	_, postErr := l.Post(&h, nil)
	_, pollErr := l.Poll()
	for name, err := range map[string]error{"Post": postErr, "Poll": pollErr, "Err": l.Err()} {
		if !errors.Is(err, transport.ErrClosed) || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %s got %v, want ErrClosed, which is net.ErrClosed", what, name, err)
		}
	}
}

func (g *Group) awaitErr(t *testing.T, rank int, l transport.Link) error {
	t.Helper()
	g.await(t, rank, "Err", func() bool { return l.Err() != nil })
	return l.Err()
}

func (g *Group) awaitPostErr(t *testing.T, rank int, l transport.Link) (err error) {
	t.Helper()
	h := header(1, 0, 0)
	g.await(t, rank, "an error of Post", func() bool {
		_, err = l.Post(&h, nil)
		return err != nil
	})
	return err
}

func testFail(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	// The peer is connected, and has frames that it has not read.
	g.send(t, 0, a, header(2, 0, 8), payload(2, 0, 8))
	g.recv(t, 1, b)
	b.Release()
	const unread = 3
	for i := range uint32(unread) {
		g.send(t, 0, a, header(2, i, 8), payload(2, i, 8))
	}
	reason := []byte("rank 0 says why\x00\xff")
	a.Fail(reason)
	clear(reason[:4]) // Fail has taken its own copy
	reason = []byte("rank 0 says why\x00\xff")
	wantRemote(t, "Err ahead of unread frames", g.awaitErr(t, 1, b), reason)
	n, err := g.recvEnd(t, 1, b)
	wantRemote(t, "Poll", err, reason)
	if n > unread {
		t.Errorf("%d frames after Fail, want at most %d", n, unread)
	}
	wantRemote(t, "Post", g.awaitPostErr(t, 1, b), reason)
	wantRemote(t, "Err", b.Err(), reason)
	wantClosed(t, "own end after Fail", a)
	a.Fail([]byte("again"))
	if err := a.Close(); err != nil {
		t.Errorf("close after Fail: %v", err)
	}
	wantRemote(t, "Err after the peer's later Close", b.Err(), reason)
	if err := b.Close(); err != nil {
		t.Errorf("close of a link that the peer failed: %v", err)
	}
	wantClosed(t, "after Fail and Close", b)
}

func testFailBeforePeerOpens(t *testing.T, make Maker) {
	g := make(t, 2)
	a := g.Open(t, 0, 1, id0)
	g.send(t, 0, a, header(2, 0, 8), payload(2, 0, 8))
	a.Fail([]byte("early"))
	b := g.Open(t, 1, 0, id0)
	wantRemote(t, "Err", g.awaitErr(t, 1, b), []byte("early"))
	_, err := g.recvEnd(t, 1, b)
	wantRemote(t, "Poll", err, []byte("early"))
}

func testLongReason(t *testing.T, make Maker) {
	g := make(t, 2)
	for i, n := range []int{0, 1, transport.MaxReason, transport.MaxReason + 1, 3 * transport.MaxReason} {
		a, b := g.Pair(t, transport.LinkID{Comm: 1, Channel: uint16(i)})
		reason := payload(1, 0, n)
		a.Fail(reason)
		wantRemote(t, fmt.Sprintf("reason of %d bytes", n), g.awaitErr(t, 1, b), reason[:min(n, transport.MaxReason)])
	}
}

func testClose(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	g.send(t, 1, b, header(2, 0, 8), payload(2, 0, 8)) // unread when a closes: lost, and no trouble
	const total = 3
	for i := range uint32(total) {
		g.send(t, 0, a, header(2, i, 5000), payload(2, i, 5000))
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	wantClosed(t, "own end after Close", a)
	for i := range uint32(total) {
		f := g.recv(t, 1, b)
		if err := b.Err(); err != nil {
			t.Errorf("Err with %d frames unread: got %v, want nil", total-i, err)
		}
		if err := check(f, 2, i, 5000); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	if n, err := g.recvEnd(t, 1, b); n != 0 || !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("poll after the last frame: got %d frames and %v, want ErrPeerClosed", n, err)
	}
	if err := g.awaitErr(t, 1, b); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("Err after the last frame: got %v, want ErrPeerClosed", err)
	}
	if err := g.awaitPostErr(t, 1, b); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("post to a closed peer: got %v, want ErrPeerClosed", err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("close after the peer's: %v", err)
	}
	wantClosed(t, "after both", b)
}

func testCloseBeforePeerOpens(t *testing.T, make Maker) {
	g := make(t, 2)
	a := g.Open(t, 0, 1, id0)
	g.send(t, 0, a, header(2, 0, 300), payload(2, 0, 300))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := g.Open(t, 1, 0, id0)
	if err := check(g.recv(t, 1, b), 2, 0, 300); err != nil {
		t.Fatal(err)
	}
	b.Release()
	if n, err := g.recvEnd(t, 1, b); n != 0 || !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("got %d more frames and %v, want ErrPeerClosed", n, err)
	}
}

func testUseAfterClose(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	g.send(t, 1, b, header(2, 0, 8), payload(2, 0, 8))
	g.recv(t, 0, a)
	a.Release()
	g.send(t, 1, b, header(2, 1, 8), payload(2, 1, 8)) // not to be seen by a closed link
	a.Close()
	wantClosed(t, "after Close", a)
	_ = a.Completed()
	if c := a.Caps(); c.Window < 1 || c.Scope == 0 {
		t.Errorf("caps of a closed link: got %+v", c)
	}
	a.Fail([]byte("too late"))
	if err := g.awaitErr(t, 1, b); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("Fail after Close: the peer got %v, want ErrPeerClosed", err)
	}
}

// testHeldFrameAfterEnd ends links in every way while a frame is held: it stays readable until Release.
func testHeldFrameAfterEnd(t *testing.T, make Maker) {
	ends := []struct {
		name string
		end  func(g *Group, a, b transport.Link)
	}{
		{"own Close", func(_ *Group, _, b transport.Link) { b.Close() }},
		{"own Fail", func(_ *Group, _, b transport.Link) { b.Fail(nil) }},
		{"peer's Close", func(_ *Group, a, _ transport.Link) { a.Close() }},
		{"peer's Fail", func(_ *Group, a, _ transport.Link) { a.Fail(nil) }},
		{"own endpoint's Close", func(g *Group, _, _ transport.Link) { g.Endpoints[1].Close() }},
		{"peer endpoint's Close", func(g *Group, _, _ transport.Link) { g.Endpoints[0].Close() }},
	}
	for _, end := range ends {
		for _, registered := range []bool{false, true} {
			g := make(t, 2)
			a, b := g.Pair(t, id0)
			const size = 60000
			p := payload(2, 0, size)
			if registered {
				m, err := g.Endpoints[0].Alloc(size)
				if err != nil {
					t.Fatal(err)
				}
				copy(m, p)
				p = m
			}
			g.send(t, 0, a, header(2, 0, size), p)
			f := g.recv(t, 1, b)
			end.end(g, a, b)
			b.Poll() // the owner notices
			b.Err()
			runtime.GC()
			if err := check(f, 2, 0, size); err != nil {
				t.Errorf("held after %s, memory of Alloc %v: %v", end.name, registered, err)
			}
			b.Release()
			b.Poll()
			a.Poll()
		}
	}
}

func testEndpointClose(t *testing.T, make Maker) {
	g := make(t, 3)
	type end struct {
		rank int
		l    transport.Link
	}
	var mine []transport.Link
	var theirs, half []end
	for peer := 1; peer < 3; peer++ {
		for channel := range uint16(4) {
			id := transport.LinkID{Comm: 1, Channel: channel}
			mine = append(mine, g.Open(t, 0, peer, id))
			theirs = append(theirs, end{peer, g.Open(t, peer, 0, id)})
			g.send(t, 0, mine[len(mine)-1], header(1, 0, 8), payload(1, 0, 8))
			g.recv(t, peer, theirs[len(theirs)-1].l)
			theirs[len(theirs)-1].l.Release()
		}
		mine = append(mine, g.Open(t, 0, peer, transport.LinkID{Comm: 2}))
		half = append(half, end{peer, g.Open(t, peer, 0, transport.LinkID{Comm: 3})})
	}
	bystander, other := g.Open(t, 1, 2, id0), g.Open(t, 2, 1, id0)
	for range 2 {
		if err := g.Endpoints[0].Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	for _, l := range mine {
		wantClosed(t, "link of a closed endpoint", l)
		if err := l.Close(); err != nil {
			t.Errorf("close of a link of a closed endpoint: %v", err)
		}
	}
	for _, e := range theirs {
		if n, err := g.recvEnd(t, e.rank, e.l); n != 0 || !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("rank %d: got %d frames and %v, want ErrPeerClosed", e.rank, n, err)
		}
	}
	for _, e := range half {
		_, err := g.recvEnd(t, e.rank, e.l)
		wantGone(t, "link that the closed endpoint had never opened", err)
	}
	if _, err := g.Endpoints[0].Open(g.Peers[1], transport.LinkID{Comm: 9}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("open on a closed endpoint: got %v, want ErrClosed", err)
	}
	l, err := g.Endpoints[1].Open(g.Peers[0], transport.LinkID{Comm: 9})
	if err == nil {
		_, err = g.recvEnd(t, 1, l)
	}
	wantGone(t, "link opened to a closed endpoint", err)
	// Links between others are not touched.
	g.send(t, 1, bystander, header(1, 0, 8), payload(1, 0, 8))
	g.recv(t, 2, other)
	other.Release()
}

func wantGone(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, transport.ErrPeerClosed) && !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("%s: got %v, want ErrPeerClosed or ErrPeerLost", what, err)
	}
}

// testEndpointCloseDelivers closes an endpoint behind its last frames.
func testEndpointCloseDelivers(t *testing.T, make Maker) {
	const frames = 3
	for _, peerOpen := range []bool{true, false} {
		g := make(t, 2)
		a := g.Open(t, 0, 1, id0)
		var b transport.Link
		if peerOpen {
			b = g.Open(t, 1, 0, id0)
			g.send(t, 1, b, header(1, 0, 8), payload(1, 0, 8))
			g.recv(t, 0, a)
			a.Release()
		}
		for i := range uint32(frames) {
			g.send(t, 0, a, header(1, i, 9000), payload(1, i, 9000))
		}
		if err := g.Endpoints[0].Close(); err != nil {
			t.Fatal(err)
		}
		if !peerOpen {
			b = g.Open(t, 1, 0, id0)
		}
		got := uint32(0)
		for {
			var f *transport.Frame
			var err error
			g.await(t, 1, "a frame or the end", func() bool { f, err = b.Poll(); return f != nil || err != nil })
			if err != nil {
				// A peer that had not opened may learn of the loss alone; but a good end means all frames.
				if closed := errors.Is(err, transport.ErrPeerClosed); closed && got != frames || peerOpen && !closed {
					t.Errorf("peer open before: %v: %d frames, then %v; want %d, then ErrPeerClosed", peerOpen, got, err, frames)
				}
				break
			}
			if err := check(f, 1, got, 9000); err != nil {
				t.Fatal(err)
			}
			b.Release()
			got++
		}
	}
}

// testEndpointCloseWhileInUse closes endpoints under owners that post, poll, hold and release.
func testEndpointCloseWhileInUse(t *testing.T, make Maker) {
	for round := range 6 {
		g := make(t, 2)
		a, b := g.Pair(t, id0)
		ends := []transport.Link{a, b}
		size := []int{8, 60000}[round%2]
		sources := [2][]byte{payload(1, 0, size), payload(1, 0, size)}
		if round >= 2 {
			for rank := range 2 {
				m, err := g.Endpoints[rank].Alloc(size)
				if err != nil {
					t.Fatal(err)
				}
				copy(m, sources[rank])
				sources[rank] = m
			}
		}
		var moved atomic.Int64
		enough := newSignal()
		var owners sync.WaitGroup
		for rank := range 2 {
			owners.Go(func() {
				l, h := ends[rank], header(1, 0, size)
				step := func() error {
					if _, err := l.Post(&h, sources[rank]); err != nil {
						return err
					}
					f, err := l.Poll()
					if err != nil {
						return err
					}
					if f != nil {
						if f.Header != h || !bytes.Equal(f.Payload, sources[rank]) {
							t.Errorf("round %d: a frame is not what was sent", round)
						}
						l.Release()
						if moved.Add(1) == 200 {
							enough.set()
						}
					}
					return nil
				}
				var err error
				if e := Await(g.Bells[rank], "the link to end", func() bool {
					for range 10 {
						if err = step(); err != nil {
							return true
						}
					}
					return false
				}); e != nil {
					t.Errorf("round %d, rank %d: %v", round, rank, e)
				} else if !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrPeerClosed) {
					t.Errorf("round %d, rank %d: got %v, want ErrClosed or ErrPeerClosed", round, rank, err)
				}
			})
		}
		<-enough.c
		if err := g.Endpoints[0].Close(); err != nil {
			t.Error(err)
		}
		owners.Wait()
		runtime.GC()
	}
}

type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }
func (s *signal) set()   { s.once.Do(func() { close(s.c) }) }

// testConcurrentEnds lets several goroutines fail, close and question a link that its owner uses.
func testConcurrentEnds(t *testing.T, make Maker) {
	g := make(t, 2)
	for round := range 30 {
		id := transport.LinkID{Comm: 11, Channel: uint16(round)}
		a, b := g.Pair(t, id)
		ends := []transport.Link{a, b}
		started := newSignal()
		var others, owners sync.WaitGroup
		for rank := range 2 {
			owners.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), Patience)
				defer cancel()
				err := Exercise(ctx, notify{ends[rank], started, new(uint64)}, g.Bells[rank], uint64(round), 1<<30)
				var remote *transport.RemoteError
				if !errors.Is(err, transport.ErrClosed) && !errors.Is(err, transport.ErrPeerClosed) && !errors.As(err, &remote) {
					t.Errorf("round %d, rank %d: got %v, want the end of the link", round, rank, err)
				}
			})
		}
		<-started.c
		for i := range 4 {
			others.Go(func() {
				l := ends[(i+round)%2]
				_ = l.Err()
				if i < 2 {
					l.Fail([]byte("concurrent"))
				} else if err := l.Close(); err != nil {
					t.Errorf("round %d: close: %v", round, err)
				}
				if err := l.Err(); !errors.Is(err, transport.ErrClosed) {
					t.Errorf("round %d: Err after own end: %v", round, err)
				}
			})
		}
		others.Wait()
		owners.Wait()
	}
}

// notify sets a signal when its link has released a frame, and has a small window whatever the link's is, so
// that a test does not prepare a thousand frames.
type notify struct {
	transport.Link
	released *signal
	posted   *uint64
}

func (n notify) Post(h *transport.Header, payload []byte) (bool, error) {
	if *n.posted-n.Completed() >= 4 {
		return false, n.Err()
	}
	ok, err := n.Link.Post(h, payload)
	if ok {
		*n.posted++
	}
	return ok, err
}

func (n notify) Release() {
	n.Link.Release()
	n.released.set()
}

// testNoLeak counts goroutines before and after the life of a group.
func testNoLeak(t *testing.T, make Maker) {
	warm := make(t, 2) // whatever is started once in a process is started now
	a, b := warm.Pair(t, id0)
	warm.send(t, 0, a, header(1, 0, 8), payload(1, 0, 8))
	warm.recv(t, 1, b)
	b.Release()
	closeAll(t, warm)
	before := runtime.NumGoroutine()
	for range 3 {
		g := make(t, 3)
		for i := range 3 {
			for k := range 3 {
				if i == k {
					continue
				}
				l := g.Open(t, i, k, id0)
				g.send(t, i, l, header(1, 0, 8), payload(1, 0, 8))
				g.Open(t, i, k, transport.LinkID{Comm: uint64(100 + i)}) // never opened by the peer
				if i == 2 {
					l.Close()
				}
			}
		}
		closeAll(t, g)
	}
	for deadline := time.Now().Add(Patience); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			stacks := string(allStacks())
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks)
		}
		runtime.Gosched()
	}
}

func closeAll(t *testing.T, g *Group) {
	t.Helper()
	for rank, ep := range g.Endpoints {
		if err := ep.Close(); err != nil {
			t.Errorf("rank %d: close: %v", rank, err)
		}
	}
}

func allStacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
