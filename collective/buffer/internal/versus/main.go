// Command versus times package buffer's reductions beside the same reductions as a C compiler vectorises them (-O3, AVX2 and F16C): in turn,
// on the same memory, with as many samples of each. It prints the median rate of each, and the ratio of the median times. It is a module of
// its own because it needs cgo.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
)

var (
	// types are the ones that C has loops for, in the order of their numbers there.
	types = []buffer.DType{buffer.Float32, buffer.Float64, buffer.Int32, buffer.Float16, buffer.BFloat16}
	// ops likewise. Avg reduces as Sum does.
	ops = []buffer.Op{buffer.Sum, buffer.Prod, buffer.Min, buffer.Max}
	// sizes are bytes of an operand: in the first-level cache, the second, about the last one, and beyond.
	sizes = []int{16 << 10, 384 << 10, 6 << 20, 64 << 20}
	// sources are the numbers of operands that C has loops for.
	sources = []int{2, 4, 8}
)

const page = 4096

type options struct {
	rounds int
	least  time.Duration
	rows   *regexp.Regexp
	cache  int
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 8, "samples of each implementation; an even number puts each first as often as the other")
	flag.DurationVar(&o.least, "time", 10*time.Millisecond, "how long a sample lasts, about")
	rows := flag.String("rows", "", "the rows that this regular expression matches; a row is called type/op/bytes/sources/place")
	flag.IntVar(&o.cache, "cache", 32<<20, "bytes of the last cache: a result apart from its sources goes past it if they are more together")
	flag.Parse()
	var err error
	if o.rows, err = regexp.Compile(*rows); err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "versus:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	fmt.Printf("%-9s %-5s %-9s %-8s %-9s %10s %10s %8s\n", "type", "op", "operand", "sources", "result", "ringtree", "C", "time")
	fmt.Printf("%-9s %-5s %-9s %-8s %-9s %10s %10s %8s\n", "", "", "bytes", "", "", "GB/s", "GB/s", "over C's")
	most := sources[len(sources)-1] + 1
	memory := make([]byte, most*(sizes[len(sizes)-1]+page))
	clear(memory) // the pages are there, and sums in place do not overflow
	for _, size := range sizes {
		for kind, t := range types {
			for number, op := range ops {
				for _, k := range sources {
					for _, place := range []string{"in-place", "apart"} {
						name := fmt.Sprintf("%v/%v/%d/%d/%s", t, op, size, k, place)
						if !o.rows.MatchString(name) {
							continue
						}
						kernel, err := buffer.KernelFor(t, op)
						if err != nil {
							return err
						}
						srcs := make([][]byte, k)
						for i := range srcs {
							srcs[i] = operand(memory, i, size)
						}
						to := 0
						if place == "apart" {
							to = k
						}
						dst := operand(memory, to, size)
						ours := func(times int) {
							for range times {
								kernel.Reduce(dst, srcs)
							}
						}
						if to > 0 && (k+1)*size > o.cache {
							ours = func(times int) {
								for range times {
									kernel.ReduceStream(dst, srcs)
								}
							}
						}
						theirs, release := compiled(kind, number, dst, srcs)
						m := compare([]way{ours, theirs}, o.rounds, o.least, time.Now)
						release()
						fmt.Printf("%s %10.2f %10.2f %8.2f\n", columns(name), float64(size)/m[0]/1e9, float64(size)/m[1]/1e9, m[0]/m[1])
					}
				}
			}
		}
	}
	return nil
}

// operand is the part of memory for the operand of that number. All begin with a page, as large allocations do, and are a page apart: at distances
// that are powers of two, caches that find lines by a hash of the address may take one for the other.
func operand(memory []byte, i, size int) []byte {
	lo := i * (size + page)
	return memory[lo : lo+size : lo+size]
}

// columns pads the parts of a row's name.
func columns(name string) string {
	p := strings.Split(name, "/")
	return fmt.Sprintf("%-9s %-5s %-9s %-8s %-9s", p[0], p[1], p[2], p[3], p[4])
}
