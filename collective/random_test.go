package collective_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
)

var seedFlag = flag.Uint64("seed", 0, "run one random group of TestRandomGroups, the one of this seed")

// A scenario is a random group and what its ranks do.
type scenario struct {
	layout
	ops    []*operation
	memory []memory // by rank
}

func newScenario(seed uint64) scenario {
	rng := rand.New(rand.NewPCG(seed, 0))
	kinds := linkKinds()
	n := 1 + rng.IntN(9)
	s := scenario{layout: layout{
		ranks: n, links: kinds[rng.IntN(len(kinds))], hosts: 1 + rng.IntN(min(n, 4)), algorithm: algorithms()[rng.IntN(6)],
	}}
	for range n {
		s.memory = append(s.memory, []memory{plain, registered}[rng.IntN(2)])
	}
	for range 1 + rng.IntN(12) {
		dtypes, ops, colls := buffer.DTypes(), buffer.Ops(), schedule.Collectives()
		o := &operation{
			coll: colls[rng.IntN(len(colls))], dtype: dtypes[rng.IntN(len(dtypes))], op: ops[rng.IntN(len(ops))],
			root: rng.IntN(n), inPlace: rng.IntN(2) == 0, seed: rng.Uint64(),
		}
		for o.count = rng.IntN(40); rng.IntN(3) != 0 && o.count < 20_000; { // short and long ones in equal shares
			o.count = o.count*2 + rng.IntN(5)
		}
		s.ops = append(s.ops, o.prepare(n))
		for rng.IntN(3) == 0 { // again, with what was prepared for it
			s.ops = append(s.ops, o)
		}
	}
	return s
}

// Random groups that do random things give what the serial oracle gives. Ranks mix registered and plain memory.
func TestRandomGroups(t *testing.T) {
	seeds := short(40, make([]uint64, 150)...)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	if *seedFlag != 0 {
		seeds = []uint64{*seedFlag}
	}
	for _, seed := range seeds {
		s := newScenario(seed)
		each(t, join(t, s.layout), func(ctx context.Context, c *collective.Comm) error {
			for _, o := range s.ops {
				if err := o.run(ctx, c, s.memory[c.Rank()]); err != nil {
					return err
				}
			}
			return nil
		})
		if t.Failed() {
			t.Fatalf("%v; again with: go test ./collective -run TestRandomGroups -seed %d", s.layout, seed)
		}
	}
}

// Operations that are started, in any mixture with blocking ones, give the same as blocking ones alone.
func TestRandomStarted(t *testing.T) {
	for range short(10, make([]struct{}, 40)...) {
		seed := rand.Uint64()
		s := newScenario(seed)
		each(t, join(t, s.layout), func(ctx context.Context, c *collective.Comm) error {
			rng := rand.New(rand.NewPCG(seed, uint64(c.Rank())))
			var works []*collective.Work
			var checks []func() error
			for i := range 30 {
				data := make([]int64, 1+i%7*50)
				for j := range data {
					data[j] = int64(i * (c.Rank() + j))
				}
				if rng.IntN(3) == 0 {
					if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
						return err
					}
				} else {
					w, err := collective.StartAllReduce(ctx, c, data, buffer.Sum)
					if err != nil {
						return err
					}
					works = append(works, w)
				}
				checks = append(checks, func() error {
					n := s.ranks
					for j, got := range data {
						if want := int64(i * (n*(n-1)/2 + n*j)); got != want {
							return fmt.Errorf("operation %d, element %d: got %d, want %d", i, j, got, want)
						}
					}
					return nil
				})
			}
			for _, w := range works {
				if err := w.Wait(ctx); err != nil {
					return err
				}
			}
			for _, check := range checks {
				if err := check(); err != nil {
					return err
				}
			}
			return nil
		})
		if t.Failed() {
			t.Fatalf("%v, seed %d", s.layout, seed)
		}
	}
}
