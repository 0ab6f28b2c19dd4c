package topology

import "slices"

// A Choice says which of several routes a message takes.
type Choice struct {
	// Flow is the number of the flow between the two ranks. Flows of one pair are hashed apart, as queue pairs or
	// sockets with ports of their own are.
	Flow int
	Seed uint64 // of the hash
	// Spread deals flows to switches in turn by the numbers of the ranks, instead of by a hash: what spraying
	// packets over all paths comes to.
	Spread bool
	// Cross goes from rail to rail through the layer above. Otherwise a message changes rails inside the host that it
	// starts from, by way of the rank on the rail of its destination, as NCCL's PXN does.
	Cross bool
}

// torusPorts is how many directed wires leave a node of a torus: two a dimension.
const torusPorts = 6

// Route appends the wires from rank a to rank b to dst, in order; there are none from a rank to itself, or to
// one on the same device. It reports false, and appends nothing, when what is dead leaves no way. It allocates
// nothing but dst's growth. On a mesh over a mesh (a dragonfly) and on a torus routes are minimal and, in dimension
// order, the only ones.
func (n *Network) Route(dst []WireID, a, b Rank, c Choice) ([]WireID, bool) {
	if a == b || n.g.device != nil && n.g.device[a] == n.g.device[b] {
		return dst, true
	}
	from := len(dst)
	if n.faults == nil {
		w := walk{n: n, c: c, a: a, b: b}
		return w.route(dst, a, b)
	}
	// Routes in the order of the hash, then every other combination of switches, then every other rail.
	space := uint64(1)
	for attempt := uint64(0); attempt < min(space, maxAttempts); attempt++ {
		w := walk{n: n, c: c, a: a, b: b, rest: attempt, space: 1}
		out, ok := w.route(dst, a, b)
		if ok && n.alive(out[from:]) {
			return out, true
		}
		dst, space = out[:from], w.space
	}
	return n.otherRails(dst, a, b, c)
}

// maxAttempts bounds the search for a route around what is dead.
const maxAttempts = 1 << 14

// otherRails goes from a to b by the rails of the other ranks of both hosts.
func (n *Network) otherRails(dst []WireID, a, b Rank, c Choice) ([]WireID, bool) {
	i := n.nearest(a, b)
	rails := n.railLayer(i)
	if rails < 0 {
		return dst, false
	}
	from := len(dst)
	ha, hb := int(n.g.host[a]), int(n.g.host[b])
	for k := range min(n.g.HostSize(ha), n.g.HostSize(hb)) {
		x, y := n.g.HostRank(ha, k), n.g.HostRank(hb, k)
		space := uint64(1)
		for attempt := uint64(0); attempt < min(space, maxAttempts); attempt++ {
			w := walk{n: n, c: c, a: a, b: b, rest: attempt, space: 1}
			out, ok := w.inside(dst, a, x)
			if ok {
				out, ok = w.between(out, x, y, max(i, rails))
			}
			if ok {
				out, ok = w.inside(out, y, b)
			}
			if ok && n.alive(out[from:]) {
				return out, true
			}
			dst, space = out[:from], w.space
		}
	}
	return dst, false
}

func (n *Network) alive(route []WireID) bool {
	for _, w := range route {
		if n.Wire(w).Rate == 0 {
			return false
		}
	}
	return true
}

// Alpha returns the latency of a route in seconds: the sum over its wires.
func (n *Network) Alpha(route []WireID) float64 {
	sum := 0.0
	for _, w := range route {
		sum += n.Wire(w).Alpha
	}
	return sum
}

// Rate returns the rate of the slowest wire of a route in bytes a second, +Inf being that of no wire at all.
func (n *Network) Rate(route []WireID) float64 {
	rate := maxRate * maxRate
	for _, w := range route {
		rate = min(rate, n.Wire(w).Rate)
	}
	return rate
}

// A walk makes the choices of one route. rest is the number of the combination of choices to try, counted from the
// one that the hash gives, and space comes to be the number of combinations.
type walk struct {
	n           *Network
	c           Choice
	a, b        Rank
	slot        uint64
	rest, space uint64
}

