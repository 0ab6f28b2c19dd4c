package main

import "fmt"

// A format is an element type: how elements come out of the words of memory into accumulators, and back. Words are 32 bits, or
// 64 for elements of 8 bytes.
type format struct {
	name string
	size int    // bytes
	acc  string // PTX type of the accumulator
	reg  string // register class of the accumulator
	word string // register class of a word
	head string // how a module begins that needs more than the others; "": as they do

	// unpack returns the accumulator of element i of a word.
	unpack func(k *kernel, word string, i int) string
	// pack returns the word of as many accumulators as a word has elements, or of one.
	pack func(k *kernel, acc []string) string
	// narrow returns an accumulator as it is after a pack and an unpack; nil: as it was.
	narrow func(k *kernel, acc string) string
}

func (f *format) isFloat() bool { return f.acc == "f32" || f.acc == "f64" }
func (f *format) perWord() int {
	if f.size == 8 {
		return 1
	}
	return 4 / f.size
}

// words is how many words 16 bytes are.
func (f *format) words() int {
	if f.size == 8 {
		return 2
	}
	return 4
}

var formats = []*format{
	small("int8", 1, "s32"), small("uint8", 1, "u32"), small("int16", 2, "s32"), small("uint16", 2, "u32"),
	plain("int32", 4, "s32", "r"), plain("uint32", 4, "u32", "r"), plain("int64", 8, "s64", "l"), plain("uint64", 8, "u64", "l"),
	half(), bfloat16(),
	plain("float", 4, "f32", "f"), plain("double", 8, "f64", "d"),
	float8(e4m3, false), float8(e5m2, false), float8(e4m3, true), float8(e5m2, true),
}

// small is an integer of 8 or 16 bits, which is worked on in 32.
func small(name string, size int, acc string) *format {
	f := &format{name: name, size: size, acc: acc, reg: "r", word: "r"}
	f.unpack = func(k *kernel, word string, i int) string {
		return k.to("r", "bfe."+acc, word, 8*size*i, 8*size)
	}
	f.narrow = func(k *kernel, a string) string { return k.to("r", "bfe."+acc, a, 0, 8*size) }
	f.pack = func(k *kernel, a []string) string {
		switch len(a) {
		case 1:
			return a[0]
		case 2:
			return k.to("r", "prmt.b32", a[0], a[1], "0x5410")
		}
		return k.to("r", "prmt.b32", k.to("r", "prmt.b32", a[0], a[1], "0x0040"), k.to("r", "prmt.b32", a[2], a[3], "0x0040"), "0x5410")
	}
	return f
}

// plain is a type that is a word of its own.
func plain(name string, size int, acc, reg string) *format {
	f := &format{name: name, size: size, acc: acc, reg: reg, word: "r"}
	if size == 8 {
		f.word = "l"
	}
	move := func(to string) func(k *kernel, from string) string {
		return func(k *kernel, from string) string {
			if f.reg == f.word {
				return from
			}
			return k.to(to, fmt.Sprintf("mov.b%d", 8*size), from)
		}
	}
	f.unpack = func(k *kernel, word string, _ int) string { return move(f.reg)(k, word) }
	f.pack = func(k *kernel, a []string) string { return move(f.word)(k, a[0]) }
	return f
}

// half is IEEE binary16, which is worked on in float32.
func half() *format {
	f := &format{name: "half", size: 2, acc: "f32", reg: "f", word: "r"}
	f.unpack = func(k *kernel, word string, i int) string {
		pair := k.list("h", 2)
		k.op("mov.b32 %s, %s", braces(pair), word)
		return k.to("f", "cvt.f32.f16", pair[i])
	}
	round := func(k *kernel, a string) string { return k.to("h", "cvt.rn.f16.f32", a) }
	f.pack = func(k *kernel, a []string) string {
		pair := []string{round(k, a[0]), ""}
		if pair[1] = pair[0]; len(a) > 1 {
			pair[1] = round(k, a[1])
		}
		return k.to("r", "mov.b32", braces(pair))
	}
	f.narrow = func(k *kernel, a string) string { return k.to("f", "cvt.f32.f16", round(k, a)) }
	return f
}

// bfloat16 is the upper half of a float32. It is rounded with integers, because processors before sm_80 cannot do it otherwise.
func bfloat16() *format {
	f := &format{name: "bfloat16", size: 2, acc: "f32", reg: "f", word: "r"}
	widen := func(k *kernel, word string, i int) string {
		if i == 0 {
			return k.to("f", "mov.b32", k.to("r", "shl.b32", word, 16))
		}
		return k.to("f", "mov.b32", k.to("r", "and.b32", word, "0xffff0000"))
	}
	f.unpack = widen
	round := func(k *kernel, a string) string { // to the upper half of a register
		bits := k.to("r", "mov.b32", a)
		up := k.to("r", "add.u32", k.to("r", "add.u32", bits, "0x7fff"), k.to("r", "bfe.u32", bits, 16, 1))
		return k.to("r", "selp.b32", "0x7fff7fff", up, k.to("p", "setp.nan.f32", a, a))
	}
	f.pack = func(k *kernel, a []string) string {
		if len(a) == 1 {
			return k.to("r", "shr.u32", round(k, a[0]), 16)
		}
		return k.to("r", "prmt.b32", round(k, a[0]), round(k, a[1]), "0x7632")
	}
	f.narrow = func(k *kernel, a string) string { return widen(k, round(k, a), 1) }
	return f
}
