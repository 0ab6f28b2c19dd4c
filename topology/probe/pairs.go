package probe

import (
	"fmt"
	"math/bits"

	"github.com/ringtree/ringtree/topology"
)

// A Pair is two ranks between which a level is measured: A pings, B answers.
type Pair struct {
	A, B  topology.Rank
	Level topology.Level
}

// MaxPairs is the most pairs that one measurement takes.
const MaxPairs = 192

// maxSitePairs leaves room for the other levels, whose pairs are at most 1+log2(topology.MaxRanks) each.
const maxSitePairs = MaxPairs - 4*24

// Pairs chooses the pairs to measure on a graph, the same for equal graphs: for every level that is the nearest common one
// of some two ranks a number of pairs that grows with the logarithm of the machine, spread over it, and every pair of
// sites as long as there are no more than some 14 of them. One rank speaks for a site. The pairs come in the order in which
// they are to be measured.
func Pairs(g *topology.Graph) []Pair {
	var pairs []Pair
	pairs = appendDevices(pairs, g)
	pairs = appendHosts(pairs, g)
	racks, sites := hostsByRack(g), racksBySite(g)
	pairs = appendSpread(pairs, racks, topology.Rack, func(host, i int) topology.Rank {
		return g.HostRank(host, i%g.HostSize(host))
	})
	pairs = appendSpread(pairs, sites, topology.Site, func(rack, i int) topology.Rank {
		host := racks[rack][i%len(racks[rack])]
		return g.HostRank(host, i%g.HostSize(host))
	})
	return appendWorld(pairs, racks, sites, g)
}

// few is how many of n things are looked at: 1 + log2.
func few(n int) int { return bits.Len(uint(n)) }

// spread is the place of choice i of k among n, evenly spaced.
func spread(i, k, n int) int { return int(int64(i) * int64(n) / int64(k)) }

func appendDevices(pairs []Pair, g *topology.Graph) []Pair {
	if g.Devices() == g.Size() {
		return pairs
	}
	// The first two ranks of every device that has two.
	first := make(map[int]topology.Rank)
	var all []Pair
	for r := range topology.Rank(g.Size()) {
		d := g.Device(r)
		a, known := first[d]
		switch {
		case !known:
			first[d] = r
		case a >= 0:
			all = append(all, Pair{a, r, topology.Device})
			first[d] = -1
		}
	}
	k := few(len(all))
	for i := range k {
		pairs = append(pairs, all[spread(i, k, len(all))])
	}
	return pairs
}

// appendHosts takes pairs within hosts, at distances of powers of two, since ranks far apart may be on different sockets.
func appendHosts(pairs []Pair, g *topology.Graph) []Pair {
	var hosts []int
	most := 0
	for h := range g.Hosts() {
		first := g.Device(g.HostRank(h, 0))
		for r := range g.HostRanks(h) {
			if g.Device(r) != first {
				hosts = append(hosts, h)
				most = max(most, g.HostSize(h))
				break
			}
		}
	}
	if len(hosts) == 0 {
		return pairs
	}
	distances := bits.Len(uint(most - 1)) // 1, 2, 4 … below most
	k := max(few(len(hosts)), distances)
	for i := range k {
		h := hosts[spread(i, k, len(hosts))]
		size := g.HostSize(h)
		a := g.HostRank(h, i%size)
		// The first at the distance or beyond that is another device.
		for step := range size {
			b := g.HostRank(h, (i+1<<(i%distances)+step)%size)
			if g.Device(a) != g.Device(b) {
				pairs = appendNew(pairs, Pair{min(a, b), max(a, b), topology.Host})
				break
			}
		}
	}
	return pairs
}

// appendSpread takes pairs of members of groups: hosts of racks, or racks of sites. rank chooses rank i of a member.
func appendSpread(pairs []Pair, groups [][]int, level topology.Level, rank func(member, i int) topology.Rank) []Pair {
	var large [][]int
	members := 0
	for _, g := range groups {
		if len(g) > 1 {
			large = append(large, g)
			members += len(g)
		}
	}
	if len(large) == 0 {
		return pairs
	}
	k := few(members - len(large))
	for i := range k {
		g := large[spread(i, k, len(large))]
		from := i % len(g)
		step := 1 << (i % bits.Len(uint(len(g)-1)))
		a, b := rank(g[from], i), rank(g[(from+step)%len(g)], i)
		if a == b {
			continue
		}
		pairs = appendNew(pairs, Pair{min(a, b), max(a, b), level})
	}
	return pairs
}

