package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/examples/internal/sizes"
)

func TestSubjects(t *testing.T) {
	o := defaults()
	o.sweep = sizes.Sweep{First: 0, Last: 8, Step: 1, Factor: 2}
	o.dtypes = []buffer.DType{buffer.Float64, buffer.Int8}
	o.ops = []buffer.Op{buffer.Sum, buffer.Max}
	var got []string
	for s := range o.subjects() {
		got = append(got, s.String())
	}
	want := []string{
		"0 B of double sum", "8 B of double sum", "0 B of double max", "8 B of double max",
		"0 B of int8 sum", "1 B of int8 sum", "2 B of int8 sum", "4 B of int8 sum", "8 B of int8 sum",
		"0 B of int8 max", "1 B of int8 max", "2 B of int8 max", "4 B of int8 max", "8 B of int8 max",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	o = defaults()
	o.coll, o.root, o.ops, o.cycles, o.sweep.Last = broadcast, -1, []buffer.Op{0}, 2, 8
	got = nil
	for s := range o.subjects() {
		got = append(got, fmt.Sprint(s, " ", s.root))
	}
	want = []string{"8 B of float 0", "8 B of float 0", "8 B of float 1", "8 B of float 1"}
	if !slices.Equal(got, want) {
		t.Errorf("every root twice: got %q, want %q", got, want)
	}

	o.cycles = 0
	n := 0
	for range o.subjects() {
		if n++; n == 1000 {
			break
		}
	}
	if n != 1000 {
		t.Errorf("without end: got %d, want 1000 and more", n)
	}
}

func TestLargest(t *testing.T) {
	o := defaults()
	o.sweep.Last, o.processes = 1<<20, 4
	for coll, want := range map[collKind][2]int64{
		allReduce: {1 << 20, 1 << 20}, allGather: {1 << 18, 1 << 20}, reduceScatter: {1 << 20, 1 << 18}, barrier: {0, 0},
	} {
		o.coll = coll
		if send, recv := o.largest(); send != want[0] || recv != want[1] {
			t.Errorf("%v: got %d and %d bytes, want %v", coll, send, recv, want)
		}
	}
}
