package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// vector is the number of bytes of memory that the smallest step of a loop covers.
const vector = 32

// acc is the accumulator of one vector of memory: one register, or two where an element is wider in
// the accumulator than in memory or needs more than its value to be known.
type acc [2]VecVirtual

// operation is what a reducing function does to one vector. The vectors of a step are handled in one call,
// so that their instructions can be interleaved.
type operation struct {
	vectors int                // number of vectors of a full step; their accumulators and temporaries must fit 16 registers
	load    func(m Mem) acc    // brings the vector at m into the form of an accumulator
	combine func(m Mem, a acc) // a = a ⊕ the vector at m
	store   func(a acc, m Mem) // a, which is not needed any more, goes to m
}

// reducer emits the function of that name:
//
//	to = from[0] ⊕ from[1] ⊕ … ⊕ from[k-1], for n bytes, a positive multiple of 32, and 2 <= k <= 8
//
// Each step loads its part of all sources before it stores, so to may be one of them.
func reducer(name, doc string, setup func() operation) {
	TEXT(name, NOSPLIT, "func(to *byte, from *[8]*byte, k, n int)")
	Doc(name+" "+doc, "n is a positive multiple of 32, k is 2 to 8.")
	Pragma("noescape")
	to := Load(Param("to"), GP64())
	from := Load(Param("from"), GP64())
	k := Load(Param("k"), GP64())
	n := Load(Param("n"), GP64())
	op := setup()
	first, other, offset := GP64(), GP64(), GP64()
	MOVQ(Mem{Base: from}, first)
	XORQ(offset, offset)
	CMPQ(k, Imm(2))
	JNE(LabelRef("many"))

	MOVQ(Mem{Base: from, Disp: 8}, other)
	pair := func(vectors int) {
		accs := make([]acc, vectors)
		for i := range accs {
			accs[i] = op.load(at(first, offset, i))
		}
		for i := range accs {
			op.combine(at(other, offset, i), accs[i])
		}
		for i := range accs {
			op.store(accs[i], at(to, offset, i))
		}
	}
	loops("pair", op.vectors, offset, n, pair)
	JMP(LabelRef("done"))

	Label("many")
	j := GP64()
	many := func(vectors int) {
		accs := make([]acc, vectors)
		for i := range accs {
			accs[i] = op.load(at(first, offset, i))
		}
		MOVQ(U32(1), j)
		label := "source"
		if vectors == 1 {
			label = "sourceOfOne"
		}
		Label(label)
		MOVQ(Mem{Base: from, Index: j, Scale: 8}, other)
		for i := range accs {
			op.combine(at(other, offset, i), accs[i])
		}
		INCQ(j)
		CMPQ(j, k)
		JLT(LabelRef(label))
		for i := range accs {
			op.store(accs[i], at(to, offset, i))
		}
	}
	loops("many", op.vectors, offset, n, many)

	Label("done")
	VZEROUPPER()
	RET()
}

// loops emits body in a loop for as long as n holds a full step of vectors, and then for one vector
// at a time.
func loops(name string, vectors int, offset, n Register, body func(vectors int)) {
	step := uint32(vectors * vector)
	CMPQ(n, U32(step))
	JLT(LabelRef(name + "Rest"))
	Label(name + "Step")
	body(vectors)
	ADDQ(U32(step), offset)
	SUBQ(U32(step), n)
	CMPQ(n, U32(step))
	JGE(LabelRef(name + "Step"))
	Label(name + "Rest")
	TESTQ(n, n)
	JEQ(LabelRef("done"))
	Label(name + "One")
	body(1)
	ADDQ(Imm(vector), offset)
	SUBQ(Imm(vector), n)
	JNE(LabelRef(name + "One"))
}

// divider emits the function of that name, which divides n bytes, a positive multiple of 32, by a number that
// prepare turns into a register.
func divider(name, doc string, vectors int, prepare func(by Register) VecVirtual, setup func() (load func(m Mem) acc, divide func(a acc, by VecVirtual), store func(a acc, m Mem))) {
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
			store(a, m)
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

func plainStore(a acc, m Mem) { VMOVDQU(a[0], m) }

// plain is the operation that combine is, on elements that are the same in memory and accumulator.
func plain(combine func(m Mem, y VecVirtual)) operation {
	return operation{
		vectors: 8,
		load:    plainLoad,
		combine: func(m Mem, a acc) { combine(m, a[0]) },
		store:   plainStore,
	}
}
