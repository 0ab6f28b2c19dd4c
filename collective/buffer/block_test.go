package buffer

import (
	"errors"
	"slices"
	"testing"
	"unsafe"
)

// checkElem takes a slice to a block and back.
func checkElem[T Elem](t *testing.T, s ...T) {
	t.Helper()
	b := Of(s)
	if b.Type != TypeOf[T]() || b.Count() != len(s) || len(b.Data) != len(s)*b.Type.Size() {
		t.Errorf("Of(%v): got %d elements of %v in %d bytes", s, b.Count(), b.Type, len(b.Data))
	}
	if err := b.Validate(); err != nil {
		t.Errorf("Of(%v): %v", s, err)
	}
	v, err := View[T](b)
	if err != nil || !slices.Equal(v, s) {
		t.Errorf("View: got %v, %v, want %v", v, err, s)
	}
	mid := b.Slice(1, 2)
	if m, err := View[T](mid); err != nil || len(m) != 1 || &m[0] != &s[1] || cap(mid.Data) != b.Type.Size() {
		t.Errorf("Slice(1, 2): got %v, %v with room for %d bytes, want element 1 itself and no room beyond", m, err, cap(mid.Data))
	}
}

func TestBlock(t *testing.T) {
	checkElem[int8](t, 1, -2, 3)
	checkElem[uint8](t, 1, 2, 255)
	checkElem[int16](t, 1, -2, 3)
	checkElem[uint16](t, 1, 2, 65535)
	checkElem[int32](t, 1, -2, 3)
	checkElem[uint32](t, 1, 2, 3)
	checkElem[int64](t, 1, -2, 3)
	checkElem[uint64](t, 1, 2, 3)
	checkElem[F16](t, ToF16(1), ToF16(2), ToF16(3))
	checkElem[BF16](t, ToBF16(1), ToBF16(2), ToBF16(3))
	checkElem[float32](t, 1, -2, 3)
	checkElem[float64](t, 1, -2, 3)
}

func TestBlockOfNothing(t *testing.T) {
	for _, s := range [][]float64{nil, {}} {
		b := Of(s)
		v, err := View[float64](b)
		if b.Count() != 0 || len(b.Data) != 0 || len(v) != 0 || err != nil {
			t.Errorf("got %d elements, %d bytes, view %v, %v, want none", b.Count(), len(b.Data), v, err)
		}
	}
	if got := (Block{Data: make([]byte, 8)}).Count(); got != 0 {
		t.Errorf("block of an invalid type: got %d elements, want 0", got)
	}
}

func TestViewRefuses(t *testing.T) {
	words := Of(make([]uint64, 4)).Data
	for name, c := range map[string]struct {
		block  Block
		reason string
	}{
		"no type":      {Block{Data: words}, "has an invalid type"},
		"unknown type": {Block{Data: words, Type: dtypeEnd}, "has an invalid type"},
		"another type": {Block{Data: words, Type: Int32}, "has another type"},
		"cut off":      {Block{Data: words[:6], Type: Float32}, "ends inside an element"},
		"misaligned":   {Block{Data: words[2:10], Type: Float32}, "is misaligned"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := View[float32](c.block)
			var e *BlockError
			if v != nil || !errors.As(err, &e) || e.Reason != c.reason || e.Have != c.block.Type || e.Bytes != len(c.block.Data) {
				t.Errorf("got %v, %v, want a *BlockError that it %s", v, err, c.reason)
			}
			n, ok := c.block.Type.Elements(c.block.Data)
			if want := c.block.Validate() == nil; n != c.block.Count() || ok != want {
				t.Errorf("Elements: got %d, %v, want %d, %v", n, ok, c.block.Count(), want)
			}
		})
	}
}

// TestAlignmentIsGos: a slice of any type is aligned, whatever the machine.
func TestAlignmentIsGos(t *testing.T) {
	if got, want := alignment(Float64.Size()), unsafe.Alignof(float64(0)); got != want {
		t.Errorf("float64: got %d, want %d", got, want)
	}
	var pair struct {
		_ uint32
		x [2]uint64
	}
	if err := Of(pair.x[:]).Validate(); err != nil {
		t.Error(err)
	}
}

func TestSliceOutOfRange(t *testing.T) {
	b := Of(make([]int32, 4))
	for _, c := range [][2]int{{-1, 2}, {0, 5}, {3, 2}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Slice(%d, %d) of 4 elements: got no panic, want one", c[0], c[1])
				}
			}()
			b.Slice(c[0], c[1])
		}()
	}
}

func TestCopy(t *testing.T) {
	src := make([]byte, 3*maxUninterrupted+5)
	for i := range src {
		src[i] = byte(i*7 + i>>8)
	}
	for _, n := range []int{0, 1, 100, maxUninterrupted - 1, maxUninterrupted, maxUninterrupted + 1, 2 * maxUninterrupted, len(src)} {
		dst := slices.Repeat([]byte{0xaa}, n+1)
		Copy(dst, src[:n])
		if !slices.Equal(dst[:n], src[:n]) {
			t.Errorf("%d bytes: the copy differs", n)
		}
		if dst[n] != 0xaa {
			t.Errorf("%d bytes: the byte after the end was changed to %#x", n, dst[n])
		}
		Copy(dst, dst[:n])
		if !slices.Equal(dst[:n], src[:n]) {
			t.Errorf("%d bytes: the copy onto itself differs", n)
		}
	}
}
