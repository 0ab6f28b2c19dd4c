package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// hostsOf returns a graph whose hosts have the given sizes. With rng, ranks are dealt to them at random.
func hostsOf(t testing.TB, rng *rand.Rand, sizes ...int) *topology.Graph {
	t.Helper()
	spec := topology.Spec{Tiers: []topology.Link{
		{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, {Level: topology.Rack, Alpha: 2e-5, Beta: 1e-9},
	}}
	for h, size := range sizes {
		name := fmt.Sprint("h", h)
		for range size {
			spec.Places = append(spec.Places, topology.Place{Host: name, Rack: "r", Site: "s"})
		}
	}
	if rng != nil {
		rng.Shuffle(len(spec.Places), func(i, j int) {
			spec.Places[i], spec.Places[j] = spec.Places[j], spec.Places[i]
		})
	}
	g, err := topology.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// uneven returns the sizes of hosts of up to most ranks, n together.
func uneven(n, most int, rng *rand.Rand) (sizes []int) {
	for n > 0 {
		size := min(n, 1+rng.IntN(most))
		sizes = append(sizes, size)
		n -= size
	}
	return sizes
}

func ones(n int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = 1
	}
	return sizes
}

// rootsOf returns the roots worth trying: the first rank, the last and one more; only one where there is no root.
func rootsOf(c schedule.Collective, n int, rng *rand.Rand) []topology.Rank {
	if !c.Rooted() || n == 1 {
		return []topology.Rank{0}
	}
	roots := []topology.Rank{0, topology.Rank(n - 1)}
	if n > 2 {
		roots = append(roots, topology.Rank(1+rng.IntN(n-2)))
	}
	return roots
}
