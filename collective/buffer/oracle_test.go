package buffer

import (
	"encoding/binary"
	"math"
)

// The oracle says what the kernels must compute, one element at a time and by other means than they
// use: integers as 64-bit numbers cut to size, float32 by way of float64, half precision by arithmetic on
// values instead of bits. Elements are passed as their bits.

// load returns the bits of element i of data.
func load(t DType, data []byte, i int) uint64 {
	switch at := data[i*t.Size():]; t.Size() {
	case 1:
		return uint64(at[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(at))
	case 4:
		return uint64(binary.NativeEndian.Uint32(at))
	default:
		return binary.NativeEndian.Uint64(at)
	}
}

// store sets the bits of element i of data.
func store(t DType, data []byte, i int, bits uint64) {
	switch at := data[i*t.Size():]; t.Size() {
	case 1:
		at[0] = byte(bits)
	case 2:
		binary.NativeEndian.PutUint16(at, uint16(bits))
	case 4:
		binary.NativeEndian.PutUint32(at, uint32(bits))
	default:
		binary.NativeEndian.PutUint64(at, bits)
	}
}

func isFloat(t DType) bool  { return t >= Float16 }
func isSigned(t DType) bool { return t == Int8 || t == Int16 || t == Int32 || t == Int64 }

// fractionBits returns the length of the fraction of a float type.
func fractionBits(t DType) int {
	switch t {
	case Float16:
		return 10
	case BFloat16:
		return 7
	case Float32:
		return 23
	}
	return 52
}

// bias returns the exponent bias of a float type.
func bias(t DType) int {
	switch t {
	case Float16:
		return 15
	case BFloat16, Float32:
		return 127
	}
	return 1023
}

func isNaN(t DType, bits uint64) bool { return isFloat(t) && math.IsNaN(value(t, bits)) }

// isQuiet reports whether a NaN has the uppermost bit of its fraction set.
func isQuiet(t DType, bits uint64) bool { return bits>>(fractionBits(t)-1)&1 == 1 }

// value returns the number that the bits of a float type mean, by the definition of IEEE 754.
func value(t DType, bits uint64) float64 {
	width, frac := 8*t.Size(), fractionBits(t)
	fraction := float64(bits & (1<<frac - 1))
	exponent := int(bits >> frac & (1<<(width-1-frac) - 1))
	v := 0.0
	switch {
	case exponent == 2*bias(t)+1 && fraction != 0:
		return math.NaN()
	case exponent == 2*bias(t)+1:
		v = math.Inf(1)
	case exponent == 0:
		v = math.Ldexp(fraction, 1-bias(t)-frac)
	default:
		v = math.Ldexp(fraction+math.Ldexp(1, frac), exponent-bias(t)-frac)
	}
	if bits>>(width-1)&1 == 1 {
		v = -v
	}
	return v
}

// round returns the bits of the number of type t nearest to v, ties to even.
func round(t DType, v float64) uint64 {
	width, frac := 8*t.Size(), fractionBits(t)
	inf := uint64(2*bias(t)+1) << frac
	var sign uint64
	if math.Signbit(v) {
		sign = 1 << (width - 1)
	}
	if math.IsNaN(v) {
		return inf | 1<<(frac-1)
	}
	v = math.Abs(v)
	if math.IsInf(v, 0) {
		return sign | inf
	}
	if v == 0 {
		return sign
	}
	_, e := math.Frexp(v) // v is in [2^(e-1), 2^e)
	last := max(e-1, 1-bias(t)) - frac
	steps := math.RoundToEven(math.Ldexp(v, -last)) // exact but for the rounding
	// In units of the last place the bits of successive numbers are successive, across exponents too.
	bits := uint64(last+bias(t)+frac-1)<<frac + uint64(steps)
	return sign | min(bits, inf)
}

// combine returns a ⊕ b, for types other than the half-precision ones.
func combine(t DType, op Op, a, b uint64) uint64 {
	mask := ^uint64(0) >> (64 - 8*t.Size())
	switch {
	case isFloat(t):
		return round(t, combineValues(op, value(t, a), value(t, b)))
	case op == Sum || op == Avg:
		return (a + b) & mask
	case op == Prod:
		return a * b & mask
	case isSigned(t):
		shift := 64 - 8*t.Size()
		if (int64(a<<shift) < int64(b<<shift)) == (op == Min) {
			return a
		}
		return b
	}
	if (a < b) == (op == Min) {
		return a
	}
	return b
}

// combineValues returns x ⊕ y, to be rounded. For operands of 24 bits float64 is wide enough that rounding
// twice is rounding once, see Figueroa, "When is double rounding innocuous?", SIGNUM Newsletter 1995.
func combineValues(op Op, x, y float64) float64 {
	if math.IsNaN(x) || math.IsNaN(y) {
		return math.NaN()
	}
	switch op {
	case Sum, Avg:
		return x + y
	case Prod:
		return x * y
	}
	less := x < y || x == y && math.Signbit(x) && !math.Signbit(y)
	if less == (op == Min) {
		return x
	}
	return y
}

// reduceOracle returns what a kernel must make of the elements at one place in its sources.
func reduceOracle(t DType, op Op, elements []uint64) uint64 {
	acc, rest := elements[0], elements[1:]
	if t != Float16 && t != BFloat16 {
		for _, x := range rest {
			acc = combine(t, op, acc, x)
		}
		return acc
	}
	for group := 7; len(rest) > 0; {
		n := min(group, len(rest))
		wide := round(Float32, value(t, acc))
		for _, x := range rest[:n] {
			wide = combine(Float32, op, wide, round(Float32, value(t, x)))
		}
		acc, rest = round(t, value(Float32, wide)), rest[n:]
	}
	return acc
}

// divideOracle returns what Avg must make of an element at last.
func divideOracle(t DType, x uint64, n int) uint64 {
	shift := 64 - 8*t.Size()
	switch {
	case t == Float64:
		return math.Float64bits(value(t, x) / float64(n))
	case isFloat(t):
		// As for combineValues, if n has at most 24 bits.
		return round(t, value(Float32, round(Float32, value(t, x)/float64(n))))
	case isSigned(t):
		return uint64(int64(x<<shift)>>shift/int64(n)) & (^uint64(0) >> shift)
	}
	return x / uint64(n)
}
