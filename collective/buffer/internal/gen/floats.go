package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// unordered is the predicate of VCMPPS and VCMPPD that is true where an operand is NaN.
var unordered = Imm(3)

func floats() {
	reducer("avx2SumFloat32", "adds float32 numbers.",
		func() operation { return single(VADDPS) })
	reducer("avx2SumFloat64", "adds float64 numbers.",
		func() operation { return single(VADDPD) })
	reducer("avx2ProdFloat32", "multiplies float32 numbers.",
		func() operation { return single(VMULPS) })
	reducer("avx2ProdFloat64", "multiplies float64 numbers.",
		func() operation { return single(VMULPD) })
	reducer("avx2MinFloat32", "takes the smaller of float32 numbers.",
		func() operation { return orderFloats(VMINPS, VORPS, VORPS, VCMPPS) })
	reducer("avx2MaxFloat32", "takes the larger of float32 numbers.",
		func() operation { return orderFloats(VMAXPS, VANDPS, VORPS, VCMPPS) })
	reducer("avx2MinFloat64", "takes the smaller of float64 numbers.",
		func() operation { return orderFloats(VMINPD, VORPD, VORPD, VCMPPD) })
	reducer("avx2MaxFloat64", "takes the larger of float64 numbers.",
		func() operation { return orderFloats(VMAXPD, VANDPD, VORPD, VCMPPD) })

	divider("avx2DivideFloat32", "divides float32 numbers by by.", 8, toFloat32,
		func() (func(Mem) acc, func(acc, VecVirtual), func(acc, Mem, move)) {
			return plainLoad, func(a acc, by VecVirtual) { VDIVPS(by, a[0], a[0]) }, plainStore
		})
	divider("avx2DivideFloat64", "divides float64 numbers by by.", 8, toFloat64,
		func() (func(Mem) acc, func(acc, VecVirtual), func(acc, Mem, move)) {
			return plainLoad, func(a acc, by VecVirtual) { VDIVPD(by, a[0], a[0]) }, plainStore
		})
}

// orderFloats takes the smaller or larger of floats. The instruction returns its second operand if both
// are zero or one is NaN. Taken in both orders, the two results differ only then: merge, which is OR for the
// smaller and AND for the larger, gives zeros the right sign, and a NaN is put on top as all ones, which
// is a quiet one.
func orderFloats(choose, merge, or, compare instruction) operation {
	return plain(func(m Mem, y VecVirtual) {
		x, other, nan := YMM(), YMM(), YMM()
		VMOVDQU(m, x)
		compare(unordered, x, y, nan)
		choose(x, y, other)
		choose(y, x, y)
		merge(other, y, y)
		or(nan, y, y)
	})
}

// toFloat32 returns the float32 next to the integer in by in every lane.
func toFloat32(by Register) VecVirtual {
	x, y := XMM(), YMM()
	VXORPS(x, x, x)
	VCVTSI2SSQ(by, x, x)
	VBROADCASTSS(x, y)
	return y
}

// toFloat64 returns the float64 next to the integer in by in every lane.
func toFloat64(by Register) VecVirtual {
	x, y := XMM(), YMM()
	VXORPD(x, x, x)
	VCVTSI2SDQ(by, x, x)
	VBROADCASTSD(x, y)
	return y
}
