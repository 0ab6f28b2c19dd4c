package sim

import "github.com/ringtree/ringtree/collective/schedule"

// sizes turns chunks into bytes.
type sizes struct {
	s      schedule.Schedule
	layout schedule.Layout
	length int // elements
	elem   int64
	chunk  int64 // elements of a chunk, where all are equal; else -1
}

func newSizes(s schedule.Schedule, length int, elem int64) sizes {
	z := sizes{s: s, layout: s.Layout(), length: length, elem: elem, chunk: -1}
	if n := z.layout.Chunks(); length%n == 0 {
		z.chunk = int64(length / n)
	}
	return z
}

// of returns the bytes of a slice of operation k of a run.
func (z *sizes) of(f *schedule.Fleet, r int32, l schedule.Lane, c *schedule.Code, entry uint32, k, slice int32) int64 {
	n := z.elements(f, r, l, c, entry, k)
	if c.Slices > 1 {
		q := n / int64(c.Slices)
		if int64(slice) < n-q*int64(c.Slices) {
			q++
		}
		n = q
	}
	return n * z.elem
}

// asks reports whether the messages of a run ask first: all of them or none, by the longest that its chunks could have, so that none
// overtakes another that waits.
func (z *sizes) asks(k *Cost, c *schedule.Code) bool {
	if k.Eager == 0 {
		return false
	}
	n, slices := min(int64(c.N)*int64(z.layout.Longest(z.length)), int64(z.length)), max(int64(c.Slices), 1)
	return (n+slices-1)/slices*z.elem > k.Eager
}

// elements returns how many elements operation k of a run covers.
func (z *sizes) elements(f *schedule.Fleet, r int32, l schedule.Lane, c *schedule.Code, entry uint32, k int32) int64 {
	var n int64
	switch {
	case z.chunk >= 0:
		n = int64(c.N) * z.chunk
	case c.N > 0:
		first := f.Chunk(entry)
		if k > 0 {
			op, _ := z.s.At(f.Of(r), l, int(c.Index+k))
			if first = op.Dst.Index(); op.Kind == schedule.Send {
				first = op.Src.Index()
			}
		}
		lo, hi := z.layout.Range(z.length, first, int(c.N))
		n = int64(hi - lo)
	}
	return n
}
