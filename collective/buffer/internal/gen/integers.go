package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// instruction is one of avo's. Its operands are in the order of Go's assembler: the result comes last, and the
// one that may be memory first, or next to first after a constant.
type instruction func(operands ...Op)

func integers() {
	for _, add := range []struct {
		bits int
		do   instruction
	}{{8, VPADDB}, {16, VPADDW}, {32, VPADDD}, {64, VPADDQ}} {
		reducer(fmt.Sprintf("avx2SumInt%d", add.bits),
			fmt.Sprintf("adds integers of %d bits.", add.bits),
			func() operation { return single(add.do) })
	}

	reducer("avx2ProdInt8", "multiplies integers of 8 bits.", prodInt8)
	reducer("avx2ProdInt16", "multiplies integers of 16 bits.",
		func() operation { return single(VPMULLW) })
	reducer("avx2ProdInt32", "multiplies integers of 32 bits.",
		func() operation { return single(VPMULLD) })
	reducer("avx2ProdInt64", "multiplies integers of 64 bits.", prodInt64)

	for _, order := range []struct {
		name, doc string
		do        instruction
	}{
		{"MinInt8", "smaller of signed 8-bit integers", VPMINSB},
		{"MinUint8", "smaller of unsigned 8-bit integers", VPMINUB},
		{"MinInt16", "smaller of signed 16-bit integers", VPMINSW},
		{"MinUint16", "smaller of unsigned 16-bit integers", VPMINUW},
		{"MinInt32", "smaller of signed 32-bit integers", VPMINSD},
		{"MinUint32", "smaller of unsigned 32-bit integers", VPMINUD},
		{"MaxInt8", "larger of signed 8-bit integers", VPMAXSB},
		{"MaxUint8", "larger of unsigned 8-bit integers", VPMAXUB},
		{"MaxInt16", "larger of signed 16-bit integers", VPMAXSW},
		{"MaxUint16", "larger of unsigned 16-bit integers", VPMAXUW},
		{"MaxInt32", "larger of signed 32-bit integers", VPMAXSD},
		{"MaxUint32", "larger of unsigned 32-bit integers", VPMAXUD},
	} {
		reducer("avx2"+order.name, "takes the "+order.doc+".",
			func() operation { return single(order.do) })
	}

	reducer("avx2MinInt64", "takes the smaller of signed 64-bit integers.",
		func() operation { return order64(false, true) })
	reducer("avx2MinUint64", "takes the smaller of unsigned 64-bit integers.",
		func() operation { return order64(true, true) })
	reducer("avx2MaxInt64", "takes the larger of signed 64-bit integers.",
		func() operation { return order64(false, false) })
	reducer("avx2MaxUint64", "takes the larger of unsigned 64-bit integers.",
		func() operation { return order64(true, false) })
}

// prodInt8 multiplies bytes as words: the even ones in the low byte of a word, whose product's upper byte is
// dropped, the odd ones with one factor left in the upper byte, where their product then is.
func prodInt8() operation {
	low, high := ones(), ones()
	VPSRLW(Imm(8), low, low)
	VPSLLW(Imm(8), high, high)
	return plain(func(m Mem, y VecVirtual) {
		x, even := YMM(), YMM()
		VMOVDQU(m, x)
		VPMULLW(x, y, even)
		VPAND(low, even, even)
		VPSRLW(Imm(8), x, x)
		VPAND(high, y, y)
		VPMULLW(x, y, y)
		VPOR(even, y, y)
	})
}

// prodInt64 multiplies by the school method with digits of 32 bits, without the product of the upper digits.
func prodInt64() operation {
	return plain(func(m Mem, y VecVirtual) {
		x, cross, sum := YMM(), YMM(), YMM()
		VMOVDQU(m, x)
		VPSHUFD(Imm(0xb1), x, cross) // exchanges the digits
		VPMULLD(cross, y, cross)
		VPSRLQ(Imm(32), cross, sum)
		VPADDD(cross, sum, sum)
		VPSLLQ(Imm(32), sum, sum)
		VPMULUDQ(x, y, y)
		VPADDQ(sum, y, y)
	})
}

// order64 takes the smaller or larger of 64-bit integers. The comparison is a signed one; unsigned numbers are
// moved by 2^63 in the accumulator to get their order.
func order64(unsigned, smaller bool) operation {
	choose := func(x, y VecVirtual) {
		greater := YMM()
		if smaller {
			VPCMPGTQ(x, y, greater) // y > x
		} else {
			VPCMPGTQ(y, x, greater) // x > y
		}
		VPBLENDVB(greater, x, y, y)
	}
	if !unsigned {
		return plain(func(m Mem, y VecVirtual) {
			x := YMM()
			VMOVDQU(m, x)
			choose(x, y)
		})
	}
	bias := ones()
	VPSLLQ(Imm(63), bias, bias)
	load := func(m Mem) acc {
		y := YMM()
		VPXOR(m, bias, y)
		return acc{y}
	}
	return operation{
		vectors: 4,
		long:    true,
		load:    load,
		combine: func(m Mem, a acc) { choose(load(m)[0], a[0]) },
		store: func(a acc, m Mem, mov move) {
			VPXOR(bias, a[0], a[0])
			mov(a[0], m)
		},
	}
}
