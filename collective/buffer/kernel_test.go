package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestReduceSpecials brings every pair of special elements to every place in a step of the loops.
func TestReduceSpecials(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		for dtype, op := range every {
			kernel, ok := kernels(dtype, op)
			if !ok {
				continue
			}
			special := specials(dtype)
			pairs := len(special) * len(special)
			count := (256+32)/dtype.Size() + 1
			want := make([]uint64, pairs)
			for pair := range want {
				want[pair] = reduceOracle(dtype, op, []uint64{special[pair%len(special)], special[pair/len(special)]})
			}
			a, b, dst := make([]byte, count*dtype.Size()), make([]byte, count*dtype.Size()), make([]byte, count*dtype.Size())
			for shift := range pairs {
				for i := range count {
					pair := (i + shift) % pairs
					store(dtype, a, i, special[pair%len(special)])
					store(dtype, b, i, special[pair/len(special)])
				}
				// A source twice is one pass of the loop for any number of sources, and for min and max
				// changes nothing.
				lists := [][][]byte{{a, b}}
				if op == Min || op == Max {
					lists = append(lists, [][]byte{a, b, a}, [][]byte{a, a, b})
				}
				for _, srcs := range lists {
					kernel.Reduce(dst, srcs)
					for i := range count {
						got, want := load(dtype, dst, i), want[(i+shift)%pairs]
						if got != want && !(isNaN(dtype, want) && isNaN(dtype, got) && isQuiet(dtype, got)) {
							t.Fatalf("%v %v of %d sources: element %d: got %#x, want %#x of %#x and %#x", op, dtype, len(srcs), i,
								got, want, load(dtype, a, i), load(dtype, b, i))
						}
					}
				}
			}
		}
	})
}

