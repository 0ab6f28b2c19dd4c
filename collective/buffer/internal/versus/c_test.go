//go:build cgo

package main

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
)

// TestSameResults holds the loops in C to the results of package buffer, bit for bit but for the payload of NaNs: what is compared computes
// the same.
func TestSameResults(t *testing.T) {
	const size = 64 << 10
	for kind, dtype := range types {
		for number, op := range ops {
			kernel, err := buffer.KernelFor(dtype, op)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range sources {
				for _, inPlace := range []bool{false, true} {
					t.Run(fmt.Sprintf("%v/%v/%d/%v", dtype, op, k, inPlace), func(t *testing.T) {
						random := rand.New(rand.NewPCG(uint64(kind), uint64(k)))
						srcs := make([][]byte, k)
						for i := range srcs {
							srcs[i] = make([]byte, size)
							for j := range srcs[i] {
								srcs[i][j] = byte(random.Uint32())
							}
							clear(srcs[i][size/2:]) // zeros of both signs
							for j := size/2 + dtype.Size() - 1; j < size; j += dtype.Size() {
								srcs[i][j] = byte(random.Uint32()) & 0x80
							}
						}
						want, got := make([]byte, size), make([]byte, size)
						kernel.Reduce(want, srcs)
						if inPlace {
							got = srcs[0]
						}
						reduce, release := compiled(kind, number, got, srcs)
						reduce(1)
						release()
						for i := 0; i < size; i += dtype.Size() {
							g, w := got[i:i+dtype.Size()], want[i:i+dtype.Size()]
							if string(g) != string(w) && !(isNaN(dtype, g) && isNaN(dtype, w)) {
								t.Fatalf("byte %d: got %x in C, want %x", i, g, w)
							}
						}
					})
				}
			}
		}
	}
}

// isNaN reports whether the element is beyond infinity: little-endian, as AVX2 is.
func isNaN(dtype buffer.DType, element []byte) bool {
	infinity := map[buffer.DType]uint64{buffer.Float32: 0xff << 23, buffer.Float64: 0x7ff << 52, buffer.Float16: 0x1f << 10, buffer.BFloat16: 0xff << 7}
	limit, float := infinity[dtype]
	var bits uint64
	for i, b := range element {
		if i == len(element)-1 {
			b &= 0x7f
		}
		bits |= uint64(b) << (8 * i)
	}
	return float && bits > limit
}
