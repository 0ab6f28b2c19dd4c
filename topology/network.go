package topology

import (
	"fmt"
	"sort"
)

// A WireID is the index of a directed wire of a [Network], 0 to Wires()-1.
type WireID int32

// A NodeID is the index of a node of a [Network]: rank r is node r, switches follow.
type NodeID int32

// A Wire is a directed link of a [Network].
type Wire struct {
	From, To NodeID
	Layer    int     // index into Network.Layers
	Level    Level   // the tier that it counts to
	Rate     float64 // bytes a second; 0 when it is dead
	Alpha    float64 // seconds
}

// A Network is the wiring of a [Graph]: ranks and switches joined by directed wires with a rate and a latency, and a
// route from every rank to every other. It is computed, not stored: its memory grows with hosts, racks and sites, and
// not with pairs of ranks. It is immutable and safe for concurrent use.
//
// The latencies of a route's wires add up to the Alpha of [Graph.Link], which they are derived from, so that the
// network and the planner cannot differ, with three exceptions: on a torus the tiers hold the average over all pairs,
// on a mesh over a mesh the longest way, and a route that changes rails inside a host pays for that. The Beta of a tier that is oversubscribed is what a rank
// gets when everybody sends; a single route through it is as fast as its slowest wire.
type Network struct {
	g      *Graph
	layers []layer
	nodes  int
	wires  int

	sockets []int32 // by host: index of its first socket; nil without a layer of sockets

	faults *faults // nil: none
}

// A layer is a Layer with its place in the numbering of nodes and wires.
type layer struct {
	Layer
	start    int // lowest layer that a climb to here begins with
	groups   int
	lower    int // members, all groups together
	nodeBase int
	wireBase int
	alpha    float64 // of a wire; of a mesh, to be taken from the cost of the pair
	of       []int32 // by host: its group; nil for sockets

	mesh *mesh
}

// mesh numbers the wires of the groups of a mesh layer.
type mesh struct {
	position []int32 // by member: its index in its group
	some     []Rank  // by member: its lowest rank
	members  []int32 // by group, one after another
	from     []int32 // by group, and one more: where it starts in members
	wireFrom []int   // by group, and one more
}

// maxWires keeps a WireID inside 32 bits.
const maxWires = 1 << 30

// Network returns the wiring of the graph. It fails with a [*SpecError] when there would be more than 2³⁰ wires, or
// a torus has fewer nodes than the graph has ranks.
func (g *Graph) Network() (*Network, error) {
	n := &Network{g: g, nodes: len(g.host)}
	spec := g.layers
	if len(spec) == 0 {
		spec = g.defaultLayers()
	}
	if err := checkLayers(spec); err != nil {
		return nil, err
	}
	for i, s := range spec {
		if s.Span == SpanSocket {
			n.sockets = make([]int32, len(g.hosts)+1)
			for h := range g.hosts {
				n.sockets[h+1] = n.sockets[h] + int32((g.HostSize(h)+s.Count-1)/s.Count)
			}
		}
		l := layer{Layer: s, nodeBase: n.nodes, wireBase: n.wires, of: n.groups(&s)}
		l.Ports = s.Ports || i == 0
		if l.Ports {
			l.start, l.lower = i, len(g.host)
		} else {
			l.start, l.lower = n.layers[i-1].start, n.layers[i-1].groups
		}
		n.layers = append(n.layers, l)
		if err := n.measure(i); err != nil {
			return nil, err
		}
	}
	n.setAlphas()
	return n, nil
}

// measure counts the groups, nodes and wires of layer i.
func (n *Network) measure(i int) error {
	l := &n.layers[i]
	g := n.g
	switch l.Span {
	case SpanSocket:
		l.groups = int(n.sockets[len(g.hosts)])
	case SpanHost:
		l.groups = len(g.hosts)
	case SpanRack:
		l.groups = len(g.racks)
	case SpanSite:
		l.groups = len(g.sites)
	case SpanRegion:
		l.groups = (len(g.sites) + l.Count - 1) / l.Count
	case SpanWorld:
		l.groups = 1
	}
	var wires int64
	nodes := int64(l.groups) * int64(l.Width)
	switch l.Wiring {
	case Star:
		below := int64(1)
		if !l.Ports {
			below = int64(n.layers[i-1].Width)
		}
		wires = 2 * int64(l.lower) * below * int64(l.Width)
	case Rail:
		wires = 2 * int64(l.lower)
	case Mesh:
		nodes = 0
		l.mesh = n.newMesh(i)
		for gr := range l.groups {
			m := int64(l.mesh.from[gr+1] - l.mesh.from[gr])
			l.mesh.wireFrom = append(l.mesh.wireFrom, int(wires))
			if wires += m * m * int64(l.Width); wires > maxWires {
				break
			}
		}
		l.mesh.wireFrom = append(l.mesh.wireFrom, int(min(wires, maxWires)))
	case Torus:
		places := l.Dims[0] * l.Dims[1] * l.Dims[2]
		if places < len(g.host) {
			return specErrorf(NoRank, "layer "+l.Span.String(), "a torus of %v has %d nodes for %d ranks", l.Dims, places, len(g.host))
		}
		nodes, wires = int64(places-len(g.host)), int64(places)*torusPorts
	}
	if wires+int64(n.wires) > maxWires || nodes+int64(n.nodes) > maxWires {
		return specErrorf(NoRank, "layer "+l.Span.String(), "more than %d wires", maxWires)
	}
	n.nodes += int(nodes)
	n.wires += int(wires)
	return nil
}

