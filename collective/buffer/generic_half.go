package buffer

import "unsafe"

// wideBlock is how many half-precision elements are worked on at a time: two buffers of that many
// float32 stay in the first-level cache and fit any stack.
const wideBlock = 256

// addHalves enters the implementation for a half-precision type. One pass takes maxPass sources,
// here as in every other implementation, because where a pass ends is where the result is rounded.
func addHalves(tab *table, t DType,
	reduce func(op Op, to *byte, srcs [][]byte, lo, n int),
	divide func(p *byte, n, by int)) {
	for op := Sum; op <= Max; op++ {
		tab.reducers[t][op] = reducer{
			run: func(to *byte, from *[]byte, k, lo, n, _ int) {
				reduce(op, to, unsafe.Slice(from, k), lo, n)
			},
			width: maxPass, block: t.Size(), impl: "generic",
		}
	}
	tab.dividers[t] = divider{run: divide, block: t.Size()}
}

func reduceF16(op Op, to *byte, srcs [][]byte, lo, n int) {
	var accs, others [wideBlock]float32
	lo, hi := lo/2, (lo+n)/2
	for ; lo < hi; lo += wideBlock {
		acc, other := accs[:min(wideBlock, hi-lo)], others[:min(wideBlock, hi-lo)]
		for i, x := range elements[F16](unsafe.SliceData(srcs[0]), lo, len(acc)) {
			acc[i] = x.Float32()
		}
		for _, src := range srcs[1:] {
			for i, x := range elements[F16](unsafe.SliceData(src), lo, len(acc)) {
				other[i] = x.Float32()
			}
			reduceWide(op, acc, other)
		}
		dst := elements[F16](to, lo, len(acc))
		for i, x := range acc {
			dst[i] = ToF16(x)
		}
	}
}

func reduceBF16(op Op, to *byte, srcs [][]byte, lo, n int) {
	var accs, others [wideBlock]float32
	lo, hi := lo/2, (lo+n)/2
	for ; lo < hi; lo += wideBlock {
		acc, other := accs[:min(wideBlock, hi-lo)], others[:min(wideBlock, hi-lo)]
		for i, x := range elements[BF16](unsafe.SliceData(srcs[0]), lo, len(acc)) {
			acc[i] = x.Float32()
		}
		for _, src := range srcs[1:] {
			for i, x := range elements[BF16](unsafe.SliceData(src), lo, len(acc)) {
				other[i] = x.Float32()
			}
			reduceWide(op, acc, other)
		}
		dst := elements[BF16](to, lo, len(acc))
		for i, x := range acc {
			dst[i] = ToBF16(x)
		}
	}
}

func reduceWide(op Op, acc, other []float32) {
	switch op {
	case Sum:
		sum(acc, acc, other)
	case Prod:
		prod(acc, acc, other)
	case Min:
		minimumFloat(acc, acc, other)
	case Max:
		maximumFloat(acc, acc, other)
	}
}

func divideF16(p *byte, n, by int) {
	data := elements[F16](p, 0, n/2)
	for i, x := range data {
		data[i] = ToF16(x.Float32() / float32(by))
	}
}

func divideBF16(p *byte, n, by int) {
	data := elements[BF16](p, 0, n/2)
	for i, x := range data {
		data[i] = ToBF16(x.Float32() / float32(by))
	}
}
