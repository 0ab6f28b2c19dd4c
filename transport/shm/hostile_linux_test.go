package shm

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// A wire is both ends of a link in this test, without connections between them.
type wire struct {
	a, b *link
	mem  []byte // of Alloc, on a's side
}

func newWire(tb testing.TB) *wire {
	tb.Helper()
	var ends [2]*link
	var segments [2]*segment
	for i := range ends {
		s, fd, err := newSegment()
		if err != nil {
			tb.Fatal(err)
		}
		closeFD(fd)
		s.acquire() // one user is the sender, one the receiver
		segments[i] = s
		e := &endpoint{bell: transport.NewBell(), peers: make(map[string]*peer)}
		e.stage.Store(stageSize)
		p := e.peer("peer")
		ends[i] = &link{endpoint: e, peer: p, rank: 1 - i, id: testID, out: s, area: stageSize}
	}
	ends[0].attach(segments[1])
	ends[1].attach(segments[0])
	mem, err := ends[0].endpoint.Alloc(3 * pageSize)
	if err != nil {
		tb.Fatal(err)
	}
	r := (*ends[0].endpoint.regions.Load())[0]
	if err := ends[1].peer.addRegion(r.announcement(), r.fd); err != nil {
		tb.Fatal(err)
	}
	w := &wire{ends[0], ends[1], mem}
	tb.Cleanup(func() {
		for _, l := range ends {
			l.Close()
			if l.held {
				l.Release()
			}
			l.Poll()
		}
		if err := ends[0].endpoint.Free(mem); err != nil {
			tb.Error(err)
		}
		for _, m := range *ends[1].peer.regions.Load() {
			m.release()
		}
	})
	return w
}

// spoil overwrites a byte of the segment from a to b.
func (w *wire) spoil(off int, value byte) { w.a.out.mem[off] = value }

// Each case breaks one rule, and the receiver must end the link with a FrameError.
func TestHostileSegment(t *testing.T) {
	const slot = offSlots
	cases := []struct {
		name  string
		bytes int // of the frame that is spoiled
		spoil func(w *wire)
	}{
		{"unknown kind", 8, func(w *wire) { w.spoil(slot+slotHeader+16, 99) }},
		{"length over the maximum", 8, func(w *wire) { w.spoil(slot+slotHeader+39, 0xff) }},
		{"inline length over the slot", 8, func(w *wire) { w.spoil(slot+slotHeader+36, maxInline+1) }},
		{"unknown place", 8, func(w *wire) { w.spoil(slot+slotPlace, 3) }},
		{"offset behind the staging area", 5000, func(w *wire) { w.spoil(slot+slotOffset+3, 1) }},
		{"huge offset in the staging area", 5000, func(w *wire) { w.spoil(slot+slotOffset+7, 0xff) }},
		{"staged payload over the end", 5000, func(w *wire) { w.spoil(slot+slotOffset+2, 0x0f); w.spoil(slot+slotOffset+1, 0xff) }},
		{"region 0", -1, func(w *wire) { w.spoil(slot+slotRegion, 0) }},
		{"offset behind the region", -1, func(w *wire) { w.spoil(slot+slotOffset+2, 1) }},
		{"region payload over the end", -1, func(w *wire) { w.spoil(slot+slotOffset+1, 0x2f) }},
		{"offer with an inline payload", 8, func(w *wire) { w.spoil(slot+slotPlace+1, byte(offerOwn>>8)) }},
		{"offer where a staged payload is", 5000, func(w *wire) { w.spoil(slot+slotPlace+1, byte(offerThere>>8)) }},
		{"two offers", -1, func(w *wire) { w.spoil(slot+slotPlace+1, byte((offerOwn|offerThere)>>8)) }},
		{"offer in region 0", -1, func(w *wire) { w.spoil(slot+slotPlace+1, byte(offerOwn>>8)); w.spoil(slot+slotInto, 0) }},
		{"offer over the end of its region", -1, func(w *wire) {
			w.spoil(slot+slotPlace+1, byte(offerOwn>>8))
			w.spoil(slot+slotInto, 1)
			w.spoil(slot+slotInto+9, 0x2f)
		}},
		{"sequence word ahead", 8, func(w *wire) { w.spoil(slot+1, 1) }},
		{"sequence word of the highest bit", 8, func(w *wire) { w.spoil(slot+7, 0x80) }},
		{"unknown state", -2, func(w *wire) { w.spoil(offState, 9) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t)
			if c.bytes >= -1 {
				p := make([]byte, max(c.bytes, 0))
				if c.bytes == -1 {
					p = w.mem[pageSize : 2*pageSize]
				}
				if ok, err := w.a.Post(&transport.Header{Kind: transport.Data, Length: uint32(len(p))}, p); !ok {
					t.Fatal(err)
				}
			}
			c.spoil(w)
			var frame *transport.FrameError
			f, err := w.b.Poll()
			if f != nil || !errors.As(err, &frame) {
				t.Fatalf("poll: got %v, %v, want a FrameError", f, err)
			}
			if err := w.b.Err(); !errors.As(err, &frame) {
				t.Errorf("Err: got %v, want a FrameError", err)
			}
			if _, err := w.b.Post(&transport.Header{Kind: transport.Data}, nil); !errors.As(err, &frame) {
				t.Errorf("Post: got %v, want a FrameError", err)
			}
		})
	}
}

