package ptx

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"
)

// array is memory from address 4096 on.
type array []byte

var errBounds = errors.New("out of bounds")

func (a array) At(address uint64, n int, _ bool) (unsafe.Pointer, error) {
	if address < 4096 || address-4096 > uint64(len(a)) || uint64(n) > uint64(len(a))-(address-4096) {
		return nil, errBounds
	}
	return unsafe.Pointer(&a[address-4096]), nil
}

// one runs a body with %r1, %l1, %f1, … and returns the 64-bit word that it stores at [%l0].
func one(t *testing.T, body string) (uint64, error) {
	t.Helper()
	text := ".version 6.3\n.target sm_70\n.address_size 64\n.visible .entry k(\n\t.param .u64 p\n)\n{\n" +
		"\t.reg .pred %p<4>;\n\t.reg .b16 %h<8>;\n\t.reg .b32 %r<8>;\n\t.reg .b64 %l<8>;\n\t.reg .f32 %f<8>;\n\t.reg .f64 %d<8>;\n\tld.param.u64 %l0, [p];\n"
	for s := range strings.SplitSeq(body, ";") {
		if s = strings.TrimSpace(s); strings.HasSuffix(s, ":") {
			text += s + "\n"
		} else if s != "" {
			text += "\t" + s + ";\n"
		}
	}
	m, err := Parse(text + "\tret;\n}\n")
	if err != nil {
		return 0, err
	}
	mem := make([]uint64, 8)
	b := array(unsafe.Slice((*byte)(unsafe.Pointer(&mem[0])), 64))
	err = m.Kernels["k"].Launch(b, [2]int{1, 1}, 1, []byte{0, 16, 0, 0, 0, 0, 0, 0})
	return mem[0], err
}

// TestSemantics has results that the PTX ISA manual states.
func TestSemantics(t *testing.T) {
	f := func(x float64) string { return fmt.Sprintf("0f%08X", math.Float32bits(float32(x))) }
	for _, tt := range []struct {
		name, body string
		want       uint64
	}{
		{"shl clamps", "mov.u64 %l1, 1; shl.b64 %l2, %l1, 64; st.global.u64 [%l0], %l2", 0},
		{"shr clamps", "mov.u32 %r1, -1; shr.u32 %r2, %r1, 32; st.global.b32 [%l0], %r2", 0},
		{"bfe signed", "mov.u32 %r1, 0x0000f500; bfe.s32 %r2, %r1, 8, 8; st.global.b32 [%l0], %r2", 0xfffffff5},
		{"bfe unsigned", "mov.u32 %r1, 0x0000f500; bfe.u32 %r2, %r1, 8, 8; st.global.b32 [%l0], %r2", 0xf5},
		{"bfe past the end", "mov.u32 %r1, 0x80000000; bfe.s32 %r2, %r1, 28, 8; st.global.b32 [%l0], %r2", 0xfffffff8},
		{"prmt", "mov.u32 %r1, 0x33221100; mov.u32 %r2, 0x77665544; prmt.b32 %r3, %r1, %r2, 0x5410; st.global.b32 [%l0], %r3", 0x55441100},
		{"prmt sign", "mov.u32 %r1, 0x00008000; mov.u32 %r2, 0; prmt.b32 %r3, %r1, %r2, 0x0901; st.global.b32 [%l0], %r3", 0x00ff0080},
		{"min orders zeros", "mov.f32 %f1, 0f00000000; mov.f32 %f2, 0f80000000; min.f32 %f3, %f1, %f2; mov.b32 %r1, %f3; st.global.b32 [%l0], %r1", 0x80000000},
		{"max of NaN", "mov.f32 %f1, 0f7fc00001; mov.f32 %f2, " + f(-3) + "; max.f32 %f3, %f1, %f2; mov.b32 %r1, %f3; st.global.b32 [%l0], %r1", uint64(math.Float32bits(-3))},
		{"add makes the canonical NaN", "mov.f32 %f1, 0ffff00001; add.rn.f32 %f2, %f1, %f1; mov.b32 %r1, %f2; st.global.b32 [%l0], %r1", nan32},
		{"add keeps denormals", "mov.f32 %f1, 0f00000001; add.rn.f32 %f2, %f1, %f1; mov.b32 %r1, %f2; st.global.b32 [%l0], %r1", 2},
		{"half tie to even", "mov.f32 %f1, " + f(1+1.0/2048) + "; cvt.rn.f16.f32 %h1, %f1; st.global.b16 [%l0], %h1", 0x3c00},
		{"half tie up", "mov.f32 %f1, " + f(1+3.0/2048) + "; cvt.rn.f16.f32 %h1, %f1; st.global.b16 [%l0], %h1", 0x3c02},
		{"half overflow", "mov.f32 %f1, " + f(65520) + "; cvt.rn.f16.f32 %h1, %f1; st.global.b16 [%l0], %h1", 0x7c00},
		{"half largest", "mov.f32 %f1, " + f(65519.996) + "; cvt.rn.f16.f32 %h1, %f1; st.global.b16 [%l0], %h1", 0x7bff},
		{"half denormal", "mov.f32 %f1, " + f(math.Ldexp(3, -25)) + "; cvt.rn.f16.f32 %h1, %f1; st.global.b16 [%l0], %h1", 2},
		{"half NaN", "mov.f32 %f1, 0f7f800001; cvt.rn.f16.f32 %h1, %f1; st.global.b16 [%l0], %h1", 0x7fff},
		{"e4m3 there", "mov.f32 %f1, " + f(-1.0625) + "; mov.f32 %f2, " + f(1000) + "; cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; st.global.b16 [%l0], %h1", 0xb87e},
		{"e4m3 back", "mov.u32 %r1, 0x7f01; mov.b32 {%h1, %h2}, %r1; cvt.rn.f16x2.e4m3x2 %r2, %h1; st.global.b32 [%l0], %r2", 0x7fff1800},
		{"e5m2 there", "mov.f32 %f1, 0f7f800000; mov.f32 %f2, 0f7fc00000; cvt.rn.satfinite.e5m2x2.f32 %h1, %f1, %f2; st.global.b16 [%l0], %h1", 0x7b7f},
		{"e5m2 back", "mov.u32 %r1, 0xfc3d; mov.b32 {%h1, %h2}, %r1; cvt.rn.f16x2.e5m2x2 %r2, %h1; st.global.b32 [%l0], %r2", 0xfc003d00},
		{"abs", "mov.f32 %f1, " + f(-3) + "; abs.f32 %f2, %f1; mov.b32 %r1, %f2; st.global.b32 [%l0], %r1", uint64(math.Float32bits(3))},
		{"integer division by zero", "mov.u32 %r1, 7; mov.u32 %r2, 0; div.u32 %r3, %r1, %r2; st.global.b32 [%l0], %r3", 0xffffffff},
		{"division truncates", "mov.u32 %r1, -7; mov.u32 %r2, 2; div.s32 %r3, %r1, %r2; st.global.b32 [%l0], %r3", 0xfffffffd},
		{"round to integer, tie", "mov.f32 %f1, " + f(2.5) + "; cvt.rni.s32.f32 %r1, %f1; st.global.b32 [%l0], %r1", 2},
		{"round NaN to integer", "mov.f32 %f1, 0f7fc00000; cvt.rni.s32.f32 %r1, %f1; st.global.b32 [%l0], %r1", 0},
		{"guard", "mov.u64 %l1, 5; setp.gt.u64 %p1, %l1, 4; @!%p1 mov.u64 %l1, 6; st.global.u64 [%l0], %l1", 5},
		{"pack", "mov.u32 %r1, 0x00020001; mov.b32 {%h1, %h2}, %r1; mov.b32 %r2, {%h2, %h1}; st.global.b32 [%l0], %r2", 0x00010002},
	} {
		if got, err := one(t, tt.body); err != nil || got != tt.want {
			t.Errorf("%s: got %#x, %v, want %#x", tt.name, got, err, tt.want)
		}
	}
}

