package main

import (
	"math"
	"testing"
)

func TestParseColl(t *testing.T) {
	for text, want := range map[string]collKind{
		"all_reduce": allReduce, "allreduce": allReduce, "AllReduce": allReduce, "all-reduce": allReduce,
		"reduce_scatter": reduceScatter, "reducescatter": reduceScatter, "all_gather": allGather,
		"broadcast": broadcast, "reduce": reduce, "barrier": barrier,
	} {
		if got, err := parseColl(text); err != nil || got != want {
			t.Errorf("parseColl(%q): got %v, %v, want %v", text, got, err, want)
		}
	}
	if got, err := parseColl("alltoall"); err == nil {
		t.Errorf("parseColl(alltoall): got %v, want an error", got)
	}
}

func TestShapeOf(t *testing.T) {
	tests := []struct {
		coll        collKind
		size, width int64
		n           int
		want        shape
	}{
		{allReduce, 1024, 4, 4, shape{256, 256, 256}},
		{allReduce, 7, 4, 4, shape{1, 1, 1}},
		{allReduce, 0, 4, 4, shape{}},
		{broadcast, 1024, 8, 3, shape{128, 128, 128}},
		{reduce, 1024, 2, 3, shape{512, 512, 512}},
		{reduceScatter, 1024, 4, 4, shape{64, 256, 64}},
		{allGather, 1024, 4, 4, shape{64, 64, 256}},
		{allGather, 1024, 4, 3, shape{84, 84, 252}}, // 85 elements each, cut to whole 16 bytes
		{allGather, 1024, 1, 3, shape{336, 336, 1008}},
		{reduceScatter, 40, 8, 2, shape{2, 4, 2}},
		{reduceScatter, 8, 4, 4, shape{}},
		{barrier, 1024, 4, 4, shape{}},
	}
	for _, test := range tests {
		if got := test.coll.shapeOf(test.size, test.width, test.n); got != test.want {
			t.Errorf("%v of %d B, width %d, %d ranks: got %+v, want %+v", test.coll, test.size, test.width, test.n, got, test.want)
		}
	}
}

func TestBandwidth(t *testing.T) {
	const second = 1.0
	tests := []struct {
		coll     collKind
		shape    shape
		n        int
		alg, bus float64
	}{
		{allReduce, shape{param: 25e7}, 4, 1, 1.5},
		{allReduce, shape{param: 25e7}, 1, 1, 0},
		{reduceScatter, shape{param: 25e7}, 4, 4, 3},
		{allGather, shape{param: 25e7}, 8, 8, 7},
		{broadcast, shape{param: 25e7}, 8, 1, 1},
		{reduce, shape{param: 25e7}, 8, 1, 1},
		{barrier, shape{}, 8, 0, 0},
	}
	for _, test := range tests {
		alg, bus := test.coll.bandwidth(test.shape, 4, test.n, second)
		if math.Abs(alg-test.alg) > 1e-12 || math.Abs(bus-test.bus) > 1e-12 {
			t.Errorf("%v among %d: got %g, %g GB/s, want %g, %g", test.coll, test.n, alg, bus, test.alg, test.bus)
		}
	}
	if alg, bus := allReduce.bandwidth(shape{param: 1}, 4, 2, 0); alg != 0 || bus != 0 {
		t.Errorf("no time: got %g, %g, want 0, 0", alg, bus)
	}
}
