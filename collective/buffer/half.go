package buffer

import "math"

// F16 holds the bits of an IEEE 754 binary16 number: 1 sign, 5 exponent and 10 fraction bits.
type F16 uint16

// BF16 holds the bits of a bfloat16 number, the upper half of a float32: 1 sign, 8 exponent and 7
// fraction bits.
type BF16 uint16

// ToF16 rounds f to the nearest F16, ties to even. Values from 65520 up become infinite, denormal
// results are exact to their last place, and a NaN stays a NaN, made quiet.
func ToF16(f float32) F16 {
	bits := math.Float32bits(f)
	sign := F16(bits >> 16 & 0x8000)
	abs := bits &^ (1 << 31)
	switch {
	case abs > 0x7f800000:
		return sign | 0x7e00 | F16(abs>>13&0x3ff)
	case abs >= 0x47800000: // 65536 and more
		return sign | 0x7c00
	case abs < 0x38800000: // less than 2^-14, the smallest normal F16
		// The last place of a float32 in [1/2, 1) is 2^-24, which is the last place of a denormal F16:
		// the addition rounds where it has to, and leaves the F16 in the low bits.
		return sign | F16(math.Float32bits(math.Float32frombits(abs)+0.5)-0x3f000000)
	}
	// Add just under half of the last place kept, or exactly half if that one is odd. A carry runs
	// into the exponent, up to infinity, as it should. 0x38000000 is the difference of the biases.
	return sign | F16((abs+0xfff+abs>>13&1-0x38000000)>>13)
}

// Float32 returns the value of h, which a float32 holds exactly. A NaN becomes a quiet one.
func (h F16) Float32() float32 {
	sign := uint32(h&0x8000) << 16
	abs := uint32(h & 0x7fff)
	if abs >= 0x7c00 {
		bits := sign | 0x7f800000 | abs<<13
		if abs > 0x7c00 {
			bits |= 1 << 22
		}
		return math.Float32frombits(bits)
	}
	// Read with the exponent bias of a float32 the number is 2^112 times too small, denormal or not.
	const scale = 1 << 112
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(abs<<13)*scale))
}

// ToBF16 rounds f to the nearest BF16, ties to even. A NaN stays a NaN, made quiet.
func ToBF16(f float32) BF16 {
	bits := math.Float32bits(f)
	if f != f {
		return BF16(bits>>16 | 1<<6)
	}
	return BF16((bits + 0x7fff + bits>>16&1) >> 16)
}

// Float32 returns the value of b, which a float32 holds exactly.
func (b BF16) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }
