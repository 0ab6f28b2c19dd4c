package rdma

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// wanted makes rank 1 of a group expect a frame, and returns its header and place when rank 0 has the offer.
func wanted(t *testing.T, g *transporttest.Group, a, b transport.Link) (transport.Header, []byte) {
	t.Helper()
	sendAndCheck(t, g, a, b, []byte("hello"), []byte("hello"))
	to := b.(transport.ExpectingLink)
	if err := transporttest.Await(g.Bells[1], "places", func() bool { return to.Expecting() > 0 }); err != nil {
		t.Fatal(err)
	}
	mem, err := g.Endpoints[1].Alloc(transport.MaxPayload)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Endpoints[1].Free(mem); err != nil {
			t.Error(err)
		}
	})
	h := transport.Header{Kind: transport.Data, Length: uint32(len(mem)), Seq: 7}
	if !to.Expect(0, &h, mem) {
		t.Fatal("no place taken")
	}
	awaitOffer(t, g, a, b)
	return h, mem
}

// awaitOffer returns when rank 0 has the offers of rank 1: with one queue pair, a frame comes behind them.
func awaitOffer(t *testing.T, g *transporttest.Group, a, b transport.Link) {
	t.Helper()
	var ok bool
	var err error
	word := transport.Header{Kind: transport.Data}
	if e := transporttest.Await(g.Bells[1], "room", func() bool { ok, err = b.Post(&word, nil); return ok || err != nil }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	var f *transport.Frame
	if e := transporttest.Await(g.Bells[0], "a frame", func() bool { f, err = a.Poll(); return f != nil || err != nil }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	a.Release()
}

// offerHeld returns the offer for the next frame, as it lies in the sender's window.
func offerHeld(l *link) []byte {
	i := int(l.posted.Load() % uint64(len(l.expects)))
	return l.window[offersAt(len(l.in))+i*offerSize:][:offerSize]
}

func post(t *testing.T, g *transporttest.Group, l transport.Link, h *transport.Header, payload []byte) {
	t.Helper()
	var ok bool
	var err error
	if e := transporttest.Await(g.Bells[0], "room", func() bool { ok, err = l.Post(h, payload); return ok || err != nil }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}

// Whoever has a wrong key for a place cannot write there: both ends are told, and then nobody writes any more.
func testWrongPlace(t *testing.T, options ...Option) {
	g, a, b := newGroup(t, nil, append(options, QueuePairs(1), AckTimeout(14), Retries(3))...)
	h, mem := wanted(t, g, a, b)
	l := a.(*link)
	l.mu.Lock()
	at, ok := l.offered(l.posted.Load(), &h)
	at.key ^= 0x5a5a
	putOffer(offerHeld(l), l.posted.Load(), at, &h)
	l.mu.Unlock()
	if !ok || at.addr != addressOf(mem) {
		t.Fatalf("the peer has an offer: %v, at %#x, want %#x", ok, at.addr, addressOf(mem))
	}
	post(t, g, a, &h, bytes.Repeat([]byte{3}, len(mem)))
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
	if !b.Quiet() {
		t.Error("rank 1 is not quiet, although its link has failed")
	}
	if !bytes.Equal(mem, make([]byte, len(mem))) {
		t.Error("the memory has been written to")
	}
}

func TestWrongPlace(t *testing.T) { testWrongPlace(t, newSoftNet().on()) }

// An offer for another frame than is sent, of an earlier time or another operation, or one that is half written, is not used.
func TestStaleOffer(t *testing.T) {
	for name, spoil := range map[string]func(offer []byte, frame uint64, at remote, h transport.Header){
		"an earlier frame":  func(b []byte, frame uint64, at remote, h transport.Header) { putOffer(b, frame-1, at, &h) },
		"a later frame":     func(b []byte, frame uint64, at remote, h transport.Header) { putOffer(b, frame+16, at, &h) },
		"another operation": func(b []byte, frame uint64, at remote, h transport.Header) { h.Seq++; putOffer(b, frame, at, &h) },
		"another length":    func(b []byte, frame uint64, at remote, h transport.Header) { h.Length--; putOffer(b, frame, at, &h) },
		"half an address":   func(b []byte, _ uint64, _ remote, _ transport.Header) { clear(b[:4]) },
		"no key":            func(b []byte, _ uint64, _ remote, _ transport.Header) { clear(b[8:12]) },
		"no seal":           func(b []byte, _ uint64, _ remote, _ transport.Header) { clear(b[16:24]) },
	} {
		t.Run(name, func(t *testing.T) {
			g, a, b := newGroup(t, newSoftNet(), QueuePairs(1))
			h, mem := wanted(t, g, a, b)
			l := a.(*link)
			l.mu.Lock()
			at, ok := l.offered(l.posted.Load(), &h)
			spoil(offerHeld(l), l.posted.Load(), at, h)
			l.mu.Unlock()
			if !ok {
				t.Fatal("there was no offer")
			}
			payload := bytes.Repeat([]byte{3}, len(mem))
			post(t, g, a, &h, payload)
			var f *transport.Frame
			if err := transporttest.Await(g.Bells[1], "a frame", func() bool { f, _ = b.Poll(); return f != nil }); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(f.Payload, payload) || !bytes.Equal(mem, make([]byte, len(mem))) {
				t.Error("the payload is wrong, or lies where the offer said")
			}
			b.Release()
			if !b.Quiet() {
				t.Error("not quiet, although nothing is expected any more")
			}
		})
	}
}

// A peer that says it has stored what nobody wants stored, or more of it, ends the link and nothing else.
func TestPlacedUnwanted(t *testing.T) {
	for name, length := range map[string]uint32{"nothing wanted": 0, "too much": 100} {
		t.Run(name, func(t *testing.T) {
			g, a, b := newGroup(t, newSoftNet(), QueuePairs(1))
			h, _ := wanted(t, g, a, b)
			l := a.(*link)
			if length == 0 { // one that is expected, and behind it one that is not
				post(t, g, a, &h, make([]byte, h.Length))
				var f *transport.Frame
				if err := transporttest.Await(g.Bells[1], "a frame", func() bool { f, _ = b.Poll(); return f != nil }); err != nil {
					t.Fatal(err)
				}
				b.Release()
			}
			h.Length = length
			l.mu.Lock()
			putOffer(offerHeld(l), l.posted.Load(), remote{uintptr(l.theirs.slots) + wordSize, l.theirs.key}, &h)
			if length == 0 { // which send would not do
				seq := l.posted.Load()
				cell := l.cells[:slotHead]
				copy(cell[headAt:], []byte{7: 0x80})
				_, _ = h.AppendBinary(cell[headAt+8 : headAt+8 : slotHead])
				o := outSlot{end: l.ends[0]}
				l.posted.Add(1)
				if err := l.sendPieces(l.ends[0], &o, seq, piece{addressOf(cell[headAt:]), headSize, l.cellKey}, piece{}, remote{}, false); err != nil {
					t.Error(err)
				}
			}
			l.mu.Unlock()
			if length > 0 {
				post(t, g, a, &h, make([]byte, length))
			}
			var err error
			if e := transporttest.Await(g.Bells[1], "the end", func() bool { _, err = b.Poll(); return err != nil }); e != nil {
				t.Fatal(e)
			}
			var frame *transport.FrameError
			if !errors.Is(err, transport.ErrPeerLost) || !errors.As(err, &frame) {
				t.Errorf("got %v, want a LostError because of a FrameError", err)
			}
			awaitEnd(t, g, 0, a)
		})
	}
}

// killedWhilePlacing kills a process that stores what it sends into this one's memory: then nobody does, and the memory is the
// caller's again.
func killedWhilePlacing(t *testing.T, p *stripetest.Process) {
	const places = 8
	mem, err := p.Endpoint.Alloc(places * transport.MaxPayload)
	if err != nil {
		t.Fatal(err)
	}
	to := p.Link.(transport.ExpectingLink)
	place := func(frame uint32) []byte { return mem[int(frame)%places*transport.MaxPayload:][:transport.MaxPayload] }
	next, there := uint32(0), 0 // next: without a place
	for frame := uint32(0); there < 20; frame++ {
		for next = max(next, frame); next < frame+places && to.Expecting() > 0; next++ {
			// As stripetest.RoleFlood sends them.
			h := transport.Header{Kind: transport.Data, Step: next, Length: transport.MaxPayload}
			to.Expect(int(next-frame), &h, place(next))
		}
		f, err := p.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if f.Step != frame {
			t.Fatalf("frame %d comes as number %d", frame, f.Step)
		}
		if unsafe.SliceData(f.Payload) == unsafe.SliceData(place(frame)) {
			there++
		}
		p.Link.Release()
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Exited
	for err == nil {
		if _, err = p.Receive(); err == nil {
			p.Link.Release()
		}
	}
	if !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("got %v, want ErrPeerLost", err)
	}
	p.Link.Fail([]byte("the peer is gone"))
	if !p.Link.Quiet() {
		t.Error("not quiet after Fail")
	}
	if err := p.Endpoint.Free(mem); err != nil {
		t.Error(err)
	}
}

// Offers need not fit into a work request: then the next of the same place waits for this one to have been read.
func TestOffersNotInline(t *testing.T) {
	n := newSoftNet()
	n.inline = 8
	g, a, b := newGroup(t, n)
	h, mem := wanted(t, g, a, b)
	to := b.(transport.ExpectingLink)
	l := b.(*link)
	for i := range 40 {
		payload := bytes.Repeat([]byte{byte(i)}, len(mem))
		post(t, g, a, &h, payload)
		var f *transport.Frame
		if err := transporttest.Await(g.Bells[1], "a frame", func() bool { f, _ = b.Poll(); return f != nil }); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Payload, payload) {
			t.Fatal("wrong payload")
		}
		b.Release()
		to.Expect(0, &h, mem)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wanted > 1 {
		t.Error(fmt.Errorf("%d frames are expected, want at most one", l.wanted))
	}
}
