package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// A timing is what steps take with and without communication, in µs, the same on every rank. Each is a median, of the rank on
// which it is largest; NotHidden is that of the differences between a step and the one before it.
type timing struct {
	Steps     int     `json:"steps"`
	Alone     float64 `json:"alone_us"` // without communication
	Step      float64 `json:"step_us"`  // with it
	NotHidden float64 `json:"not_hidden_us"`
	Digest    string  `json:"weights"` // of the weights of every rank
	Buckets   int     `json:"buckets"`
	Bytes     int64   `json:"bytes_per_step"` // of gradients, on each rank
}

// warmSteps are not counted.
const warmSteps = 3

// time measures steps without and with communication in turn. All ranks compute at the same time in both: what they then take
// from each other's caches and memory is no part of the difference.
func (t *trainer) time(ctx context.Context, steps int) (*timing, error) {
	alone := *t // a rank that goes its own way, with weights of its own
	alone.model = newModel(t.options.widths(), t.model.capacity, t.options.seed)
	alone.tensors = alone.model.params()
	var err error
	if alone.optimizer, err = newOptimizer(t.options.optimizer, alone.tensors); err != nil {
		return nil, err
	}
	order := epochOrder(t.options.seed, 0, t.train.len())
	batch := min(t.options.batch, len(order))
	var times [3][]float64 // alone, with communication, difference
	for i := range warmSteps + steps {
		from := i * batch % (len(order) - batch + 1)
		samples := order[from : from+batch]
		without, err := alone.timed(ctx, samples, func(int) error { return nil }, func(context.Context) error { return nil })
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		with, err := t.timed(ctx, samples, t.ready, t.reducer.Wait)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		if i >= warmSteps {
			for k, v := range []float64{without, with, with - without} {
				times[k] = append(times[k], v)
			}
		}
	}
	slowest := make([]float64, len(times))
	for k, all := range times {
		slices.Sort(all)
		slowest[k] = all[steps/2]
	}
	if err := collective.AllReduce(ctx, t.comm, slowest, buffer.Max); err != nil {
		return nil, fmt.Errorf("comparing times: %w", err)
	}
	stats := t.reducer.Stats()
	r := &timing{Steps: steps, Alone: slowest[0], Step: slowest[1], NotHidden: slowest[2], Buckets: stats.Buckets, Bytes: stats.Bytes}
	r.Digest, err = sameWeights(ctx, t.comm, t.tensors)
	return r, err
}

// timed does one step, which begins on all ranks at the same time, and returns how many µs it took.
func (t *trainer) timed(ctx context.Context, batch []int, ready func(param int) error, wait func(context.Context) error) (float64, error) {
	if err := collective.Barrier(ctx, t.comm); err != nil {
		return 0, err
	}
	began := time.Now()
	_, err := t.learn(ctx, batch, ready, wait)
	return 1e6 * time.Since(began).Seconds(), err
}
