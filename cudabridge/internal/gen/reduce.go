package main

import (
	"fmt"
	"strings"
)

// sources is how many operands one pass takes at most.
const sources = 8

var reductions = []string{"sum", "prod", "min", "max", "avg", "premulsum"}

// reduce is the kernel that combines up to eight sources in their order:
//
//	dst[i] = src0[i] ⊕ src1[i] ⊕ … ⊕ src(k-1)[i], for i < count
//
// Every thread reads its part of all sources before it writes, so dst may be one of them. Where all operands begin at the same
// place within 16 bytes, all but the ends is done 16 bytes at a time; otherwise element by element.
func reduce(f *format, op string) *kernel {
	params := []string{"dst", "count", "k", "by"}
	for j := range sources {
		params = append(params, fmt.Sprintf("src%d", j))
	}
	if op == "premulsum" {
		for j := range sources {
			params = append(params, fmt.Sprintf("scale%d", j))
		}
	}
	k := newKernel(op+"_"+f.name, params...)
	dst, count, width := k.pointer("dst"), k.param("count"), k.param("k")
	src := make([]string, sources)
	has := make([]string, sources) // predicates: there is such a source
	differ := k.to("l", "mov.u64", 0)
	for j := range sources {
		src[j] = k.pointer(params[4+j])
		has[j] = k.to("p", "setp.gt.u64", width, j)
		x := k.to("l", "xor.b64", dst, src[j])
		k.op("@%s or.b64 %s, %s, %s", has[j], differ, differ, x)
	}
	c := combiner{k: k, f: f, op: op}
	c.prepare()

	// head elements before the first multiple of 16, vectors, and the rest.
	head := k.to("l", "and.b64", k.to("l", "neg.s64", dst), 15)
	if f.size > 1 {
		head = k.to("l", "shr.u64", head, log2(f.size))
	}
	head = k.to("l", "min.u64", head, count)
	apart := k.to("p", "setp.ne.u64", k.to("l", "and.b64", differ, 15), 0)
	head = k.to("l", "selp.b64", count, head, apart)
	per := 16 / f.size
	vectors := k.to("l", "shr.u64", k.to("l", "sub.u64", count, head), log2(per))
	body := k.to("l", "shl.b64", vectors, log2(per)) // elements
	single := k.to("l", "sub.u64", count, body)
	index, threads := k.thread()

	skip := k.to("l", "shl.b64", head, log2(f.size))
	start := make([]string, sources)
	for j := range sources {
		start[j] = k.to("l", "add.u64", src[j], skip)
	}
	to := k.to("l", "add.u64", dst, skip)
	k.loop("vector", index, vectors, threads, func(i string) {
		offset := k.to("l", "shl.b64", i, 4)
		words := make([][]string, sources)
		for j := range sources {
			words[j] = k.list(f.word, f.words())
			from := k.to("l", "add.u64", start[j], offset)
			k.op("@%s ld.global.v%d.b%d %s, [%s]", has[j], f.words(), 128/f.words(), braces(words[j]), from)
		}
		out := c.combine(words, has, f.perWord())
		k.op("st.global.v%d.b%d [%s], %s", f.words(), 128/f.words(), k.to("l", "add.u64", to, offset), braces(out))
	})
	k.loop("single", index, single, threads, func(i string) {
		before := k.to("p", "setp.lt.u64", i, head)
		e := k.to("l", "selp.b64", i, k.to("l", "add.u64", i, body), before)
		offset := k.to("l", "shl.b64", e, log2(f.size))
		words := make([][]string, sources)
		for j := range sources {
			words[j] = k.list(f.word, 1)
			from := k.to("l", "add.u64", src[j], offset)
			k.op("@%s ld.global.%s%d %s, [%s]", has[j], unsignedOrBits(f.size), 8*f.size, words[j][0], from)
		}
		out := c.combine(words, has, 1)
		k.op("st.global.%s%d [%s], %s", unsignedOrBits(f.size), 8*f.size, k.to("l", "add.u64", dst, offset), out[0])
	})
	return k
}