// TestReduceMatchesOracle goes through every type and operation with lengths around the steps of the loops
// and numbers of sources around the width of a pass.
func TestReduceMatchesOracle(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		seed := uint64(0)
		for dtype, op := range every {
			kernel, ok := kernels(dtype, op)
			if !ok {
				continue
			}
			for _, sources := range []int{1, 2, 3, 7, 8, 9, 15, 16, 17} {
				for _, size := range []int{0, 8, 24, 32, 40, 128, 248, 256, 264, 552} {
					seed++
					count := size / dtype.Size()
					if size%16 == 8 {
						count = max(count-1, 1) // a tail that is not a multiple of 8 bytes
					}
					tr := trial{dtype: dtype, op: op, count: count, sources: sources, aligned: seed%4 == 0, seed: seed}
					switch seed % 3 {
					case 0:
						tr.alias = []int{int(seed) % sources}
					case 1:
						tr.alias = []int{0, sources - 1}
					}
					if err := tr.run(kernel); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// TestReduceLong uses operands longer than the stretches and blocks that Reduce cuts them into.
func TestReduceLong(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		seed := uint64(1000)
		for _, dtype := range []DType{BFloat16, Float64} {
			kernel, ok := kernels(dtype, Sum)
			if !ok {
				continue
			}
			for _, sources := range []int{2, 9} {
				for _, alias := range [][]int{nil, {0}, {sources - 1}} {
					seed++
					tr := trial{dtype: dtype, op: Sum, count: (stretch+600)/dtype.Size() + 1, sources: sources, alias: alias, seed: seed}
					if err := tr.run(kernel); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// TestReduceSameBits compares whole results between the implementations, with longer operands than the oracle
// has the time for.
func TestReduceSameBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	const size = 20_008
	srcs := make([][]byte, 12)
	for i := range srcs {
		srcs[i] = make([]byte, size)
	}
	for dtype, op := range every {
		for _, src := range srcs {
			fill(dtype, src, rng)
		}
		for _, n := range []int{2, 8, 12} {
			want := make([]byte, size)
			genericKernel, _ := implementations[0].kernelFor(dtype, op)
			genericKernel.Reduce(want, srcs[:n])
			got := make([]byte, size)
			best.kernel(dtype, op).Reduce(got, srcs[:n])
			for i := range size / dtype.Size() {
				g, w := load(dtype, got, i), load(dtype, want, i)
				if g != w && !(isNaN(dtype, g) && isNaN(dtype, w)) {
					t.Fatalf("%v %v of %d sources: element %d: got %#x, generic code %#x", op, dtype, n, i, g, w)
				}
			}
		}
	}
}

func FuzzReduce(f *testing.F) {
	f.Add(uint64(1), uint8(Float32), uint8(Sum), uint16(100), uint8(2), uint32(1))
	f.Add(uint64(2), uint8(BFloat16), uint8(Avg), uint16(17), uint8(9), uint32(1<<8))
	f.Add(uint64(3), uint8(Uint64), uint8(Max), uint16(3), uint8(20), uint32(3))
	f.Add(uint64(4), uint8(Float16), uint8(Prod), uint16(1025), uint8(8), uint32(0))
	f.Add(uint64(5), uint8(Int8), uint8(Min), uint16(65), uint8(1), uint32(0))
	f.Fuzz(func(t *testing.T, seed uint64, dtype, op uint8, count uint16, sources uint8, alias uint32) {
		tr := trial{
			dtype:   Int8 + DType(dtype)%(dtypeEnd-1),
			op:      Sum + Op(op)%(opEnd-1),
			count:   int(count) % 3000,
			sources: 1 + int(sources)%24,
			stream:  seed&2 == 2,
			aligned: seed&1 == 1,
			seed:    seed,
		}
		for i := range tr.sources {
			if alias>>i&1 == 1 {
				tr.alias = append(tr.alias, i)
			}
		}
		for _, impl := range implementations {
			if kernel, ok := impl.kernelFor(tr.dtype, tr.op); ok && impl.available {
				if err := tr.run(kernel); err != nil {
					t.Errorf("%s: %v", impl.name, err)
				}
			}
		}
	})
}

// checkFinish compares Finish with the oracle.
func checkFinish(kernel Kernel, count, n int, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	dtype := kernel.Type()
	size := count * dtype.Size()
	arena := make([]byte, size+128)
	for i := range arena {
		arena[i] = byte(rng.Uint32())
	}
	lo := 1 + rng.IntN(63)
	data := arena[lo:][:size:size]
	fill(dtype, data, rng)
	before := bytes.Clone(arena)
	kernel.Finish(data, n)
	for i := range count {
		got, x := load(dtype, data, i), load(dtype, before[lo:], i)
		want := x
		if kernel.Op() == Avg && n > 1 {
			want = divideOracle(dtype, x, n)
		}
		if got != want && !(isNaN(dtype, got) && isNaN(dtype, want)) {
			return fmt.Errorf("%v %v, %d elements, seed %d: element %d: got %#x, want %#x = %#x/%d",
				kernel.Op(), dtype, count, seed, i, got, want, x, n)
		}
	}
	if !bytes.Equal(arena[:lo], before[:lo]) || !bytes.Equal(arena[lo+size:], before[lo+size:]) {
		return fmt.Errorf("%v %v, %d elements, seed %d: bytes around the data have changed", kernel.Op(), dtype, count, seed)
	}
	return nil
}

func TestFinishMatchesOracle(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		seed := uint64(0)
		for dtype, op := range every {
			kernel, ok := kernels(dtype, op)
			if !ok {
				continue
			}
			for _, n := range []int{-1, 0, 1, 2, 3, 7, 8, 200, 65536, 1<<24 - 1} {
				for _, count := range []int{0, 1, 5, 16, 61, 300} {
					seed++
					if err := checkFinish(kernel, count, n, seed); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := checkFinish(kernel, (stretch+100)/dtype.Size(), 3, seed); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzFinish(f *testing.F) {
	f.Add(uint64(1), uint8(Float32), uint16(100), 3)
	f.Add(uint64(2), uint8(Int8), uint16(33), 129)
	f.Add(uint64(3), uint8(BFloat16), uint16(16), 65536)
	f.Fuzz(func(t *testing.T, seed uint64, dtype uint8, count uint16, n int) {
		n %= 1 << 24
		for _, impl := range implementations {
			kernel, ok := impl.kernelFor(Int8+DType(dtype)%(dtypeEnd-1), Avg)
			if ok && impl.available {
				if err := checkFinish(kernel, int(count)%3000, n, seed); err != nil {
					t.Errorf("%s: %v", impl.name, err)
				}
			}
		}
	})
}

// TestReduceCommutes holds the kernels to the promise that two operands may be exchanged.
func TestReduceCommutes(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		rng := rand.New(rand.NewPCG(3, 3))
		const size = 4096
		a, b, ab, ba := make([]byte, size), make([]byte, size), make([]byte, size), make([]byte, size)
		for dtype, op := range every {
			kernel, ok := kernels(dtype, op)
			if !ok {
				continue
			}
			fill(dtype, a, rng)
			fill(dtype, b, rng)
			kernel.Reduce(ab, [][]byte{a, b})
			kernel.Reduce(ba, [][]byte{b, a})
			for i := range size / dtype.Size() {
				x, y := load(dtype, ab, i), load(dtype, ba, i)
				if x != y && !(isNaN(dtype, x) && isNaN(dtype, y)) {
					t.Fatalf("%v %v: element %d: %#x one way, %#x the other", op, dtype, i, x, y)
				}
			}
		}
	})
}

// TestReduceAllocatesNothing also holds that operands may stay on the stack of the caller.
func TestReduceAllocatesNothing(t *testing.T) {
	for dtype, op := range every {
		got := testing.AllocsPerRun(10, func() {
			kernel, err := KernelFor(dtype, op)
			if err != nil {
				panic(err)
			}
			var operands [20][40]byte
			var srcs [len(operands)][]byte
			for i := range operands {
				srcs[i] = operands[i][:]
			}
			for _, n := range []int{1, 2, 8, 9, len(srcs)} {
				kernel.Reduce(operands[0][:], srcs[:n])
				kernel.Reduce(operands[19][:], srcs[:n])
			}
			kernel.Finish(operands[0][:], 3)
			Copy(operands[1][:], operands[2][:])
			var long [2][streamLeast]byte
			var two [2][]byte
			for i := range two {
				two[i] = long[1][:]
			}
			kernel.ReduceStream(long[0][:], two[:])
			CopyStream(long[0][:], long[1][:])
		})
		if got != 0 {
			t.Errorf("%v %v: got %v allocations, want 0", op, dtype, got)
		}
	}
}

// TestReduceOnGrowingStack has operands on small stacks, which Reduce's own frames make grow and move.
func TestReduceOnGrowingStack(t *testing.T) {
	each(t, func(t *testing.T, kernels func(DType, Op) (Kernel, bool)) {
		kernel, ok := kernels(Int32, Sum)
		if !ok {
			t.Skip("no such kernel")
		}
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() {
				var operands [10][11]int32
				var srcs [10][]byte
				for i := range operands {
					for j := range operands[i] {
						operands[i][j] = int32(i + j)
					}
					srcs[i] = Of(operands[i][:]).Data
				}
				kernel.Reduce(srcs[9], srcs[:])
				for j, got := range operands[9] {
					if want := int32(45 + 10*j); got != want {
						t.Errorf("element %d: got %d, want %d", j, got, want)
					}
				}
			})
		}
		wait.Wait()
	})
}

func TestKernelForRefuses(t *testing.T) {
	for _, c := range []struct {
		dtype DType
		op    Op
	}{{0, Sum}, {dtypeEnd, Sum}, {255, Sum}, {Float32, 0}, {Float32, opEnd}, {Float32, 255}} {
		_, err := KernelFor(c.dtype, c.op)
		var want *KernelError
		if !errors.As(err, &want) || want.Type != c.dtype || want.Op != c.op {
			t.Errorf("KernelFor(%d, %d): got error %v, want a *KernelError with these", c.dtype, c.op, err)
		}
	}
}

func TestKernelTells(t *testing.T) {
	for dtype, op := range every {
		k, err := KernelFor(dtype, op)
		if err != nil {
			t.Fatal(err)
		}
		if k.Type() != dtype || k.Op() != op || k.Implementation() == "" {
			t.Errorf("got %v %v %q, want %v %v and a name", k.Type(), k.Op(), k.Implementation(), dtype, op)
		}
	}
}

func TestReducePanicsOnMisuse(t *testing.T) {
	kernel, err := KernelFor(Float32, Sum)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	for name, f := range map[string]func(){
		"no sources":             func() { kernel.Reduce(b[:8], nil) },
		"ends inside an element": func() { kernel.Reduce(b[:6], [][]byte{b[:6]}) },
		"source too short":       func() { kernel.Reduce(b[:8], [][]byte{b[:8], b[16:20]}) },
		"source too long":        func() { kernel.Reduce(b[:8], [][]byte{b[:8], b[16:32]}) },
		"overlap from above":     func() { kernel.Reduce(b[:8], [][]byte{b[:8], b[4:12]}) },
		"overlap from below":     func() { kernel.Reduce(b[4:12], [][]byte{b[4:12], b[:8]}) },
		"finish inside element":  func() { kernel.Finish(b[:6], 2) },
		"copy to shorter":        func() { Copy(b[:8:8], b[16:32]) },
	} {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(b)
			defer func() {
				if recover() == nil {
					t.Error("got no panic, want one")
				}
				if !bytes.Equal(b, before) {
					t.Error("data was changed before the panic")
				}
			}()
			f()
		})
	}
}

// TestImplementationsFit checks what Reduce relies on in the tables.
func TestImplementationsFit(t *testing.T) {
	for i, impl := range implementations {
		for _, dtype := range DTypes() {
			for op := Sum; op <= Max; op++ {
				r := impl.table.reducers[dtype][op]
				if r.run == nil {
					if i == 0 {
						t.Errorf("%s: no code for %v %v, which everything falls back to", impl.name, op, dtype)
					}
					continue
				}
				if r.width < 2 || r.width > maxPass || r.block < dtype.Size() || r.block > maxBlock || r.block%dtype.Size() != 0 || stretch%r.block != 0 || scratchBlock%r.block != 0 {
					t.Errorf("%s: %v %v: width %d, block %d do not fit", impl.name, op, dtype, r.width, r.block)
				}
				if (dtype == Float16 || dtype == BFloat16) && r.width != maxPass {
					t.Errorf("%s: %v %v: a pass takes %d sources, want %d as everywhere, or results differ", impl.name, op, dtype, r.width, maxPass)
				}
				if r.impl != impl.name {
					t.Errorf("%s: %v %v calls itself %q", impl.name, op, dtype, r.impl)
				}
			}
			if i == 0 && impl.table.dividers[dtype].run == nil {
				t.Errorf("%s: no division for %v", impl.name, dtype)
			}
		}
	}
}
