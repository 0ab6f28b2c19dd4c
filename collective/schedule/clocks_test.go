package schedule

import (
	"math/rand/v2"
	"testing"
)

// TestVector checks vectors against plain slices of counts.
func TestVector(t *testing.T) {
	const seed = 9
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		n := 1 + rng.IntN(40)
		random := func() (vector, []uint16) {
			v, plain := make(vector, (n+3)/4), make([]uint16, n)
			for i := range plain {
				plain[i] = []uint16{0, 1, maxSteps, uint16(rng.IntN(maxSteps + 1))}[rng.IntN(4)]
				v.raise(int32(i), plain[i])
			}
			return v, plain
		}
		a, x := random()
		b, y := random()
		a.join(b)
		k := rng.IntN(n)
		a.raise(int32(k), 77)
		for i := range n {
			want := max(x[i], y[i])
			if i == k {
				want = max(want, 77)
			}
			if got := a.get(int32(i)); got != want {
				t.Fatalf("seed %d: count %d of %d: got %d, want %d, the larger of %d and %d", seed, i, n, got, want, x[i], y[i])
			}
		}
	}
}

func TestConnected(t *testing.T) {
	group, slot, sizes := connected(6, func(yield func(a, b int32)) {
		yield(0, 3)
		yield(5, 3)
		yield(1, 2)
	})
	for i, want := range []struct{ group, slot int32 }{{0, 0}, {1, 0}, {1, 1}, {0, 1}, {2, 0}, {0, 2}} {
		if group[i] != want.group || slot[i] != want.slot {
			t.Errorf("thing %d: got place %d of group %d, want place %d of group %d", i, slot[i], group[i], want.slot, want.group)
		}
	}
	if len(sizes) != 3 || sizes[0] != 3 || sizes[1] != 2 || sizes[2] != 1 {
		t.Errorf("sizes: got %v, want [3 2 1]", sizes)
	}
}

// Threads that nothing connects never know of each other.
func TestClocksGroups(t *testing.T) {
	c := newClocks(4, func(yield func(a, b int32)) { yield(0, 1); yield(2, 3) })
	a := &stamp{at: event{0, 1}}
	b := learner{stamp: stamp{at: event{1, 1}}}
	c.learn(&b, a)
	if !c.knows(&b.stamp, a.at) || c.knows(a, b.at) {
		t.Error("an event must know what it has learned from, and not the other way")
	}
	if c.knows(&b.stamp, event{2, 1}) || c.knows(&b.stamp, event{0, 2}) {
		t.Error("an event knows what it cannot have learned")
	}
	later := learner{stamp: stamp{b.base, event{1, 2}}}
	c.learn(&later, a)
	if later.own {
		t.Error("learning what is known copies the clock")
	}
}
