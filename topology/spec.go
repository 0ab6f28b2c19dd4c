package topology

import (
	"math"
	"strconv"
	"unicode"
)

// MaxRanks is the most ranks that a graph can have. At one rank a host such a graph takes some 220 MB, and to
// build it takes some 1 GB.
const MaxRanks = 1 << 22

// maxCores keeps the core count of a host inside an int of every platform.
const maxCores = 1 << 20

const maxName = 255

const defaultSite = "s0"

// A Place is where a rank sits, by name. Hosts with one name are one host, and so for racks and sites: a host
// lies in one rack and a rack in one site. Names of devices belong to their host.
type Place struct {
	Device string // "": a device of the rank's own
	Host   string // never empty
	Rack   string // "": a rack named after the site
	Site   string // "": "s0"
}

// A Shape is a regular machine: ranks are laid out in order, host by host, rack by rack and site by site. The
// last of each may be smaller. Hosts are named h0, h1 …, racks r0, r1 … and sites s0, s1 ….
type Shape struct {
	Ranks        int // at least 1
	PerHost      int // ranks of a host; 0: all
	HostsPerRack int // 0: all
	RacksPerSite int // 0: all
}

// A Spec describes a machine to [New]. New keeps no part of it.
type Spec struct {
	Places []Place // one a rank; leave it nil to give a Shape
	Shape  Shape   // leave it zero to give Places

	// Tiers are the costs of the levels, each at most once and in any order. A level that two different ranks
	// have as their nearest common one must be given, except Device, whose default is free. Other levels
	// default to the cost of the next nearer level.
	Tiers []Link

	// Paths are the links between sites that differ from the World tier. They are directed.
	Paths []Path

	// Layers are how the ranks are wired, nearest layer first and the layer of the world last; none: each rank has a
	// port of its own in every tier, at the tier's rate.
	Layers []Layer

	Cores  int     // ranks of one host that can run at once; 0: not known
	Reduce float64 // seconds a byte of a two-operand reduction
}

