package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// wide converts a vector of 16 half-precision numbers to two registers of float32, and back.
type wide struct {
	load  func(m Mem) acc
	store func(a acc, m Mem, mov move)
}

func halves() {
	for _, half := range []struct {
		name, doc string
		format    func() wide
		inf       [2]uint8 // infinity is all ones, shifted right by the one and then left by the other
	}{
		{"Float16", "float16", float16, [2]uint8{11, 10}},
		{"BFloat16", "bfloat16", bfloat16, [2]uint8{8, 7}},
	} {
		reducer("avx2Sum"+half.name, "adds "+half.doc+" numbers in float32.",
			func() operation { return half.format().operation(VADDPS) })
		reducer("avx2Prod"+half.name, "multiplies "+half.doc+" numbers in float32.",
			func() operation { return half.format().operation(VMULPS) })
		reducer("avx2Min"+half.name, "takes the smaller of "+half.doc+" numbers.",
			func() operation { return orderHalves(half.inf, VPMINSW) })
		reducer("avx2Max"+half.name, "takes the larger of "+half.doc+" numbers.",
			func() operation { return orderHalves(half.inf, VPMAXSW) })
		divider("avx2Divide"+half.name, "divides "+half.doc+" numbers by by in float32.", 4, toFloat32,
			func() (func(Mem) acc, func(acc, VecVirtual), func(acc, Mem, move)) {
				w := half.format()
				divide := func(a acc, by VecVirtual) {
					VDIVPS(by, a[0], a[0])
					VDIVPS(by, a[1], a[1])
				}
				return w.load, divide, w.store
			})
	}
}

// operation applies an instruction for float32.
func (w wide) operation(do instruction) operation {
	return operation{
		vectors: 4,
		long:    true,
		load:    w.load,
		combine: func(m Mem, a acc) {
			x := w.load(m)
			do(x[0], a[0], a[0])
			do(x[1], a[1], a[1])
		},
		store: w.store,
	}
}

// float16 has instructions for the conversion. The accumulator holds the first eight numbers and the second.
func float16() wide {
	nearestEven := Imm(0)
	return wide{
		load: func(m Mem) acc {
			a := acc{YMM(), YMM()}
			VCVTPH2PS(m, a[0])
			VCVTPH2PS(half16(m), a[1])
			return a
		},
		store: func(a acc, m Mem, mov move) { // to put the halves together first would take longer
			low, high := XMM(), XMM()
			VCVTPS2PH(nearestEven, a[0], low)
			mov(low, m)
			VCVTPS2PH(nearestEven, a[1], high)
			mov(high, half16(m))
		},
	}
}

// bfloat16 is the upper half of a float32. The accumulator holds the numbers at even places, which a shift
// brings there, and those at odd places, which are there already.
func bfloat16() wide {
	upper, one, half := ones(), ones(), ones()
	VPSLLD(Imm(16), upper, upper) // 0xffff0000
	VPSRLD(Imm(31), one, one)     // 1
	VPSRLD(Imm(17), half, half)   // 0x7fff
	return wide{
		load: func(m Mem) acc {
			a := acc{YMM(), YMM()}
			VMOVDQU(m, a[1])
			VPSLLD(Imm(16), a[1], a[0])
			VPAND(upper, a[1], a[1])
			return a
		},
		store: func(a acc, m Mem, mov move) {
			// To nearest, ties to even: add just under half of the last place kept, or half if it is odd.
			// The carry would ruin a NaN, so that becomes all ones afterwards.
			for _, y := range a {
				nan, odd := YMM(), YMM()
				VCMPPS(unordered, y, y, nan)
				VPSRLD(Imm(16), y, odd)
				VPAND(one, odd, odd)
				VPADDD(half, odd, odd)
				VPADDD(odd, y, y)
				VPOR(nan, y, y)
			}
			VPSRLD(Imm(16), a[0], a[0])
			VPBLENDW(Imm(0xaa), a[1], a[0], a[0])
			mov(a[0], m)
		},
	}
}

// orderHalves takes the smaller or larger of half-precision numbers, by the order of signed integers: with all
// bits but the sign turned over in negative numbers, that is their order, -0 < +0 included. The
// accumulator holds such keys, and a mask of the places where a NaN was seen.
func orderHalves(inf [2]uint8, choose instruction) operation {
	magnitude, infinity := ones(), ones()
	VPSRLW(Imm(1), magnitude, magnitude)
	VPSRLW(Imm(uint64(inf[0])), infinity, infinity)
	VPSLLW(Imm(uint64(inf[1])), infinity, infinity)
	turn := func(y VecVirtual) { // its own inverse
		mask := YMM()
		VPSRAW(Imm(15), y, mask)
		VPSRLW(Imm(1), mask, mask)
		VPXOR(mask, y, y)
	}
	load := func(m Mem) acc {
		a := acc{YMM(), YMM()}
		VMOVDQU(m, a[0])
		VPAND(magnitude, a[0], a[1])
		VPCMPGTW(infinity, a[1], a[1])
		turn(a[0])
		return a
	}
	return operation{
		vectors: 4,
		long:    true,
		load:    load,
		combine: func(m Mem, a acc) {
			x := load(m)
			choose(x[0], a[0], a[0])
			VPOR(x[1], a[1], a[1])
		},
		store: func(a acc, m Mem, mov move) {
			turn(a[0])
			VPOR(a[1], a[0], a[0])
			mov(a[0], m)
		},
	}
}
