package sim

import (
	"math/bits"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// noise makes messages take longer, each by a part of its own of what it takes undisturbed. It is a function of the
// seed, the receiving rank, its lane, operation and slice, and of nothing else: whichever way a schedule is run, the same message
// is late by as much.
//
// Neighbouring ranks read neighbouring places of a table, from a place that the operation picks. So a sweep over ranks
// runs over the table in order.
type noise struct {
	seed   uint64
	most   uint64 // 2⁻¹⁶
	values []uint32
}

const noiseSize = 1 << 16

func newNoise(cfg *config) *noise {
	if cfg.jitter == 0 {
		return nil
	}
	n := &noise{seed: mix(cfg.seed), most: cfg.jitter, values: make([]uint32, noiseSize)}
	for i := range n.values {
		n.values[i] = uint32(mix(n.seed+uint64(i)) >> 32)
	}
	return n
}

// mix is the finaliser of splitmix64 (S. Vigna, public domain).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// place returns where in the table the ranks' values for a slice of an operation begin.
func (n *noise) place(l schedule.Lane, op, slice int32) uint64 {
	return mix(n.seed ^ uint64(l)<<56 ^ uint64(uint32(op))<<24 ^ uint64(uint32(slice)))
}

// span returns the longest delay of a message that takes base.
func (n *noise) span(base Time) Time {
	hi, lo := bits.Mul64(uint64(base), n.most)
	return Time(hi<<48 | lo>>16)
}

// of returns the delay of a message that takes base.
func (n *noise) of(r topology.Rank, l schedule.Lane, op, slice int32, base Time) Time {
	return noiseOf(n.span(base), n.values[(uint64(r)+n.place(l, op, slice))%noiseSize])
}

// noiseOf returns the part of a span that a value of the table stands for.
func noiseOf(span Time, value uint32) Time {
	hi, lo := bits.Mul64(uint64(span), uint64(value))
	return Time(hi<<32 | lo>>32)
}
