package plan

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

var mutants = flag.String("mutants", "some", "which mutants of the schedules to make: some, of up to 16 ranks, or all, of up to 8")

// A mutant is a schedule with one defect.
type mutant struct {
	*listing
	what string
}

// A breed makes mutants of operation i of lane l of rank r: nil where the defect is not possible there.
//
// Of a strict breed Verify must find every mutant. Other breeds damage what may be there for nothing, such as an After that
// says what lanes say already: of them, what Verify lets pass must also come through the dumb twin's random runs.
type breed struct {
	name   string
	strict bool
	make   func(x *listing, r, l, i int, rng *rand.Rand) *mutant
}

// raw returns a breed that edits one lane as a slip of the pen would: nothing else is renumbered.
func raw(name string, edit func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string)) breed {
	return breed{name, true, func(x *listing, r, l, i int, rng *rand.Rand) *mutant {
		c := x.clone()
		ops, what := edit(x, c.ops[r][l], r, i, rng)
		if what == "" {
			return nil
		}
		c.ops[r][l] = ops
		return &mutant{c, what}
	}}
}

// consistent returns a breed in which every Match and After still names what it did: only the meaning is wrong.
func consistent(name string, strict bool, edit func(w *web, o *linked, rng *rand.Rand) string) breed {
	return breed{name + ", renumbered", strict, func(x *listing, r, l, i int, rng *rand.Rand) *mutant {
		w := x.web()
		what := edit(w, w.ops[r][l][i], rng)
		if what == "" {
			return nil
		}
		return &mutant{w.listing(), what}
	}}
}

// weaker returns a breed that changes one operation in place.
func weaker(name string, strict bool, edit func(op *schedule.Op) bool) breed {
	return breed{name, strict, func(x *listing, r, l, i int, rng *rand.Rand) *mutant {
		c := x.clone()
		if !edit(&c.ops[r][l][i]) {
			return nil
		}
		return &mutant{c, name}
	}}
}

// aim makes the operation work on chunk c.
func aim(op *schedule.Op, c int) {
	space := func(old schedule.Chunk) schedule.Chunk {
		if old.IsOutput() {
			return schedule.Output(c)
		}
		return schedule.Input(c)
	}
	op.Src, op.Dst = space(op.Src), space(op.Dst)
}

// chunkOf returns the first chunk that the operation works on.
func chunkOf(op *schedule.Op) int {
	if op.Kind == schedule.Recv {
		return op.Dst.Index()
	}
	return op.Src.Index()
}

// other returns a number below n that is none of those given, or false.
func other(n int, rng *rand.Rand, not ...int) (int, bool) {
	for _, i := range rng.Perm(n) {
		if !slices.Contains(not, i) {
			return i, true
		}
	}
	return 0, false
}

