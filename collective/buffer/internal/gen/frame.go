package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// vector is the number of bytes of memory that the smallest step of a loop covers.
const vector = 32

// line is how many vectors a step covers when there are more than two sources. Longer steps read several lines of one source before
// they turn to the next, and the processor's prefetchers keep up with that less well the more sources there are.
const line = 2

// header is how many bytes of a list of slices one of them takes; the first eight are its address.
const header = 24

// maxSources is the largest number of sources of one pass.
const maxSources = 8

// acc is the accumulator of one vector of memory: one register, or two where an element is wider in
// the accumulator than in memory or needs more than its value to be known.
type acc [2]VecVirtual

// move is an instruction that copies a register to memory, past the caches or not.
type move func(from, to Op)

// operation is what a reducing function does to one vector.
type operation struct {
	vectors int                          // number of vectors of a full step with two sources
	long    bool                         // combine is several instructions, each of which needs the one before
	load    func(m Mem) acc              // brings the vector at m into the form of an accumulator
	combine func(m Mem, a acc)           // a = a ⊕ the vector at m
	store   func(a acc, m Mem, mov move) // brings a, which is not needed any more, into the form of memory, and mov takes it to m
}

// reducer emits the function of that name:
//
//	to = from[0] ⊕ from[1] ⊕ … ⊕ from[k-1], for the n bytes from byte lo on, n a positive multiple of 32, and 2 <= k <= 8
//
// What is stored was loaded from all sources before, so to may be one of them. Each vector is stored before the next one is
// loaded: of two sources in the first-level cache, it takes a sixth longer where the loads of a step come first, of four 3 % (AMD Zen 5). Of more than
// two, whose chains are long, the vectors of a line go together, so that one does not wait for the other's. Unless past is 0, full steps are
// stored past the caches; to+lo must be a multiple of 32 then.
func reducer(name, doc string, setup func() operation) {
	TEXT(name, NOSPLIT, "func(to *byte, from *[]byte, k, lo, n, past int)")
	Doc(name+" "+doc, "from points to the first of k slices, k is 2 to 8, n is a positive multiple of 32. If past is not 0, results go past the caches and to+lo is a multiple of 32.")
	Pragma("noescape")
	to := Load(Param("to"), GP64())
	from := Load(Param("from"), GP64())
	k := Load(Param("k"), GP64())
	offset := Load(Param("lo"), GP64())
	n := Load(Param("n"), GP64())
	past := Load(Param("past"), GP64())
	op := setup()
	first := GP64()
	MOVQ(Mem{Base: from}, first)
	for sources := 2; sources <= maxSources; sources++ {
		next := fmt.Sprintf("not%d", sources)
		if sources < maxSources {
			CMPQ(k, Imm(uint64(sources)))
			JNE(LabelRef(next))
		}
		others := make([]Register, sources-1)
		for i := range others {
			others[i] = GP64()
			MOVQ(Mem{Base: from, Disp: header * (i + 1)}, others[i])
		}
		step, together := op.vectors, 1
		if sources > 2 {
			step = line
			if op.long {
				together = line
			}
		}
		body := func(mov move) func(vectors int) {
			return func(vectors int) {
				for lo := 0; lo < vectors; lo += together {
					accs := make([]acc, min(together, vectors-lo))
					for i := range accs {
						accs[i] = op.load(at(first, offset, lo+i))
					}
					for _, other := range others {
						for i := range accs {
							op.combine(at(other, offset, lo+i), accs[i])
						}
					}
					for i, a := range accs {
						op.store(a, at(to, offset, lo+i), mov)
					}
				}
			}
		}
		name := fmt.Sprintf("sources%d", sources)
		TESTQ(past, past)
		JEQ(LabelRef(name + "Near"))
		steps(name, "Past", step, offset, n, body(VMOVNTDQ))
		JMP(LabelRef(name + "Rest"))
		Label(name + "Near")
		steps(name, "Step", step, offset, n, body(VMOVDQU))
		rest(name, step, offset, n, body(VMOVDQU))
		if sources < maxSources {
			JMP(LabelRef("done"))
			Label(next)
		}
	}

	Label("done")
	TESTQ(past, past)
	JEQ(LabelRef("end"))
	SFENCE() // what is stored after the call may publish what the call has stored
	Label("end")
	VZEROUPPER()
	RET()
}

