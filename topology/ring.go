package topology

import (
	"cmp"
	"math"
	"slices"
)

// ringBytes is the message that RingOrder lays a ring for: the slice of a large operation that travels at once.
const ringBytes = 256 << 10

// MaxRingSites is the number of sites up to which the order of sites in a ring is optimised.
const MaxRingSites = 1024

// RingOrder is [Graph.RingOrderFor] for messages of 256 KiB.
func (g *Graph) RingOrder() []Rank { return g.RingOrderFor(ringBytes) }

// RingOrderFor returns every rank once, in the order of a ring that sends from each to the next and from the
// last to the first. The ring starts at rank 0, and it enters and leaves every site, rack, host and
// device once: ranks of a host stand together, in ascending order but for those that share a device, which are
// brought together. Where ranks are laid out host by host already and no path has a cost of its own, the order is the
// identity.
//
// Where sites have paths of their own, the order of the sites makes the sum of [Link.Time] over the links between
// them, for messages of the given bytes (below 0 counts as 0), as small as can be, and among orders of one sum the
// largest of them. Up to 12 sites the order is the best there is (M. Held and R. M. Karp, "A dynamic programming approach
// to sequencing problems", J. SIAM 10, 1962). Up to [MaxRingSites] it is the best of several starts, each improved
// until neither a reversal nor the exchange of two neighbouring stretches makes it better (2-opt: G. A. Croes,
// Operations Research 6, 1958; Or-opt: I. Or, Northwestern University, 1976; exchanges without reversal suit
// directed costs: P. C. Kanellakis and C. H. Papadimitriou, Operations Research 28, 1980); it is never worse than
// the order of the sites' indices, and above that limit it is that order. Equal graphs have equal orders.
//
// The caller owns the result.
func (g *Graph) RingOrderFor(bytes int64) []Rank {
	if len(g.host) == 0 {
		return nil
	}
	position := make([]int32, len(g.sites))
	for i, s := range g.siteOrder(bytes) {
		position[s] = int32(i)
	}
	hosts := make([]int32, len(g.hosts))
	for h := range hosts {
		hosts[h] = int32(h)
	}
	slices.SortFunc(hosts, func(a, b int32) int {
		ra, rb := g.hostRack[a], g.hostRack[b]
		return cmp.Or(
			cmp.Compare(position[g.rackSite[ra]], position[g.rackSite[rb]]),
			cmp.Compare(ra, rb),
			cmp.Compare(a, b))
	})
	order := make([]Rank, 0, len(g.host))
	for _, h := range hosts {
		from := len(order)
		order = append(order, g.byHost[g.hostFrom[h]:g.hostFrom[h+1]]...)
		if g.device != nil {
			slices.SortStableFunc(order[from:], func(a, b Rank) int {
				return cmp.Compare(g.device[a], g.device[b])
			})
		}
	}
	return order
}

// siteOrder returns the sites in the order of the ring, beginning with site 0.
func (g *Graph) siteOrder(bytes int64) []int {
	n := len(g.sites)
	if len(g.paths) == 0 || n < 3 || n > MaxRingSites {
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		return order
	}
	c := g.siteCosts(max(bytes, 0))
	if n <= maxExactTour {
		return exactTour(c)
	}
	return searchTour(c)
}

// siteCosts returns what it costs to send bytes from each site to each other one, as integers that keep twelve
// decimal digits of the dearest: sums of integers do not depend on their order, so orders that cost the same are
// seen to.
func (g *Graph) siteCosts(bytes int64) costs {
	n := len(g.sites)
	seconds := make([]float64, n*n)
	var dearest float64
	for i := range n {
		for j := range n {
			if i != j {
				// A cost beyond what a float64 can hold is as dear as can be.
				t := min(g.siteLink(int32(i), int32(j)).Time(bytes), math.MaxFloat64)
				seconds[i*n+j] = t
				dearest = max(dearest, t)
			}
		}
	}
	c := costs{n: n, c: make([]int64, n*n)}
	if dearest == 0 {
		return c
	}
	// A power of ten keeps costs that were written in few decimal digits exact. The bound keeps it finite:
	// costs so small that they become zero are beyond any machine.
	scale := math.Pow10(min(12-int(math.Floor(math.Log10(dearest))), 300))
	for i, t := range seconds {
		c.c[i] = int64(math.Round(t * scale))
	}
	return c
}
