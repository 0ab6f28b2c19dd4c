package main

import (
	"math"
	"slices"
)

// iterStats summarises the times of single iterations, in seconds.
type iterStats struct {
	min, max, avg, p50, p95, p99, stdev float64
}

// summarise works as nccl-tests does: percentiles are the nearest rank above, the deviation is that of the
// population. It sorts a copy; times must not be empty.
func summarise(times []float64) iterStats {
	sorted := slices.Clone(times)
	slices.Sort(sorted)
	n := len(sorted)
	percentile := func(p int) float64 { return sorted[min(n-1, (n*p+99)/100-1)] }
	s := iterStats{min: sorted[0], max: sorted[n-1], p50: sorted[n/2], p95: percentile(95), p99: percentile(99)}
	for _, t := range sorted {
		s.avg += t / float64(n)
	}
	for _, t := range sorted {
		s.stdev += (t - s.avg) * (t - s.avg) / float64(n)
	}
	s.stdev = math.Sqrt(s.stdev)
	return s
}

// cv is the coefficient of variation in percent.
func (s iterStats) cv() float64 {
	if s.avg <= 0 {
		return 0
	}
	return s.stdev / s.avg * 100
}

// slowest returns, for every iteration, the largest time of any row; rows have equal lengths.
func slowest(rows [][]float64) []float64 {
	worst := slices.Clone(rows[0])
	for _, row := range rows[1:] {
		for i, t := range row {
			worst[i] = max(worst[i], t)
		}
	}
	return worst
}