// loops emits body in a loop for as long as n holds a full step of vectors, and then for one vector
// at a time.
func loops(name string, vectors int, offset, n Register, body func(vectors int)) {
	steps(name, "Step", vectors, offset, n, body)
	rest(name, vectors, offset, n, body)
}

// steps emits the loop of full steps. It leaves n a step short of what remains, for the rest of the same name, which must follow.
func steps(name, label string, vectors int, offset, n Register, body func(vectors int)) {
	step := uint32(vectors * vector)
	SUBQ(U32(step), n)
	JLT(LabelRef(name + "Rest"))
	Label(name + label)
	body(vectors)
	ADDQ(U32(step), offset)
	SUBQ(U32(step), n)
	JGE(LabelRef(name + label))
}

// rest emits the loop of single vectors after steps.
func rest(name string, vectors int, offset, n Register, body func(vectors int)) {
	Label(name + "Rest")
	ADDQ(U32(uint32(vectors*vector)), n)
	JEQ(LabelRef("done"))
	Label(name + "One")
	body(1)
	ADDQ(Imm(vector), offset)
	SUBQ(Imm(vector), n)
	JNE(LabelRef(name + "One"))
}

// divider emits the function of that name, which divides n bytes, a positive multiple of 32, by a number that
// prepare turns into a register.
func divider(name, doc string, vectors int, prepare func(by Register) VecVirtual, setup func() (load func(m Mem) acc, divide func(a acc, by VecVirtual), store func(a acc, m Mem, mov move))) {
	TEXT(name, NOSPLIT, "func(p *byte, n, by int)")
	Doc(name+" "+doc, "n is a positive multiple of 32.")
	Pragma("noescape")
	p := Load(Param("p"), GP64())
	n := Load(Param("n"), GP64())
	by := prepare(Load(Param("by"), GP64()))
	load, divide, store := setup()
	offset := GP64()
	XORQ(offset, offset)
	loops("divide", vectors, offset, n, func(vectors int) {
		for i := range vectors {
			m := at(p, offset, i)
			a := load(m)
			divide(a, by)
			store(a, m, VMOVDQU)
		}
	})
	Label("done")
	VZEROUPPER()
	RET()
}

// at is vector i of those that start at base plus offset.
func at(base, offset Register, i int) Mem {
	return Mem{Base: base, Index: offset, Scale: 1, Disp: i * vector}
}

// half16 is the second half of the vector at m.
func half16(m Mem) Mem {
	m.Disp += vector / 2
	return m
}

// ones returns a register with every bit set, from which shifts make constants.
func ones() VecVirtual {
	y := YMM()
	VPCMPEQD(y, y, y)
	return y
}

// plainLoad and plainStore are for elements that are the same in memory and accumulator.
func plainLoad(m Mem) acc {
	y := YMM()
	VMOVDQU(m, y)
	return acc{y}
}

func plainStore(a acc, m Mem, mov move) { mov(a[0], m) }

// plain is the operation that combine is, on elements that are the same in memory and accumulator.
func plain(combine func(m Mem, y VecVirtual)) operation {
	return operation{
		vectors: 4,
		long:    true,
		load:    plainLoad,
		combine: func(m Mem, a acc) { combine(m, a[0]) },
		store:   plainStore,
	}
}

// single is the operation that one instruction is, on such elements. Its step with two sources is long enough that the processor (AMD Zen 5) foresees
// the end of 16 KiB, after 64 of them; after 128 it does or does not by where the code lies, and takes 6 % longer where it does not.
func single(do instruction) operation {
	op := plain(func(m Mem, y VecVirtual) { do(m, y, y) })
	op.vectors, op.long = 8, false
	return op
}
