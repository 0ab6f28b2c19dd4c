package buffer

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// BenchmarkMemoryLimit is how long this machine's memory takes to read and to write the vectors of so many ranks once, 64 MiB
// each, by all cores together: no all-reduce can be quicker that leaves every rank the result. It is measured in two ways,
// in place and by copies past the caches; the quicker one is the limit.
func BenchmarkMemoryLimit(b *testing.B) {
	const vector = 64 << 20
	k, err := KernelFor(Float32, Max)
	if err != nil {
		b.Fatal(err)
	}
	cores := runtime.GOMAXPROCS(0)
	// share calls f at once for every core's part of n bytes.
	share := func(n int, f func(lo, hi int)) {
		var wg sync.WaitGroup
		for c := range cores {
			lo, hi := n/4096*c/cores*4096, n/4096*(c+1)/cores*4096
			wg.Go(func() { f(lo, hi) })
		}
		wg.Wait()
	}
	for _, ranks := range []int{2, 4, 8} {
		mem := Of(make([]float32, ranks*vector/4)).Data
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 0 // the pages are there
		}
		half := len(mem) / 2
		for name, move := range map[string]func(){
			"inplace": func() {
				share(len(mem), func(lo, hi int) { k.Reduce(mem[lo:hi], [][]byte{mem[lo:hi], mem[lo:hi]}) })
			},
			"copy": func() {
				share(half, func(lo, hi int) { CopyStream(mem[half+lo:half+hi], mem[lo:hi]) })
				share(half, func(lo, hi int) { CopyStream(mem[lo:hi], mem[half+lo:half+hi]) })
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", name, ranks), func(b *testing.B) {
				b.SetBytes(2 * int64(len(mem)))
				for b.Loop() {
					move()
				}
			})
		}
	}
}
