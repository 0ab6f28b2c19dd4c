// Command versus times package buffer's sums beside the same sums as a C compiler vectorises them (-O3, AVX2 and F16C),
// in turn, and prints the median of each and their ratio. It is a module of its own because it needs cgo.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
)

// types are the ones that C has loops for, in the order of their numbers there.
var types = []buffer.DType{buffer.Float32, buffer.Float64, buffer.Int32, buffer.Float16, buffer.BFloat16}

func main() {
	rounds := flag.Int("rounds", 7, "how often each is timed; the medians are printed")
	least := flag.Duration("time", 10*time.Millisecond, "how long a timing lasts at least")
	only := flag.Int("bytes", 0, "operands of these many bytes only; 0: four sizes")
	flag.Parse()
	if err := run(*rounds, *least, *only); err != nil {
		fmt.Fprintln(os.Stderr, "versus:", err)
		os.Exit(1)
	}
}

func run(rounds int, least time.Duration, only int) error {
	sizes := []int{16 << 10, 384 << 10, 6 << 20, 64 << 20}
	if only > 0 {
		sizes = []int{only}
	}
	fmt.Printf("%-9s %-8s %-8s %-8s %10s %10s %10s %8s\n", "type", "operand", "sources", "result", "ringtree", "streamed", "C", "ratio")
	fmt.Printf("%-9s %-8s %-8s %-8s %10s %10s %10s %8s\n", "", "bytes", "", "", "GB/s", "GB/s", "GB/s", "best/C")
	for _, size := range sizes {
		memory := make([][]byte, 9)
		for i := range memory {
			memory[i] = make([]byte, size)
		}
		for kind, t := range types {
			kernel, err := buffer.KernelFor(t, buffer.Sum)
			if err != nil {
				return err
			}
			for _, k := range []int{2, 4, 8} {
				for _, inPlace := range []bool{true, false} {
					dst, srcs, place := memory[8], memory[:k], "apart"
					if inPlace {
						dst, place = memory[0], "in place"
					}
					for _, m := range memory {
						clear(m) // sums in place do not overflow
					}
					ways := []func(){
						func() { kernel.Reduce(dst, srcs) },
						func() { kernel.ReduceStream(dst, srcs) },
						func() { compiled(kind, dst, srcs) },
					}
					rates := compare(ways, rounds, least, size)
					fmt.Printf("%-9v %-8d %-8d %-8s %10.1f %10.1f %10.1f %8.2f\n", t, size, k, place, rates[0], rates[1], rates[2],
						max(rates[0], rates[1])/rates[2])
				}
			}
		}
	}
	return nil
}

// compare times the ways in turn and returns the median rate of each in GB of result per second.
func compare(ways []func(), rounds int, least time.Duration, size int) []float64 {
	all := make([][]float64, len(ways))
	for range rounds {
		for i, f := range ways {
			f()
			n, start := 0, time.Now()
			for time.Since(start) < least {
				f()
				n++
			}
			all[i] = append(all[i], float64(n)*float64(size)/time.Since(start).Seconds()/1e9)
		}
	}
	medians := make([]float64, len(ways))
	for i, a := range all {
		slices.Sort(a)
		medians[i] = a[len(a)/2]
	}
	return medians
}