func breeds() []breed {
	chunk := func(s schedule.Schedule, op *schedule.Op, rng *rand.Rand) (int, bool) {
		return other(s.Layout().Chunks()-int(op.N)+1, rng, chunkOf(op))
	}
	swap := func(far bool) func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string) {
		return func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string) {
			j := i + 1
			if far {
				j, _ = other(len(ops), rng, i)
			}
			if j >= len(ops) || i == j || ops[i] == ops[j] {
				return nil, ""
			}
			ops[i], ops[j] = ops[j], ops[i]
			return ops, fmt.Sprintf("swap with %d", j)
		}
	}
	swapLinked := func(far bool) func(w *web, o *linked, rng *rand.Rand) string {
		return func(w *web, o *linked, rng *rand.Rand) string {
			ops := w.ops[o.rank][o.lane]
			i := w.index(o)
			j := i + 1
			if far {
				j, _ = other(len(ops), rng, i)
			}
			if j >= len(ops) || i == j {
				return ""
			}
			if equivalentSwap(ops, min(i, j), max(i, j)) {
				return ""
			}
			ops[i], ops[j] = ops[j], ops[i]
			return fmt.Sprintf("swap with %d", j)
		}
	}
	redirect := func(kind schedule.Kind) func(w *web, o *linked, rng *rand.Rand) string {
		return func(w *web, o *linked, rng *rand.Rand) string {
			if o.partner == nil {
				return ""
			}
			if o.op.Kind == schedule.Send {
				o = o.partner
			}
			q, ok := other(len(w.ops), rng, int(o.rank), int(o.partner.rank))
			if !ok || o.op.Kind != kind {
				return ""
			}
			i := rng.IntN(len(w.ops[q][o.lane]) + 1)
			w.move(o, topology.Rank(q), i)
			return fmt.Sprintf("to rank %d at %d", q, i)
		}
	}
	return []breed{
		raw("drop", func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string) {
			return slices.Delete(ops, i, i+1), "drop"
		}),
		raw("duplicate", func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string) {
			return slices.Insert(ops, i, ops[i]), "duplicate"
		}),
		raw("swap neighbours", swap(false)),
		raw("swap pair", swap(true)),
		raw("redirect to peer", func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string) {
			q, ok := other(len(x.ops), rng, r, int(ops[i].Peer))
			if !ok || ops[i].Kind == schedule.Copy {
				return nil, ""
			}
			ops[i].Peer = topology.Rank(q)
			return ops, fmt.Sprint("to rank ", q)
		}),
		raw("redirect to chunk", func(x *listing, ops []schedule.Op, r, i int, rng *rand.Rand) ([]schedule.Op, string) {
			c, ok := chunk(x, &ops[i], rng)
			if !ok {
				return nil, ""
			}
			aim(&ops[i], c)
			return ops, fmt.Sprint("to chunk ", c)
		}),
		consistent("drop", true, func(w *web, o *linked, rng *rand.Rand) string {
			w.remove(o)
			if o.partner != nil {
				w.remove(o.partner)
			}
			return "drop"
		}),
		consistent("duplicate", true, func(w *web, o *linked, rng *rand.Rand) string {
			c := w.repeat(o)
			if o.partner != nil {
				p := w.repeat(o.partner)
				c.partner, p.partner = p, c
			}
			return "duplicate"
		}),
		consistent("swap neighbours", true, swapLinked(false)),
		consistent("swap pair", true, swapLinked(true)),
		consistent("redirect to peer", true, redirect(schedule.Recv)),
		// A contribution that is reduced elsewhere may take another way to the same sum.
		consistent("redirect reduction to peer", false, redirect(schedule.RecvReduce)),
		consistent("redirect to chunk", true, func(w *web, o *linked, rng *rand.Rand) string {
			c, ok := chunk(w.s, &o.op, rng)
			if !ok {
				return ""
			}
			aim(&o.op, c)
			if o.partner != nil {
				aim(&o.partner.op, c)
			}
			return fmt.Sprint("to chunk ", c)
		}),
		weaker("flip Final", false, func(op *schedule.Op) bool {
			op.Final = !op.Final
			return true
		}),
		weaker("reduce or not", true, func(op *schedule.Op) bool {
			switch op.Kind {
			case schedule.Recv:
				op.Kind, op.Src = schedule.RecvReduce, op.Dst
			case schedule.RecvReduce:
				op.Kind, op.Src = schedule.Recv, 0
			default:
				return false
			}
			return true
		}),
		weaker("other space", false, func(op *schedule.Op) bool {
			if op.Kind == schedule.Recv {
				return false
			}
			if op.Src.IsOutput() {
				op.Src = schedule.Input(op.Src.Index())
			} else {
				op.Src = schedule.Output(op.Src.Index())
			}
			return true
		}),
		weaker("no After", false, func(op *schedule.Op) bool {
			had := op.After != schedule.Ref{}
			op.After = schedule.Ref{}
			return had
		}),
		weaker("earlier After", false, func(op *schedule.Op) bool {
			l, i, ok := op.After.Get()
			if !ok || i == 0 {
				return false
			}
			op.After = schedule.At(l, i-1)
			return true
		}),
		weaker("not Eager", false, func(op *schedule.Op) bool {
			had := op.Eager
			op.Eager = false
			return had
		}),
	}
}

