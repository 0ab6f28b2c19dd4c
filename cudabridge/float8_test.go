package cudabridge

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
)

// float8Oracle is the reduction by definition: in float32, from left to right, rounded once; scales for the pre-multiplied sum.
func float8Oracle(f Float8, op buffer.Op, srcs [][]byte, ranks int, scales []float32) []byte {
	out := make([]byte, len(srcs[0]))
	for i := range out {
		var acc float32
		for j, src := range srcs {
			x := f.Value(src[i])
			if scales != nil {
				x = float32(x * scales[j])
			}
			switch {
			case j == 0:
				acc = x
			case op == buffer.Prod:
				acc = float32(acc * x)
			case op == buffer.Min:
				acc = min(acc, x) // NaN where one is
			case op == buffer.Max:
				acc = max(acc, x)
			default:
				acc = float32(acc + x)
			}
		}
		if op == buffer.Avg {
			acc = f.Value(f.Bits(acc)) / float32(ranks)
		}
		out[i] = f.Bits(acc)
	}
	return out
}

// differs8 compares: the same bits, or some NaN where one is wanted.
func differs8(f Float8, got, want []byte) error {
	for i := range want {
		if g, w := f.Value(got[i]), f.Value(want[i]); got[i] != want[i] && !(g != g && w != w) {
			return fmt.Errorf("element %d: got %#x, want %#x", i, got[i], want[i])
		}
	}
	return nil
}

func TestFloat8(t *testing.T) {
	for _, tt := range []struct {
		f    Float8
		bits uint8
		want float32
	}{
		{E4M3, 0x7e, 448}, {E4M3, 0x08, 1.0 / 64}, {E4M3, 0x01, 1.0 / 512}, {E4M3, 0x38, 1}, {E4M3, 0xb8, -1}, {E4M3, 0x07, 7.0 / 512},
		{E5M2, 0x7b, 57344}, {E5M2, 0x04, 1.0 / 16384}, {E5M2, 0x01, 1.0 / 65536}, {E5M2, 0x3c, 1}, {E5M2, 0x7c, float32(math.Inf(1))}, {E5M2, 0xfc, float32(math.Inf(-1))},
	} {
		if got := tt.f.Value(tt.bits); got != tt.want {
			t.Errorf("%v %#x: got %v, want %v", tt.f, tt.bits, got, tt.want)
		}
	}
	for _, f := range []Float8{E4M3, E5M2} {
		_, _, largest := f.shape()
		// Every number comes back; what lies between two goes to the nearer, the middle to the even one.
		for b := range 0x7f {
			x, y := f.Value(uint8(b)), f.Value(uint8(b+1))
			if !(x < y) || x > largest || y > largest {
				continue
			}
			middle := (x + y) / 2
			even := uint8(b + b&1)
			for v, want := range map[float32]uint8{x: uint8(b), middle: even, math.Nextafter32(middle, 0): uint8(b), math.Nextafter32(middle, y): uint8(b + 1)} {
				if got, minus := f.Bits(v), f.Bits(-v); got != want || minus != want|0x80 {
					t.Errorf("%v %v: got %#x and %#x, want %#x", f, v, got, minus, want)
				}
			}
		}
		for v, want := range map[float32]float32{2 * largest: largest, float32(math.Inf(-1)): -largest, math.MaxFloat32: largest, math.SmallestNonzeroFloat32: 0} {
			if got := f.Value(f.Bits(v)); got != want {
				t.Errorf("%v %v: got %v, want %v", f, v, got, want)
			}
		}
		if b := f.Bits(float32(math.NaN())); b != 0x7f || !math.IsNaN(float64(f.Value(b))) {
			t.Errorf("%v: NaN is %#x", f, b)
		}
	}
	if E4M3.String() != "e4m3" || E5M2.String() != "e5m2" || Float8(7).String() != "float8 7" {
		t.Error("names are wrong")
	}
}

