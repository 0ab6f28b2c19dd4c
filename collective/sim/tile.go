package sim

import (
	"math"
	"slices"
)

// A tile is up to tilePlaces neighbouring places of a ring over up to tileSteps steps: what it takes stays in the nearest cache. The
// place before its first belongs to the tile before, which leaves what that had before each step.
const (
	tilePlaces = 512
	tileSteps  = 128
)

// tiles steps D(v) = max(D(v), D(v-1)+h(v-1)) + c(v), with or without noise, tile by tile.
type tiles struct {
	g       *ring
	d       []Time   // of a tile, behind the place before it
	before  []Time   // what the place before a tile had before each step
	h       []Time   // behind the last place's
	values  []uint32 // the table of noise, and its beginning once more
	late    []uint32 // of ranks that do not follow one another
	offsets []uint32 // by step: where the table begins
	span    []uint32
}

func newTiles(g *ring) *tiles {
	t := &tiles{g: g, d: make([]Time, tilePlaces+1), before: make([]Time, tileSteps), h: make([]Time, g.n+1)}
	if g.noise != nil {
		t.values = append(slices.Clone(g.noise.values), g.noise.values[:tilePlaces]...)
		t.late, t.offsets, t.span = make([]uint32, tilePlaces), make([]uint32, tileSteps), make([]uint32, g.n)
		for v, s := range g.span {
			t.span[v] = uint32(s)
		}
	}
	return t
}

// step takes so many steps, at most tileSteps and fewer than there are places, from message j on.
func (t *tiles) step(d, h, c []Time, j, steps int) {
	n := len(d)
	copy(t.h[1:], h)
	t.h[0] = h[n-1]
	for k := range steps {
		if t.g.noise != nil {
			t.offsets[k] = uint32(t.g.noise.place(1, int32(j+k), 0) % noiseSize)
		}
		t.before[k] = math.MinInt64 / 2
	}
	// What the last place has before each step takes only the steps places before it, whatever those before them have.
	for lo, hi := n-steps, 0; lo < n; lo = hi {
		hi = min(lo+tilePlaces, n)
		t.run(d, c, lo, hi, steps)
	}
	for lo, hi := 0, 0; lo < n; lo = hi {
		hi = min(lo+tilePlaces, n)
		t.run(d, c, lo, hi, steps)
		copy(d[lo:hi], t.d[1:])
	}
}

// run steps the places lo to hi-1. The result is in t.d.
func (t *tiles) run(d, c []Time, lo, hi, steps int) {
	size := hi - lo
	x, h := t.d[:size+1], t.h[lo:hi]
	copy(x[1:], d[lo:hi])
	ranks := t.g.rank[lo:hi]
	inOrder := true
	for i, r := range ranks {
		inOrder = inOrder && r == ranks[0]+int32(i)
	}
	for k := range t.before[:steps] {
		x[0], t.before[k] = t.before[k], x[size]
		if t.g.noise == nil {
			stepRow(x, h, c[lo:hi], nil, nil)
			continue
		}
		late := t.late[:size]
		if inOrder {
			from := (uint32(ranks[0]) + t.offsets[k]) % noiseSize
			late = t.values[from : from+uint32(size)]
		} else {
			for i, r := range ranks {
				late[i] = t.values[(uint32(r)+t.offsets[k])%noiseSize]
			}
		}
		stepRow(x, h, c[lo:hi], t.span[lo:hi], late)
	}
}

// stepPlain takes a step. d and h begin with the place before c's first.
func stepPlain(d, h, c []Time, span, late []uint32) {
	d, h = d[:len(c)+1], h[:len(c)]
	if span == nil {
		for i := len(c) - 1; i >= 0; i-- {
			d[i+1] = max(d[i+1], d[i]+h[i]) + c[i]
		}
		return
	}
	span, late = span[:len(c)], late[:len(c)]
	for i := len(c) - 1; i >= 0; i-- {
		d[i+1] = max(d[i+1], d[i]+h[i]) + c[i] + Time(uint64(span[i])*uint64(late[i])>>32)
	}
}
