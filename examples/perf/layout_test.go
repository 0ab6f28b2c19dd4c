package main

import (
	"bytes"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
)

// A world holds the buffers of all ranks, and does by hand what a collective should do.
type world struct {
	known   answers
	p       pattern
	coll    collKind
	root    int
	buffers []*buffers
	layouts []layout
}

func newWorld(t *testing.T, coll collKind, p pattern, size int64, root int, inPlace bool) *world {
	t.Helper()
	w := &world{p: p, coll: coll, root: root}
	s := coll.shapeOf(size, int64(p.dtype.Size()), p.ranks)
	for r := range p.ranks {
		words := func(n int64) buffer.Block {
			return buffer.Of(make([]uint64, (int(n)*p.dtype.Size()+7)/8+guardBytes/8))
		}
		b := &buffers{send: words(s.send), recv: words(s.recv)}
		l := layoutOf(b, coll, s, p.dtype, r, inPlace)
		if err := l.prepare(&p, r); err != nil {
			t.Fatal(err)
		}
		w.buffers, w.layouts = append(w.buffers, b), append(w.layouts, l)
	}
	return w
}

// run is the collective, computed from copies of the sources.
func (w *world) run(t *testing.T) {
	t.Helper()
	var sources [][]byte
	for _, l := range w.layouts {
		sources = append(sources, bytes.Clone(l.src.Data))
	}
	var reduced []byte
	if w.coll.reduces() {
		k, err := buffer.KernelFor(w.p.dtype, w.p.op)
		if err != nil {
			t.Fatal(err)
		}
		reduced = make([]byte, len(sources[0]))
		k.Reduce(reduced, sources)
		k.Finish(reduced, len(sources))
	}
	for r, l := range w.layouts {
		switch w.coll {
		case allReduce:
			copy(l.dst.Data, reduced)
		case reduceScatter:
			copy(l.dst.Data, reduced[r*len(l.dst.Data):])
		case allGather:
			copy(l.dst.Data, bytes.Join(sources, nil))
		case broadcast:
			copy(l.dst.Data, sources[w.root])
		case reduce:
			if r == w.root {
				copy(l.dst.Data, reduced)
			}
		}
	}
}

func (w *world) wrong(t *testing.T) (all int64) {
	t.Helper()
	for r := range w.layouts {
		n, err := w.layouts[r].wrong(&w.p, w.coll, r, w.root, &w.known)
		if err != nil {
			t.Fatal(err)
		}
		all += n
	}
	return all
}

func TestLayouts(t *testing.T) {
	for _, coll := range []collKind{allReduce, reduceScatter, allGather, broadcast, reduce} {
		for _, inPlace := range []bool{false, true} {
			for _, dtype := range []buffer.DType{buffer.Float32, buffer.BFloat16, buffer.Int8, buffer.Float64} {
				op := buffer.Op(0)
				if coll.reduces() {
					op = buffer.Avg
				}
				p := newPattern(dtype, op, 3, 99)
				name := func() string { return coll.String() + " of " + dtype.String() }
				fresh := func() *world { return newWorld(t, coll, p, 1536, 1, inPlace) }

				w := fresh()
				if n := w.wrong(t); n < 50 {
					t.Errorf("%s, in place %v: nothing done: %d wrong, want many", name(), inPlace, n)
				}
				w.run(t)
				if n := w.wrong(t); n != 0 {
					t.Errorf("%s, in place %v: %d wrong, want 0", name(), inPlace, n)
				}
				root := w.layouts[w.root]
				last := len(root.dst.Data) - 1
				root.dst.Data[last] ^= 0x40
				if n := w.wrong(t); n != 1 {
					t.Errorf("%s, in place %v: one element flipped: %d wrong, want 1", name(), inPlace, n)
				}
				root.dst.Data[last] ^= 0x40
				root.guards[0][0]++
				if n := w.wrong(t); n != 1 {
					t.Errorf("%s, in place %v: one byte behind the buffer: %d wrong, want 1", name(), inPlace, n)
				}
				root.guards[0][0]--
				// Blocks of two ranks change places, as when a gather mixes up its peers.
				third := len(root.dst.Data) / 3
				a, b := root.dst.Data[:third], root.dst.Data[third:2*third]
				for i := range a {
					a[i], b[i] = b[i], a[i]
				}
				if n := w.wrong(t); n < int64(third/dtype.Size()) {
					t.Errorf("%s, in place %v: blocks swapped: %d wrong, want at least %d", name(), inPlace, n, third/dtype.Size())
				}
				if inPlace {
					continue
				}
				w = fresh()
				w.run(t)
				w.layouts[2].src.Data[3] ^= 0x40
				if n := w.wrong(t); n != 1 {
					t.Errorf("%s: source changed: %d wrong, want 1", name(), n)
				}
			}
		}
	}
}

func TestLayoutOfNothing(t *testing.T) {
	for _, coll := range []collKind{allReduce, reduceScatter, allGather, broadcast, reduce, barrier} {
		for _, inPlace := range []bool{false, true} {
			p := newPattern(buffer.Float32, buffer.Sum, 3, 1)
			w := newWorld(t, coll, p, 0, 0, inPlace)
			if n := w.wrong(t); n != 0 {
				t.Errorf("%v of 0 B: %d wrong, want 0", coll, n)
			}
		}
	}
}