// equivalentSwap reports whether exchanging operations i < j of a lane changes nothing but the order of things that do
// not depend on each other, so that the schedule stays right: neither of the two shares a link with the other or with
// an operation between them, and neither shares a chunk that one of them writes, unless both add to it.
func equivalentSwap(ops []*linked, i, j int) bool {
	free := func(a, b *schedule.Op) bool {
		if a.Kind != schedule.Copy && b.Kind != schedule.Copy && a.Peer == b.Peer {
			return false
		}
		switch {
		case a.Kind == schedule.RecvReduce && b.Kind == schedule.RecvReduce && a.Final == b.Final:
			if a.Src == b.Src && a.Dst == b.Dst && a.N == b.N && a.After == b.After {
				return true // operands of one joint reduction
			}
			if a.Src == a.Dst && b.Src == b.Dst {
				return true // terms of one sum
			}
		case a.Kind == schedule.Recv || b.Kind == schedule.Recv:
		case a.Kind != schedule.RecvReduce && b.Kind != schedule.RecvReduce && !a.Src.IsOutput() && !b.Src.IsOutput():
			return true // both read the input, and a copy from there writes elsewhere or not at all
		}
		apart := chunkOf(a)+int(a.N) <= chunkOf(b) || chunkOf(b)+int(b.N) <= chunkOf(a)
		return apart || a.Kind == schedule.Send && b.Kind == schedule.Send
	}
	for k := i + 1; k <= j; k++ {
		if !free(&ops[i].op, &ops[k].op) {
			return false
		}
	}
	for k := i + 1; k < j; k++ {
		if !free(&ops[k].op, &ops[j].op) {
			return false
		}
	}
	return true
}

type score struct{ seeded, caught, sampled int } // by Verify and by VerifySample

// TestMutants seeds defects into all schedules of up to 16 ranks and counts how many Verify finds.
func TestMutants(t *testing.T) {
	t.Parallel()
	const seed = 3
	rng := rand.New(rand.NewPCG(seed, 0))
	sizes := []int{2, 3, 4, 5, 6, 8, 11, 16}
	if testing.Short() {
		sizes = []int{3, 6}
	}
	all := *mutants == "all"
	if all {
		sizes = []int{2, 3, 4, 5, 6, 7, 8}
	}
	scores := make(map[string]*score)
	twins, twinCaught := 0, 0
	for _, n := range sizes {
		for _, g := range graphs(t, n, rng) {
			p := New(g)
			for _, c := range schedule.Collectives() {
				root := topology.Rank(0)
				if c.Rooted() {
					root = topology.Rank(rng.IntN(n))
				}
				want := schedule.Contract{Collective: c, Root: root}
				for _, v := range p.Variants(c) {
					s, err := p.Build(v, Request{Collective: c, Root: root})
					if err != nil {
						t.Fatal(err)
					}
					x := list(s)
					for _, b := range breeds() {
						try := func(r, l, i int) {
							m := b.make(x, r, l, i, rng)
							if m == nil {
								return
							}
							sc := scores[b.name]
							if sc == nil {
								sc = new(score)
								scores[b.name] = sc
							}
							sc.seeded++
							if schedule.VerifySample(m, want, rand.New(rand.NewPCG(seed, uint64(sc.seeded))), 3*n) != nil {
								sc.sampled++
							}
							if schedule.Verify(m, want) != nil {
								sc.caught++
								if !b.strict && breaks(m, want, rng, 4) != nil {
									twinCaught++
								}
								if !b.strict {
									twins++
								}
							} else {
								old := x.ops[r][l][i]
								if b.strict {
									t.Errorf("seed %d: %v root %d, %v, %d ranks on %d hosts: rank %d %v op %d (%v): %s: %s: got no error, want one",
										seed, c, root, v, n, g.Hosts(), r, schedule.Lane(l), i, old, b.name, m.what)
								} else if err := breaks(m, want, rng, 64); err != nil {
									t.Errorf("seed %d: %v root %d, %v, %d ranks on %d hosts: rank %d %v op %d (%v): %s: got no error, but it goes wrong: %v",
										seed, c, root, v, n, g.Hosts(), r, schedule.Lane(l), i, old, b.name, err)
								}
							}
						}
						pick := func() (r, l, i int) {
							for {
								r = rng.IntN(n)
								l = rng.IntN(len(x.ops[r]))
								if k := len(x.ops[r][l]); k > 0 {
									return r, l, rng.IntN(k)
								}
							}
						}
						if !all {
							try(pick())
							continue
						}
						for r := range x.ops {
							for l := range x.ops[r] {
								for i := range x.ops[r][l] {
									try(r, l, i)
								}
							}
						}
					}
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(scores)) {
		sc := scores[name]
		t.Logf("%-42s %6d of %6d caught, %6d by sampling", name, sc.caught, sc.seeded, sc.sampled)
	}
	t.Logf("the dumb twin breaks %d of %d weakened schedules that Verify catches", twinCaught, twins)
}