// newMesh sorts the members of layer i by group.
func (n *Network) newMesh(i int) *mesh {
	l := &n.layers[i]
	m := &mesh{position: make([]int32, l.lower), some: make([]Rank, l.lower), members: make([]int32, l.lower), from: make([]int32, l.groups+1)}
	group := make([]int32, l.lower)
	for r := Rank(len(n.g.host)) - 1; r >= 0; r-- {
		x := n.member(i, r)
		group[x], m.some[x] = int32(n.group(i, r)), r
	}
	for x, gr := range group {
		m.position[x] = m.from[gr+1]
		m.from[gr+1]++
	}
	for gr := range l.groups {
		m.from[gr+1] += m.from[gr]
	}
	for x, gr := range group {
		m.members[m.from[gr]+m.position[x]] = int32(x)
	}
	return m
}

// group returns the group of layer i that a rank is in.
func (n *Network) group(i int, r Rank) int {
	h := n.g.host[r]
	if of := n.layers[i].of; of != nil {
		return int(of[h])
	}
	return int(n.sockets[h]) + int(n.g.local[r])/n.layers[i].Count
}

// groups returns the group of a layer that each host is in, or nil where it is not in one.
func (n *Network) groups(l *Layer) []int32 {
	g := n.g
	if l.Span == SpanSocket {
		return nil
	}
	of := make([]int32, len(g.hosts))
	for h := range of {
		switch l.Span {
		case SpanHost:
			of[h] = int32(h)
		case SpanRack:
			of[h] = g.hostRack[h]
		case SpanSite:
			of[h] = g.rackSite[g.hostRack[h]]
		case SpanRegion:
			of[h] = g.rackSite[g.hostRack[h]] / int32(l.Count)
		}
	}
	return of
}

// member returns which member of layer i a rank is or is below of.
func (n *Network) member(i int, r Rank) int {
	if n.layers[i].Ports {
		return int(r)
	}
	return n.group(i-1, r)
}

// setAlphas shares the latency of each layer's pairs out among the wires that join them.
func (n *Network) setAlphas() {
	reached := make([]float64, len(n.layers)) // latency of a pair whose nearest layer this is
	for i := range n.layers {
		l := &n.layers[i]
		below := 0.0
		if !l.Ports {
			below = reached[i-1]
			if l.Wiring == Mesh && n.layers[i-1].Wiring == Mesh {
				below += reached[i-1] - reached[i-2] // a wire of the lower mesh at either end
			}
		}
		a, b, ok := n.pair(i)
		if !ok {
			reached[i] = below
			continue
		}
		reached[i] = max(n.g.Link(a, b).Alpha, below)
		switch l.Wiring {
		case Torus:
			l.alpha = n.g.Tier(n.g.farthest()).Alpha / meanDistance(l.Dims)
		case Mesh:
			l.alpha = below // what both climbs cost together
		default:
			l.alpha = (reached[i] - below) / 2
		}
	}
}

// pair returns the first two ranks whose nearest layer is i.
func (n *Network) pair(i int) (a, b Rank, ok bool) {
	first := make([]Rank, n.layers[i].groups)
	for gr := range first {
		first[gr] = NoRank
	}
	for r := range Rank(len(n.g.host)) {
		gr := n.group(i, r)
		if first[gr] == NoRank {
			first[gr] = r
		} else if n.nearest(first[gr], r) == i {
			return first[gr], r, true
		}
	}
	return 0, 0, false
}

// nearest returns the lowest layer of which two ranks share a group.
func (n *Network) nearest(a, b Rank) int {
	for i := range n.layers {
		if n.group(i, a) == n.group(i, b) {
			return i
		}
	}
	panic("topology: the layer of the world has more than one group")
}

