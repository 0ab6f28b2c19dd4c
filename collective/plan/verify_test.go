package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// hostsOf returns a graph whose hosts have the given sizes.
func hostsOf(t testing.TB, sizes ...int) *topology.Graph {
	t.Helper()
	spec := topology.Spec{Tiers: []topology.Link{
		{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10}, {Level: topology.Rack, Alpha: 2e-5, Beta: 1e-9},
	}}
	for h, size := range sizes {
		for range size {
			spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", h), Rack: "r", Site: "s"})
		}
	}
	g, err := topology.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// graphs returns topologies of n ranks: one host, one rank a host, and uneven hosts.
func graphs(t testing.TB, n int, rng *rand.Rand) []*topology.Graph {
	gs := []*topology.Graph{hostsOf(t, n)}
	if n < 2 {
		return gs
	}
	var sizes []int
	for left := n; left > 0; {
		s := min(left, 1+rng.IntN(8))
		sizes = append(sizes, s)
		left -= s
	}
	gs = append(gs, hostsOf(t, sizes...))
	if n <= 16 {
		ones := make([]int, n)
		for i := range ones {
			ones[i] = 1
		}
		gs = append(gs, hostsOf(t, ones...))
	}
	return gs
}

func TestVerifyEveryScheduleTo64(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, 0))
	count := 0
	for n := 1; n <= 64; n++ {
		for _, g := range graphs(t, n, rng) {
			p := New(g)
			for _, c := range schedule.Collectives() {
				roots := []topology.Rank{0}
				if c.Rooted() && n > 1 {
					roots = append(roots, topology.Rank(n-1), topology.Rank(rng.IntN(n)))
				}
				for _, root := range roots {
					for _, v := range p.Variants(c) {
						s, err := p.Build(v, Request{Collective: c, Root: root})
						if err != nil {
							t.Fatal(err)
						}
						if err := schedule.Verify(s, schedule.Contract{Collective: c, Root: root}); err != nil {
							t.Fatalf("seed %d: %d ranks on %d hosts, %v root %d, %v: %v", seed, n, g.Hosts(), c, root, v, err)
						}
						count++
					}
				}
			}
		}
	}
	t.Logf("%d schedules verified", count)
}
