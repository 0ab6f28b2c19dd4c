package schedule_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A Fleet decides as a Machine for each rank does, whichever lane moves and however late steps complete.
func TestFleetIsMachines(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{1, 2, 3, 4, 6, 7, 8, 12} {
		for _, hosts := range []int{1, 2, 3} {
			if hosts > n {
				continue
			}
			places := make([]topology.Place, n)
			for r := range places {
				places[r].Host = string(rune('a' + r%hosts))
			}
			g, err := topology.New(topology.Spec{Places: places, Tiers: []topology.Link{{Level: topology.Host}, {Level: topology.Rack}}})
			if err != nil {
				t.Fatal(err)
			}
			p := plan.New(g)
			for _, c := range schedule.Collectives() {
				for _, v := range p.Variants(c) {
					s, err := p.Build(v, plan.Request{Collective: c})
					if err != nil {
						t.Fatal(err)
					}
					z := schedule.Slicing{Chunk: 1 + rng.Int64N(3), Slice: 1}
					f, err := schedule.NewFleet(s, schedule.Slicing{}, 0)
					if err != nil {
						t.Fatal(err)
					}
					if err := f.Slice(z); err != nil {
						t.Fatal(err)
					}
					compareFleet(t, rng, s, f, z)
					if t.Failed() {
						t.Fatalf("seed %d: %v by %v over %d ranks of %d hosts", seed, c, v, n, hosts)
					}
				}
			}
		}
	}
}

func compareFleet(t *testing.T, rng *rand.Rand, s schedule.Schedule, f *schedule.Fleet, z schedule.Slicing) {
	steps := int64(0)
	for r := range int32(s.Ranks()) {
		m, fm := schedule.NewMachine(s, topology.Rank(r), z), f.Machine(r)
		for idle := 0; !m.Done() && idle < 10000; idle++ {
			l := schedule.Lane(rng.IntN(m.Lanes()))
			want, ready := m.Ready(l)
			got, code, ok := fm.Ready(l)
			if ok != ready {
				t.Errorf("rank %d %v: ready %v, want %v", r, l, ok, ready)
				return
			}
			if ready {
				idle = 0
				op, _ := s.At(topology.Rank(r), l, want.First)
				lc, base := f.Lane(r, l)
				entry := base + uint32(got.Code)
				at, k, found := lc.Find(int32(want.First))
				peer := op.Peer
				if op.Kind == schedule.Copy {
					peer = topology.Rank(r)
				}
				if int(code.Index+got.Op) != want.First || int(got.Width) != want.Width || int(got.Slice) != want.Slice || code.Kind != op.Kind ||
					code.N != op.N || code.Eager != op.Eager || code.Match+got.Op != op.Match || topology.Rank(f.Peer(entry)) != peer ||
					!found || at != got.Code || k != got.Op {
					t.Errorf("rank %d %v: got %+v %+v, want %+v %+v", r, l, got, code, want, op)
					return
				}
				m.Start(l)
				fm.Start(l)
			}
			for _, l := range []schedule.Lane{l, schedule.Lane(rng.IntN(m.Lanes()))} {
				old, any := m.Oldest(l)
				got, ok := fm.Oldest(l)
				if any != ok {
					t.Errorf("rank %d %v: something started %v, want %v", r, l, ok, any)
					return
				}
				if !any || rng.IntN(2) == 0 {
					continue
				}
				lc, _ := f.Lane(r, l)
				if int(lc.Codes[got.Code].Index+got.Op) != old.First || int(got.Slice) != old.Slice {
					t.Errorf("rank %d %v: oldest %+v, want %+v", r, l, got, old)
					return
				}
				idle = 0
				m.Complete(l)
				fm.Complete(l)
				steps++
			}
		}
		if !m.Done() {
			t.Errorf("rank %d never ends", r)
			return
		}
		for l := range schedule.Lane(f.Lanes()) {
			if !fm.Ended(l) {
				t.Errorf("rank %d %v: not at its end", r, l)
			}
		}
	}
	if steps != f.Steps() {
		t.Errorf("%d steps, said to be %d", steps, f.Steps())
	}
}

