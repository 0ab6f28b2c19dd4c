package ptx

import (
	"math"
	"math/bits"
	"strings"
)

// cut returns the lowest n bits of v, and signed their value as a signed number.
func cut(v uint64, n int) uint64 {
	if n >= 64 {
		return v
	}
	return v & (1<<n - 1)
}

func signed(v uint64, n int) int64 { return int64(v<<(64-n)) >> (64 - n) }

// The canonical results that are no number.
const (
	nan32 = 0x7fffffff
	nan64 = 0x7fffffffffffffff
)

func f32(v uint64) float32 { return math.Float32frombits(uint32(v)) }
func b32(f float32) uint64 {
	if f != f {
		return nan32
	}
	return uint64(math.Float32bits(f))
}
func f64(v uint64) float64 { return math.Float64frombits(v) }
func b64(f float64) uint64 {
	if f != f {
		return nan64
	}
	return math.Float64bits(f)
}

func boolean(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func unary(parts []string) func(uint64) uint64 {
	switch strings.Join(parts, ".") {
	case "mov.u32", "mov.b32", "mov.f32", "cvt.u64.u32":
		return func(a uint64) uint64 { return cut(a, 32) }
	case "mov.u64", "mov.b64", "mov.f64", "cvta.to.global.u64":
		return func(a uint64) uint64 { return a }
	case "neg.s64":
		return func(a uint64) uint64 { return -a }
	case "abs.f32":
		return func(a uint64) uint64 {
			if x := f32(a); x != x {
				return nan32
			}
			return cut(a, 31)
		}
	case "cvt.rn.f16x2.e4m3x2", "cvt.rn.f16x2.e5m2x2":
		kind := float8s[parts[3]]
		return func(a uint64) uint64 {
			return uint64(halfBits(kind[a&0xff])) | uint64(halfBits(kind[a>>8&0xff]))<<16
		}
	case "cvt.f32.f16":
		return func(a uint64) uint64 { return b32(halfValue(uint16(a))) }
	case "cvt.rn.f16.f32":
		return func(a uint64) uint64 { return uint64(halfBits(f32(a))) }
	case "cvt.rn.f32.s32":
		return func(a uint64) uint64 { return b32(float32(signed(a, 32))) }
	case "cvt.rni.s32.f32":
		return func(a uint64) uint64 {
			switch x := math.RoundToEven(float64(f32(a))); {
			case x != x:
				return 0
			case x >= math.MaxInt32:
				return math.MaxInt32
			case x <= math.MinInt32:
				return 1 << 31
			default:
				return cut(uint64(int64(x)), 32)
			}
		}
	}
	return nil
}

func binary(parts []string) func(a, b uint64) uint64 {
	name, kind := parts[0], parts[len(parts)-1]
	n := 8 * sizes[kind]
	if n == 0 {
		return nil
	}
	switch strings.Join(parts, ".") {
	case "cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.satfinite.e5m2x2.f32":
		kind := float8s[parts[3]]
		return func(a, b uint64) uint64 { return float8Bits(kind, f32(a))<<8 | float8Bits(kind, f32(b)) }
	}
	switch len(parts) {
	case 2:
		if kind[0] == 'f' {
			return floatOrder(name, kind)
		}
		return integer(name, kind, n)
	case 3:
		switch {
		case name == "setp":
			return compare(parts[1], kind, n)
		case name == "mul" && parts[1] == "lo":
			return func(a, b uint64) uint64 { return cut(a*b, n) }
		case name == "mul" && parts[1] == "wide" && kind == "u32":
			return func(a, b uint64) uint64 { return cut(a, 32) * cut(b, 32) }
		case parts[1] == "rn" && kind[0] == 'f':
			return floatMath(name, kind)
		}
	}
	return nil
}

func integer(name, kind string, n int) func(a, b uint64) uint64 {
	isSigned := kind[0] == 's'
	less := func(a, b uint64) bool {
		if isSigned {
			return signed(a, n) < signed(b, n)
		}
		return cut(a, n) < cut(b, n)
	}
	switch name {
	case "add":
		return func(a, b uint64) uint64 { return cut(a+b, n) }
	case "sub":
		return func(a, b uint64) uint64 { return cut(a-b, n) }
	case "and":
		return func(a, b uint64) uint64 { return cut(a&b, n) }
	case "or":
		return func(a, b uint64) uint64 { return cut(a|b, n) }
	case "xor":
		return func(a, b uint64) uint64 { return cut(a^b, n) }
	case "shl":
		return func(a, b uint64) uint64 { return cut(a<<min(cut(b, 32), 64), n) }
	case "shr":
		if isSigned {
			return func(a, b uint64) uint64 { return cut(uint64(signed(a, n)>>min(cut(b, 32), 63)), n) }
		}
		return func(a, b uint64) uint64 { return cut(a, n) >> min(cut(b, 32), 64) }
	case "min", "max":
		return func(a, b uint64) uint64 {
			if less(a, b) == (name == "min") {
				return cut(a, n)
			}
			return cut(b, n)
		}
	case "div":
		return func(a, b uint64) uint64 {
			switch {
			case cut(b, n) == 0:
				return cut(math.MaxUint64, n)
			case isSigned:
				return cut(uint64(signed(a, n)/signed(b, n)), n)
			}
			return cut(a, n) / cut(b, n)
		}
	}
	return nil
}

// floatMath is the arithmetic that rounds to nearest even.
func floatMath(name, kind string) func(a, b uint64) uint64 {
	switch name + "." + kind {
	case "add.f32":
		return func(a, b uint64) uint64 { return b32(f32(a) + f32(b)) }
	case "mul.f32":
		return func(a, b uint64) uint64 { return b32(f32(a) * f32(b)) }
	case "div.f32":
		return func(a, b uint64) uint64 { return b32(f32(a) / f32(b)) }
	case "add.f64":
		return func(a, b uint64) uint64 { return b64(f64(a) + f64(b)) }
	case "mul.f64":
		return func(a, b uint64) uint64 { return b64(f64(a) * f64(b)) }
	case "div.f64":
		return func(a, b uint64) uint64 { return b64(f64(a) / f64(b)) }
	}
	return nil
}

// floatOrder is min and max without .NaN: of a number and no number they give the number.
func floatOrder(name, kind string) func(a, b uint64) uint64 {
	if name != "min" && name != "max" || kind != "f32" && kind != "f64" {
		return nil
	}
	value, back := func(v uint64) float64 { return float64(f32(v)) }, func(f float64) uint64 { return b32(float32(f)) }
	if kind == "f64" {
		value, back = f64, b64
	}
	return func(a, b uint64) uint64 {
		x, y := value(a), value(b)
		switch {
		case x != x:
			return back(y)
		case y != y:
			return back(x)
		case name == "min":
			return back(min(x, y)) // Go's too orders -0 before +0
		}
		return back(max(x, y))
	}
}

func compare(how, kind string, n int) func(a, b uint64) uint64 {
	if kind[0] == 'f' {
		value := func(v uint64) float64 { return float64(f32(v)) }
		if kind == "f64" {
			value = f64
		}
		switch how {
		case "nan":
			return func(a, b uint64) uint64 { return boolean(value(a) != value(a) || value(b) != value(b)) }
		case "gt":
			return func(a, b uint64) uint64 { return boolean(value(a) > value(b)) }
		case "lt":
			return func(a, b uint64) uint64 { return boolean(value(a) < value(b)) }
		case "eq":
			return func(a, b uint64) uint64 { return boolean(value(a) == value(b)) }
		}
		return nil
	}
	if kind[0] != 'u' {
		return nil
	}
	switch how {
	case "eq":
		return func(a, b uint64) uint64 { return boolean(cut(a, n) == cut(b, n)) }
	case "ne":
		return func(a, b uint64) uint64 { return boolean(cut(a, n) != cut(b, n)) }
	case "lt":
		return func(a, b uint64) uint64 { return boolean(cut(a, n) < cut(b, n)) }
	case "ge":
		return func(a, b uint64) uint64 { return boolean(cut(a, n) >= cut(b, n)) }
	case "gt":
		return func(a, b uint64) uint64 { return boolean(cut(a, n) > cut(b, n)) }
	}
	return nil
}

func ternary(parts []string) func(a, b, c uint64) uint64 {
	if len(parts) != 2 {
		return nil
	}
	switch n := 8 * sizes[parts[1]]; {
	case parts[0] == "selp" && n >= 32:
		return func(a, b, c uint64) uint64 {
			if c&1 != 0 {
				return cut(a, n)
			}
			return cut(b, n)
		}
	case parts[0] == "bfe" && n == 32:
		isSigned := parts[1] == "s32"
		return func(a, b, c uint64) uint64 {
			from, length := int(b&0xff), int(c&0xff)
			if length == 0 {
				return 0
			}
			x := cut(a, 32)
			if isSigned {
				x = uint64(signed(a, 32))
			}
			x >>= min(from, 63)
			if isSigned {
				if length < 64 {
					x = uint64(signed(x, length))
				}
				return cut(x, 32)
			}
			return cut(x, min(length, 32))
		}
	case parts[0] == "prmt" && parts[1] == "b32":
		return func(a, b, c uint64) uint64 {
			bytes := cut(a, 32) | b<<32
			var out uint64
			for i := range 4 {
				sel := c >> (4 * i)
				v := bytes >> (8 * (sel & 7)) & 0xff
				if sel&8 != 0 { // its sign, eight times
					v = uint64(-int64(v>>7)) & 0xff
				}
				out |= v << (8 * i)
			}
			return out
		}
	}
	return nil
}

// halfValue returns the number that binary16 bits mean.
func halfValue(h uint16) float32 {
	fraction, exponent := float64(h&0x3ff), int(h>>10&0x1f)
	var v float64
	switch {
	case exponent == 31 && fraction != 0:
		return float32(math.NaN())
	case exponent == 31:
		v = math.Inf(1)
	case exponent == 0:
		v = math.Ldexp(fraction, -24)
	default:
		v = math.Ldexp(fraction+1024, exponent-25)
	}
	if h>>15 != 0 {
		v = -v
	}
	return float32(v)
}

// halfBits returns the binary16 nearest to f, ties to even.
func halfBits(f float32) uint16 {
	if f != f {
		return 0x7fff
	}
	sign := uint16(math.Float32bits(f) >> 16 & 0x8000)
	x := math.Abs(float64(f))
	if x == 0 {
		return sign
	}
	if math.IsInf(x, 0) {
		return sign | 0x7c00
	}
	_, e := math.Frexp(x)
	last := max(e-1, -14) - 10 // exponent of the last place
	steps := uint64(math.RoundToEven(math.Ldexp(x, -last)))
	// The bits of successive numbers are successive; a carry runs into the exponent.
	h := uint64(last+24)<<10 + steps
	if bits.Len64(h) > 15 || h >= 0x7c00 {
		return sign | 0x7c00
	}
	return sign | uint16(h)
}
