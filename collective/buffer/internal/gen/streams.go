package main

import . "github.com/mmcloughlin/avo/build"

// streams emits the function that copies past the caches.
func streams() {
	TEXT("avx2Stream", NOSPLIT, "func(to, from *byte, n int)")
	Doc("avx2Stream copies n bytes, a positive multiple of 32, to memory that starts at a multiple of 32, by non-temporal stores:",
		"the lines that it writes are not read first and do not stay in the caches.")
	Pragma("noescape")
	to := Load(Param("to"), GP64())
	from := Load(Param("from"), GP64())
	n := Load(Param("n"), GP64())
	offset := GP64()
	XORQ(offset, offset)
	loops("stream", 8, offset, n, func(vectors int) {
		accs := make([]acc, vectors)
		for i := range accs {
			accs[i] = plainLoad(at(from, offset, i))
		}
		for i, a := range accs {
			VMOVNTDQ(a[0], at(to, offset, i))
		}
	})
	Label("done")
	SFENCE() // what is stored after the call may publish what the call has stored
	VZEROUPPER()
	RET()
}
