package cudabridge

import (
	"fmt"
	"math"

	"github.com/ringtree/ringtree/collective/buffer"
)

// A Float8 is a format of floating-point numbers of 8 bits, of the Open Compute Project's "8-bit Floating Point Specification" (2023).
// There are kernels for them, for gradients and activations that a program keeps and exchanges in 8 bits on its own terms, scales
// included; they are no types of package buffer, and no operation of package collective takes them. To move them, a block of uint8
// will do.
type Float8 uint8

// The formats.
const (
	E4M3 Float8 = iota + 1 // 4 bits of exponent, 3 of fraction: up to 448, no infinity
	E5M2                   // 5 bits of exponent, 2 of fraction: up to 57,344, with infinities
)

// String is the format's name, as kernels have it.
func (f Float8) String() string {
	switch f {
	case E4M3:
		return "e4m3"
	case E5M2:
		return "e5m2"
	}
	return fmt.Sprintf("float8 %d", uint8(f))
}

// valid reports whether f is one of the formats.
func (f Float8) valid() bool { return f == E4M3 || f == E5M2 }

// shape returns the bits of the fraction, the bias of the exponent, and the largest finite number.
func (f Float8) shape() (mantissa, bias int, largest float32) {
	if f == E5M2 {
		return 2, 15, 57344
	}
	return 3, 7, 448
}

// Value returns the number that bits mean.
func (f Float8) Value(bits uint8) float32 {
	mantissa, bias, _ := f.shape()
	size := bits & 0x7f
	exponent, fraction := int(size>>mantissa), int(size)&(1<<mantissa-1)
	var v float64
	switch {
	case f == E5M2 && exponent == 31 && fraction == 0:
		v = math.Inf(1)
	case f == E5M2 && exponent == 31, size == 0x7f:
		return float32(math.NaN())
	case exponent == 0:
		v = math.Ldexp(float64(fraction), 1-bias-mantissa)
	default:
		v = math.Ldexp(float64(fraction+1<<mantissa), exponent-bias-mantissa)
	}
	if bits != size {
		v = -v
	}
	return float32(v)
}

// Bits returns the number nearest to x, ties to even. What is too large becomes the largest finite number, infinity too, as in the
// conversions of NVIDIA's processors; no number becomes the NaN 0x7f.
func (f Float8) Bits(x float32) uint8 {
	mantissa, bias, largest := f.shape()
	if x != x {
		return 0x7f
	}
	sign := uint8(math.Float32bits(x) >> 24 & 0x80)
	size := min(math.Abs(float64(x)), float64(largest))
	if size == 0 {
		return sign
	}
	_, e := math.Frexp(size)
	last := max(e-1, 1-bias) - mantissa // exponent of the last place
	steps := int(math.RoundToEven(math.Ldexp(size, -last)))
	// The bits of successive numbers are successive; a carry runs into the exponent.
	return sign | uint8((last+mantissa+bias-1)<<mantissa+steps)
}

// ReduceFloat8 sets dst to the reduction of one to eight sources, element by element and from left to right, each element as
// float32, and rounds once, as [Float8.Bits] does; an average is rounded, divided by ranks and rounded again, as those of package
// buffer are. Minimum and maximum are NaN where a source is. dst may be a source, and needs no alignment; where all operands begin
// at the same place within 16 bytes it is quickest. Devices of compute capability 9.0 convert by instructions of their own, others by
// integer arithmetic, to the same bits, apart from NaNs.
func (s *Stream) ReduceFloat8(f Float8, op buffer.Op, dst []byte, srcs [][]byte, ranks int) error {
	if !op.Valid() || ranks < 1 {
		return fmt.Errorf("cudabridge: ReduceFloat8 by %v for %d ranks: %w", op, ranks, ErrArgument)
	}
	return s.float8(f, op.String(), dst, srcs, ranks, nil)
}

// ReduceFloat8Scaled sets dst to scales[0]·srcs[0] + scales[1]·srcs[1] + …, of one to eight sources: each product and each sum is
// rounded to float32, and the result as [Float8.Bits] does. It is how numbers that have scales of their own are added: a source's
// factor is its scale over that of dst.
func (s *Stream) ReduceFloat8Scaled(f Float8, dst []byte, srcs [][]byte, scales []float32) error {
	if len(scales) != len(srcs) {
		return fmt.Errorf("cudabridge: ReduceFloat8Scaled of %d sources with %d factors: %w", len(srcs), len(scales), ErrArgument)
	}
	return s.float8(f, "premulsum", dst, srcs, 1, scales)
}

func (s *Stream) float8(f Float8, name string, dst []byte, srcs [][]byte, ranks int, scales []float32) error {
	if !f.valid() || len(srcs) == 0 || len(srcs) > passWidth {
		return fmt.Errorf("cudabridge: a reduction of %d sources of %v: %w", len(srcs), f, ErrArgument)
	}
	if err := checkOperands(buffer.Uint8, dst, srcs); err != nil {
		return err
	}
	if len(dst) == 0 {
		return nil
	}
	params := make([]uint64, 4+passWidth, 4+2*passWidth)
	operands(params, buffer.Uint8, dst, srcs)
	params[3] = uint64(math.Float32bits(float32(ranks)))
	if scales != nil {
		params = params[:4+2*passWidth]
		for i, x := range scales {
			params[4+passWidth+i] = uint64(math.Float32bits(x))
		}
	}
	kind := f.String()
	if s.device.info.Major >= 9 {
		kind += "_sm90"
	}
	return s.launch("reduce_"+kind, name+"_"+kind, len(dst)/16+1, 1, params)
}
