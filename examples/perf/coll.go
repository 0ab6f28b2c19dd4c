package main

import (
	"fmt"
	"strings"
)

// A collKind is one of the collectives that can be measured.
type collKind uint8

const (
	allReduce collKind = iota
	reduceScatter
	allGather
	broadcast
	reduce
	barrier
)

var collNames = [...]string{"all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "barrier"}

func (k collKind) String() string { return collNames[k] }

func parseColl(s string) (collKind, error) {
	plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
	for k, name := range collNames {
		if plain == strings.ReplaceAll(name, "_", "") {
			return collKind(k), nil
		}
	}
	return 0, fmt.Errorf("unknown collective %q (want %s)", s, strings.Join(collNames[:], ", "))
}

// reduces says whether the collective combines elements, so that -o means something.
func (k collKind) reduces() bool { return k == allReduce || k == reduceScatter || k == reduce }

// rooted says whether the collective has a root, so that -r means something.
func (k collKind) rooted() bool { return k == broadcast || k == reduce }

// A shape is what one call moves, in elements.
type shape struct {
	param int64 // count as the call takes it: the table's count column
	send  int64 // source buffer of every rank
	recv  int64 // destination buffer of every rank
}

// shapeOf cuts size bytes of elements of the given width to a call among n ranks, by nccl-tests' rules: gathers and
// scatters give every rank the same number of elements, rounded down to whole 16 bytes.
func (k collKind) shapeOf(size, width int64, n int) shape {
	count := size / width
	each := count / int64(n) &^ (16/width - 1)
	switch k {
	case reduceScatter:
		return shape{param: each, send: each * int64(n), recv: each}
	case allGather:
		return shape{param: each, send: each, recv: each * int64(n)}
	case barrier:
		return shape{}
	default:
		return shape{param: count, send: count, recv: count}
	}
}

// bandwidth returns algorithm and bus bandwidth in GB/s (1e9 B/s) for a call of the given shape that took seconds,
// by nccl-tests' definitions: algbw = S/t, busbw = algbw times the share of S that the slowest link of a
// bandwidth-optimal algorithm must carry.
func (k collKind) bandwidth(s shape, width int64, n int, seconds float64) (alg, bus float64) {
	bytes := float64(s.param * width)
	factor := 1.0
	switch k {
	case allReduce:
		factor = 2 * float64(n-1) / float64(n)
	case reduceScatter, allGather:
		bytes *= float64(n)
		factor = float64(n-1) / float64(n)
	case barrier:
		return 0, 0
	}
	if seconds <= 0 {
		return 0, 0
	}
	alg = bytes / 1e9 / seconds
	return alg, alg * factor
}