// unsignedOrBits is the type letter of a load into a register that may be wider.
func unsignedOrBits(size int) string {
	if size < 4 {
		return "u"
	}
	return "b"
}

func log2(n int) int {
	l := 0
	for 1<<l < n {
		l++
	}
	return l
}

// A combiner makes the arithmetic of a reduction.
type combiner struct {
	k     *kernel
	f     *format
	op    string
	by    string   // divisor of an average, as an accumulator
	scale []string // factors of a pre-multiplied sum, as accumulators
}

// prepare loads what stays the same for all elements.
func (c *combiner) prepare() {
	scalar := func(param string) string {
		return c.k.to(c.f.reg, "ld.param."+c.f.acc, "["+param+"]")
	}
	if c.op == "avg" {
		c.by = scalar("by")
	}
	if c.op == "premulsum" {
		for j := range sources {
			c.scale = append(c.scale, scalar(fmt.Sprintf("scale%d", j)))
		}
	}
}

// combine returns the words of the result of sources whose words are given, of which those with a false predicate are not
// there.
func (c *combiner) combine(words [][]string, has []string, perWord int) []string {
	k := c.k
	var acc []string
	for _, w := range words[0] {
		for i := range perWord {
			a := k.reg(c.f.reg) // changed in place below, so not a word of the first source
			k.op("mov.b%d %s, %s", c.f.accBits(), a, c.scaled(c.f.unpack(k, w, i), 0))
			acc = append(acc, a)
		}
	}
	done := k.label("combined")
	for j := 1; j < sources; j++ {
		k.op("@!%s bra %s", has[j], done)
		for n, w := range words[j] {
			for i := range perWord {
				c.join(acc[n*perWord+i], c.scaled(c.f.unpack(k, w, i), j))
			}
		}
	}
	k.at(done)
	if c.op == "avg" {
		for n, a := range acc {
			acc[n] = c.divide(a)
		}
	}
	var out []string
	for n := 0; n < len(acc); n += perWord {
		out = append(out, c.f.pack(k, acc[n:n+perWord]))
	}
	return out
}

func (f *format) accBits() int {
	if strings.HasSuffix(f.acc, "64") {
		return 64
	}
	return 32
}

func (c *combiner) scaled(x string, j int) string {
	if c.op != "premulsum" {
		return x
	}
	return c.k.to(c.f.reg, c.multiply(), x, c.scale[j])
}

func (c *combiner) multiply() string {
	if c.f.isFloat() {
		return "mul.rn." + c.f.acc
	}
	return "mul.lo." + c.f.acc
}

// join makes a the combination of a and x.
func (c *combiner) join(a, x string) {
	k, t := c.k, c.f.acc
	switch c.op {
	case "sum", "avg", "premulsum":
		if c.f.isFloat() {
			t = "rn." + t
		}
		k.op("add.%s %s, %s, %s", t, a, a, x)
	case "prod":
		k.op("%s %s, %s, %s", c.multiply(), a, a, x)
	default:
		if !c.f.isFloat() {
			k.op("%s.%s %s, %s, %s", c.op, t, a, a, x)
			return
		}
		// The instruction gives the other operand for a NaN; the result is to be one.
		nan := map[string]string{"f32": "0f7FFFFFFF", "f64": "0d7FFFFFFFFFFFFFFF"}[t]
		p := k.to("p", "setp.nan."+t, a, x)
		k.op("%s.%s %s, %s, %s", c.op, t, a, a, x)
		k.op("selp.%s %s, %s, %s, %s", t, a, nan, a, p)
	}
}

// divide returns an average's quotient of a sum that is narrowed first, as it is when the sum has been stored in between.
func (c *combiner) divide(a string) string {
	if c.f.narrow != nil {
		a = c.f.narrow(c.k, a)
	}
	t := c.f.acc
	if c.f.isFloat() {
		t = "rn." + t
	}
	return c.k.to(c.f.reg, "div."+t, a, c.by)
}
