package topology_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

func TestSubKeepsPlacesAndLinks(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		g := mustNew(t, randomSpec(rng, 30))
		var ranks []topology.Rank
		for _, r := range rng.Perm(g.Size())[:1+rng.IntN(g.Size())] {
			ranks = append(ranks, topology.Rank(r))
		}
		sub, err := g.Sub(ranks)
		if err != nil {
			t.Fatalf("seed %d: Sub(%v): %v", seed, ranks, err)
		}
		if sub.Size() != len(ranks) || sub.Cores() != g.Cores() || sub.Reduce() != g.Reduce() {
			t.Fatalf("seed %d: Sub(%v) is\n%sof\n%s", seed, ranks, sub, g)
		}
		for i, a := range ranks {
			if got, want := sub.Place(topology.Rank(i)), g.Place(a); got != want {
				t.Fatalf("seed %d: Place(%d) = %+v, want %+v", seed, i, got, want)
			}
			for j, b := range ranks {
				if got, want := sub.Link(topology.Rank(i), topology.Rank(j)), g.Link(a, b); got != want {
					t.Fatalf("seed %d: Link(%d, %d) = %+v, want %+v", seed, i, j, got, want)
				}
			}
		}
		checkHosts(t, seed, sub)
	}
}

func TestSubOfAllIsEqual(t *testing.T) {
	g := mustNew(t, randomSpec(rand.New(rand.NewPCG(5, 5)), 50))
	ranks := make([]topology.Rank, g.Size())
	for i := range ranks {
		ranks[i] = topology.Rank(i)
	}
	sub, err := g.Sub(ranks)
	if err != nil || !sub.Equal(g) {
		t.Errorf("Sub of all ranks = %v, %v, want\n%s", sub, err, g)
	}
}

func TestSubErrors(t *testing.T) {
	g := topology.Local(4)
	for name, c := range map[string]struct {
		ranks []topology.Rank
		rank  topology.Rank
	}{
		"none":     {nil, topology.NoRank},
		"negative": {[]topology.Rank{0, -2}, -2},
		"too high": {[]topology.Rank{4}, 4},
		"twice":    {[]topology.Rank{1, 2, 1}, 1},
	} {
		var se *topology.SpecError
		if sub, err := g.Sub(c.ranks); !errors.As(err, &se) || sub != nil || se.Rank != c.rank || se.Field != "ranks" {
			t.Errorf("%s: Sub(%v) = %v, %v, want a SpecError of rank %d", name, c.ranks, sub, err, c.rank)
		}
	}
}