// pick chooses one of k switches on the way up from rank r.
func (w *walk) pick(k int, r Rank) int {
	if k == 1 {
		return 0
	}
	w.slot++
	h := uint64(r) + uint64(w.c.Flow)
	if !w.c.Spread {
		h = mix(w.c.Seed ^ mix(uint64(w.a)<<32|uint64(w.b)) + mix(uint64(w.c.Flow)<<8|w.slot))
	}
	d := uint64(0)
	if w.space != 0 {
		d = w.rest % uint64(k)
		w.rest /= uint64(k)
		w.space = min(w.space*uint64(k), maxAttempts)
	}
	return int((h + d) % uint64(k))
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// railLayer returns the layer of rails that a climb to layer i begins with, or -1.
func (n *Network) railLayer(i int) int {
	if s := n.layers[i].start; n.layers[s].Wiring == Rail {
		return s
	}
	return -1
}

func (n *Network) rail(i int, r Rank) int { return int(n.g.local[r]) % n.layers[i].Width }

// route goes from a to b, and changes rails where that is called for.
func (w *walk) route(dst []WireID, a, b Rank) ([]WireID, bool) {
	n := w.n
	i := n.nearest(a, b)
	rails := n.railLayer(i)
	if rails < 0 || n.rail(rails, a) == n.rail(rails, b) || rails != i {
		return w.between(dst, a, b, i)
	}
	if w.c.Cross && i+1 < len(n.layers) {
		return w.between(dst, a, b, i+1)
	}
	// The rank of a's host that is on b's rail, or the one of b's host that is on a's.
	for _, end := range [...]struct{ host, want Rank }{{a, b}, {b, a}} {
		h := int(n.g.host[end.host])
		if k := n.rail(rails, end.want); k < n.g.HostSize(h) {
			via := n.g.HostRank(h, k)
			if end.host == a {
				dst, _ = w.inside(dst, a, via)
				return w.between(dst, via, b, i)
			}
			dst, ok := w.between(dst, a, via, i)
			if !ok {
				return dst, false
			}
			return w.inside(dst, via, b)
		}
	}
	if i+1 < len(n.layers) {
		return w.between(dst, a, b, i+1)
	}
	return dst, false
}

// inside goes from one rank of a host to another.
func (w *walk) inside(dst []WireID, a, b Rank) ([]WireID, bool) {
	if a == b {
		return dst, true
	}
	return w.between(dst, a, b, w.n.nearest(a, b))
}

// between goes from a to b by way of layer i.
func (w *walk) between(dst []WireID, a, b Rank, i int) ([]WireID, bool) {
	n := w.n
	l := &n.layers[i]
	switch l.Wiring {
	case Torus:
		return n.alongTorus(dst, l, int(a), int(b)), true
	case Mesh:
		gr := n.group(i, a)
		x, y := n.member(i, a), n.member(i, b)
		px, py := int(l.mesh.position[x]), int(l.mesh.position[y])
		size := int(l.mesh.from[gr+1] - l.mesh.from[gr])
		k := w.pick(l.Width, a)
		wire := WireID(l.wireBase + l.mesh.wireFrom[gr] + (px*size+py)*l.Width + k)
		if l.Ports {
			return append(dst, wire), true
		}
		dst = w.climb(dst, i-1, a, n.gateway(i, x, py, k), false)
		dst = append(dst, wire)
		return w.descend(dst, i-1, b, n.gateway(i, y, px, k)), true
	case Rail:
		if n.rail(i, a) != n.rail(i, b) {
			return dst, false
		}
		fallthrough
	default:
		s := 0
		if l.Wiring == Star {
			s = w.pick(l.Width, a)
		}
		dst = w.climb(dst, i, a, s, false)
		return w.descend(dst, i, b, s), true
	}
}

// descend is climb from the switch down to the rank.
func (w *walk) descend(dst []WireID, i int, r Rank, target int) []WireID {
	from := len(dst)
	dst = w.climb(dst, i, r, target, true)
	slices.Reverse(dst[from:])
	return dst
}

// climb goes from rank r up to switch, or member, number target of its group of layer i. Where down is set it
// appends the wires of the way back, last one first.
func (w *walk) climb(dst []WireID, i int, r Rank, target int, down bool) []WireID {
	n := w.n
	l := &n.layers[i]
	back := 0
	if down {
		back = 1
	}
	switch l.Wiring {
	case Rail:
		return append(dst, WireID(l.wireBase+int(r)*2+back))
	case Mesh:
		x := n.member(i, r)
		own, gr := int(l.mesh.position[x]), n.group(i, r)
		dst = w.climb(dst, i-1, r, 0, down)
		if own == target {
			return dst
		}
		from, to := own, target
		if down {
			from, to = to, from
		}
		size := int(l.mesh.from[gr+1] - l.mesh.from[gr])
		return append(dst, WireID(l.wireBase+l.mesh.wireFrom[gr]+(from*size+to)*l.Width+w.pick(l.Width, r)))
	default:
		lower := int(r)
		if !l.Ports {
			below := &n.layers[i-1]
			u := 0
			if below.Wiring == Rail {
				u = n.rail(i-1, r)
			} else {
				u = w.pick(below.Width, r)
			}
			dst = w.climb(dst, i-1, r, u, down)
			lower = n.group(i-1, r)*below.Width + u
		}
		return append(dst, WireID(l.wireBase+(lower*l.Width+target)*2+back))
	}
}

// gateway returns which switch, or member, of member x of mesh layer i has wire k to the member at position to.
func (n *Network) gateway(i, x, to, k int) int {
	below := &n.layers[i-1]
	way := to*n.layers[i].Width + k
	if below.Wiring == Mesh {
		return way % int(below.mesh.from[x+1]-below.mesh.from[x])
	}
	return way % below.Width
}

// gatewayNode is the node that gateway names.
func (n *Network) gatewayNode(i, x, to, k int) NodeID {
	if n.layers[i].Ports {
		return NodeID(x)
	}
	below := &n.layers[i-1]
	t := n.gateway(i, x, to, k)
	if below.Wiring == Mesh {
		router := int(below.mesh.members[int(below.mesh.from[x])+t])
		return NodeID(n.layers[i-2].nodeBase + router)
	}
	return NodeID(below.nodeBase + x*below.Width + t)
}

func (n *Network) torusNode(i, at int) NodeID {
	if size := len(n.g.host); at >= size {
		return NodeID(n.layers[i].nodeBase + at - size)
	}
	return NodeID(at)
}

// place returns the coordinates of a node of a torus. Rows go forth and back, and planes likewise, so that nodes whose
// numbers differ by one are neighbours.
func (l *Layer) place(at int) [3]int {
	x, y, z := at%l.Dims[0], at/l.Dims[0]%l.Dims[1], at/(l.Dims[0]*l.Dims[1])
	if z%2 == 1 {
		y = l.Dims[1] - 1 - y
	}
	if (at/l.Dims[0])%2 == 1 {
		x = l.Dims[0] - 1 - x
	}
	return [3]int{x, y, z}
}

// nodeAt is the inverse of place.
func (l *Layer) nodeAt(p [3]int) int {
	x, y, z := p[0], p[1], p[2]
	if z%2 == 1 {
		y = l.Dims[1] - 1 - y
	}
	row := z*l.Dims[1] + y
	if row%2 == 1 {
		x = l.Dims[0] - 1 - x
	}
	return row*l.Dims[0] + x
}

// step returns the node that a wire leads to: up and down each dimension in turn.
func (l *Layer) step(at, port int) int {
	p := l.place(at)
	d := port / 2
	if port%2 == 0 {
		p[d] = (p[d] + 1) % l.Dims[d]
	} else {
		p[d] = (p[d] + l.Dims[d] - 1) % l.Dims[d]
	}
	return l.nodeAt(p)
}

// alongTorus goes from node a to node b, one dimension after the other, the shorter way around; of two equal ways
// up from even coordinates and down from odd ones.
func (n *Network) alongTorus(dst []WireID, l *layer, a, b int) []WireID {
	p, q := l.place(a), l.place(b)
	at := a
	for d, size := range l.Dims {
		up := (q[d] - p[d] + size) % size
		port, steps := 2*d, up
		if 2*up > size || 2*up == size && p[d]%2 == 1 {
			port, steps = 2*d+1, size-up
		}
		for range steps {
			dst = append(dst, WireID(l.wireBase+at*torusPorts+port))
			at = l.step(at, port)
		}
	}
	return dst
}

// meanDistance is how many steps two different nodes of a torus are apart on average.
func meanDistance(dims [3]int) float64 {
	sum, nodes := 0.0, 1.0
	for _, d := range dims {
		sum += float64(d*d/4) / float64(d)
		nodes *= float64(d)
	}
	if nodes == 1 {
		return 1
	}
	return sum * nodes / (nodes - 1)
}
