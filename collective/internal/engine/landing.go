package engine

import (
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// A landing is memory of Config.Memory in which what is to be reduced there is stored by the peers' devices, in places for a slice
// each. The kernel reads the payload from there, not over the bus.
type landing struct {
	places  int
	free    [][]byte
	refused bool // there is no more memory
}

// A landingPlace is one of its places while it is in use.
type landingPlace struct {
	frame uint64 // to which it has been given, by its number on the link
	mem   []byte // as long as the payload
	whole []byte // nil: there is no place
}

const (
	// landingSize holds any payload, shifted to have the remainder of its counterpart by 16, so that kernels move both 16 bytes at a time.
	landingSize = transport.MaxPayload + 256
	// maxLanding is how much memory a landing takes at most, in bytes. Frames without a place come through the host's memory.
	maxLanding = 64 << 20
)

// prepare sees that there are as many places as links take for what is to be reduced.
func (d *landing) prepare(awaits []*awaited, alloc func(bytes int) ([]byte, error)) {
	if d.refused || alloc == nil {
		return
	}
	want := 0
	for _, a := range awaits {
		for i := range a.list {
			if a.list[i].land {
				want += a.c.expecting.Expecting()
				break
			}
		}
	}
	if want = min(want, maxLanding/landingSize) - d.places; want <= 0 {
		return
	}
	mem, err := alloc(want * landingSize)
	if d.refused = err != nil; mem == nil { // what comes can always be copied
		return
	}
	d.places += want
	for i := range want {
		d.free = append(d.free, mem[i*landingSize:][:landingSize:landingSize])
	}
}

// take returns a place for what is to be reduced with b, if one is free.
func (d *landing) take(b []byte) landingPlace {
	n := len(d.free)
	if n == 0 {
		return landingPlace{}
	}
	whole := d.free[n-1]
	d.free = d.free[:n-1]
	address := func(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
	skip := (address(b) - address(whole)) & 15
	return landingPlace{mem: whole[skip:][:len(b)], whole: whole}
}

// put gives back a place of take.
func (d *landing) put(p landingPlace) {
	if p.whole != nil {
		d.free = append(d.free, p.whole)
	}
}

// landed returns the place that the frame that is taken next has been given, and forgets it.
func (c *conn) landed() landingPlace {
	if len(c.lands) == 0 || c.lands[0].frame != c.taken {
		return landingPlace{}
	}
	p := c.lands[0]
	c.lands = append(c.lands[:0], c.lands[1:]...)
	return p
}