// TestHalf compares all half-precision numbers with themselves after the way there and back.
func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		if v := halfValue(uint16(h)); v == v && halfBits(v) != uint16(h) {
			t.Fatalf("%#04x is %v and back %#04x", h, v, halfBits(v))
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		body string
		want string
	}{
		{"add.rn.f16 %h1, %h1, %h1", "unknown instruction"},
		{"add.u32 %r1, %r9, %r1", "unknown operand %r9"},
		{"bra $nowhere", "no label $nowhere"},
		{"ld.global.u32 %r1, [%x1]", "unknown address"},
		{"@%q1 ret", "unknown register"},
		{"ld.global.v4.b32 {%r1, %r2}, [%l0]", "unknown instruction"},
		{"st.global.u64 [%l0+4], %l1", ErrMisaligned.Error()},
		{"st.global.u64 [%l0+64], %l1", errBounds.Error()},
		{"mov.u64 %l1, 1; $a:; mov.u64 %l1, 2; $a:; ret", "for the second time"},
	} {
		if _, err := one(t, tt.body); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.body, err, tt.want)
		}
	}
	for _, text := range []string{"", "garbage", ".version 6.3\n", ".version 6.3\n.target sm_70\n.visible .entry k()\n{\n\tret;\n", ".target sm_70\n.visible .entry k()\n{\n\tret;\n}\n",
		".version 6.3\n.target sm_70\n.visible .entry k(.param .x p)\n{\n\tret;\n}\n"} {
		if _, err := Parse(text); err == nil {
			t.Errorf("Parse(%q): got no error", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(".version 6.3\n.target sm_70\n.address_size 64\n.visible .entry k(\n\t.param .u64 p\n)\n{\n\t.reg .b64 %l<2>;\n\tld.param.u64 %l0, [p];\n$a:\n\tret;\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := Parse(text); err == nil && (m == nil || len(m.Kernels) == 0) {
			t.Error("neither a module nor an error")
		}
	})
}
