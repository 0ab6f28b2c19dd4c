package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

// TestCompare lets two ways take times that a clock of the test's own counts: the median of equally many samples, whoever is first.
func TestCompare(t *testing.T) {
	var clock time.Time
	var order []int
	spent := [2][]int{}
	ways := make([]way, 2)
	for w, each := range []time.Duration{2 * time.Millisecond, time.Millisecond} {
		ways[w] = func(times int) {
			order = append(order, w)
			spent[w] = append(spent[w], times)
			clock = clock.Add(time.Duration(times) * each)
			if w == 1 && len(spent[w]) == 2 {
				clock = clock.Add(time.Hour) // an outlier, its first sample
			}
		}
	}
	got := compare(ways, 4, 20*time.Millisecond, func() time.Time { return clock })
	if math.Abs(got[0]-2e-3) > 1e-9 || math.Abs(got[1]-1e-3) > 1e-9 {
		t.Errorf("got medians of %v s, want 0.002 and 0.001", got)
	}
	order = order[len(order)-16:] // without the calls that chose how many
	if want := []int{0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0}; !slices.Equal(order, want) {
		t.Errorf("got the order %v, want %v", order, want)
	}
	if mine, want := spent[0][len(spent[0])-8:], []int{1, 10, 1, 10, 1, 10, 1, 10}; !slices.Equal(mine, want) || !slices.Equal(spent[1], want) {
		t.Errorf("got samples of %v and %v calls, want %v", mine, spent[1], want)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 4}, 3},
	} {
		if got := median(slices.Clone(c.samples)); got != c.want {
			t.Errorf("median of %v: got %v, want %v", c.samples, got, c.want)
		}
	}
}
