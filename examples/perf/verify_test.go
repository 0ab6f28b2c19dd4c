package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
)

// block makes room for count elements.
func block(t buffer.DType, count int) buffer.Block {
	words := make([]uint64, (count*t.Size()+7)/8) // aligned for every type
	b := buffer.Of(words)
	return buffer.Block{Data: b.Data[:count*t.Size()], Type: t}
}

// inputs are the inputs of all ranks.
func inputs(t *testing.T, p pattern, count, first int) []buffer.Block {
	t.Helper()
	in := make([]buffer.Block, p.ranks)
	for r := range in {
		in[r] = block(p.dtype, count)
		if err := p.fill(in[r], r, first); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// combine reduces the inputs with the library's kernels, two at a time in a random order: any tree of operations. An
// average is over p.ranks, however many inputs there are.
func combine(t *testing.T, p pattern, in []buffer.Block, rng *rand.Rand) buffer.Block {
	t.Helper()
	k, err := buffer.KernelFor(p.dtype, p.op)
	if err != nil {
		t.Fatal(err)
	}
	var left [][]byte
	for _, b := range in {
		left = append(left, slices.Clone(b.Data))
	}
	for len(left) > 1 {
		i := rng.IntN(len(left))
		j := (i + 1 + rng.IntN(len(left)-1)) % len(left)
		k.Reduce(left[i], [][]byte{left[i], left[j]})
		left[j] = left[len(left)-1]
		left = left[:len(left)-1]
	}
	out := block(p.dtype, in[0].Count())
	copy(out.Data, left[0])
	k.Finish(out.Data, p.ranks)
	return out
}

func wrong(t *testing.T, p pattern, b buffer.Block, first int) int64 {
	t.Helper()
	n, err := p.wrongResult(b, first, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPatternInAnyOrder(t *testing.T) {
	const count, seed = 120, 41
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, dtype := range buffer.DTypes() {
		for _, op := range buffer.Ops() {
			for _, ranks := range []int{1, 2, 3, 4, 5, 8, 13, 40, 300} {
				p := newPattern(dtype, op, ranks, rng.Uint64())
				first := rng.IntN(1 << 20)
				in := inputs(t, p, count, first)
				for range 2 {
					if n := wrong(t, p, combine(t, p, in, rng), first); n != 0 {
						t.Errorf("%v %v among %d ranks, seed %d: %d of %d elements wrong, want 0", dtype, op, ranks, seed, n, count)
					}
				}
			}
		}
	}
}

// TestPatternNoticesFaults makes the mistakes that a collective can make.
func TestPatternNoticesFaults(t *testing.T) {
	const count, seed = 256, 7
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, dtype := range buffer.DTypes() {
		for _, op := range buffer.Ops() {
			for _, ranks := range []int{2, 4, 8} {
				p := newPattern(dtype, op, ranks, 1000)
				in := inputs(t, p, count, 0)
				good := combine(t, p, in, rng)
				idempotent := op == buffer.Min || op == buffer.Max
				check := func(name string, b buffer.Block, least int64) {
					t.Helper()
					if n := wrong(t, p, b, 0); n < least {
						t.Errorf("%v %v among %d ranks, seed %d: %s: %d wrong, want at least %d", dtype, op, ranks, seed, name, n, least)
					}
				}
				edit := func(f func(data []byte)) buffer.Block {
					b := block(dtype, count)
					copy(b.Data, good.Data)
					f(b.Data)
					return b
				}
				width := dtype.Size()
				for _, at := range []int{0, count / 2, count - 1} {
					flipped := edit(func(d []byte) { d[at*width+width-1] ^= 0x40 })
					if n := wrong(t, p, flipped, 0); n != 1 {
						t.Errorf("%v %v among %d ranks: element %d flipped: %d wrong, want 1", dtype, op, ranks, at, n)
					}
				}
				check("one rank missing", combine(t, p, in[1:], rng), count/16)
				if !idempotent {
					check("one rank twice", combine(t, p, append(in[:ranks:ranks], in[0]), rng), count/16)
				}
				stale := p
				stale.seed--
				check("result of the previous iteration", combine(t, stale, inputs(t, stale, count, 0), rng), count/4)
				mixed := append([]buffer.Block{inputs(t, stale, count, 0)[0]}, in[1:]...)
				check("one rank's stale input", combine(t, p, mixed, rng), count/16)
				half := len(good.Data) / 2
				check("swapped halves", edit(func(d []byte) {
					copy(d, good.Data[half:])
					copy(d[half:], good.Data[:half])
				}), count/4)
				check("shifted by one element", edit(func(d []byte) { copy(d[width:], good.Data) }), count/4)
				check("never written", edit(func(d []byte) { fillBytes(d, poison) }), count/2)
			}
		}
	}
}

func TestPatternOfMoves(t *testing.T) {
	const count = 512
	for _, dtype := range buffer.DTypes() {
		p := newPattern(dtype, 0, 4, 5)
		in := inputs(t, p, count, 0)
		for r, b := range in {
			if n, err := p.wrongInput(b, r, 0); n != 0 || err != nil {
				t.Errorf("%v: rank %d's own input: %d wrong, %v, want 0", dtype, r, n, err)
			}
			if n, _ := p.wrongInput(b, (r+1)%4, 0); n < count/2 {
				t.Errorf("%v: rank %d's input taken for another's: %d wrong, want most of %d", dtype, r, n, count)
			}
			if n, _ := p.wrongInput(b, r, 1); n < count/2 {
				t.Errorf("%v: rank %d's input at another index: %d wrong, want most of %d", dtype, r, n, count)
			}
			b.Data[17] ^= 1
			if n, _ := p.wrongInput(b, r, 0); n != 1 {
				t.Errorf("%v: one bit flipped: %d wrong, want 1", dtype, n)
			}
		}
	}
}

func TestFillRoughly(t *testing.T) {
	p := newPattern(buffer.Float16, buffer.Sum, 2, 3)
	for _, count := range []int{0, 1, 4095, 4096, 4097, 30000} {
		b := block(p.dtype, count)
		if err := p.fillRoughly(b, 1); err != nil {
			t.Fatal(err)
		}
		for lo := 0; lo < count; lo += 4096 {
			part := b.Slice(lo, min(lo+4096, count))
			if n, err := p.wrongInput(part, 1, 0); n != 0 || err != nil {
				t.Errorf("%d elements: %d wrong from %d on, %v, want 0", count, n, lo, err)
			}
		}
	}
}

func TestPatternWithinPrecision(t *testing.T) {
	for dtype, f := range precisions {
		for _, ranks := range []int{1, 2, 8, 100, 1000} {
			sum := newPattern(dtype, buffer.Sum, ranks, 1)
			if most := sum.span * int64(sum.terms); most > 1<<f.digits || sum.span < 1 {
				t.Errorf("%v sum among %d: partial sums up to %d, want 1 … %d", dtype, ranks, most, int64(1)<<f.digits)
			}
			prod := newPattern(dtype, buffer.Prod, ranks, 1)
			if most := prod.span * int64(prod.terms); most > f.exponent || prod.span < 1 {
				t.Errorf("%v prod among %d: exponents up to %d, want 1 … %d", dtype, ranks, most, f.exponent)
			}
		}
	}
}

func TestPatternErrors(t *testing.T) {
	p := newPattern(buffer.Float32, buffer.Sum, 2, 1)
	if err := p.fill(block(buffer.Int32, 4), 0, 0); err == nil {
		t.Error("fill of another type: got nil, want an error")
	}
	b := block(buffer.Float32, 4)
	b.Data = b.Data[:15]
	if _, err := p.wrongResult(b, 0, nil); err == nil {
		t.Error("block that ends inside an element: got nil, want an error")
	}
}

func TestGuard(t *testing.T) {
	g := make([]byte, guardBytes)
	fillBytes(g, poison)
	if n := wrongGuard(g); n != 0 {
		t.Errorf("untouched: %d wrong, want 0", n)
	}
	g[0], g[63] = 0, 1
	if n := wrongGuard(g); n != 2 {
		t.Errorf("two bytes written: %d wrong, want 2", n)
	}
}

func BenchmarkPattern(b *testing.B) {
	for _, dtype := range []buffer.DType{buffer.Float32, buffer.Float16, buffer.Int8} {
		p := newPattern(dtype, buffer.Sum, 4, 1)
		data := block(dtype, 1<<20)
		b.Run(fmt.Sprintf("fill/%v", dtype), func(b *testing.B) {
			b.SetBytes(int64(len(data.Data)))
			for b.Loop() {
				if err := p.fill(data, 1, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("check/%v/4", dtype), func(b *testing.B) {
			b.SetBytes(int64(len(data.Data)))
			for b.Loop() {
				if _, err := p.wrongResult(data, 0, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
