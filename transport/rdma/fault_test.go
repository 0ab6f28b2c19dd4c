package rdma

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

var testLink = transport.LinkID{Comm: 4, Channel: 2}

// sendAndCheck passes a frame, whose content is want.
func sendAndCheck(t testing.TB, g *transporttest.Group, a, b transport.Link, payload, want []byte) {
	t.Helper()
	h := transport.Header{Kind: transport.Data, Length: uint32(len(payload))}
	var ok bool
	var err error
	if e := transporttest.Await(g.Bells[0], "room", func() bool { ok, err = a.Post(&h, payload); return ok || err != nil }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	var f *transport.Frame
	if e := transporttest.Await(g.Bells[1], "a frame", func() bool { f, err = b.Poll(); return f != nil || err != nil }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if !bytes.Equal(f.Payload, want) {
		t.Error("the frame has other content than the memory")
	}
	b.Release()
}

func awaitEnd(t *testing.T, g *transporttest.Group, rank int, l transport.Link) error {
	t.Helper()
	if err := transporttest.Await(g.Bells[rank], "the end of the link", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	return l.Err()
}

// newGroup makes two ranks on a stand-in network, or with none on verbs.
func newGroup(t testing.TB, n *softNet, options ...Option) (g *transporttest.Group, a, b transport.Link) {
	t.Helper()
	id := newIdentity(t)
	if n != nil {
		options = append(options, n.on())
		t.Cleanup(func() {
			if err := n.left(); err != nil {
				t.Error(err)
			}
		})
	}
	tr, err := onTCP(id, options...)
	if err != nil {
		t.Fatal(err)
	}
	g = transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b = g.Pair(t, testLink)
	return g, a, b
}

// Whoever has not been given the key cannot write: the device says so, and both ends are told.
func testWrongKey(t *testing.T, options ...Option) {
	g, a, b := newGroup(t, nil, append(options, AckTimeout(14), Retries(3))...)
	sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
	l := a.(*link)
	l.mu.Lock()
	l.theirs.key ^= 0x5a5a
	l.mu.Unlock()
	h := transport.Header{Kind: transport.Data, Length: 2000}
	if _, err := a.Post(&h, make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	err := awaitEnd(t, g, 0, a)
	var failed *CompletionError
	if !errors.Is(err, transport.ErrPeerLost) || !errors.As(err, &failed) || failed.Status != StatusRemoteAccess {
		t.Errorf("rank 0: got %v, want a LostError because of a remote access error", err)
	}
	t.Logf("rank 0: %v", err)
	err = awaitEnd(t, g, 1, b)
	var told *BrokenError
	if !errors.Is(err, transport.ErrPeerLost) || !errors.As(err, &told) && !errors.As(err, &failed) {
		t.Errorf("rank 1: got %v, want a LostError with what rank 0 says", err)
	}
	t.Logf("rank 1: %v", err)
}

func TestWrongKey(t *testing.T) { testWrongKey(t, newSoftNet().on()) }

// A path that carries nothing is noticed while the link is set up, and the control link takes over.
func TestCutBeforeSetup(t *testing.T) {
	n := newSoftNet()
	n.cut.Store(true)
	g, a, b := newGroup(t, n)
	sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
	for rank, l := range []transport.Link{a, b} {
		// The last word of the peer may still be on its way.
		if err := transporttest.Await(g.Bells[rank], "the carrier", func() bool { return l.Caps().Via != "" }); err != nil {
			t.Fatal(err)
		}
		if c := l.Caps(); c.Via != "tcp" || c.Why == "" || !c.Encrypted {
			t.Errorf("carried by %q, %q, encrypted %v, want tcp and why", c.Via, c.Why, c.Encrypted)
		}
	}
	sameWhy(t, a, b)
}

// sameWhy fails unless both ends of a link that is carried otherwise say the same about it.
func sameWhy(t *testing.T, a, b transport.Link) {
	t.Helper()
	if x, y := a.Caps().Why, b.Caps().Why; x != y || x == "" {
		t.Errorf("one end says %q, the other %q", x, y)
	} else {
		t.Log(x)
	}
}

// TestWhy lets one end alone have a reason not to use its device: both say whose it is.
func TestWhy(t *testing.T) {
	n := newSoftNet()
	id := newIdentity(t)
	tr, err := onTCP(id, n.on())
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	// Rank 1's endpoint has lost its device.
	e := g.Endpoints[1].(*Endpoint)
	e.fabric, e.reason = nil, fmt.Errorf("%w for this test", ErrNoDevice)
	a, b := g.Pair(t, testLink)
	sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
	for rank, l := range []transport.Link{a, b} {
		if err := transporttest.Await(g.Bells[rank], "the carrier", func() bool { return l.Caps().Via != "" }); err != nil {
			t.Fatal(err)
		}
	}
	sameWhy(t, a, b)
	if want := "rank 1: no RDMA device for this test"; a.Caps().Why != want {
		t.Errorf("got %q, want %q", a.Caps().Why, want)
	}
}

func TestCutLater(t *testing.T) {
	n := newSoftNet()
	g, a, b := newGroup(t, n)
	sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
	if c := a.Caps(); c.Via != "rdma" || c.Why != "" {
		t.Errorf("carried by %q, %q, want rdma", c.Via, c.Why)
	}
	n.cut.Store(true)
	h := transport.Header{Kind: transport.Data}
	if _, err := a.Post(&h, nil); err != nil {
		t.Fatal(err)
	}
	// Either end may write first, a frame or a credit, and tell the other.
	ends := []error{awaitEnd(t, g, 0, a), awaitEnd(t, g, 1, b)}
	noticed := 0
	for rank, err := range ends {
		var failed *CompletionError
		var told *BrokenError
		switch {
		case !errors.Is(err, transport.ErrPeerLost):
			t.Errorf("rank %d: got %v, want ErrPeerLost", rank, err)
		case errors.As(err, &failed) && failed.Status == StatusRetryExceeded && failed.Device == "soft0":
			noticed++
		case !errors.As(err, &told):
			t.Errorf("rank %d: got %v, want retries or what the peer says", rank, err)
		}
	}
	if noticed == 0 {
		t.Errorf("got %v, want a device that has given up", ends)
	}
}

func TestDeviceLost(t *testing.T) {
	n := newSoftNet()
	g, a, b := newGroup(t, n)
	sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
	n.say(&DeviceError{Device: "soft0", Op: "event", Err: ErrDeviceLost})
	for rank, l := range []transport.Link{a, b} {
		if err := awaitEnd(t, g, rank, l); !errors.Is(err, transport.ErrPeerLost) {
			t.Errorf("rank %d: got %v, want ErrPeerLost", rank, err)
		}
	}
}

// A port that comes back in time harms nothing; one that does not ends the links.
func TestPortDown(t *testing.T) {
	down := &DeviceError{Device: "soft0", Port: 1, Op: "event", Err: ErrPortDown}
	t.Run("back", func(t *testing.T) {
		n := newSoftNet()
		g, a, b := newGroup(t, n, PortGrace(time.Hour))
		sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
		n.say(down)
		n.say(nil)
		sendAndCheck(t, g, a, b, []byte("again"), []byte("again"))
	})
	t.Run("gone", func(t *testing.T) {
		n := newSoftNet()
		g, a, b := newGroup(t, n, PortGrace(time.Millisecond))
		sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
		n.say(down)
		if err := awaitEnd(t, g, 0, a); !errors.Is(err, ErrPortDown) && !errors.Is(err, transport.ErrPeerLost) {
			t.Errorf("got %v, want ErrPortDown", err)
		}
		awaitEnd(t, g, 1, b)
	})
}

// A faulty peer's numbers end the link and nothing else.
func TestBadImmediates(t *testing.T) {
	for name, imm := range map[string]uint32{"frame out of the window": 4711, "credit for nothing": creditBit | 4711} {
		t.Run(name, func(t *testing.T) {
			g, a, b := newGroup(t, newSoftNet())
			sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
			l := a.(*link)
			l.mu.Lock()
			l.w = write{to: uintptr(l.theirs.slots), toKey: l.theirs.key, withImm: true, imm: imm}
			err := l.write(l.ends[0], true)
			l.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			err = awaitEnd(t, g, 1, b)
			var frame *transport.FrameError
			if !errors.Is(err, transport.ErrPeerLost) || !errors.As(err, &frame) {
				t.Errorf("got %v, want a LostError because of a FrameError", err)
			}
			awaitEnd(t, g, 0, a)
		})
	}
}

func TestRegister(t *testing.T) {
	n := newSoftNet()
	g, a, b := newGroup(t, n)
	ep := g.Endpoints[0].(*Endpoint)
	mem, err := newPages(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range mem {
		mem[i] = byte(i * 3)
	}
	part := mem[4096 : 4096+transport.MaxPayload]
	dmabuf := func() (int, uint64, error) { return 3, 0, nil }
	all := Memory{Addr: addressOf(mem), Length: len(mem)}
	device := all
	device.Device, device.DMABuf = true, dmabuf

	first, err := ep.Register(all)
	if err != nil || first.Way != WayHost {
		t.Fatalf("got %+v, %v, want the host's way", first, err)
	}
	second, err := ep.Register(all)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ep.memory.cache); n != 1 {
		t.Errorf("%d registrations of one range, want 1", n)
	}
	if _, err := ep.Register(Memory{Addr: all.Addr + 4096, Length: 4096}); !errors.Is(err, errOverlap) {
		t.Errorf("overlapping range: got %v", err)
	}
	sendAndCheck(t, g, a, b, part, part)
	for range 2 { // the second does nothing
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	sendAndCheck(t, g, a, b, part, part)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	sendAndCheck(t, g, a, b, part, part) // copied

	// Memory of another device, best way first.
	for _, c := range []struct {
		dmabuf, forbidden, read bool
		want                    Way
		tried                   int
	}{{true, false, false, WayDMABuf, 0}, {false, false, false, WayPeerMem, 1}, {false, true, true, WayStaged, 2}, {false, true, false, 0, 0}} {
		n.dmabuf = c.dmabuf
		if c.forbidden {
			forbidden.Store(all.Addr)
		}
		m := device
		if c.read {
			m.Read = func(dst []byte, addr uintptr) error { copy(dst, mem[addr-all.Addr:]); return nil }
		}
		r, err := ep.Register(m)
		forbidden.Store(0)
		if c.want == 0 {
			if !errors.Is(err, syscall.EFAULT) {
				t.Errorf("no way: got %v, want EFAULT", err)
			}
			continue
		}
		if err != nil || r.Way != c.want || len(r.Tried) != c.tried {
			t.Fatalf("got %+v, %v, want %v after %d others", r, err, c.want, c.tried)
		}
		sendAndCheck(t, g, a, b, part, part)
		sendAndCheck(t, g, a, b, part[:100], part[:100])
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, bad := range map[string]Memory{"nothing": {}, "no length": {Addr: 4096}, "around the end": {Addr: ^uintptr(0), Length: 5}} {
		if _, err := ep.Register(bad); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	forget, err := ep.RegisterHost(mem)
	if err != nil || len(ep.memory.cache) != 1 {
		t.Errorf("memory of another endpoint: got %v, %d registrations", err, len(ep.memory.cache))
	} else if err := forget(); err != nil || len(ep.memory.cache) != 0 {
		t.Errorf("forget: got %v, %d registrations", err, len(ep.memory.cache))
	}
	forbidden.Store(all.Addr)
	if _, err := ep.RegisterHost(mem); !errors.Is(err, syscall.EFAULT) || len(ep.memory.cache) != 0 {
		t.Errorf("memory that the device does not take: got %v, %d registrations", err, len(ep.memory.cache))
	}
	forbidden.Store(0)
	if err := ep.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ep.Register(all); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
	if err := freePages(mem); err != nil {
		t.Error(err)
	}
}
