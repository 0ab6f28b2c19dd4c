package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// sampled returns up to how many ranks, on up to how many hosts, a variant is sampled: where everybody speaks to everybody
// schedules have n² operations.
func sampled(v Variant, c schedule.Collective) (ranks, hosts int) {
	switch {
	case v.Algorithm == Direct:
		return 1024, 1024
	case v.Algorithm == Hierarchical && c.ByRank():
		return 4096, 512
	}
	return 1 << 16, 1 << 16
}

func checkSample(t *testing.T, g *topology.Graph, v Variant, c schedule.Collective, seed uint64, ranks int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	root := topology.Rank(0)
	if c.Rooted() {
		root = topology.Rank(rng.IntN(g.Size()))
	}
	s, err := New(g).Build(v, Request{Collective: c, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := schedule.VerifySample(s, schedule.Contract{Collective: c, Root: root}, rng, ranks); err != nil {
		t.Fatalf("seed %d: %d ranks on %d hosts, %v root %d, %v: got %v, want a schedule that verifies", seed, g.Size(), g.Hosts(), c, root, v, err)
	}
}

// TestSampleLargeGroups checks 200 random groups, each with the next of all pairs of collective and variant.
func TestSampleLargeGroups(t *testing.T) {
	t.Parallel()
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	type pair struct {
		c schedule.Collective
		v Variant
	}
	var pairs []pair
	for _, c := range schedule.Collectives() {
		for _, v := range New(hostsOf(t, nil, 2, 2)).Variants(c) {
			pairs = append(pairs, pair{c, v})
		}
	}
	groups := 200
	if testing.Short() {
		groups = len(pairs)
	}
	for k := range groups {
		p := pairs[k%len(pairs)]
		ranks, hosts := sampled(p.v, p.c)
		n := int(math.Exp2(1 + rng.Float64()*(math.Log2(float64(ranks))-1)))
		var sizes []int
		switch most := max(8, 2*n/hosts); k % 5 {
		case 0:
			if n <= hosts {
				sizes = ones(n)
				break
			}
			fallthrough
		default:
			sizes = uneven(n, most, rng)
		case 1:
			sizes = []int{n}
			if n > 1024 {
				sizes = uneven(n, 1024, rng)
			}
		}
		var deal *rand.Rand
		if k%2 == 0 {
			deal = rng
		}
		g := hostsOf(t, deal, sizes...)
		t.Run(fmt.Sprintf("%v/%v/%d on %d", p.c, p.v, n, len(sizes)), func(t *testing.T) {
			checkSample(t, g, p.v, p.c, seed+uint64(k), 1+4096/n)
		})
	}
}

// TestSample65536 checks every pair of collective and variant at 65,536 ranks, or at the largest group where all-to-all
// patterns are sampled.
func TestSample65536(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("sampling 65,536 ranks takes seconds")
	}
	const seed = 11
	for _, c := range schedule.Collectives() {
		for _, v := range New(hostsOf(t, nil, 2, 2)).Variants(c) {
			n, _ := sampled(v, c)
			g, err := topology.Uniform(n/8, 8, topology.Link{Level: topology.Host, Alpha: 1e-6}, topology.Link{Level: topology.Rack, Alpha: 1e-5})
			if err != nil {
				t.Fatal(err)
			}
			t.Run(fmt.Sprintf("%v/%v/%d", c, v, n), func(t *testing.T) {
				checkSample(t, g, v, c, seed, 1)
			})
		}
	}
}
