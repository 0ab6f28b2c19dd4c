package probe

import (
	"math/bits"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

// Every level that links two ranks is measured, with few pairs, and every rank pair is of the level it stands for.
func TestPairs(t *testing.T) {
	graphs := map[string]*topology.Graph{
		"one":      topology.Local(1),
		"local":    topology.Local(4),
		"hosts":    preset(t, "hosts", 24, map[string]string{"hosts": "5"}),
		"rail":     preset(t, "rail", 4096, nil),
		"racks":    preset(t, "llama3", 65536, nil),
		"wan":      preset(t, "wan", 30, map[string]string{"sites": "5"}),
		"sites":    preset(t, "wan", 2048, map[string]string{"sites": "256"}),
		"devices":  parseGraph(t, "tier host 1 1\ntier rack 1 1\nranks 0-3 host a device d0\nranks 4-9 host b device d0/2\nranks 10 host c"),
		"one each": parseGraph(t, "tier world 1 1\nranks 0-8 host h0/1 rack r0/1 site s0/1"),
	}
	for name, g := range graphs {
		pairs := Pairs(g)
		if err := checkPairs(g, pairs); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		count := make(map[topology.Level]int)
		seen := make(map[Pair]bool)
		for _, p := range pairs {
			if p.A >= p.B || seen[p] {
				t.Errorf("%s: %+v is out of order or stands twice", name, p)
			}
			seen[p] = true
			count[p.Level]++
		}
		levels := usedLevels(g)
		for l := topology.Device; l <= topology.World; l++ {
			most := 1 + bits.Len(uint(g.Size()))
			if l == topology.World {
				most = min(g.Sites()*(g.Sites()-1)/2, maxSitePairs)
			}
			if levels[l] != (count[l] > 0) || count[l] > most {
				t.Errorf("%s: %d pairs of level %v, want at most %d, some: %v", name, count[l], l, most, levels[l])
			}
		}
	}
	if got := Pairs(graphs["wan"]); len(got) < 10 || got[len(got)-1].Level != topology.World {
		t.Errorf("five sites: got %+v, want their ten pairs at the end", got)
	}
}

// usedLevels finds the levels that links have, by looking at those of some ranks with all.
func usedLevels(g *topology.Graph) map[topology.Level]bool {
	used := make(map[topology.Level]bool)
	for a := 0; a < g.Size(); a += 1 + g.Size()/64 {
		for b := range g.Size() {
			if a != b {
				used[g.Link(topology.Rank(a), topology.Rank(b)).Level] = true
			}
		}
	}
	return used
}

// Each round of the tournament of sites has no site twice, so the pairs of one can run at once.
func TestPairsTournament(t *testing.T) {
	for _, n := range []int{2, 3, 4, 7, 8} {
		g := preset(t, "wan", n, map[string]string{"sites": string(rune('0' + n))})
		pairs := Pairs(g)
		if len(pairs) != n*(n-1)/2 {
			t.Fatalf("%d sites: got %d pairs, want %d", n, len(pairs), n*(n-1)/2)
		}
		rounds := n - 1 + n%2
		if got := longestChain(pairs, g.Host); got > rounds {
			t.Errorf("%d sites: a chain of %d pairs, want at most %d", n, got, rounds)
		}
	}
}

// The tree reaches every rank once, and children and parent agree.
func TestTree(t *testing.T) {
	for n := 1; n < 70; n++ {
		seen := make([]int, n)
		for r := range topology.Rank(n) {
			for _, c := range children(r, n) {
				seen[c]++
				if parent(c) != r || int(c) >= n {
					t.Errorf("%d ranks: the parent of %d is %d, want %d", n, c, parent(c), r)
				}
			}
		}
		for r, times := range seen {
			if want := min(r, 1); times != want {
				t.Errorf("%d ranks: rank %d has %d parents, want %d", n, r, times, want)
			}
		}
	}
}
