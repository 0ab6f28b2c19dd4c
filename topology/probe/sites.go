package probe

import (
	"fmt"
	"slices"

	"github.com/ringtree/ringtree/topology"
)

// MaxApart is the number of hosts up to which [Apart] lets every pair of them be measured.
const MaxApart = 8

// Two hosts are at one site when a short message takes at most nearAlpha between them and one of siteBytes at most
// alike times as long as between the two that are nearest to each other.
const (
	nearAlpha = 1e-3 // s
	alike     = 4
	siteBytes = 64 << 10
)

// Apart returns g with every host at a site of its own, for [Measure] to find out what lies between each two of them. Above
// [MaxApart] hosts, where that would take too long, it returns g as it is, and so it does with fewer than two.
func Apart(g *topology.Graph) (*topology.Graph, error) {
	if g.Hosts() < 2 || g.Hosts() > MaxApart {
		return g, nil
	}
	spec := placesOf(g, func(host int) (rack, site string) {
		return fmt.Sprintf("r%d", host), fmt.Sprintf("s%d", host)
	})
	far := farthest(g)
	for l := topology.Device; l < topology.World; l++ {
		spec.Tiers = append(spec.Tiers, g.Tier(l))
	}
	spec.Tiers = append(spec.Tiers, topology.Link{Level: topology.World, Alpha: far.Alpha, Beta: far.Beta})
	return topology.New(spec)
}

// farthest returns the cost between the first two hosts, whatever tier they share.
func farthest(g *topology.Graph) topology.Link {
	return g.Link(g.HostRank(0, 0), g.HostRank(1, 0))
}

// placesOf describes g's ranks, each host in a rack and at a site of these names, without tiers.
func placesOf(g *topology.Graph, where func(host int) (rack, site string)) topology.Spec {
	spec := topology.Spec{Cores: g.Cores(), Reduce: g.Reduce()}
	for r := range topology.Rank(g.Size()) {
		p := g.Place(r)
		p.Rack, p.Site = where(g.Host(r))
		spec.Places = append(spec.Places, p)
	}
	return spec
}

// Settle returns the graph that a report on the ranks of g describes: g with the report's costs, as [Report.Apply] has it;
// where g is one of [Apart] and the report has the paths between all its hosts, hosts between which messages take about
// as long are at one site, and the paths between sites have the costs measured. Equal graphs and reports give equal
// graphs, on every architecture.
func (r *Report) Settle(g *topology.Graph) (*topology.Graph, error) {
	measured, err := r.Apply(g)
	if err != nil || g.Sites() != g.Hosts() || g.Hosts() < 2 {
		return measured, err
	}
	n := g.Hosts()
	paths := make([]*topology.Path, n*n)
	site := make(map[string]int)
	for s := range n { // of a host, site and host have one number
		site[g.SiteName(s)] = s
	}
	for i := range r.Paths {
		from, ok := site[r.Paths[i].Path.From]
		to, ok2 := site[r.Paths[i].Path.To]
		if ok && ok2 {
			paths[from*n+to] = &r.Paths[i].Path
		}
	}
	for i := range n {
		for j := range n {
			if i != j && paths[i*n+j] == nil {
				return measured, nil
			}
		}
	}
	part := sitesOf(paths, n)
	within, between := tiersOf(paths, part, n)
	spec := placesOf(g, func(host int) (rack, site string) {
		return fmt.Sprintf("r%d", part[host]), fmt.Sprintf("s%d", part[host])
	})
	// A host alone has nobody in its rack; the tier is there all the same, with the cost that it had.
	if within == nil {
		l := g.Tier(topology.Rack)
		within = &l
	}
	for l := topology.Device; l <= topology.Host; l++ {
		spec.Tiers = append(spec.Tiers, measured.Tier(l))
	}
	spec.Tiers = append(spec.Tiers,
		topology.Link{Level: topology.Rack, Alpha: within.Alpha, Beta: within.Beta},
		topology.Link{Level: topology.Site, Alpha: within.Alpha, Beta: within.Beta})
	if len(between) == 0 {
		spec.Tiers = append(spec.Tiers, topology.Link{Level: topology.World, Alpha: within.Alpha, Beta: within.Beta})
		return topology.New(spec)
	}
	worst := topology.Link{Level: topology.World}
	for _, p := range between {
		worst.Alpha, worst.Beta = max(worst.Alpha, p.Alpha), max(worst.Beta, p.Beta)
	}
	spec.Tiers, spec.Paths = append(spec.Tiers, worst), between
	return topology.New(spec)
}

// sitesOf returns the site of every host: those that are joined by paths which are near and alike.
func sitesOf(paths []*topology.Path, n int) []int {
	// The conversion keeps the compiler from fusing the two operations where the machine could.
	seconds := func(p *topology.Path) float64 { return p.Alpha + float64(p.Beta*siteBytes) }
	least := seconds(paths[1])
	for _, p := range paths {
		if p != nil {
			least = min(least, seconds(p))
		}
	}
	part := make([]int, n)
	for i := range part {
		part[i] = i
	}
	for i := range n {
		for j := range i {
			there, back := paths[i*n+j], paths[j*n+i]
			if max(there.Alpha, back.Alpha) > nearAlpha || max(seconds(there), seconds(back)) > alike*least {
				continue
			}
			from, to := max(part[i], part[j]), min(part[i], part[j])
			for k := range part {
				if part[k] == from {
					part[k] = to
				}
			}
		}
	}
	number := make(map[int]int) // sites, in the order of their first hosts
	for i, p := range part {
		if _, known := number[p]; !known {
			number[p] = len(number)
		}
		part[i] = number[p]
	}
	return part
}

// tiersOf returns the cost between hosts of one site, nil where no site has two, and the paths between sites: medians of
// those between hosts.
func tiersOf(paths []*topology.Path, part []int, n int) (within *topology.Link, between []topology.Path) {
	type costs struct{ alpha, beta []float64 }
	by := make(map[[2]int]*costs)
	inside := new(costs)
	for i := range n {
		for j := range n {
			if i == j {
				continue
			}
			c := inside
			if ends := [2]int{part[i], part[j]}; ends[0] != ends[1] {
				if by[ends] == nil {
					by[ends] = new(costs)
				}
				c = by[ends]
			}
			c.alpha, c.beta = append(c.alpha, paths[i*n+j].Alpha), append(c.beta, paths[i*n+j].Beta)
		}
	}
	if len(inside.alpha) > 0 {
		within = &topology.Link{Alpha: lowerMedian(inside.alpha), Beta: lowerMedian(inside.beta)}
	}
	sites := slices.Max(part) + 1
	for a := range sites {
		for b := range sites {
			if c := by[[2]int{a, b}]; c != nil {
				between = append(between, topology.Path{
					From: fmt.Sprintf("s%d", a), To: fmt.Sprintf("s%d", b), Alpha: lowerMedian(c.alpha), Beta: lowerMedian(c.beta),
				})
			}
		}
	}
	return within, between
}

// lowerMedian sorts values.
func lowerMedian(values []float64) float64 {
	slices.Sort(values)
	return values[(len(values)-1)/2]
}
