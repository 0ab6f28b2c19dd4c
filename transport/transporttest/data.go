package transporttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

var id0 = transport.LinkID{Comm: 7, Channel: 3}

// testOrder sends more frames than fit into any window, one end ahead of the other as far as it can.
func testOrder(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	const seed, total = 1, 2000
	sent := uint32(0)
	for got := uint32(0); got < total; got++ {
		for sent < total {
			h := header(seed, sent, 16)
			ok, err := a.Post(&h, payload(seed, sent, 16))
			if err != nil {
				t.Fatalf("post of frame %d: %v", sent, err)
			}
			if !ok {
				break
			}
			sent++
		}
		if sent == got { // the peer's releases are still on the way
			g.send(t, 0, a, header(seed, sent, 16), payload(seed, sent, 16))
			sent++
		}
		f := g.recv(t, 1, b)
		if err := check(f, seed, got, 16); err != nil {
			t.Fatal(err)
		}
		if again, err := b.Poll(); err != nil || again == nil || again.Header != f.Header {
			t.Fatalf("second poll of frame %d: got %v, %v, want the same frame", got, again, err)
		}
		b.Release()
	}
	g.await(t, 0, "completion", func() bool { return a.Completed() == total })
	if f, err := b.Poll(); f != nil || err != nil {
		t.Fatalf("poll after the last frame: got %v, %v, want nothing", f, err)
	}
}

// together runs n functions at once and reports their errors.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// testExercise streams frames of all lengths both ways at once.
func testExercise(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	ends := []transport.Link{a, b}
	together(t, 2, func(i int) error { return Exercise(ctx, ends[i], g.Bells[i], 42, 200) })
}

// testManyLinks runs links of several channels and communicators between three ranks side by side, a
// goroutine per rank, as engines do.
func testManyLinks(t *testing.T, make Maker) {
	const ranks, comms, channels, frames = 3, 3, 4, 15
	g := make(t, ranks)
	together(t, ranks, func(rank int) error {
		var all []*exercise
		for peer := range ranks {
			for comm := range comms {
				for channel := range channels {
					if peer == rank {
						continue
					}
					id := transport.LinkID{Comm: uint64(comm), Channel: uint16(channel)}
					l, err := g.Endpoints[rank].Open(g.Peers[peer], id)
					if err != nil {
						return fmt.Errorf("rank %d: open of %v to %d: %w", rank, id, peer, err)
					}
					seed := uint64(1000*min(rank, peer) + 100*max(rank, peer) + 10*comm + channel)
					all = append(all, &exercise{link: l, seed: seed, total: frames, pool: map[uint32][]byte{}})
				}
			}
		}
		var failed error
		err := Await(g.Bells[rank], "all links to be done", func() bool {
			for moved := true; moved; {
				moved = false
				for _, e := range all {
					m, err := e.step()
					if err != nil {
						failed = fmt.Errorf("rank %d: %w", rank, err)
						return true
					}
					moved = moved || m
				}
			}
			for _, e := range all {
				if !e.done() {
					return false
				}
			}
			return true
		})
		return errors.Join(err, failed)
	})
}

// testBorrowed checks that payloads stay as they are between Post and Completed, and between Poll and
// Release.
func testBorrowed(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	const seed, size = 5, 30000
	sent := uint32(0)
	buffers := map[uint32][]byte{}
	returned := uint32(0)
	post := func() {
		for {
			h, p := header(seed, sent, size), payload(seed, sent, size)
			ok, err := a.Post(&h, p)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return
			}
			buffers[sent] = p
			sent++
			for ; uint64(returned) < a.Completed(); returned++ {
				clear(buffers[returned])
			}
		}
	}
	post()
	for got := range uint32(40) {
		if sent == got { // the peer's releases are still on the way
			g.await(t, 0, "room in the window", func() bool { post(); return sent > got })
		}
		f := g.recv(t, 1, b)
		post() // whatever the sender does meanwhile, a frame that is held does not change
		if err := check(f, seed, got, size); err != nil {
			t.Fatal(err)
		}
		b.Release()
		post()
	}
}

