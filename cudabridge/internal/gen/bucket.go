package main

// bucket is the kernel that copies many tensors to their places in one bucket (pack), or back (unpack): row y of the grid
// takes entry y of the table, three words of 64 bits each: address, offset in the bucket, bytes.
func bucket(name string) *kernel {
	k := newKernel(name, "table", "bucket")
	table, base := k.pointer("table"), k.pointer("bucket")
	row := k.to("r", "mov.u32", "%ctaid.y")
	entry := k.to("l", "add.u64", table, k.to("l", "mul.wide.u32", row, 24))
	tensor := k.to("l", "ld.global.u64", "["+entry+"]")
	inside := k.to("l", "add.u64", base, k.to("l", "ld.global.u64", "["+entry+"+8]"))
	bytes := k.to("l", "ld.global.u64", "["+entry+"+16]")
	from, to := tensor, inside
	if name == "unpack" {
		from, to = inside, tensor
	}
	index, threads := k.thread()

	// The widest step for which both sides begin at the same place: 16, 4 or 1.
	differ := k.to("l", "xor.b64", from, to)
	fits16 := k.to("p", "setp.eq.u64", k.to("l", "and.b64", differ, 15), 0)
	fits4 := k.to("p", "setp.eq.u64", k.to("l", "and.b64", differ, 3), 0)
	mask := k.to("l", "selp.b64", 3, 0, fits4)
	mask = k.to("l", "selp.b64", 15, mask, fits16)
	shift := k.to("r", "selp.b32", 2, 0, fits4)
	shift = k.to("r", "selp.b32", 4, shift, fits16)
	head := k.to("l", "and.b64", k.to("l", "neg.s64", to), mask)
	head = k.to("l", "min.u64", head, bytes)
	steps := k.to("l", "shr.u64", k.to("l", "sub.u64", bytes, head), shift)
	body := k.to("l", "shl.b64", steps, shift)
	fromBody, toBody := k.to("l", "add.u64", from, head), k.to("l", "add.u64", to, head)

	rest, narrow, by1 := k.label("rest"), k.label("narrow"), k.label("bytes")
	k.op("@!%s bra %s", fits16, narrow)
	k.loop("wide", index, steps, threads, func(i string) {
		offset := k.to("l", "shl.b64", i, 4)
		words := k.list("r", 4)
		k.op("ld.global.v4.b32 %s, [%s]", braces(words), k.to("l", "add.u64", fromBody, offset))
		k.op("st.global.v4.b32 [%s], %s", k.to("l", "add.u64", toBody, offset), braces(words))
	})
	k.op("bra %s", rest)
	k.at(narrow)
	k.op("@!%s bra %s", fits4, by1)
	k.loop("word", index, steps, threads, func(i string) {
		offset := k.to("l", "shl.b64", i, 2)
		word := k.to("r", "ld.global.b32", "["+k.to("l", "add.u64", fromBody, offset)+"]")
		k.op("st.global.b32 [%s], %s", k.to("l", "add.u64", toBody, offset), word)
	})
	k.op("bra %s", rest)
	k.at(by1)
	k.op("mov.u64 %s, 0", body)
	k.op("mov.u64 %s, %s", head, bytes)
	k.at(rest)
	single := k.to("l", "sub.u64", bytes, body)
	k.loop("byte", index, single, threads, func(i string) {
		before := k.to("p", "setp.lt.u64", i, head)
		e := k.to("l", "selp.b64", i, k.to("l", "add.u64", i, body), before)
		b := k.to("r", "ld.global.u8", "["+k.to("l", "add.u64", from, e)+"]")
		k.op("st.global.u8 [%s], %s", k.to("l", "add.u64", to, e), b)
	})
	return k
}