// TestFloat8Kernels executes the kernels with their own conversions and with those of sm_90 on every layout and number of sources,
// and on every pair of numbers.
func TestFloat8Kernels(t *testing.T) {
	cases := 0
	for _, f := range []Float8{E4M3, E5M2} {
		for _, kind := range []string{f.String(), f.String() + "_sm90"} {
			for _, o := range operations {
				k := kernelOf(t, "reduce_"+kind, o.name+"_"+kind)
				run := func(arena hostArray, dst []byte, srcs [][]byte) {
					t.Helper()
					cases++
					address := func(b []byte) uint64 {
						return arrayAt + uint64(uintptr(unsafe.Pointer(&b[0]))-uintptr(unsafe.Pointer(&arena[0])))
					}
					params := make([]uint64, 4+2*passWidth)
					params[0], params[1], params[2], params[3] = address(dst), uint64(len(dst)), uint64(len(srcs)), uint64(math.Float32bits(3))
					var scales []float32
					for j, src := range srcs {
						params[4+j] = address(src)
						if o.op == 0 {
							scales = append(scales, float32(j)*0.75-1)
							params[4+passWidth+j] = uint64(math.Float32bits(scales[j]))
						}
					}
					want := float8Oracle(f, o.op, srcs, 3, scales)
					before := bytes.Clone(arena)
					text := unsafe.Slice((*byte)(unsafe.Pointer(&params[0])), 8*len(params))
					if err := k.Launch(arena, [2]int{2, 1}, 32, text[:k.ParamBytes()]); err != nil {
						t.Fatalf("%s: %v", k.Name, err)
					}
					if err := differs8(f, dst, want); err != nil {
						t.Fatalf("%s of %d sources: %v", k.Name, len(srcs), err)
					}
					copy(before[address(dst)-arrayAt:], dst)
					if !bytes.Equal(before, arena) {
						t.Fatalf("%s of %d sources: it wrote outside of dst", k.Name, len(srcs))
					}
				}
				for _, l := range layouts {
					for width := 1; width <= passWidth; width++ {
						rng := rand.New(rand.NewPCG(uint64(cases), 5))
						const room = 256
						arena := make(hostArray, (passWidth+1)*room)
						for i := range arena {
							arena[i] = byte(rng.Uint32())
						}
						place := func(i int) []byte { return arena[i*room+16+l.at(i, 1):][:min(l.count(1), 200)] }
						var srcs [][]byte
						for j := range width {
							srcs = append(srcs, place(1+j))
						}
						dst := place(0)
						if cases%3 == 0 {
							dst = srcs[width-1] // in place
						}
						run(arena, dst, srcs)
					}
				}
				const n = 1 << 16
				arena := make(hostArray, 3*n)
				for i := range n {
					arena[n+i], arena[2*n+i] = byte(i), byte(i>>8)
				}
				run(arena, arena[:n], [][]byte{arena[n : 2*n], arena[2*n:]})
			}
		}
	}
	t.Logf("%d cases", cases)
}

// TestFloat8Arguments is what ReduceFloat8 refuses; there is nothing to refuse it on without a device.
func TestFloat8Arguments(t *testing.T) {
	s := &Stream{device: &Device{}}
	b := make([]byte, 64)
	for name, err := range map[string]error{
		"no format":     s.ReduceFloat8(0, buffer.Sum, b, [][]byte{b}, 1),
		"no operation":  s.ReduceFloat8(E4M3, 0, b, [][]byte{b}, 1),
		"no ranks":      s.ReduceFloat8(E4M3, buffer.Sum, b, [][]byte{b}, 0),
		"no sources":    s.ReduceFloat8(E4M3, buffer.Sum, b, nil, 1),
		"nine sources":  s.ReduceFloat8(E4M3, buffer.Sum, b, [][]byte{b, b, b, b, b, b, b, b, b}, 1),
		"lengths":       s.ReduceFloat8(E5M2, buffer.Sum, b, [][]byte{b[1:]}, 1),
		"factors":       s.ReduceFloat8Scaled(E5M2, b, [][]byte{b}, nil),
		"other factors": s.ReduceFloat8Scaled(E5M2, b, [][]byte{b}, []float32{1, 2}),
	} {
		if !errors.Is(err, ErrArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := s.ReduceFloat8(E4M3, buffer.Sum, nil, [][]byte{nil}, 1); err != nil {
		t.Errorf("nothing to do: got %v", err)
	}
}
