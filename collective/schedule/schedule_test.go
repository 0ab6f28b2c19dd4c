package schedule_test

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

func TestOpSize(t *testing.T) {
	if got := unsafe.Sizeof(schedule.Op{}); got > 32 {
		t.Errorf("an Op takes %d bytes, want at most 32", got)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{schedule.AllReduce.String(), "all_reduce"},
		{schedule.Collective(0).String(), "Collective(0)"},
		{schedule.Collective(9).String(), "Collective(9)"},
		{schedule.RecvReduce.String(), "recvreduce"},
		{schedule.Kind(0).String(), "Kind(0)"},
		{schedule.Kind(7).String(), "Kind(7)"},
		{schedule.Input(3).String(), "in[3]"},
		{schedule.Output(4).String(), "out[4]"},
		{schedule.OutLane(2).String(), "out2"},
		{schedule.InLane(2).String(), "in2"},
		{schedule.Contract{Collective: schedule.Reduce, Root: 3}.String(), "reduce root 3"},
		{schedule.Contract{Collective: schedule.Barrier, Root: 3}.String(), "barrier"},
		{schedule.Op{}.String(), "Kind(0)"},
		{schedule.Op{Kind: schedule.Copy, Src: schedule.Input(1), Dst: schedule.Output(1), N: 2}.String(), "copy in[1] x2 to out[1]"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	if n := len(schedule.Collectives()); n != 6 {
		t.Errorf("got %d collectives, want 6", n)
	}
	for _, c := range schedule.Collectives() {
		if !c.Valid() || c.Rooted() && c.ByRank() {
			t.Errorf("%v: got valid %v, rooted %v, by rank %v", c, c.Valid(), c.Rooted(), c.ByRank())
		}
	}
}

func TestLanesChunksRefs(t *testing.T) {
	for c := range schedule.Channel(5) {
		out, in := schedule.OutLane(c), schedule.InLane(c)
		if out.In() || !in.In() || out.Channel() != c || in.Channel() != c || out.Opposite() != in || in.Opposite() != out {
			t.Errorf("channel %d: got lanes %v and %v", c, out, in)
		}
	}
	if c := schedule.Input(7); c.IsOutput() || c.Index() != 7 {
		t.Errorf("got %v, want in[7]", c)
	}
	if c := schedule.Output(7); !c.IsOutput() || c.Index() != 7 {
		t.Errorf("got %v, want out[7]", c)
	}
	if _, _, ok := (schedule.Ref{}).Get(); ok {
		t.Error("the zero Ref names an operation")
	}
	if l, i, ok := schedule.At(3, 0).Get(); l != 3 || i != 0 || !ok {
		t.Errorf("got %v op %d %v, want lane 3 op 0", l, i, ok)
	}
}

// TestLayoutTiles checks that the ranges of chunks follow each other without gap or overlap, whatever the length.
func TestLayoutTiles(t *testing.T) {
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, 0))
	for k := range 500 {
		l := schedule.Layout{Blocks: 1 + rng.IntN(9), Pieces: 1 + rng.IntN(5)}
		n := l.Chunks()
		length := []int{0, 1, n - 1, n, n + 1, 1 + rng.IntN(1000)}[k%6]
		at, longest := 0, 0
		for c := range n {
			lo, hi := l.Range(length, c, 1)
			if lo != at || hi < lo {
				t.Fatalf("seed %d: %+v of %d elements: chunk %d is [%d, %d), want it to begin at %d", seed, l, length, c, lo, hi, at)
			}
			at, longest = hi, max(longest, hi-lo)
		}
		if at != length {
			t.Fatalf("seed %d: %+v of %d elements: chunks end at %d", seed, l, length, at)
		}
		if got := l.Longest(length); got != longest {
			t.Errorf("seed %d: %+v of %d elements: longest chunk: got %d, want %d", seed, l, length, got, longest)
		}
		c := rng.IntN(n)
		m := rng.IntN(n - c + 1)
		lo, hi := l.Range(length, c, m)
		sum := 0
		for i := c; i < c+m; i++ {
			a, b := l.Range(length, i, 1)
			sum += b - a
		}
		if hi-lo != sum {
			t.Errorf("seed %d: %+v of %d elements: chunks %d..%d: got [%d, %d), want %d elements", seed, l, length, c, c+m-1, lo, hi, sum)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ length, parts, i, lo, hi int }{
		{0, 3, 0, 0, 0}, {0, 3, 2, 0, 0}, {1, 3, 0, 0, 1}, {1, 3, 1, 1, 1}, {1, 3, 2, 1, 1}, {7, 3, 0, 0, 3}, {7, 3, 1, 3, 5}, {7, 3, 2, 5, 7}, {7, 3, 3, 7, 7}, {7, 1, 0, 0, 7},
	} {
		if lo, hi := schedule.Split(c.length, c.parts, c.i); lo != c.lo || hi != c.hi {
			t.Errorf("Split(%d, %d, %d): got [%d, %d), want [%d, %d)", c.length, c.parts, c.i, lo, hi, c.lo, c.hi)
		}
	}
}

func TestSlicingCount(t *testing.T) {
	for _, c := range []struct {
		z    schedule.Slicing
		n    uint32
		want int
	}{
		{schedule.Slicing{Chunk: 10, Slice: 4}, 1, 3},
		{schedule.Slicing{Chunk: 10, Slice: 5}, 1, 2},
		{schedule.Slicing{Chunk: 10, Slice: 4}, 3, 8},
		{schedule.Slicing{Chunk: 3 << 30, Slice: 1 << 27}, 2, 48},
		{schedule.Slicing{Chunk: 10, Slice: 4}, 0, 1},
		{schedule.Slicing{Chunk: 0, Slice: 4}, 2, 1},
		{schedule.Slicing{Chunk: 10}, 2, 1},
		{schedule.Slicing{Chunk: 1, Slice: 100}, 2, 1},
	} {
		if got := c.z.Count(c.n); got != c.want {
			t.Errorf("%+v.Count(%d): got %d, want %d", c.z, c.n, got, c.want)
		}
	}
}

func TestContractBlocks(t *testing.T) {
	const n, root = 3, 1
	for _, c := range schedule.Collectives() {
		want := schedule.Contract{Collective: c, Root: root}
		inputs, outputs := 0, 0
		for r := range topology.Rank(n) {
			for b := range n {
				if want.HasInput(r, b) {
					inputs++
				}
				if want.HasOutput(r, b) {
					outputs++
				}
			}
		}
		wantIn, wantOut := 9, 9
		switch c {
		case schedule.AllGather, schedule.Broadcast:
			wantIn = 3
		case schedule.ReduceScatter, schedule.Reduce:
			wantOut = 3
		}
		if inputs != wantIn || outputs != wantOut {
			t.Errorf("%v: got %d input blocks and %d output blocks, want %d and %d", c, inputs, outputs, wantIn, wantOut)
		}
	}
}