// testWindow fills the window, sees it refuse, and sees it reopen.
func testWindow(t *testing.T, make Maker) {
	for _, size := range []int{0, 8, 4096, transport.MaxPayload} {
		t.Logf("payload of %d bytes", size)
		g := make(t, 2)
		a, b := g.Pair(t, id0)
		p := payload(9, 0, size)
		fillUp := func() (n int) {
			for ; ; n++ {
				h := header(9, 0, size)
				ok, err := a.Post(&h, p)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return n
				}
				if n > g.Transport.Caps().Window {
					t.Fatalf("%d frames accepted with nothing released, want at most %d", n+1, g.Transport.Caps().Window)
				}
			}
		}
		first := fillUp()
		if first < 1 {
			t.Fatalf("an empty link accepted %d frames of %d bytes, want at least 1", first, size)
		}
		for range first {
			g.recv(t, 1, b)
			b.Release()
		}
		// All released: as many go again.
		second := 0
		g.await(t, 0, "the window to open", func() bool { second += fillUp(); return second >= first })
		if second != first {
			t.Errorf("payload %d: window of %d frames at first, then %d", size, first, second)
		}
		for range second {
			g.recv(t, 1, b)
			b.Release()
		}
		g.await(t, 0, "completion", func() bool { return a.Completed() == uint64(first+second) })
	}
}

func testPostBeforePeerOpens(t *testing.T, make Maker) {
	g := make(t, 2)
	a := g.Open(t, 0, 1, id0)
	h := header(3, 0, transport.MaxPayload)
	if ok, err := a.Post(&h, payload(3, 0, transport.MaxPayload)); !ok || err != nil {
		t.Fatalf("post to a peer that has not opened: got %v, %v, want true", ok, err)
	}
	h = header(3, 1, 8)
	second, err := a.Post(&h, payload(3, 1, 8))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := a.Poll(); f != nil || err != nil || a.Err() != nil {
		t.Fatalf("half-open link: poll %v, %v, err %v, want nothing", f, err, a.Err())
	}
	b := g.Open(t, 1, 0, id0)
	if err := check(g.recv(t, 1, b), 3, 0, transport.MaxPayload); err != nil {
		t.Fatal(err)
	}
	b.Release()
	if !second {
		g.send(t, 0, a, h, payload(3, 1, 8))
	}
	if err := check(g.recv(t, 1, b), 3, 1, 8); err != nil {
		t.Fatal(err)
	}
	b.Release()
}

func testOpenOrder(t *testing.T, make Maker) {
	g := make(t, 2)
	for i := range 20 {
		id := transport.LinkID{Comm: 1, Channel: uint16(i)}
		first := i % 2
		var l [2]transport.Link
		l[first] = g.Open(t, first, 1-first, id)
		l[1-first] = g.Open(t, 1-first, first, id)
		for from := range 2 {
			seed := uint64(i*2 + from)
			g.send(t, from, l[from], header(seed, 0, 100), payload(seed, 0, 100))
			if err := check(g.recv(t, 1-from, l[1-from]), seed, 0, 100); err != nil {
				t.Fatalf("link %d, first opened by %d, sent by %d: %v", i, first, from, err)
			}
			l[1-from].Release()
		}
	}
}

