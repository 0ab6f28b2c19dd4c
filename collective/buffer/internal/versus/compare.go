package main

import (
	"slices"
	"time"
)

// A way is one implementation of a reduction: it reduces the same operands so many times.
type way func(times int)

// compare returns the median time of a call of each way, in seconds, from as many samples of each. The ways take turns, and each is
// first as often as the others, so that neither a drift of the machine nor what the one before left in the caches speaks for one of them.
// Before a sample its way runs once, unmeasured. A sample has as many calls as last about least the first way, and all have the
// same number.
func compare(ways []way, rounds int, least time.Duration, now func() time.Time) []float64 {
	times := calls(ways[0], least, now)
	samples := make([][]float64, len(ways))
	for round := range rounds {
		for i := range ways {
			w := (round + i) % len(ways)
			ways[w](1)
			start := now()
			ways[w](times)
			samples[w] = append(samples[w], now().Sub(start).Seconds()/float64(times))
		}
	}
	medians := make([]float64, len(ways))
	for w := range ways {
		medians[w] = median(samples[w])
	}
	return medians
}

// calls returns how many calls of f last least.
func calls(f way, least time.Duration, now func() time.Time) int {
	for n := 1; ; n *= 2 {
		start := now()
		f(n)
		if took := now().Sub(start); took >= least || n >= 1<<20 {
			return max(1, int(float64(n)*least.Seconds()/max(took.Seconds(), 1e-9)))
		}
	}
}

// median sorts the samples and returns the one in the middle, of an even number the mean of both.
func median(samples []float64) float64 {
	slices.Sort(samples)
	n := len(samples)
	return (samples[(n-1)/2] + samples[n/2]) / 2
}
