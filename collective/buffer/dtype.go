package buffer

import "strings"

// A DType names the type of the elements of a [Block]. The zero value is invalid, so a forgotten
// type is noticed.
type DType uint8

// The element types. Their order is part of the wire format of frames and must not change.
const (
	Int8 DType = 1 + iota
	Uint8
	Int16
	Uint16
	Int32
	Uint32
	Int64
	Uint64
	Float16
	BFloat16
	Float32
	Float64

	dtypeEnd // one past the last type
)

// dtypes holds, for each type, its size in bytes and its names: first the one that nccl-tests
// prints, then the other ones that are understood.
var dtypes = [dtypeEnd]struct {
	size  int
	names []string
}{
	Int8:     {1, []string{"int8", "i8", "char"}},
	Uint8:    {1, []string{"uint8", "u8"}},
	Int16:    {2, []string{"int16", "i16"}},
	Uint16:   {2, []string{"uint16", "u16"}},
	Int32:    {4, []string{"int32", "i32", "int"}},
	Uint32:   {4, []string{"uint32", "u32"}},
	Int64:    {8, []string{"int64", "i64"}},
	Uint64:   {8, []string{"uint64", "u64"}},
	Float16:  {2, []string{"half", "float16", "fp16", "f16"}},
	BFloat16: {2, []string{"bfloat16", "bf16"}},
	Float32:  {4, []string{"float", "float32", "fp32", "f32"}},
	Float64:  {8, []string{"double", "float64", "fp64", "f64"}},
}

// DTypes returns every valid type, in the order of their values. The slice is the caller's.
func DTypes() []DType {
	all := make([]DType, 0, dtypeEnd-1)
	for t := Int8; t < dtypeEnd; t++ {
		all = append(all, t)
	}
	return all
}

// Valid reports whether t is one of the constants of this package.
func (t DType) Valid() bool { return t-1 < dtypeEnd-1 }

// Size returns the number of bytes of one element, or 0 if t is not valid.
func (t DType) Size() int {
	if t >= dtypeEnd {
		return 0
	}
	return dtypes[t].size
}

// String returns the name that nccl-tests uses: int8, uint8, …, half, bfloat16, float, double.
func (t DType) String() string {
	if !t.Valid() {
		return "invalid"
	}
	return dtypes[t].names[0]
}

// ParseDType returns the type of that name: the one that [DType.String] returns or a usual other
// one, such as float16, fp16 and f16 for [Float16]. Case does not matter. The error is a *[ParseError].
func ParseDType(s string) (DType, error) {
	for t := Int8; t < dtypeEnd; t++ {
		for _, name := range dtypes[t].names {
			if strings.EqualFold(s, name) {
				return t, nil
			}
		}
	}
	return 0, &ParseError{What: "element type", Text: s}
}

// Elem is the set of Go types that have a [DType].
type Elem interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64 | F16 | BF16 | float32 | float64
}

// TypeOf returns the [DType] of T.
func TypeOf[T Elem]() DType {
	switch any((*T)(nil)).(type) {
	case *int8:
		return Int8
	case *uint8:
		return Uint8
	case *int16:
		return Int16
	case *uint16:
		return Uint16
	case *int32:
		return Int32
	case *uint32:
		return Uint32
	case *int64:
		return Int64
	case *uint64:
		return Uint64
	case *F16:
		return Float16
	case *BF16:
		return BFloat16
	case *float32:
		return Float32
	case *float64:
		return Float64
	}
	return 0 // not reached: the cases are the type set of Elem
}