func testOpenErrors(t *testing.T, make Maker) {
	g := make(t, 3)
	g.Open(t, 0, 1, id0)
	if _, err := g.Endpoints[0].Open(g.Peers[1], id0); !errors.Is(err, transport.ErrExists) {
		t.Errorf("open of a link twice, peer's end closed: got %v, want ErrExists", err)
	}
	g.Open(t, 1, 0, id0)
	for rank := range 2 {
		if _, err := g.Endpoints[rank].Open(g.Peers[1-rank], id0); !errors.Is(err, transport.ErrExists) {
			t.Errorf("rank %d: open of a link twice: got %v, want ErrExists", rank, err)
		}
	}
	// The same ID to another peer, and another ID to the same peer, are other links.
	g.Open(t, 0, 2, id0)
	g.Open(t, 0, 1, transport.LinkID{Comm: id0.Comm, Channel: id0.Channel + 1})
	g.Open(t, 0, 1, transport.LinkID{Comm: id0.Comm + 1, Channel: id0.Channel})

	nowhere := g.Peers[1]
	nowhere.Addr = ""
	if _, err := g.Endpoints[0].Open(nowhere, transport.LinkID{Comm: 99}); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("open to a peer without an address: got %v, want ErrUnreachable", err)
	}
}

func testListen(t *testing.T, make Maker) {
	g := make(t, 2)
	again := func(rank int) (transport.Endpoint, error) {
		return g.Transport.Listen(context.Background(), g.Name, rank, g.Bells[rank])
	}
	if ep, err := again(1); !errors.Is(err, transport.ErrExists) {
		t.Errorf("rank 1 listens twice: got %v, %v, want ErrExists", ep, err)
	}
	if err := g.Endpoints[1].Close(); err != nil {
		t.Fatal(err)
	}
	ep, err := again(1)
	if err != nil {
		t.Fatalf("rank 1 listens after Close: %v", err)
	}
	defer ep.Close()
	if ep.Addr() == g.Peers[1].Addr {
		t.Errorf("the new endpoint has the address of the closed one, %q", ep.Addr())
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if ep, err := g.Transport.Listen(done, g.Name, 5, g.Bells[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("listen with a context that is done: got %v, %v, want its error", ep, err)
	}
	if ep, err := g.Transport.Listen(context.Background(), g.Name, -1, g.Bells[0]); err == nil {
		t.Errorf("listen as rank -1: got %v, want an error", ep)
	}
	if name := g.Transport.Name(); name == "" || strings.ToLower(name) != name || strings.ContainsAny(name, " ") {
		t.Errorf("name %q, want one lower-case word", name)
	}
	ep.Admit(g.Peers)
	successor := g.Peers[1]
	successor.Addr = ep.Addr()
	a, err := g.Endpoints[0].Open(successor, id0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ep.Open(g.Peers[0], id0)
	if err != nil {
		t.Fatal(err)
	}
	g.send(t, 0, a, header(1, 0, 100), payload(1, 0, 100))
	if err := check(g.recv(t, 1, b), 1, 0, 100); err != nil {
		t.Fatal(err)
	}
	b.Release()
	for i, l := range []transport.Link{a, b} {
		caps := l.Caps()
		caps.Via, caps.Why, caps.Note = "", "", ""
		if caps != g.Transport.Caps() {
			t.Errorf("caps of link end %d: %+v, of its transport: %+v", i, caps, g.Transport.Caps())
		}
	}
}

func testPayloadLengths(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	var lengths []int
	for n := range 200 {
		lengths = append(lengths, n)
	}
	for _, n := range []int{1 << 10, 4 << 10, 64 << 10, 128 << 10, transport.MaxPayload} {
		lengths = append(lengths, n-1, n, n-65)
	}
	for i, n := range lengths {
		g.send(t, 0, a, header(4, uint32(i), n), payload(4, uint32(i), n))
		if err := check(g.recv(t, 1, b), 4, uint32(i), n); err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
}

func testPostErrors(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	var frame *transport.FrameError
	long := transport.Header{Kind: transport.Data, Length: transport.MaxPayload + 1}
	cases := []struct {
		name    string
		h       transport.Header
		payload []byte
	}{
		{"payload shorter than Length", transport.Header{Kind: transport.Data, Length: 8}, []byte("1234567")},
		{"payload longer than Length", transport.Header{Kind: transport.Data, Length: 8}, []byte("123456789")},
		{"longer than MaxPayload", long, append([]byte(nil), bytes.Repeat([]byte{1}, transport.MaxPayload+1)...)},
		{"unknown kind", transport.Header{Kind: 200}, nil},
	}
	for _, c := range cases {
		if ok, err := a.Post(&c.h, c.payload); ok || !errors.As(err, &frame) {
			t.Errorf("%s: got %v, %v, want a FrameError", c.name, ok, err)
		}
	}
	// A refused frame harms nothing.
	g.send(t, 0, a, header(1, 0, 8), payload(1, 0, 8))
	if err := check(g.recv(t, 1, b), 1, 0, 8); err != nil {
		t.Fatal(err)
	}
	b.Release()
}

func testAlloc(t *testing.T, make Maker) {
	g := make(t, 1)
	for _, size := range []int{1, 100, 4096, 4097, 1 << 20} {
		m, err := g.Endpoints[0].Alloc(size)
		if err != nil {
			t.Fatalf("alloc of %d bytes: %v", size, err)
		}
		if len(m) != size {
			t.Errorf("alloc of %d bytes returned %d", size, len(m))
		}
		if p := uintptr(unsafe.Pointer(&m[0])); p%4096 != 0 {
			t.Errorf("alloc of %d bytes at %#x, want whole pages", size, p)
		}
		if i := bytes.IndexFunc(m, func(r rune) bool { return r != 0 }); i >= 0 {
			t.Errorf("alloc of %d bytes: byte %d is %d, want 0", size, i, m[i])
		}
		fill(m, 1, 1)
		if !bytes.Equal(m, payload(1, 1, size)) {
			t.Errorf("alloc of %d bytes does not keep what is written", size)
		}
		if err := g.Endpoints[0].Free(m); err != nil {
			t.Errorf("free of %d bytes: %v", size, err)
		}
	}
}

// testAllocSend sends from memory of Alloc, from its start, end and middle, to two peers.
func testAllocSend(t *testing.T, make Maker) {
	g := make(t, 3)
	early, err := g.Endpoints[0].Alloc(1 << 20) // before any link is there
	if err != nil {
		t.Fatal(err)
	}
	links := [3][2]transport.Link{1: {g.Open(t, 0, 1, id0), g.Open(t, 1, 0, id0)}, 2: {g.Open(t, 0, 2, id0), g.Open(t, 2, 0, id0)}}
	late, err := g.Endpoints[0].Alloc(3 << 20)
	if err != nil {
		t.Fatal(err)
	}
	sent := [3]uint64{}
	for _, mem := range [][]byte{early, late, early} {
		for i, at := range []int{0, 100, len(mem) - transport.MaxPayload, 4096} {
			p := mem[at : at+transport.MaxPayload]
			fill(p, 6, uint32(i))
			for peer := 1; peer < 3; peer++ {
				out, in := links[peer][0], links[peer][1]
				g.send(t, 0, out, header(6, uint32(i), len(p)), p)
				sent[peer]++
				f := g.recv(t, peer, in)
				if err := check(f, 6, uint32(i), len(p)); err != nil {
					t.Fatal(err)
				}
				if g.Transport.Caps().ByReference {
					if n := out.Completed(); n != sent[peer]-1 {
						t.Errorf("%d frames completed before the release, want %d: the peer reads in place", n, sent[peer]-1)
					}
					p[17]++
					if f.Payload[17] != p[17] {
						t.Error("the peer does not see the sender's memory in place")
					}
					p[17]--
				}
				in.Release()
				g.await(t, 0, "completion", func() bool { return out.Completed() == sent[peer] })
			}
		}
	}
	for _, mem := range [][]byte{early, late} {
		if err := g.Endpoints[0].Free(mem); err != nil {
			t.Error(err)
		}
	}
}

// testAllocReuse takes and gives back memory between frames, so that addresses come again.
func testAllocReuse(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	for i := range uint32(50) {
		size := 4096 * (1 + int(i)%7)
		m, err := g.Endpoints[0].Alloc(size)
		if err != nil {
			t.Fatal(err)
		}
		fill(m, 8, i)
		g.send(t, 0, a, header(8, i, size), m)
		if err := check(g.recv(t, 1, b), 8, i, size); err != nil {
			t.Fatal(err)
		}
		b.Release()
		g.await(t, 0, "completion", func() bool { return a.Completed() == uint64(i)+1 })
		if err := g.Endpoints[0].Free(m); err != nil {
			t.Fatal(err)
		}
	}
}

func testAllocErrors(t *testing.T, make Maker) {
	g := make(t, 1)
	ep := g.Endpoints[0]
	if _, err := ep.Alloc(-1); err == nil {
		t.Error("alloc of -1 bytes: no error")
	}
	if _, err := ep.Alloc(int(^uint(0) >> 1)); err == nil {
		t.Error("alloc of the largest int: no error")
	}
	m, err := ep.Alloc(0)
	if err != nil || len(m) != 0 {
		t.Errorf("alloc of 0 bytes: got %d bytes, %v", len(m), err)
	}
	if err := ep.Free(m); err != nil {
		t.Errorf("free of 0 bytes: %v", err)
	}
	if m, err = ep.Alloc(8192); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"other memory": []byte("xyz"), "a part": m[:100], "the tail": m[4096:]} {
		if err := ep.Free(bad); err == nil {
			t.Errorf("free of %s: no error", name)
		}
	}
	if err := ep.Free(m); err != nil {
		t.Errorf("free after refused ones: %v", err)
	}
	if err := ep.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ep.Alloc(100); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("alloc on a closed endpoint: got %v, want ErrClosed", err)
	}
}

func testNoAllocs(t *testing.T, make Maker) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	registered, err := g.Endpoints[0].Alloc(64 << 10)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	for name, p := range map[string][]byte{"8 B": payload(1, 0, 8), "64 KiB": payload(1, 0, 64<<10), "64 KiB of Alloc": registered} {
		h := header(1, 0, len(p))
		var failed error
		// wait is Await without what Await allocates.
		wait := func(rank int, done func() bool) {
			for bell := g.Bells[rank]; !done() && failed == nil; {
				bell.Arm()
				if done() {
					bell.Disarm()
					return
				}
				bell.Sleep(ctx, 0)
				if ctx.Err() != nil {
					failed = ctx.Err()
				}
			}
		}
		post := func() bool {
			ok, err := a.Post(&h, p)
			if err != nil {
				failed = err
			}
			return ok
		}
		receive := func() bool {
			f, err := b.Poll()
			if err != nil {
				failed = err
			}
			if f != nil {
				b.Release()
			}
			return f != nil
		}
		roundTrip := func() {
			wait(0, post)
			wait(1, receive)
			_ = a.Completed()
			if a.Err() != nil || b.Err() != nil {
				failed = errors.Join(a.Err(), b.Err())
			}
		}
		g.send(t, 0, a, h, p) // connects, if that is still to be done
		g.recv(t, 1, b)
		b.Release()
		// A transport may still be adding connections behind the first frame: the quietest of many looks counts.
		n := testing.AllocsPerRun(200, roundTrip)
		for range 50 {
			if n > g.Allocs {
				n = min(n, testing.AllocsPerRun(200, roundTrip))
			}
		}
		if n > g.Allocs {
			t.Errorf("%s: %v allocations per frame, want at most %v", name, n, g.Allocs)
		}
		if failed != nil {
			t.Fatalf("%s: %v", name, failed)
		}
	}
}

func testReleaseWithoutFrame(t *testing.T, make Maker) {
	g := make(t, 2)
	a, _ := g.Pair(t, id0)
	defer func() {
		if recover() == nil {
			t.Error("Release without a frame did not panic")
		}
	}()
	a.Release()
}
