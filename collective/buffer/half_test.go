package buffer

import (
	"math"
	"math/rand/v2"
	"testing"
)

// halfFormats are the two formats, by their conversions on bits.
var halfFormats = []struct {
	dtype DType
	wide  func(bits uint16) float32
	half  func(f float32) uint16
}{
	{Float16, func(bits uint16) float32 { return F16(bits).Float32() }, func(f float32) uint16 { return uint16(ToF16(f)) }},
	{BFloat16, func(bits uint16) float32 { return BF16(bits).Float32() }, func(f float32) uint16 { return uint16(ToBF16(f)) }},
}

// TestHalfToFloat32 compares all 65536 numbers of each format with the definition.
func TestHalfToFloat32(t *testing.T) {
	for _, format := range halfFormats {
		for bits := range uint64(1 << 16) {
			got, want := format.wide(uint16(bits)), value(format.dtype, bits)
			if math.IsNaN(want) {
				if got == got {
					t.Fatalf("%v %#04x: got %v, want NaN", format.dtype, bits, got)
				}
			} else if float64(got) != want || math.Signbit(float64(got)) != math.Signbit(want) {
				t.Fatalf("%v %#04x: got %v, want %v", format.dtype, bits, got, want)
			}
		}
	}
}

// TestF16NaNIsQuiet: a signalling NaN is quiet after the conversion, as the instructions do it.
func TestF16NaNIsQuiet(t *testing.T) {
	for bits := uint16(0x7c01); bits < 0x8000; bits++ {
		if got := math.Float32bits(F16(bits).Float32()); got != 0x7fc00000|uint32(bits&0x1ff)<<13 {
			t.Fatalf("%#04x: got %#08x, want it quiet with its payload", bits, got)
		}
	}
}

// TestHalfRoundTrip: every number of a format is its own nearest one.
func TestHalfRoundTrip(t *testing.T) {
	for _, format := range halfFormats {
		quiet := uint16(1) << (fractionBits(format.dtype) - 1)
		for bits := range uint64(1 << 16) {
			want := uint16(bits)
			if isNaN(format.dtype, bits) {
				want |= quiet
			}
			if got := format.half(format.wide(uint16(bits))); got != want {
				t.Fatalf("%v %#04x: got %#04x, want %#04x", format.dtype, bits, got, want)
			}
		}
	}
}

// TestHalfRounding looks at every number of a format, the middle between it and the next one, and the float32
// numbers next to both, which are all the places where rounding can go wrong; then at random ones.
func TestHalfRounding(t *testing.T) {
	for _, format := range halfFormats {
		check := func(f float32) {
			got, want := uint64(format.half(f)), round(format.dtype, float64(f))
			if isNaN(format.dtype, want) {
				if !isNaN(format.dtype, got) || !isQuiet(format.dtype, got) {
					t.Fatalf("%v of %#08x: got %#04x, want a quiet NaN", format.dtype, math.Float32bits(f), got)
				}
			} else if got != want {
				t.Fatalf("%v of %v = %#08x: got %#04x, want %#04x", format.dtype, f, math.Float32bits(f), got, want)
			}
		}
		around := func(f float32) {
			for _, x := range []float32{f, math.Nextafter32(f, float32(math.Inf(1))), math.Nextafter32(f, float32(math.Inf(-1)))} {
				check(x)
				check(-x)
			}
		}
		inf := uint64(2*bias(format.dtype)+1) << fractionBits(format.dtype)
		for bits := range inf {
			here, next := value(format.dtype, bits), value(format.dtype, bits+1)
			if bits+1 == inf {
				next = math.Ldexp(1, bias(format.dtype)+1) // what would follow, were there one more exponent
			}
			around(float32(here))
			around(float32((here + next) / 2))
		}
		for _, f := range []float32{float32(math.Inf(1)), math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.NaN()), math.Float32frombits(0x7f800001)} {
			check(f)
			check(-f)
		}
		const seed = 5
		rng := rand.New(rand.NewPCG(seed, seed))
		for range 200_000 {
			check(math.Float32frombits(rng.Uint32()))
		}
	}
}

func FuzzHalf(f *testing.F) {
	f.Add(uint32(0x3f800000))
	f.Add(uint32(0x477ff000))
	f.Add(uint32(0x33000000))
	f.Fuzz(func(t *testing.T, bits uint32) {
		x := math.Float32frombits(bits)
		for _, format := range halfFormats {
			got, want := uint64(format.half(x)), round(format.dtype, float64(x))
			if got != want && !(isNaN(format.dtype, got) && isNaN(format.dtype, want)) {
				t.Errorf("%v of %#08x: got %#04x, want %#04x", format.dtype, bits, got, want)
			}
		}
	})
}