// The receiver writes only its counter; a sender does not believe every value.
func TestHostileCounter(t *testing.T) {
	for _, value := range []uint64{window + 1, 1 << 63, ^uint64(0)} {
		w := newWire(t)
		h := transport.Header{Kind: transport.Data, Length: 4096}
		for range window {
			if ok, err := w.a.Post(&h, w.mem[:4096]); !ok {
				t.Fatal(err)
			}
		}
		*w.a.out.consumed() = value
		if n := w.a.Completed(); n != 0 {
			t.Errorf("counter %d: %d frames completed, want 0", value, n)
		}
		var frame *transport.FrameError
		if ok, err := w.a.Post(&h, w.mem[:4096]); ok || !errors.As(err, &frame) {
			t.Errorf("counter %d: post got %v, %v, want a FrameError", value, ok, err)
		}
	}
}

// A frame in a region whose descriptor is under way is not there yet; when it has come, it is.
func TestRegionLate(t *testing.T) {
	w := newWire(t)
	late, err := w.a.endpoint.Alloc(pageSize)
	if err != nil {
		t.Fatal(err)
	}
	copy(late, "late")
	if ok, err := w.a.Post(&transport.Header{Kind: transport.Data, Length: uint32(pageSize)}, late); !ok {
		t.Fatal(err)
	}
	if f, err := w.b.Poll(); f != nil || err != nil {
		t.Fatalf("before the region: got %v, %v, want nothing", f, err)
	}
	r, _ := w.a.region(late)
	if err := w.b.peer.addRegion(r.announcement(), r.fd); err != nil {
		t.Fatal(err)
	}
	f, err := w.b.Poll()
	if err != nil || f == nil || !bytes.HasPrefix(f.Payload, []byte("late")) {
		t.Fatalf("with the region: got %v, %v", f, err)
	}
	// The sender frees it against the rules: the frame that is held stays readable.
	if err := w.b.peer.dropRegion(r.id); err != nil {
		t.Fatal(err)
	}
	if err := w.a.endpoint.Free(late); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(f.Payload, []byte("late")) {
		t.Error("a held frame has lost its payload")
	}
	w.b.Release()
}

// A peer that is lost before its region came will not deliver the frame.
func TestRegionNever(t *testing.T) {
	w := newWire(t)
	late, err := w.a.endpoint.Alloc(pageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer w.a.endpoint.Free(late)
	if ok, err := w.a.Post(&transport.Header{Kind: transport.Data, Length: uint32(pageSize)}, late); !ok {
		t.Fatal(err)
	}
	w.b.lose(errConnection, false)
	if f, err := w.b.Poll(); f != nil || !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("got %v, %v, want ErrPeerLost", f, err)
	}
}

