// Command sweep writes the AVX2 assembly of package sim, which steps rings, and the Go declarations of its functions.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!purego")
	step("avx2Step", false)
	step("avx2NoisyStep", true)
	Generate()
}

// step emits d[i] = max(d[i], d[i-1]+h[i-1]) + c[i] for i from n-1 down to 0, with late[i]·span[i]/2³² on top where noisy.
func step(name string, noisy bool) {
	signature := "func(d, h, c *int64, n int)"
	doc := []string{name + " sets d[i] to max(d[i], d[i-1]+h[i-1]) + c[i] for i from n-1 down to 0. n is a positive multiple of 4, and d and h have",
		"an element before the first."}
	if noisy {
		signature = "func(d, h, c *int64, span, late *uint32, n int)"
		doc = append(doc, "To each it adds span[i]·late[i]/2³².")
	}
	TEXT(name, NOSPLIT, signature)
	Doc(doc...)
	Pragma("noescape")
	d, h, c := Load(Param("d"), GP64()), Load(Param("h"), GP64()), Load(Param("c"), GP64())
	var span, late reg.Register
	if noisy {
		span, late = Load(Param("span"), GP64()), Load(Param("late"), GP64())
	}
	n := Load(Param("n"), GP64())
	at := func(base reg.Register, scale uint8, disp int) Mem {
		return Mem{Base: base, Index: n, Scale: scale, Disp: disp}
	}
	vector := func(i int) { // the i-th four below n
		was, from, later := YMM(), YMM(), YMM()
		VMOVDQU(at(d, 8, -32*i-32), was)
		VMOVDQU(at(d, 8, -32*i-40), from)
		VPADDQ(at(h, 8, -32*i-40), from, from)
		VPCMPGTQ(was, from, later)
		VBLENDVPD(later, from, was, was)
		VPADDQ(at(c, 8, -32*i-32), was, was)
		if noisy {
			s, l := YMM(), YMM()
			VPMOVZXDQ(at(span, 4, -16*i-16), s)
			VPMOVZXDQ(at(late, 4, -16*i-16), l)
			VPMULUDQ(s, l, l)
			VPSRLQ(U8(32), l, l)
			VPADDQ(l, was, was)
		}
		VMOVDQU(was, at(d, 8, -32*i-32))
	}
	CMPQ(n, U8(8))
	JB(LabelRef("four"))
	Label("eight")
	vector(0)
	vector(1)
	SUBQ(U8(8), n)
	CMPQ(n, U8(8))
	JAE(LabelRef("eight"))
	Label("four")
	TESTQ(n, n)
	JEQ(LabelRef("done"))
	vector(0)
	Label("done")
	VZEROUPPER()
	RET()
}
