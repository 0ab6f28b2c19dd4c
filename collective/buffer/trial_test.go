package buffer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// each runs f for every implementation that this machine can run, and for what KernelFor gives. An
// implementation without an entry for a type and operation is not asked for it.
func each(t *testing.T, f func(t *testing.T, kernels func(DType, Op) (Kernel, bool))) {
	t.Run("KernelFor", func(t *testing.T) {
		f(t, func(dtype DType, op Op) (Kernel, bool) {
			k, err := KernelFor(dtype, op)
			if err != nil {
				t.Fatal(err)
			}
			return k, true
		})
	})
	for _, impl := range implementations {
		t.Run(impl.name, func(t *testing.T) {
			if !impl.available {
				t.Skip("this machine lacks the instructions")
			}
			f(t, impl.kernelFor)
		})
	}
}

func (impl implementation) kernelFor(dtype DType, op Op) (Kernel, bool) {
	k := impl.table.kernel(dtype, op)
	if k.divide != nil && k.divide.run == nil {
		k.divide = best.kernel(dtype, op).divide
	}
	return k, k.run != nil
}

// every returns every pair of a type and an operation.
func every(yield func(DType, Op) bool) {
	for _, dtype := range DTypes() {
		for _, op := range Ops() {
			if !yield(dtype, op) {
				return
			}
		}
	}
}

// A trial is one call of Reduce with all that can vary. Its memory is one array, in which guard bytes are
// around each operand.
type trial struct {
	dtype   DType
	op      Op
	count   int   // elements
	sources int   // at least 1
	alias   []int // sources that are dst
	aligned bool  // else operands start at any byte
	stream  bool  // by ReduceStream
	seed    uint64
}

func (tr trial) String() string {
	return fmt.Sprintf("%v %v of %d elements, %d sources, dst is %v of them, aligned %t, stream %t, seed %d",
		tr.op, tr.dtype, tr.count, tr.sources, tr.alias, tr.aligned, tr.stream, tr.seed)
}

// run calls kernel and returns an error that says what is wrong, or nil.
func (tr trial) run(kernel Kernel) error {
	const guard = 64
	rng := rand.New(rand.NewPCG(tr.seed, 1))
	size := tr.count * tr.dtype.Size()
	arena := make([]byte, (tr.sources+1)*(guard+32+size)+guard)
	for i := range arena {
		arena[i] = byte(rng.Uint32())
	}
	next := 0
	place := func() (start int) {
		start = next + guard
		if tr.aligned {
			start = (start + 31) &^ 31 // relative to the array, which is aligned itself
		} else {
			start += rng.IntN(32)
			if tr.stream {
				start -= start % tr.dtype.Size() // elsewhere nothing streams
			}
		}
		next = start + size
		fill(tr.dtype, arena[start:next], rng)
		return start
	}
	dstAt := place()
	at := make([]int, tr.sources)
	for i := range at {
		at[i] = place()
	}
	for _, i := range tr.alias {
		at[i] = dstAt
	}
	dst := arena[dstAt:][:size:size]
	srcs := make([][]byte, tr.sources)
	for i := range srcs {
		srcs[i] = arena[at[i]:][:size:size]
	}

	want := bytes.Clone(arena)
	elements := make([]uint64, tr.sources)
	for i := range tr.count {
		for j, src := range srcs {
			elements[j] = load(tr.dtype, src, i)
		}
		store(tr.dtype, want[dstAt:], i, reduceOracle(tr.dtype, tr.op, elements))
	}
	before := bytes.Clone(arena)
	list := slices.Clone(srcs)

	if tr.stream {
		kernel.ReduceStream(dst, srcs)
	} else {
		kernel.Reduce(dst, srcs)
	}

	for i := range srcs {
		if len(srcs[i]) != len(list[i]) || size > 0 && &srcs[i][0] != &list[i][0] {
			return fmt.Errorf("%v: entry %d of the list of sources has changed", tr, i)
		}
	}
	for i := range tr.count {
		got, want := load(tr.dtype, dst, i), load(tr.dtype, want[dstAt:], i)
		same := got == want
		if tr.sources > 1 && isNaN(tr.dtype, want) {
			same = isNaN(tr.dtype, got) && isQuiet(tr.dtype, got)
		}
		if !same {
			for j := range at {
				elements[j] = load(tr.dtype, before[at[j]:], i)
			}
			return fmt.Errorf("%v: element %d: got %#x, want %#x (or another quiet NaN, if it is one) of %#x", tr, i, got, want, elements)
		}
	}
	copy(want[dstAt:], dst) // compared already
	for i := range arena {
		if arena[i] != want[i] {
			return fmt.Errorf("%v: byte %d relative to the start of dst: got %#x, want %#x as before", tr, i-dstAt, arena[i], want[i])
		}
	}
	return nil
}

// specials returns the bits of all elements that are special: zeros, the ends of ranges, NaNs.
func specials(dtype DType) []uint64 {
	width := 8 * dtype.Size()
	sign := uint64(1) << (width - 1)
	if !isFloat(dtype) {
		return []uint64{0, 1, 2, sign - 1, sign, sign + 1, sign<<1 - 1, 1<<(width/2) - 1}
	}
	frac := fractionBits(dtype)
	inf := uint64(2*bias(dtype)+1) << frac
	list := []uint64{
		0, 1, 1<<frac - 1, 1 << frac, // zero, the denormals' ends, the smallest normal number
		uint64(bias(dtype)) << frac, inf - 1, inf, // 1, the largest number, infinity
		inf + 1, inf | 1<<(frac-1), // a signalling and a quiet NaN
	}
	for _, bits := range list {
		list = append(list, bits|sign)
	}
	return list
}

// fill writes random elements, among them special ones.
func fill(dtype DType, data []byte, rng *rand.Rand) {
	special := specials(dtype)
	for i := range len(data) / dtype.Size() {
		bits := rng.Uint64()
		switch {
		case rng.IntN(4) > 0 && isFloat(dtype): // of moderate size, or sums and products are all infinite
			bits = round(dtype, rng.NormFloat64()*4)
		case rng.IntN(2) > 0:
			bits = special[rng.IntN(len(special))]
		}
		store(dtype, data, i, bits)
	}
}