// appendWorld takes all pairs of sites, in the rounds of a tournament, in each of which every site plays at most once
// (the circle method). When there are too many it takes the first rounds.
func appendWorld(pairs []Pair, racks, sites [][]int, g *topology.Graph) []Pair {
	n := len(sites)
	if n < 2 {
		return pairs
	}
	speaker := func(site int) topology.Rank { return g.HostRank(racks[sites[site][0]][0], 0) }
	even := n + n%2
	taken := 0
	for round := range even - 1 {
		for i := range even / 2 {
			a, b := (round+i)%(even-1), (round+even-1-i)%(even-1)
			if i == 0 {
				b = even - 1
			}
			if a >= n || b >= n {
				continue // the odd one out
			}
			if taken == maxSitePairs {
				return pairs
			}
			taken++
			ra, rb := speaker(a), speaker(b)
			pairs = append(pairs, Pair{min(ra, rb), max(ra, rb), topology.World})
		}
	}
	return pairs
}

func appendNew(pairs []Pair, p Pair) []Pair {
	for _, q := range pairs {
		if p == q {
			return pairs
		}
	}
	return append(pairs, p)
}

func hostsByRack(g *topology.Graph) [][]int {
	racks := make([][]int, g.Racks())
	for h := range g.Hosts() {
		rack := g.Rack(g.HostRank(h, 0))
		racks[rack] = append(racks[rack], h)
	}
	return racks
}

func racksBySite(g *topology.Graph) [][]int {
	sites := make([][]int, g.Sites())
	seen := make([]bool, g.Racks())
	for h := range g.Hosts() {
		r := g.HostRank(h, 0)
		if rack := g.Rack(r); !seen[rack] {
			seen[rack] = true
			sites[g.Site(r)] = append(sites[g.Site(r)], rack)
		}
	}
	return sites
}

// checkPairs holds pairs to a graph.
func checkPairs(g *topology.Graph, pairs []Pair) error {
	if len(pairs) > MaxPairs {
		return configErrorf("pairs", "%d are more than %d", len(pairs), MaxPairs)
	}
	for i, p := range pairs {
		field := fmt.Sprintf("pair %d", i)
		switch {
		case p.A < 0 || p.B < 0 || int(p.A) >= g.Size() || int(p.B) >= g.Size():
			return configErrorf(field, "ranks %d and %d of %d", p.A, p.B, g.Size())
		case p.A == p.B:
			return configErrorf(field, "rank %d with itself", p.A)
		case g.Link(p.A, p.B).Level != p.Level:
			return configErrorf(field, "ranks %d and %d share a %v, not a %v", p.A, p.B, g.Link(p.A, p.B).Level, p.Level)
		}
	}
	return nil
}

// machineOf returns which pairs must not run at once: those that have a number in common.
func machineOf(g *topology.Graph, c *Config) func(topology.Rank) int {
	if c.Machine != nil {
		return c.Machine
	}
	return g.Host
}

// lead returns the rank of a pair that speaks for a machine, and false when the pair is elsewhere.
func (p Pair) lead(machine func(topology.Rank) int, m int) (topology.Rank, bool) {
	switch m {
	case machine(p.A):
		return p.A, true
	case machine(p.B):
		return p.B, true
	}
	return topology.NoRank, false
}

// longestChain returns how many pairs at most must wait for each other, because they share machines.
func longestChain(pairs []Pair, machine func(topology.Rank) int) int {
	longest := 0
	chain := make(map[int]int) // by machine: pairs up to and with its last
	for _, p := range pairs {
		a, b := machine(p.A), machine(p.B)
		n := max(chain[a], chain[b]) + 1
		chain[a], chain[b] = n, n
		longest = max(longest, n)
	}
	return longest
}
