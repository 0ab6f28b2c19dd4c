package engine

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// A landing has as many places as links take, within its limit, each for the longest payload at any remainder by 16.
func TestLandingPlaces(t *testing.T) {
	var asked []int
	alloc := func(n int) ([]byte, error) {
		asked = append(asked, n)
		return make([]byte, n), nil
	}
	links := func(n int, land bool) (all []*awaited) {
		for range n {
			all = append(all, &awaited{c: &conn{expecting: expectingLink{}}, list: []awaitedOp{{}, {land: land}}})
		}
		return all
	}
	var d landing
	d.prepare(links(1, true), nil)
	d.prepare(links(1, true), func(int) ([]byte, error) { return nil, nil }) // not yet
	d.prepare(links(3, false), alloc)
	if len(asked) != 0 || d.refused {
		t.Fatalf("asked for %v, refused %t, before anything lands", asked, d.refused)
	}
	d.prepare(links(2, true), alloc)
	d.prepare(links(2, true), alloc)
	d.prepare(links(3, true), alloc)
	if len(asked) != 2 || asked[0] != 16*landingSize || asked[1] != 8*landingSize || d.places != 24 || len(d.free) != 24 {
		t.Fatalf("asked for %v, has %d places, %d free", asked, d.places, len(d.free))
	}
	mem := make([]byte, transport.MaxPayload+16)
	var taken []landingPlace
	for i := range 24 {
		like := mem[i%16:][:transport.MaxPayload]
		p := d.take(like)
		if address := func(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }; len(p.mem) != len(like) || (address(p.mem)-address(like))%16 != 0 {
			t.Fatalf("place %d: %d bytes at %#x for %#x", i, len(p.mem), address(p.mem), address(like))
		}
		p.mem[0], p.mem[len(p.mem)-1] = byte(i), byte(i)
		taken = append(taken, p)
	}
	for i, p := range taken {
		if p.mem[0] != byte(i) || p.mem[len(p.mem)-1] != byte(i) {
			t.Errorf("place %d is another's, too", i)
		}
	}
	if p := d.take(mem); p.whole != nil {
		t.Error("got a place although none is free")
	}
	for _, p := range taken {
		d.put(p)
	}
	d.put(landingPlace{})
	if len(d.free) != 24 {
		t.Errorf("%d are free", len(d.free))
	}
	d.prepare(links(1000, true), func(n int) ([]byte, error) { return nil, errors.New("no memory") })
	if d.places != 24 || !d.refused {
		t.Errorf("%d places, refused %t", d.places, d.refused)
	}
	d.refused = false
	d.prepare(links(1000, true), alloc)
	if got := d.places * landingSize; got > maxLanding || got < maxLanding-landingSize {
		t.Errorf("%d bytes, want up to %d", got, maxLanding)
	}
}

// The places of a link's frames come back in their order, and only with their frame.
func TestLanded(t *testing.T) {
	c := &conn{lands: []landingPlace{{frame: 2, whole: make([]byte, 2)}, {frame: 3, whole: make([]byte, 3)}}}
	for frame, want := range []int{0, 0, 2, 3, 0} {
		if got := len(c.landed().whole); got != want {
			t.Errorf("frame %d: got place %d, want %d", frame, got, want)
		}
		c.taken++
	}
}
