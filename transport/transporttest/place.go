package transporttest

import (
	"bytes"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

// testPlacement offers memory with frames of every kind, and has the peer store into it.
func testPlacement(t *testing.T, make Maker) {
	g := make(t, 2)
	a, b := g.Pair(t, id0)
	const size = 5000
	mem, err := g.Endpoints[0].Alloc(3 * size)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Endpoints[0].Free(mem); err != nil {
			t.Error(err)
		}
	}()
	if !a.Caps().Placement {
		if a.Offer(mem[:size]) || !a.Quiet() {
			t.Error("a link without placement takes an offer, or says that the peer may write here")
		}
		return
	}
	foreign := payload(1, 0, size)
	for name, c := range map[string]struct {
		payload, into []byte
		taken, seen   bool
	}{
		"where the payload is": {mem[:size], mem[:size], true, true},
		"elsewhere":            {mem[:size], mem[size : 2*size], true, true},
		"a copied payload":     {foreign, mem[size : 2*size], true, true},
		"another length":       {mem[:size], mem[size : 2*size-1], true, false},
		"other memory":         {mem[:size], foreign, false, false},
		"a small payload":      {mem[:8], mem[size : size+8], false, false},
	} {
		if ok := a.Offer(c.into); ok != c.taken {
			t.Errorf("%s: offer returned %v, want %v", name, ok, c.taken)
		}
		fill(c.payload, 3, 1)
		g.send(t, 0, a, header(3, 1, len(c.payload)), c.payload)
		f := g.recv(t, 1, b)
		if err := check(f, 3, 1, len(c.payload)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if seen := f.Into != nil; seen != c.seen {
			t.Errorf("%s: the peer sees an offer: %v, want %v", name, seen, c.seen)
		}
		if c.seen && (a.Quiet() || len(f.Into) != len(c.payload)) {
			t.Errorf("%s: quiet is %v while the peer holds %d of %d bytes", name, a.Quiet(), len(f.Into), len(c.payload))
		}
		fill(f.Into, 3, 2)
		b.Release()
		g.await(t, 0, "quiet", a.Quiet)
		if c.seen && !bytes.Equal(c.into, payload(3, 2, len(c.into))) {
			t.Errorf("%s: what the peer stored is not there", name)
		}
		// The next frame has no offer, and says that the data is there already.
		h := header(3, 4, 0)
		h.Kind, h.Length = transport.Placed, size
		g.send(t, 0, a, h, nil)
		if f := g.recv(t, 1, b); f.Header != h || len(f.Payload) != 0 || f.Into != nil {
			t.Errorf("%s: a frame of kind Placed comes as %+v with %d bytes, offer %v", name, f.Header, len(f.Payload), f.Into != nil)
		}
		b.Release()
	}
	h := header(3, 4, 8)
	h.Kind = transport.Placed
	if ok, err := a.Post(&h, mem[:8]); ok || err == nil {
		t.Errorf("post of kind Placed with a payload: got %v, %v, want an error", ok, err)
	}
}

// testPlacementEnds ends links on which memory is offered: the rank that gave up knows when nobody can write any more.
func testPlacementEnds(t *testing.T, make Maker) {
	g := make(t, 2)
	mem, err := g.Endpoints[0].Alloc(8192)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Endpoints[0].Free(mem); err != nil {
			t.Error(err)
		}
	}()
	for _, held := range []bool{true, false} {
		id := id0
		if held {
			id.Channel++
		}
		a, b := g.Pair(t, id)
		if !a.Caps().Placement {
			return
		}
		g.send(t, 0, a, header(3, 0, 8), mem[:8]) // both ends know each other
		g.recv(t, 1, b)
		b.Release()
		if !a.Offer(mem) {
			t.Fatal("the offer was not taken")
		}
		g.send(t, 0, a, header(3, 1, len(mem)), mem)
		if held {
			if f := g.recv(t, 1, b); f.Into == nil {
				t.Fatal("no offer")
			}
		}
		a.Fail([]byte("enough"))
		if a.Quiet() == held {
			t.Errorf("held %v: quiet is %v after Fail", held, a.Quiet())
		}
		if !held {
			if f, _ := b.Poll(); f != nil && f.Into != nil {
				t.Error("the peer gets an offer after Fail")
			}
			continue
		}
		b.Release()
		if !a.Quiet() {
			t.Error("not quiet after the release")
		}
	}
}