// What a fleet cannot be made of is refused.
func TestFleetRefuses(t *testing.T) {
	g := topology.Local(8)
	s, err := plan.New(g).Build(plan.Variant{Algorithm: plan.Direct}, plan.Request{Collective: schedule.AllReduce})
	if err != nil {
		t.Fatal(err)
	}
	var limit *schedule.LimitError
	if _, err := schedule.NewFleet(s, schedule.Slicing{}, 100); !errors.As(err, &limit) || limit.Limit != 100 {
		t.Errorf("got %v, want a LimitError of 100", err)
	}
	var bad *schedule.VerifyError
	if _, err := schedule.NewFleet(wild{s}, schedule.Slicing{}, 0); !errors.As(err, &bad) {
		t.Errorf("got %v, want a VerifyError", err)
	}
	f, err := schedule.NewFleet(s, schedule.Slicing{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Slice(schedule.Slicing{Chunk: 1<<31 - 1, Slice: 1}); !errors.As(err, &bad) {
		t.Errorf("too many slices: got %v, want a VerifyError", err)
	}
}

// A fleet that was read in parts, at once, is the one that was read in one go; and what is refused is.
func TestFleetReadInParts(t *testing.T) {
	g, err := topology.Preset("rail", 41, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range plan.New(g).Variants(schedule.AllReduce) {
		s, err := plan.New(g).Build(v, plan.Request{Collective: schedule.AllReduce})
		if err != nil {
			t.Fatal(err)
		}
		z := schedule.Slicing{Chunk: 3, Slice: 1}
		want, err := schedule.NewFleet(s, z, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, parts := range []int{0, 1, 2, 5, 41, 50} {
			got, err := readInParts(s, z, 0, parts)
			if err != nil {
				t.Fatalf("%v in %d parts: %v", v, parts, err)
			}
			if got.Entries() != want.Entries() || got.Programs() != want.Programs() || got.Steps() != want.Steps() {
				t.Fatalf("%v in %d parts: %d entries, %d programs, %d steps, want %d, %d, %d", v, parts, got.Entries(), got.Programs(),
					got.Steps(), want.Entries(), want.Programs(), want.Steps())
			}
			for r := range int32(want.Ranks()) {
				for l := range schedule.Lane(want.Lanes()) {
					a, first := got.Lane(r, l)
					b, base := want.Lane(r, l)
					if got.Program(r) != want.Program(r) || first != base || !slices.Equal(a.Codes, b.Codes) {
						t.Fatalf("%v in %d parts: rank %d %v differs", v, parts, r, l)
					}
				}
			}
			for e := range uint32(want.Entries()) {
				if got.Peer(e) != want.Peer(e) || got.Chunk(e) != want.Chunk(e) {
					t.Fatalf("%v in %d parts: entry %d differs", v, parts, e)
				}
			}
		}
		var limit *schedule.LimitError
		few := int64(want.Entries() - 1)
		if _, err := readInParts(s, z, few, 3); !errors.As(err, &limit) || limit.Limit != few {
			t.Errorf("%v: got %v, want a LimitError of %d", v, err, few)
		}
		var bad *schedule.VerifyError
		if _, err := readInParts(wild{s}, z, 0, 3); !errors.As(err, &bad) || bad.Rank != 0 {
			t.Errorf("%v: got %v, want a VerifyError of rank 0", v, err)
		}
	}
}

func readInParts(s schedule.Schedule, z schedule.Slicing, limit int64, parts int) (*schedule.Fleet, error) {
	r := schedule.NewFleetReader(s, z, limit, parts)
	var all sync.WaitGroup
	for part := range max(parts, 1) {
		all.Go(func() { r.Read(part) })
	}
	all.Wait()
	return r.Fleet()
}

// wild sends to a rank that does not exist.
type wild struct{ schedule.Schedule }

func (w wild) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	op, ok := w.Schedule.At(r, l, i)
	op.Peer = 99
	return op, ok
}

// A Repeater that says too much is found out.
func TestVerifyChecksRepeat(t *testing.T) {
	s, err := plan.New(topology.Local(5)).Build(plan.Variant{Algorithm: plan.Ring}, plan.Request{Collective: schedule.AllReduce})
	if err != nil {
		t.Fatal(err)
	}
	want := schedule.Contract{Collective: schedule.AllReduce}
	if err := schedule.Verify(s, want); err != nil {
		t.Fatal(err)
	}
	for _, extra := range []int{1, 3, 100} {
		var bad *schedule.VerifyError
		if err := schedule.Verify(boast{s, extra}, want); !errors.As(err, &bad) {
			t.Errorf("%d too many: got %v, want a VerifyError", extra, err)
		}
	}
}

// boast says that its lanes repeat longer than they do.
type boast struct {
	schedule.Schedule
	extra int
}

func (b boast) Repeat(r topology.Rank, l schedule.Lane, i int) int {
	return b.Schedule.(schedule.Repeater).Repeat(r, l, i) + b.extra
}
