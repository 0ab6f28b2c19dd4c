package transporttest

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// expecting returns a pair of ends, of which rank 1's takes places for what comes, once both have exchanged frames; ok is false for
// links that never do.
func (g *Group) expecting(t testing.TB, id transport.LinkID) (a transport.Link, b transport.ExpectingLink, ok bool) {
	t.Helper()
	a, other := g.Pair(t, id)
	if b, ok = other.(transport.ExpectingLink); !ok {
		return nil, nil, false
	}
	g.send(t, 0, a, header(1, 0, 8), payload(1, 0, 8))
	g.recv(t, 1, b)
	b.Release()
	g.await(t, 1, "what carries the link", func() bool { return b.Caps().Via != "" || b.Expecting() > 0 })
	if b.Caps().Via == g.Transport.Name() {
		g.await(t, 1, "places", func() bool { return b.Expecting() > 0 })
	}
	if b.Expecting() > 0 {
		return a, b, true
	}
	h := header(1, 1, 8)
	if b.Expecting() != 0 || b.Expect(0, &h, make([]byte, 8)) {
		t.Errorf("a link that %s carries takes places", b.Caps().Via)
	}
	return nil, nil, false
}

// isAt reports whether a payload is at the beginning of mem.
func isAt(payload, mem []byte) bool { return unsafe.SliceData(payload) == unsafe.SliceData(mem) }

// testExpect gives places for frames from memory of every kind, and lets some of them be for other frames than come.
func testExpect(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b, ok := g.expecting(t, id0)
	if !ok {
		return
	}
	const size = 20_000
	from := mustAlloc(t, g.Endpoints[0], size)
	to := mustAlloc(t, g.Endpoints[1], 4*size)
	untouched := payload(9, 9, len(to))
	frame := uint32(1)
	placed := 0
	const rounds = 30
	for round := range rounds {
		// Frames at a time: as expected, from registered memory and other; with another header; and where nothing is expected.
		copy(to, untouched)
		at := func(i int) []byte { return to[i*size:][:size-round*600] }
		length := len(at(0))
		for i, want := range []transport.Header{header(3, frame, length), header(3, frame+1, length), header(4, frame+2, length)} {
			if !b.Expect(i, &want, at(i)) {
				t.Fatalf("round %d: no place taken for frame %d ahead", round, i)
			}
		}
		if b.Quiet() {
			t.Error("quiet while the peer may write")
		}
		// A word back, behind which the offers may well be there.
		g.send(t, 1, b, header(5, 0, 0), nil)
		g.recv(t, 0, a)
		a.Release()
		fill(from[:length], 3, frame)
		g.send(t, 0, a, header(3, frame, length), from[:length])
		for i := range uint32(3) {
			g.send(t, 0, a, header(3, frame+1+i, length), payload(3, frame+1+i, length))
			f := g.recv(t, 1, b)
			if err := check(f, 3, frame+i, length); err != nil {
				t.Fatal(err)
			}
			switch {
			case isAt(f.Payload, at(int(i))):
				if placed++; i == 2 {
					t.Error("a frame with another header than expected has been stored")
				}
			case !bytes.Equal(at(int(i)), untouched[int(i)*size:][:length]):
				t.Errorf("round %d: frame %d came elsewhere, and memory for it has been written to", round, i)
			}
			b.Release()
		}
		f := g.recv(t, 1, b)
		if err := check(f, 3, frame+3, length); err != nil {
			t.Fatal(err)
		}
		b.Release()
		if !bytes.Equal(to[3*size:], untouched[3*size:]) || !b.Quiet() {
			t.Errorf("round %d: written to where nothing was expected, or not quiet: %v", round, b.Quiet())
		}
		frame += 4
		g.await(t, 0, "the end of the borrowing", func() bool { return a.Completed() == uint64(frame) })
	}
	t.Logf("%d of %d frames were stored where they were wanted", placed, 2*rounds)
	if placed == 0 {
		t.Error("no frame was stored where it was wanted")
	}
}

// testExpectErrors gives places that cannot be.
func testExpectErrors(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b, ok := g.expecting(t, id0)
	if !ok {
		return
	}
	mem := mustAlloc(t, g.Endpoints[1], 8192)
	good := header(3, 1, 4096)
	long, said := good, good
	long.Length = 4097
	said.Kind = transport.Placed
	far := b.Expecting()
	_, chosen := g.Endpoints[1].(transport.HostEndpoint) // a device writes to memory that it knows, a processor to any
	for name, c := range map[string]struct {
		ahead int
		h     transport.Header
		mem   []byte
	}{
		"before the oldest":  {-1, good, mem[:4096]},
		"too far ahead":      {far, good, mem[:4096]},
		"longer than memory": {0, long, mem[:4096]},
		"no data":            {0, said, mem[:4096]},
		"nothing":            {0, header(3, 1, 0), nil},
		"foreign memory":     {0, good, payload(1, 1, 4096)},
	} {
		if (chosen || name != "foreign memory") && b.Expect(c.ahead, &c.h, c.mem) {
			t.Errorf("%s: the place is taken", name)
		}
	}
	if !b.Quiet() {
		t.Error("not quiet, although nothing is expected")
	}
	if !b.Expect(far-1, &good, mem[:4096]) {
		t.Error("as far ahead as can be: no place taken")
	}
	if !b.Expect(0, &good, mem[:4096]) || b.Expect(0, &good, mem[4096:]) {
		t.Error("want one place for a frame, and not two")
	}
	g.send(t, 0, a, good, payload(3, 1, 4096))
	f := g.recv(t, 1, b)
	if err := check(f, 3, 1, 4096); err != nil {
		t.Error(err)
	}
	if b.Expect(0, &good, mem[4096:]) {
		t.Error("a place is taken for a frame that is there")
	}
	b.Release()
	b.Fail([]byte("enough"))
	if b.Expecting() != 0 || b.Expect(0, &good, mem[4096:]) {
		t.Error("places are taken after Fail")
	}
}

// testExpectEnds ends links on which something is expected, on either end: the rank that gave up knows when nobody writes to
// its memory any more.
func testExpectEnds(t *testing.T, make Maker) {
	g := make(t, 2)
	for i, theirs := range []bool{false, true} {
		id := id0
		id.Channel += uint16(i)
		a, b, ok := g.expecting(t, id)
		if !ok {
			return
		}
		mem := mustAlloc(t, g.Endpoints[1], 8192)
		h := header(3, 1, len(mem))
		if !b.Expect(0, &h, mem) {
			t.Fatal("no place taken")
		}
		if theirs {
			a.Fail([]byte("enough"))
			g.await(t, 1, "the reason", func() bool { return b.Err() != nil })
		}
		b.Fail([]byte("enough"))
		g.await(t, 1, "quiet", b.Quiet)
		copy(mem, payload(9, 9, len(mem)))
		for { // until the peer has heard of it
			if _, err := a.Post(&h, payload(3, 1, len(mem))); err != nil {
				break
			}
			if err := a.Err(); err != nil {
				break
			}
		}
		if !bytes.Equal(mem, payload(9, 9, len(mem))) {
			t.Error("memory has been written to after Quiet")
		}
	}
}

// mustAlloc returns memory of an endpoint's, which it gives back behind the test.
func mustAlloc(t testing.TB, ep transport.Endpoint, size int) []byte {
	t.Helper()
	mem, err := ep.Alloc(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ep.Free(mem); err != nil {
			t.Error(err)
		}
	})
	return mem
}