// farthest returns the highest level that two ranks of the graph can have.
func (g *Graph) farthest() Level {
	switch {
	case len(g.sites) > 1:
		return World
	case len(g.racks) > 1:
		return Site
	case len(g.hosts) > 1:
		return Rack
	}
	return Host
}

// Graph returns the graph whose wiring n is.
func (n *Network) Graph() *Graph { return n.g }

// Layers returns the layers, nearest first.
func (n *Network) Layers() []Layer {
	var out []Layer
	for _, l := range n.layers {
		out = append(out, l.Layer)
	}
	return out
}

// Nodes returns the number of nodes, ranks first.
func (n *Network) Nodes() int { return n.nodes }

// Wires returns the number of directed wires. Some of a mesh have no use: those from a member to itself.
func (n *Network) Wires() int { return n.wires }

// Wire describes a wire. It panics when w is out of range, as indexing a slice does.
func (n *Network) Wire(w WireID) Wire {
	if w < 0 || int(w) >= n.wires {
		panic(fmt.Sprintf("topology: wire %d of %d", w, n.wires))
	}
	i := len(n.layers) - 1
	for int(w) < n.layers[i].wireBase {
		i--
	}
	l := &n.layers[i]
	out := Wire{Layer: i, Level: l.Span.Level(), Rate: l.Rate, Alpha: l.alpha}
	k := int(w) - l.wireBase
	switch l.Wiring {
	case Star:
		lower, s := k/2/l.Width, k/2%l.Width
		gr, node := n.lowerNode(i, lower)
		out.From, out.To = node, NodeID(l.nodeBase+gr*l.Width+s)
	case Rail:
		r := Rank(k / 2)
		out.From, out.To = NodeID(r), NodeID(l.nodeBase+n.group(i, r)*l.Width+n.rail(i, r))
	case Mesh:
		n.meshEnds(i, k, &out)
	case Torus:
		at := k / torusPorts
		out.From, out.To = n.torusNode(i, at), n.torusNode(i, l.step(at, k%torusPorts))
	}
	if (l.Wiring == Star || l.Wiring == Rail) && k%2 == 1 {
		out.From, out.To = out.To, out.From
	}
	out.Rate *= n.faults.factor(w, out.From, out.To)
	return out
}

// lowerNode returns the group and the node of the lower end of a star's wires number k of that end.
func (n *Network) lowerNode(i, k int) (group int, node NodeID) {
	if n.layers[i].Ports {
		return n.group(i, Rank(k)), NodeID(k)
	}
	below := &n.layers[i-1]
	return n.above(i, k/below.Width), NodeID(below.nodeBase + k)
}

// above returns the group of layer i that group x of layer i-1 is part of.
func (n *Network) above(i, x int) int {
	g := n.g
	lower, upper := n.layers[i-1].Span, n.layers[i].Span
	if lower == SpanSocket {
		x = sort.Search(len(g.hosts), func(h int) bool { return int(n.sockets[h+1]) > x })
		lower = SpanHost
	}
	if lower == SpanHost && upper > SpanHost {
		x, lower = int(g.hostRack[x]), SpanRack
	}
	if lower == SpanRack && upper > SpanRack {
		x, lower = int(g.rackSite[x]), SpanSite
	}
	switch {
	case upper == SpanWorld:
		return 0
	case upper == SpanRegion && lower == SpanSite:
		return x / n.layers[i].Count
	}
	return x
}

// meshEnds fills in the ends of wire k of mesh layer i, and what is the pair's own.
func (n *Network) meshEnds(i, k int, out *Wire) {
	l := &n.layers[i]
	gr := sort.Search(l.groups, func(x int) bool { return l.mesh.wireFrom[x+1] > k })
	k -= l.mesh.wireFrom[gr]
	size := int(l.mesh.from[gr+1] - l.mesh.from[gr])
	w, to, from := k%l.Width, k/l.Width%size, k/l.Width/size
	members := l.mesh.members[l.mesh.from[gr]:]
	a, b := int(members[from]), int(members[to])
	out.From, out.To = n.gatewayNode(i, a, to, w), n.gatewayNode(i, b, from, w)
	link := n.g.Link(l.mesh.some[a], l.mesh.some[b])
	if a == b {
		out.Rate, out.Alpha = 0, 0
		return
	}
	out.Alpha = max(link.Alpha-l.alpha, 0)
	if link.Beta > 0 && l.Span == SpanWorld && len(n.g.paths) > 0 {
		out.Rate = min(out.Rate, 1/link.Beta)
	}
}
