package topology

import (
	"iter"
	"maps"
	"slices"
)

// A Graph is an immutable description of a machine: the place of every rank and the cost of every link. It is
// safe for use by any number of goroutines. Make one with [New], [Preset] or [Parse]; the zero Graph has
// no ranks.
//
// Methods that take a rank or an index of a host, rack, site or device panic, as indexing a slice does, when
// it is out of range.
type Graph struct {
	host     []int32  // by rank
	local    []int32  // by rank: its index among the ranks of its host
	byHost   []Rank   // ranks sorted by (host, rank)
	hostFrom []int32  // by host, and one more: where its ranks start in byHost
	hostRack []int32  // by host
	rackSite []int32  // by rack
	device   []int32  // by rank; nil: every rank is a nameless device of its own
	devices  []string // names by device; nil with device
	hosts    []string // names by host
	racks    []string // names by rack
	sites    []string // names by site

	tiers  [levels]Link
	paths  map[sitePair]Link
	layers []Layer
	cores  int
	reduce float64
}

type sitePair struct{ from, to int32 }

// Size returns the number of ranks.
func (g *Graph) Size() int { return len(g.host) }

// Hosts returns the number of hosts. Hosts are numbered in the order in which ranks first name them, so the host of
// rank 0 is host 0; racks, sites and devices likewise.
func (g *Graph) Hosts() int { return len(g.hosts) }

// Racks returns the number of racks.
func (g *Graph) Racks() int { return len(g.racks) }

// Sites returns the number of sites.
func (g *Graph) Sites() int { return len(g.sites) }

// Devices returns the number of devices. A rank that names none is a device of its own.
func (g *Graph) Devices() int {
	if g.device == nil {
		return len(g.host)
	}
	return len(g.devices)
}

// Host returns the host of a rank.
func (g *Graph) Host(r Rank) int { return int(g.host[r]) }

// Rack returns the rack of a rank.
func (g *Graph) Rack(r Rank) int { return int(g.hostRack[g.host[r]]) }

// Site returns the site of a rank.
func (g *Graph) Site(r Rank) int { return int(g.rackSite[g.hostRack[g.host[r]]]) }

// Device returns the device of a rank.
func (g *Graph) Device(r Rank) int {
	if g.device == nil {
		_ = g.host[r] // out of range panics here too
		return int(r)
	}
	return int(g.device[r])
}

// HostName returns the name of a host.
func (g *Graph) HostName(h int) string { return g.hosts[h] }

// RackName returns the name of a rack.
func (g *Graph) RackName(rack int) string { return g.racks[rack] }

// SiteName returns the name of a site.
func (g *Graph) SiteName(site int) string { return g.sites[site] }

// Place returns the names of what a rank sits in, as a [Spec] gives them.
func (g *Graph) Place(r Rank) Place {
	h := g.host[r]
	rack := g.hostRack[h]
	p := Place{Host: g.hosts[h], Rack: g.racks[rack], Site: g.sites[g.rackSite[rack]]}
	if g.device != nil {
		p.Device = g.devices[g.device[r]]
	}
	return p
}

// HostSize returns the number of ranks of a host, at least 1.
func (g *Graph) HostSize(h int) int { return int(g.hostFrom[h+1] - g.hostFrom[h]) }

// HostRank returns rank number i, 0 ≤ i < HostSize(h), of a host, in ascending order of ranks.
func (g *Graph) HostRank(h, i int) Rank {
	return g.byHost[g.hostFrom[h]:g.hostFrom[h+1]][i]
}

// HostRanks yields the ranks of a host in ascending order.
func (g *Graph) HostRanks(h int) iter.Seq[Rank] {
	return slices.Values(g.byHost[g.hostFrom[h]:g.hostFrom[h+1]])
}

// LocalIndex returns the index of a rank among the ranks of its host: HostRank(Host(r), LocalIndex(r)) is r.
func (g *Graph) LocalIndex(r Rank) int { return int(g.local[r]) }

// Tier returns the cost of a level, or the zero Link when there is no such level. What World costs between two
// given sites is Link's to say.
func (g *Graph) Tier(l Level) Link {
	if int(l) >= levels {
		return Link{}
	}
	return g.tiers[l]
}

// Link returns the cost from rank a to rank b: the cost of the nearest tier that they share, and between sites
// that of the [Path] where one is given. Link(a, a) is the Device tier. It takes constant time and
// allocates nothing.
func (g *Graph) Link(a, b Rank) Link {
	ha, hb := g.host[a], g.host[b]
	if ha == hb {
		if a == b || g.device != nil && g.device[a] == g.device[b] {
			return g.tiers[Device]
		}
		return g.tiers[Host]
	}
	ra, rb := g.hostRack[ha], g.hostRack[hb]
	if ra == rb {
		return g.tiers[Rack]
	}
	return g.siteLink(g.rackSite[ra], g.rackSite[rb])
}

func (g *Graph) siteLink(a, b int32) Link {
	if a == b {
		return g.tiers[Site]
	}
	if len(g.paths) > 0 {
		if l, ok := g.paths[sitePair{a, b}]; ok {
			return l
		}
	}
	return g.tiers[World]
}

// Cores returns how many ranks of one host can run at once, or 0 when that is not known.
func (g *Graph) Cores() int { return g.cores }

// Reduce returns the seconds a byte of reducing two operands into one.
func (g *Graph) Reduce() float64 { return g.reduce }

// Paths yields the paths between sites that have a cost of their own, ordered by the index of the site that
// they leave and then of the one that they reach.
func (g *Graph) Paths() iter.Seq[Path] {
	return func(yield func(Path) bool) {
		for _, p := range g.sortedPaths() {
			l := g.paths[p]
			if !yield(Path{From: g.sites[p.from], To: g.sites[p.to], Alpha: l.Alpha, Beta: l.Beta}) {
				return
			}
		}
	}
}

func (g *Graph) sortedPaths() []sitePair {
	return slices.SortedFunc(maps.Keys(g.paths), func(a, b sitePair) int {
		if a.from != b.from {
			return int(a.from) - int(b.from)
		}
		return int(a.to) - int(b.to)
	})
}

// Equal reports whether two graphs describe the same machine: every rank in the same place by the same names, and
// every cost the same.
func (g *Graph) Equal(o *Graph) bool {
	return g.tiers == o.tiers && g.cores == o.cores && g.reduce == o.reduce &&
		slices.Equal(g.host, o.host) && slices.Equal(g.hostRack, o.hostRack) && slices.Equal(g.rackSite, o.rackSite) &&
		slices.Equal(g.device, o.device) && slices.Equal(g.devices, o.devices) &&
		slices.Equal(g.hosts, o.hosts) && slices.Equal(g.racks, o.racks) && slices.Equal(g.sites, o.sites) &&
		maps.Equal(g.paths, o.paths) && slices.Equal(g.layers, o.layers)
}