// FuzzSegment runs two ends over a segment that the fuzzer writes into between their steps. A step is three
// bytes: what to do, and where and what to write. Nothing may panic, fault, or leave the payload's bounds.
func FuzzSegment(f *testing.F) {
	for op := range byte(8) {
		f.Add([]byte{op, 0, 0, 5, 0, 0, 7, 0, 0})
		f.Add([]byte{op, 0, 0, 6, op, 0xff, 5, 0, 0, 7, 0, 0, op, 1, 1, 5, 0, 0})
	}
	for off := range byte(slotSize) {
		f.Add([]byte{0, 0, 0, 1, 0, 0, 2, 0, 0, 6, off, 0xff, 5, 0, 0, 7, 0, 0, 5, 0, 0, 7, 0, 0, 5, 0, 0})
	}
	// A frame that becomes one of kind Placed on the way: it has a length and carries nothing.
	const kind = slotHeader + 16
	for op := range byte(3) {
		f.Add([]byte{op, 9, 0, 6, kind, byte(transport.Placed), 5, 0, 0, 7, 0, 0, 5, 0, 0})
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		debug.SetPanicOnFault(true) // a fault is a failure with an input, not the end of the fuzzer
		w := newWire(t)
		staged := make([]byte, 10000)
		states := 0
		for ; len(steps) >= 3; steps = steps[3:] {
			op, where, value := steps[0], int(steps[1]), steps[2]
			var p []byte
			switch op % 8 {
			case 0: // inline
				p = staged[:where%(maxInline+1)]
			case 1: // staged
				p = staged[:maxInline+1+where*30]
			case 2: // by reference
				p = w.mem[where : where+8000]
			case 3: // into the control words
				off := [...]int{offState, offReasonLen, offReasonLen + 1, offReasonLen + 3, offConsumed, offConsumed + 7}[where%6]
				w.spoil(off, value)
				states++
				continue
			case 4:
				w.spoil(offReason+where*2, value)
				continue
			case 5:
				if fr, err := w.b.Poll(); fr != nil && err == nil {
					if len(fr.Payload) != fr.Carries() || fr.Length > transport.MaxPayload {
						t.Fatalf("payload of %d bytes, kind %d, length %d", len(fr.Payload), fr.Kind, fr.Length)
					}
					var sum byte
					for _, b := range fr.Payload {
						sum += b
					}
					staged[0] = sum
				}
				w.b.Err()
				w.a.Err()
				continue
			case 6: // into the descriptors, most often the one that comes next
				off := where
				if where < slotSize {
					off += int(w.b.taken%window) * slotSize
				} else {
					off += int(value) * slotSize / 8
				}
				w.spoil(offSlots+off%(window*slotSize), value)
				continue
			case 7:
				if w.b.held {
					w.b.Release()
				}
				w.a.Completed()
				continue
			}
			w.a.Post(&transport.Header{Kind: transport.Data, Length: uint32(len(p))}, p)
		}
		if w.b.held {
			w.b.Release()
		}
		w.a.Fail([]byte("end"))
		w.b.Poll()
		if states == 0 && w.b.Err() == nil {
			t.Error("the peer's Fail does not show")
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, m := range []message{
		{kind: msgHello, rank: 3, to: 4, addr: addrPrefix + "x"}, {kind: msgSegment, id: testID},
		{kind: msgRegion, region: 7, size: 4096}, {kind: msgUnregion, region: 7}, {kind: msgGoodbye}, {kind: msgAck},
	} {
		f.Add(m.append(nil))
	}
	f.Add([]byte{})
	f.Add([]byte{msgSegment, version + 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			var frame *transport.FrameError
			if !errors.As(err, &frame) {
				t.Fatalf("%x: got %v, want a FrameError", b, err)
			}
			return
		}
		again := m.append(nil)
		if !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v, which is written as %x", b, m, again)
		}
		if m2, err := parseMessage(again); err != nil || !reflect.DeepEqual(m, m2) {
			t.Fatalf("%x: got %+v, %v, want %+v", again, m2, err, m)
		}
	})
}

// A stranger speaks the control protocol by hand.
type stranger struct {
	t        *testing.T
	listener *net.UnixListener
	addr     string
	bell     *bell
}

func newStranger(t *testing.T) *stranger {
	l, addr, err := listenRandom()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newFutexBell()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); b.Close() })
	return &stranger{t, l, addr, b}
}

