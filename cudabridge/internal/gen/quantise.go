package main

// quantBlock is how many float32 share one scale. A thread does a whole block: 128 bytes in, 32 bytes and a scale out.
const quantBlock = 32

// quantise is the kernel that turns float32 into int8 with a scale for every block:
//
//	scale = max|x| / 127, or NaN if an x is not finite
//	q = x / scale, rounded to nearest, ties to even; 0 if scale is 0 or NaN
//
// The last block may be short. src and q begin on 16 bytes.
func quantise() *kernel {
	k := newKernel("quantise", "q", "scales", "src", "count")
	q, scales, src, count := k.pointer("q"), k.pointer("scales"), k.pointer("src"), k.param("count")
	blocks := k.to("l", "shr.u64", k.to("l", "add.u64", count, quantBlock-1), log2(quantBlock))
	index, threads := k.thread()
	k.loop("block", index, blocks, threads, func(b string) {
		first := k.to("l", "shl.b64", b, log2(quantBlock))
		from := k.to("l", "add.u64", src, k.to("l", "shl.b64", first, 2))
		to := k.to("l", "add.u64", q, first)
		x := make([]string, quantBlock)
		for i := range x {
			x[i] = k.reg("f")
		}
		left := k.to("l", "sub.u64", count, first)
		short := k.to("p", "setp.lt.u64", left, quantBlock)
		partial, loaded := k.label("partial"), k.label("loaded")
		k.op("@%s bra %s", short, partial)
		for i := 0; i < quantBlock; i += 4 {
			k.op("ld.global.v4.f32 %s, [%s+%d]", braces(x[i:i+4]), from, 4*i)
		}
		k.op("bra %s", loaded)
		k.at(partial)
		for i := range x {
			k.op("mov.f32 %s, 0f00000000", x[i])
			k.op("@%s ld.global.f32 %s, [%s+%d]", k.to("p", "setp.gt.u64", left, i), x[i], from, 4*i)
		}
		k.at(loaded)
		// The bits of absolute values are ordered as integers, and NaN and infinity come last.
		top := k.to("r", "mov.u32", 0)
		for i := range x {
			k.op("max.u32 %s, %s, %s", top, top, k.to("r", "and.b32", k.to("r", "mov.b32", x[i]), "0x7fffffff"))
		}
		wild := k.to("p", "setp.ge.u32", top, "0x7f800000")
		scale := k.to("f", "div.rn.f32", k.to("f", "mov.b32", top), "0f42FE0000")
		k.op("selp.f32 %s, 0f7FFFFFFF, %s, %s", scale, scale, wild)
		k.op("st.global.f32 [%s], %s", k.to("l", "add.u64", scales, k.to("l", "shl.b64", b, 2)), scale)
		usable := k.to("p", "setp.gt.f32", scale, "0f00000000") // not for NaN
		out := make([]string, quantBlock)
		for i := range x {
			r := k.to("r", "cvt.rni.s32.f32", k.to("f", "div.rn.f32", x[i], scale))
			r = k.to("r", "max.s32", k.to("r", "min.s32", r, 127), -127)
			out[i] = k.to("r", "selp.b32", r, 0, usable)
		}
		bytes, end := k.label("bytes"), k.label("stored")
		k.op("@%s bra %s", short, bytes)
		i8 := small("int8", 1, "s32")
		for i := 0; i < quantBlock; i += 16 {
			var words []string
			for j := 0; j < 16; j += 4 {
				words = append(words, i8.pack(k, out[i+j:i+j+4]))
			}
			k.op("st.global.v4.b32 [%s+%d], %s", to, i, braces(words))
		}
		k.op("bra %s", end)
		k.at(bytes)
		for i := range x {
			k.op("@%s st.global.u8 [%s+%d], %s", k.to("p", "setp.gt.u64", left, i), to, i, out[i])
		}
		k.at(end)
	})
	return k
}

// dequantise is the kernel that adds what quantise made to float32: dst[i] += q[i]·scale of its block, the product rounded
// and then the sum. dst begins on 16 bytes and q on 4.
func dequantise() *kernel {
	k := newKernel("dequantise_add", "dst", "q", "scales", "count")
	dst, q, scales, count := k.pointer("dst"), k.pointer("q"), k.pointer("scales"), k.param("count")
	vectors := k.to("l", "shr.u64", count, 2)
	body := k.to("l", "shl.b64", vectors, 2)
	single := k.to("l", "sub.u64", count, body)
	index, threads := k.thread()
	i8 := small("int8", 1, "s32")
	add := func(x, word, scale string, i int) string {
		v := k.to("f", "mul.rn.f32", k.to("f", "cvt.rn.f32.s32", i8.unpack(k, word, i)), scale)
		return k.to("f", "add.rn.f32", x, v)
	}
	scaleAt := func(element string) string {
		at := k.to("l", "shl.b64", k.to("l", "shr.u64", element, log2(quantBlock)), 2)
		return k.to("f", "ld.global.f32", "["+k.to("l", "add.u64", scales, at)+"]")
	}
	k.loop("vector", index, vectors, threads, func(i string) {
		at := k.to("l", "add.u64", dst, k.to("l", "shl.b64", i, 4))
		e := k.to("l", "shl.b64", i, 2)
		x := k.list("f", 4)
		k.op("ld.global.v4.f32 %s, [%s]", braces(x), at)
		word := k.to("r", "ld.global.b32", "["+k.to("l", "add.u64", q, e)+"]")
		scale := scaleAt(e)
		for j := range x {
			x[j] = add(x[j], word, scale, j)
		}
		k.op("st.global.v4.f32 [%s], %s", at, braces(x))
	})
	k.loop("single", index, single, threads, func(i string) {
		e := k.to("l", "add.u64", i, body)
		at := k.to("l", "add.u64", dst, k.to("l", "shl.b64", e, 2))
		x := k.to("f", "ld.global.f32", "["+at+"]")
		word := k.to("r", "ld.global.u8", "["+k.to("l", "add.u64", q, e)+"]")
		k.op("st.global.f32 [%s], %s", at, add(x, word, scaleAt(e), 0))
	})
	return k
}