// New builds the graph that spec describes. It fails with a [*SpecError] that names the rank and the field when
// there is no rank or more than [MaxRanks], when a host lies in two racks or a rack in two sites, when a name is not one
// that the text form can carry, when a cost is negative, infinite, not a number or missing, or
// when a path's site does not exist.
func New(spec Spec) (*Graph, error) {
	b := newBuilder(MaxRanks)
	if err := b.addAll(&spec); err != nil {
		return nil, err
	}
	g, err := b.finish(&spec)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Uniform returns hosts × perHost ranks, host by host, in one rack and one site, with the given costs. It
// fails with a [*SpecError] as [New] does.
func Uniform(hosts, perHost int, tiers ...Link) (*Graph, error) {
	if hosts < 1 || perHost < 1 || hosts > MaxRanks || perHost > MaxRanks/hosts {
		return nil, specErrorf(NoRank, "ranks", "%d hosts of %d ranks are not between 1 and %d ranks", hosts, perHost, MaxRanks)
	}
	return New(Spec{Shape: Shape{Ranks: hosts * perHost, PerHost: perHost}, Tiers: tiers})
}

// A table numbers names in the order in which they are first seen.
type table struct {
	names []string
	index map[string]int32
}

func (t *table) lookup(name string) (int32, bool) {
	i, ok := t.index[name]
	return i, ok
}

func (t *table) insert(name string) int32 {
	i := int32(len(t.names))
	t.names = append(t.names, name)
	t.index[name] = i
	return i
}

type deviceKey struct {
	host int32
	name string
}

// A builder takes places one by one and turns them into a Graph.
type builder struct {
	limit              int
	hosts, racks, site table
	host               []int32
	hostRack, rackSite []int32

	device      []int32 // nil until a rank names a device
	deviceNames []string
	deviceIndex map[deviceKey]int32

	last Place // of the rank added last, as given
}

func newBuilder(limit int) *builder {
	newTable := func() table { return table{index: make(map[string]int32)} }
	return &builder{limit: limit, hosts: newTable(), racks: newTable(), site: newTable()}
}

func (b *builder) addAll(spec *Spec) error {
	if len(spec.Places) == 0 {
		return b.addShape(spec.Shape)
	}
	if spec.Shape != (Shape{}) {
		return specErrorf(NoRank, "shape", "given together with places")
	}
	if len(spec.Places) > b.limit {
		return specErrorf(NoRank, "ranks", "%d are more than %d", len(spec.Places), b.limit)
	}
	b.host = make([]int32, 0, len(spec.Places))
	for _, p := range spec.Places {
		if err := b.add(p); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addShape(s Shape) error {
	if s.Ranks < 1 || s.Ranks > b.limit {
		return specErrorf(NoRank, "ranks", "%d are not between 1 and %d", s.Ranks, b.limit)
	}
	if s.PerHost < 0 || s.HostsPerRack < 0 || s.RacksPerSite < 0 {
		return specErrorf(NoRank, "shape", "%+v has a negative size", s)
	}
	b.host = make([]int32, 0, s.Ranks)
	split := func(i, n int) int { // which group of n members i is in
		if n == 0 {
			return 0
		}
		return i / n
	}
	var p Place
	lastHost := -1
	for r := range s.Ranks {
		if h := split(r, s.PerHost); h != lastHost {
			lastHost = h
			rack := split(h, s.HostsPerRack)
			p = Place{
				Host: "h" + strconv.Itoa(h),
				Rack: "r" + strconv.Itoa(rack),
				Site: "s" + strconv.Itoa(split(rack, s.RacksPerSite)),
			}
		}
		if err := b.add(p); err != nil {
			return err
		}
	}
	return nil
}

// add gives the next rank its place. The caller has checked the limit.
func (b *builder) add(p Place) error {
	r := Rank(len(b.host))
	if r > 0 && p == b.last && p.Device == "" && b.device == nil {
		b.host = append(b.host, b.host[r-1])
		return nil
	}
	b.last = p
	if p.Site == "" {
		p.Site = defaultSite
	}
	if p.Rack == "" {
		p.Rack = p.Site
	}
	h, known := b.hosts.lookup(p.Host)
	if !known {
		var err error
		if h, err = b.addHost(r, p); err != nil {
			return err
		}
	} else {
		rack := b.hostRack[h]
		if got := b.racks.names[rack]; got != p.Rack {
			return specErrorf(r, "rack", "host %q lies in rack %q and in rack %q", p.Host, got, p.Rack)
		}
		if got := b.site.names[b.rackSite[rack]]; got != p.Site {
			return specErrorf(r, "site", "host %q lies in site %q and in site %q", p.Host, got, p.Site)
		}
	}
	if err := b.addDevice(r, h, p.Device); err != nil {
		return err
	}
	b.host = append(b.host, h)
	return nil
}

func (b *builder) addHost(r Rank, p Place) (int32, error) {
	if why := badName(p.Host); why != "" {
		return 0, specErrorf(r, "host", "%s", why)
	}
	rack, known := b.racks.lookup(p.Rack)
	if !known {
		site, known := b.site.lookup(p.Site)
		if !known {
			if why := badName(p.Site); why != "" {
				return 0, specErrorf(r, "site", "%s", why)
			}
			site = b.site.insert(p.Site)
		}
		if why := badName(p.Rack); why != "" {
			return 0, specErrorf(r, "rack", "%s", why)
		}
		rack = b.racks.insert(p.Rack)
		b.rackSite = append(b.rackSite, site)
	} else if got := b.site.names[b.rackSite[rack]]; got != p.Site {
		return 0, specErrorf(r, "site", "rack %q lies in site %q and in site %q", p.Rack, got, p.Site)
	}
	h := b.hosts.insert(p.Host)
	b.hostRack = append(b.hostRack, rack)
	return h, nil
}

// addDevice starts to number devices when the first rank names one: before that, device i is rank i.
func (b *builder) addDevice(r Rank, h int32, name string) error {
	if b.device == nil {
		if name == "" {
			return nil
		}
		b.device = make([]int32, r, max(cap(b.host), int(r)+1))
		for i := range b.device {
			b.device[i] = int32(i)
		}
		b.deviceNames = make([]string, r)
		b.deviceIndex = make(map[deviceKey]int32)
	}
	key := deviceKey{h, name}
	d, known := b.deviceIndex[key]
	if !known || name == "" {
		if name != "" {
			if why := badName(name); why != "" {
				return specErrorf(r, "device", "%s", why)
			}
		}
		d = int32(len(b.deviceNames))
		b.deviceNames = append(b.deviceNames, name)
		if name != "" {
			b.deviceIndex[key] = d
		}
	}
	b.device = append(b.device, d)
	return nil
}

// finish makes the graph out of the places that were added and the costs in spec.
func (b *builder) finish(spec *Spec) (*Graph, error) {
	g := &Graph{
		host: b.host, hostRack: b.hostRack, rackSite: b.rackSite, device: b.device, devices: b.deviceNames,
		hosts: b.hosts.names, racks: b.racks.names, sites: b.site.names,
		cores: spec.Cores, reduce: spec.Reduce + 0, // + 0 turns a negative zero into zero
	}
	g.groupByHost()
	if g.cores < 0 || g.cores > maxCores {
		return nil, specErrorf(NoRank, "cores", "%d is not between 0 and %d", g.cores, maxCores)
	}
	if why := badCost(g.reduce); why != "" {
		return nil, specErrorf(NoRank, "reduce", "%s", why)
	}
	if err := g.setPaths(spec.Paths, &b.site); err != nil {
		return nil, err
	}
	if err := g.setTiers(spec.Tiers); err != nil {
		return nil, err
	}
	if err := checkLayers(spec.Layers); err != nil {
		return nil, err
	}
	g.layers = append(g.layers, spec.Layers...)
	return g, nil
}

// groupByHost fills byHost, hostFrom and local by counting.
func (g *Graph) groupByHost() {
	g.hostFrom = make([]int32, len(g.hosts)+1)
	g.local = make([]int32, len(g.host))
	g.byHost = make([]Rank, len(g.host))
	for r, h := range g.host {
		g.local[r] = g.hostFrom[h+1]
		g.hostFrom[h+1]++
	}
	for h := range g.hosts {
		g.hostFrom[h+1] += g.hostFrom[h]
	}
	for r, h := range g.host {
		g.byHost[g.hostFrom[h]+g.local[r]] = Rank(r)
	}
}

func (g *Graph) setPaths(paths []Path, sites *table) error {
	if len(paths) == 0 {
		return nil
	}
	g.paths = make(map[sitePair]Link, len(paths))
	for _, p := range paths {
		field := "path " + p.From + " " + p.To
		from, ok := sites.lookup(p.From)
		if !ok {
			return specErrorf(NoRank, field, "no rank is in site %q", p.From)
		}
		to, ok := sites.lookup(p.To)
		if !ok {
			return specErrorf(NoRank, field, "no rank is in site %q", p.To)
		}
		if from == to {
			return specErrorf(NoRank, field, "a path leads to another site")
		}
		key := sitePair{from, to}
		if _, dup := g.paths[key]; dup {
			return specErrorf(NoRank, field, "given twice")
		}
		l, err := checkedLink(field, Link{World, p.Alpha, p.Beta})
		if err != nil {
			return err
		}
		g.paths[key] = l
	}
	return nil
}

func (g *Graph) setTiers(tiers []Link) error {
	var given [levels]bool
	for _, t := range tiers {
		field := "tier " + t.Level.String()
		if int(t.Level) >= levels {
			return specErrorf(NoRank, field, "not a level")
		}
		if given[t.Level] {
			return specErrorf(NoRank, field, "given twice")
		}
		given[t.Level] = true
		l, err := checkedLink(field, t)
		if err != nil {
			return err
		}
		g.tiers[t.Level] = l
	}
	for l := Device; l <= World; l++ {
		if given[l] {
			continue
		}
		if l != Device {
			if r, used := g.uses(l); used {
				return specErrorf(r, "tier "+l.String(), "needed and not given")
			}
			g.tiers[l] = g.tiers[l-1]
		}
		g.tiers[l].Level = l
	}
	return nil
}

// uses reports whether l is the nearest level of some two ranks, and the lowest rank for which it is found so.
func (g *Graph) uses(l Level) (Rank, bool) {
	switch l {
	case Host:
		for r := range g.host {
			first := g.byHost[g.hostFrom[g.host[r]]]
			if g.local[r] > 0 && g.Device(first) != g.Device(Rank(r)) {
				return Rank(r), true
			}
		}
	case Rack:
		seen := make([]bool, len(g.racks))
		for h, rack := range g.hostRack {
			if seen[rack] {
				return g.byHost[g.hostFrom[h]], true
			}
			seen[rack] = true
		}
	case Site:
		seen := make([]bool, len(g.sites))
		for rack, site := range g.rackSite {
			if seen[site] {
				h := 0
				for int(g.hostRack[h]) != rack {
					h++
				}
				return g.byHost[g.hostFrom[h]], true
			}
			seen[site] = true
		}
	case World:
		s := int64(len(g.sites))
		if int64(len(g.paths)) < s*(s-1) {
			for r := range g.host {
				if g.Site(Rank(r)) > 0 {
					return Rank(r), true
				}
			}
		}
	}
	return NoRank, false
}

func checkedLink(field string, l Link) (Link, error) {
	if why := badCost(l.Alpha); why != "" {
		return Link{}, specErrorf(NoRank, field+" alpha", "%s", why)
	}
	if why := badCost(l.Beta); why != "" {
		return Link{}, specErrorf(NoRank, field+" beta", "%s", why)
	}
	l.Alpha += 0 // a negative zero would not survive as the text 0
	l.Beta += 0
	return l, nil
}

func badCost(v float64) string {
	switch {
	case math.IsNaN(v):
		return "not a number"
	case math.IsInf(v, 0):
		return "infinite"
	case v < 0:
		return "negative"
	}
	return ""
}

func badName(s string) string {
	if s == "" {
		return "no name"
	}
	if len(s) > maxName {
		return "name of " + strconv.Itoa(len(s)) + " bytes is longer than " + strconv.Itoa(maxName)
	}
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar, !unicode.IsPrint(r), r == ' ', r == '#', r == '/', r == '%':
			return "name " + strconv.Quote(s) + " has a forbidden character at byte " + strconv.Itoa(i)
		}
	}
	return ""
}
