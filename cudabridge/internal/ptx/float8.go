package ptx

import "math"

// float8s are the numbers that the bits of each format of 8 bits mean.
var float8s = map[string]*[256]float32{"e4m3x2": float8Values(3, 7, false), "e5m2x2": float8Values(2, 15, true)}

// float8Values makes a table. With infinities the highest exponent has no other numbers, else all but the highest bits of all.
func float8Values(mantissa, bias int, infinities bool) *[256]float32 {
	var table [256]float32
	for b := range table {
		size, fraction := b&0x7f, b&(1<<mantissa-1)
		exponent := size >> mantissa
		v := math.Ldexp(float64(fraction), 1-bias-mantissa)
		if exponent > 0 {
			v = math.Ldexp(float64(fraction+1<<mantissa), exponent-bias-mantissa)
		}
		switch highest := exponent == 0x7f>>mantissa; {
		case infinities && highest && fraction == 0:
			v = math.Inf(1)
		case infinities && highest, size == 0x7f:
			v = math.NaN()
		}
		if b != size {
			v = -v
		}
		table[b] = float32(v)
	}
	return &table
}

// float8Bits returns what is nearest to x in a table, of two that are equally near the even one; what is too large is the largest
// finite one.
func float8Bits(table *[256]float32, x float32) uint64 {
	if x != x {
		return 0x7f
	}
	largest := 0x7f
	for math.IsNaN(float64(table[largest])) || math.IsInf(float64(table[largest]), 0) {
		largest--
	}
	size := min(math.Abs(float64(x)), float64(table[largest]))
	best, off := 0, math.Inf(1)
	for b, v := range table[:largest+1] {
		if d := math.Abs(size - float64(v)); d < off || d == off && b&1 == 0 {
			best, off = b, d
		}
	}
	if math.Signbit(float64(x)) {
		best |= 0x80
	}
	return uint64(best)
}
