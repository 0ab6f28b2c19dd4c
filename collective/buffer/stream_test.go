package buffer

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestReduceStreamMatchesOracle has results around the least length that goes past the caches, at every offset from a line.
func TestReduceStreamMatchesOracle(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		seed := uint64(0)
		for dtype, op := range every {
			kernel, ok := kernels(dtype, op)
			if !ok {
				continue
			}
			for _, sources := range []int{1, 2, 5, 8, 9} {
				for _, size := range []int{streamLeast - 8, streamLeast, streamLeast + 3*streamLine + 40} {
					seed++
					tr := trial{dtype: dtype, op: op, count: size / dtype.Size(), sources: sources, stream: true, aligned: seed%4 == 0, seed: seed}
					if seed%5 == 0 {
						tr.alias = []int{sources - 1}
					}
					if err := tr.run(kernel); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

func TestReduceStreamLong(t *testing.T) {
	kernel := best.kernel(Float64, Sum)
	for seed := range uint64(4) {
		tr := trial{dtype: Float64, op: Sum, count: (2*stretch+600)/8 + 1, sources: 3, stream: true, seed: seed}
		if err := tr.run(kernel); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	arena := make([]byte, 3*maxUninterrupted)
	src := make([]byte, len(arena))
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	for _, size := range []int{0, 1, streamLeast - 1, streamLeast, streamLeast + 65, maxUninterrupted, maxUninterrupted + 1, 2*maxUninterrupted + 77} {
		for _, offset := range []int{0, 1, 31, 64, 100} {
			clear(arena)
			CopyStream(arena[offset:offset+size+5], src[3:3+size])
			if !bytes.Equal(arena[offset:offset+size], src[3:3+size]) {
				t.Errorf("%d bytes to offset %d: not what was copied", size, offset)
			}
			if !bytes.Equal(arena[:offset], make([]byte, offset)) ||
				!bytes.Equal(arena[offset+size:], make([]byte, len(arena)-offset-size)) {
				t.Errorf("%d bytes to offset %d: bytes around them have changed", size, offset)
			}
		}
	}
	CopyStream(src, src)
}
