package buffer

import (
	"errors"
	"strings"
	"testing"
	"unsafe"
)

func TestDTypes(t *testing.T) {
	rows := []struct {
		dtype DType
		of    DType
		size  int
		name  string
		also  string
	}{
		{Int8, TypeOf[int8](), 1, "int8", "i8 char INT8"},
		{Uint8, TypeOf[uint8](), 1, "uint8", "u8"},
		{Int16, TypeOf[int16](), 2, "int16", "i16"},
		{Uint16, TypeOf[uint16](), 2, "uint16", "u16"},
		{Int32, TypeOf[int32](), 4, "int32", "i32 int"},
		{Uint32, TypeOf[uint32](), 4, "uint32", "u32"},
		{Int64, TypeOf[int64](), 8, "int64", "i64"},
		{Uint64, TypeOf[uint64](), 8, "uint64", "u64"},
		{Float16, TypeOf[F16](), 2, "half", "float16 fp16 f16 Half"},
		{BFloat16, TypeOf[BF16](), 2, "bfloat16", "bf16"},
		{Float32, TypeOf[float32](), 4, "float", "float32 fp32 f32"},
		{Float64, TypeOf[float64](), 8, "double", "float64 fp64 f64"},
	}
	all := DTypes()
	if len(all) != len(rows) {
		t.Fatalf("DTypes: got %v, want %d types", all, len(rows))
	}
	for i, row := range rows {
		if all[i] != row.dtype || int(row.dtype) != i+1 {
			t.Errorf("type %d: got %v = %d, want %v", i+1, all[i], row.dtype, row.name)
		}
		if !row.dtype.Valid() || row.of != row.dtype || row.dtype.Size() != row.size || row.dtype.String() != row.name {
			t.Errorf("%s: got valid %t, TypeOf %v, size %d, name %q", row.name, row.dtype.Valid(), row.of, row.dtype.Size(), row.dtype)
		}
		for _, name := range append(strings.Fields(row.also), row.name) {
			if got, err := ParseDType(name); got != row.dtype || err != nil {
				t.Errorf("ParseDType(%q): got %v, %v, want %v", name, got, err, row.dtype)
			}
		}
	}
	for _, bad := range []DType{0, dtypeEnd, 255} {
		if bad.Valid() || bad.Size() != 0 || bad.String() != "invalid" {
			t.Errorf("type %d: got valid %t, size %d, name %q", uint8(bad), bad.Valid(), bad.Size(), bad)
		}
	}
}

func TestOps(t *testing.T) {
	rows := []struct {
		op   Op
		name string
	}{{Sum, "sum"}, {Prod, "prod"}, {Min, "min"}, {Max, "max"}, {Avg, "avg"}}
	all := Ops()
	if len(all) != len(rows) {
		t.Fatalf("Ops: got %v, want %d operations", all, len(rows))
	}
	for i, row := range rows {
		if all[i] != row.op || int(row.op) != i+1 || !row.op.Valid() || row.op.String() != row.name {
			t.Errorf("operation %d: got %v, valid %t, name %q, want %s", i+1, all[i], row.op.Valid(), row.op, row.name)
		}
		for _, name := range []string{row.name, strings.ToUpper(row.name)} {
			if got, err := ParseOp(name); got != row.op || err != nil {
				t.Errorf("ParseOp(%q): got %v, %v, want %v", name, got, err, row.op)
			}
		}
	}
	for _, bad := range []Op{0, opEnd, 255} {
		if bad.Valid() || bad.String() != "invalid" {
			t.Errorf("operation %d: got valid %t, name %q", uint8(bad), bad.Valid(), bad)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "int", "floa", "float ", "invalid", "sum,", "mul"} {
		if text != "int" { // a type
			_, err := ParseDType(text)
			checkParseError(t, err, text)
		}
		_, err := ParseOp(text)
		checkParseError(t, err, text)
	}
}

func checkParseError(t *testing.T, err error, text string) {
	t.Helper()
	var parse *ParseError
	if !errors.As(err, &parse) || parse.Text != text || !strings.Contains(err.Error(), parse.What) {
		t.Errorf("%q: got error %v, want a *ParseError that says so", text, err)
	}
}

func FuzzParseDType(f *testing.F) {
	f.Add("float")
	f.Add("BF16")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseDType(text)
		if err != nil {
			checkParseError(t, err, text)
			return
		}
		if again, err := ParseDType(got.String()); again != got || err != nil {
			t.Errorf("%q is %v, whose name gives %v, %v", text, got, again, err)
		}
	})
}

func FuzzParseOp(f *testing.F) {
	f.Add("sum")
	f.Add("AVG")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseOp(text)
		if err != nil {
			checkParseError(t, err, text)
			return
		}
		if !strings.EqualFold(got.String(), text) {
			t.Errorf("%q gives %v", text, got)
		}
	})
}

// TestSizes holds the values that are passed about everywhere to their budgets.
func TestSizes(t *testing.T) {
	const word = unsafe.Sizeof(uintptr(0))
	if got, want := unsafe.Sizeof(Kernel{}), 3*word; got > want {
		t.Errorf("a Kernel has %d bytes, want at most %d", got, want)
	}
	if got, want := unsafe.Sizeof(Block{}), 6*word; got > want {
		t.Errorf("a Block has %d bytes, want at most %d", got, want)
	}
}