// hello connects to an endpoint as rank 1 and introduces itself.
func (s *stranger) hello(e *endpoint, m message) *net.UnixConn {
	s.t.Helper()
	c, err := dial(context.Background(), e.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := write(c, m, s.bell.fd); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *stranger) goodHello(e *endpoint) message {
	return message{kind: msgHello, group: e.group, rank: 1, to: e.rank, addr: s.addr}
}

func TestHostileControl(t *testing.T) {
	memfd := func(size, seal int) int {
		fd, err := unix.MemfdCreate("ringtree-test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err == nil {
			err = unix.Ftruncate(fd, int64(size))
		}
		if err == nil {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	page := pageSize
	cases := []struct {
		name string
		m    message
		fd   int
		more int // messages of the same kind that are fine and go ahead
	}{
		{"segment without a file descriptor", message{kind: msgSegment}, -1, 0},
		{"segment that can shrink", message{kind: msgSegment}, memfd(segmentSize, unix.F_SEAL_GROW), 0},
		{"segment of another size", message{kind: msgSegment}, memfd(segmentSize-page, seals), 0},
		{"segment twice", message{kind: msgSegment}, memfd(segmentSize, seals), 1},
		{"region of another size", message{kind: msgRegion, region: 1, size: uint64(2 * page)}, memfd(page, seals), 0},
		{"region of no size", message{kind: msgRegion, region: 1}, memfd(0, seals), 0},
		{"region of part of a page", message{kind: msgRegion, region: 1, size: 100}, memfd(100, seals), 0},
		{"huge region", message{kind: msgRegion, region: 1, size: 1 << 63}, memfd(page, seals), 0},
		{"region twice", message{kind: msgRegion, region: 1, size: uint64(page)}, memfd(page, seals), 1},
		{"region 0", message{kind: msgRegion, size: uint64(page)}, memfd(page, seals), 0},
		{"end of an unknown region", message{kind: msgUnregion, region: 3}, -1, 0},
		{"file descriptor that nobody wants", message{kind: msgUnregion, region: 3}, memfd(page, seals), 0},
		{"no memfd", message{kind: msgSegment}, func() int { fd, _ := unix.Open(os.DevNull, unix.O_RDWR, 0); return fd }(), 0},
		{"hello again", message{kind: msgHello, rank: 1, addr: addrPrefix + "z"}, memfd(page, seals), 0},
		{"acknowledgement of nothing", message{kind: msgAck}, -1, 0},
		{"unknown kind", message{kind: 77}, -1, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			defer closeFD(c.fd)
			g := transporttest.NewGroup(t, New(), 2)
			good, other := g.Pair(t, transport.LinkID{Comm: 1})
			e := g.Endpoints[0].(*endpoint)
			s := newStranger(t)
			l, err := e.Open(transport.Peer{Rank: 9, Addr: s.addr}, testID)
			if err != nil {
				t.Fatal(err)
			}
			conn := s.hello(e, s.goodHello(e))
			for range c.more + 1 {
				if err := write(conn, c.m, c.fd); err != nil {
					t.Fatal(err)
				}
			}
			if err := transporttest.Await(g.Bells[0], "the loss of the peer", func() bool { return l.Err() != nil }); err != nil {
				t.Fatal(err)
			}
			var lost *transport.LostError
			var frame *transport.FrameError
			if err := l.Err(); !errors.As(err, &lost) || lost.Peer != 9 || !errors.As(err, &frame) {
				t.Errorf("got %v, want a LostError of rank 9 because of a FrameError", err)
			}
			if good.Err() != nil || other.Err() != nil {
				t.Errorf("a link to somebody else ended: %v, %v", good.Err(), other.Err())
			}
		})
	}
}

// Hellos that are not for this endpoint are hung up on, and harm nothing.
func TestHostileHello(t *testing.T) {
	g := transporttest.NewGroup(t, New(), 2)
	good, other := g.Pair(t, transport.LinkID{Comm: 1})
	e := g.Endpoints[0].(*endpoint)
	for name, change := range map[string]func(m *message){
		"other group":     func(m *message) { m.group[5]++ },
		"other rank":      func(m *message) { m.to = 5 },
		"from itself":     func(m *message) { m.rank = 0 },
		"its own address": func(m *message) { m.addr = e.addr },
		"taken address":   func(m *message) { m.addr = g.Peers[1].Addr },
		"no address":      func(m *message) { m.addr = "/etc/passwd" },
		"not a hello":     func(m *message) { m.kind = msgSegment },
	} {
		if err := transporttest.Await(g.Bells[0], "the peer's hello", func() bool { // so that its address is taken
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.peers[g.Peers[1].Addr].in != nil
		}); err != nil {
			t.Fatal(err)
		}
		s := newStranger(t)
		m := s.goodHello(e)
		change(&m)
		c := s.hello(e, m)
		if _, _, err := read(c); err == nil {
			t.Errorf("%s: an answer instead of the end of the connection", name)
		}
	}
	if good.Err() != nil || other.Err() != nil {
		t.Errorf("a link to somebody else ended: %v, %v", good.Err(), other.Err())
	}
	if _, err := e.Open(transport.Peer{Rank: 1, Addr: "./socket"}, testID); !errors.Is(err, transport.ErrUnreachable) {
		t.Errorf("open to a path: got %v, want ErrUnreachable", err)
	}
}
