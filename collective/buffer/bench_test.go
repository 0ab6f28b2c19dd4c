package buffer

import (
	"fmt"
	"testing"
)

// benchSizes are bytes of one operand: in the second-level cache, and far beyond the caches.
var benchSizes = []struct {
	name  string
	bytes int
}{{"384KiB", 384 << 10}, {"64MiB", 64 << 20}}

// BenchmarkReduce reports bytes of dst per second for every implementation that runs here. dst is
// the first source, as when a received chunk is added to one's own.
func BenchmarkReduce(b *testing.B) {
	for _, impl := range implementations {
		if !impl.available {
			continue
		}
		for _, size := range benchSizes {
			operands := make([][]byte, 4)
			for i := range operands {
				operands[i] = make([]byte, size.bytes)
			}
			for _, dtype := range DTypes() {
				for _, operand := range operands {
					fillWithOnes(dtype, operand)
				}
				for op := Sum; op <= Max; op++ {
					if impl.table.reducers[dtype][op].run == nil {
						continue
					}
					kernel := impl.table.kernel(dtype, op)
					for _, sources := range []int{2, 4} {
						name := fmt.Sprintf("%s/%v/%v/%s/sources=%d", impl.name, dtype, op, size.name, sources)
						b.Run(name, func(b *testing.B) {
							b.SetBytes(int64(size.bytes))
							for b.Loop() {
								kernel.Reduce(operands[0], operands[:sources])
							}
						})
					}
				}
			}
		}
	}
}

// fillWithOnes keeps denormals and infinities out of the benchmarks: some code is slower with them.
func fillWithOnes(dtype DType, data []byte) {
	one := uint64(1)
	if isFloat(dtype) {
		one = round(dtype, 1)
	}
	store(dtype, data, 0, one)
	for n := dtype.Size(); n < len(data); n *= 2 {
		copy(data[n:], data[:n])
	}
}

// BenchmarkFinish reports bytes of data per second for the division of Avg. The data is divided again and
// again, so most of what is measured are zeros, which take as long as other numbers.
func BenchmarkFinish(b *testing.B) {
	for _, impl := range implementations {
		if !impl.available {
			continue
		}
		for _, size := range benchSizes {
			data := make([]byte, size.bytes)
			for _, dtype := range DTypes() {
				fillWithOnes(dtype, data)
				if impl.table.dividers[dtype].run == nil {
					continue
				}
				kernel := impl.table.kernel(dtype, Avg)
				b.Run(fmt.Sprintf("%s/%v/%s", impl.name, dtype, size.name), func(b *testing.B) {
					b.SetBytes(int64(size.bytes))
					for b.Loop() {
						kernel.Finish(data, 3)
					}
				})
			}
		}
	}
}

// BenchmarkReduceSmall shows what a call costs, with and without a tail.
func BenchmarkReduceSmall(b *testing.B) {
	for _, bytes := range []int{4, 32, 256, 260, 4096} {
		b.Run(fmt.Sprintf("%dB", bytes), func(b *testing.B) {
			kernel, err := KernelFor(Float32, Sum)
			if err != nil {
				b.Fatal(err)
			}
			srcs := [][]byte{make([]byte, bytes), make([]byte, bytes)}
			b.SetBytes(int64(bytes))
			for b.Loop() {
				kernel.Reduce(srcs[0], srcs)
			}
		})
	}
}

// BenchmarkCopy compares with BenchmarkReduce: the same traffic of one source less.
func BenchmarkCopy(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			dst, src := make([]byte, size.bytes), make([]byte, size.bytes)
			b.SetBytes(int64(size.bytes))
			for b.Loop() {
				Copy(dst, src)
			}
		})
	}
}
