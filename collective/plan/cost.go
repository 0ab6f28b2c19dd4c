package plan

import (
	"cmp"
	"math"
	"slices"

	"github.com/ringtree/ringtree/topology"
)

// model is the cost of messages on a graph, in seconds: alpha + bytes·beta for a hop (Hockney), gamma a byte for a
// reduction. Thakur, Rabenseifner and Gropp (2005) give the sums for ring and halving-doubling, Sanders, Speck and
// Träff (2009) for two trees.
type model struct {
	g       *topology.Graph
	n       int
	hosts   int
	perHost int // ranks of the largest host
	near    topology.Link
	far     topology.Link
	gamma   float64
	gap     float64 // for which a sender to many peers is busy with each
	// crowd is how many ranks of a host share one core: what a host does takes that many times longer.
	crowd float64
	lone  topology.Link // the near link of a rank that works while all others of its host wait
}

func newModel(g *topology.Graph) model {
	m := model{g: g, n: g.Size(), hosts: g.Hosts(), near: g.Tier(topology.Host), gamma: g.Reduce(), crowd: 1}
	for h := range m.hosts {
		m.perHost = max(m.perHost, g.HostSize(h))
	}
	if c := g.Cores(); c > 0 {
		m.crowd = max(1, float64(m.perHost)/float64(c))
	}
	m.lone = m.near
	m.gap = topology.Gap * m.near.Alpha * m.crowd // it does not give the core away between two of them
	m.near.Alpha = m.near.Alpha*m.crowd + (m.crowd-1)*turn
	m.near.Beta *= m.crowd
	m.gamma *= m.crowd
	m.far = m.near
	if m.hosts > 1 {
		// The worst hop between neighbouring hosts of the ring order stands for all hops between hosts.
		ring := g.RingOrder()
		for i, r := range ring {
			if next := ring[(i+1)%len(ring)]; g.Host(r) != g.Host(next) {
				l := g.Link(r, next)
				m.far.Alpha, m.far.Beta = max(m.far.Alpha, l.Alpha), max(m.far.Beta, l.Beta)
			}
		}
		m.gap = topology.Gap * m.far.Alpha
	}
	return m
}

// turn is how long a rank that waits for one on the same core takes to give the core away and get it back.
const turn = 3e-6

func log2(n int) float64 { return math.Ceil(math.Log2(float64(max(n, 1)))) }

// seconds returns the predicted time of a variant.
func (m *model) seconds(v Variant, req Request) float64 {
	if m.n == 1 {
		return float64(req.Bytes) * m.gamma
	}
	s := float64(req.Bytes)
	n := float64(m.n)
	gamma := m.gamma
	if !req.Collective.Reduces() {
		gamma = 0
	}
	// Half of an all-reduce for the collectives that only scatter or only gather.
	part := 1.0
	if req.Collective.ByRank() {
		part = 0.5
	}
	rooted := req.Collective.Rooted()
	slice := math.Min(s, 64<<10)
	switch v.Algorithm {
	case Ring:
		if rooted {
			return (n-1)*(m.far.Alpha+slice*m.far.Beta) + s*(m.far.Beta+gamma)
		}
		return part * (2*(n-1)*m.far.Alpha + 2*(n-1)/n*s*m.far.Beta + (n-1)/n*s*gamma)
	case Tree:
		depth := log2(m.hosts)
		lat := depth * (m.far.Alpha + slice*m.far.Beta)
		if near := log2(m.n) - depth; near > 0 {
			lat += near * (m.near.Alpha + slice*m.near.Beta)
		}
		if rooted {
			return lat + s*(m.far.Beta+gamma)
		}
		if req.Collective.ByRank() { // one tree, the whole vector through its root
			return 2*lat + 2*s*(m.far.Beta+gamma)
		}
		return 2*lat + 2*s*m.far.Beta + s*gamma
	case HalvingDoubling:
		t := 0.0
		left := s
		for half := m.n / 2; half >= 1; half /= 2 {
			l := m.far
			if half < m.perHost && m.hosts > 1 {
				l = m.near
			}
			left /= 2
			t += 2*l.Alpha + left*(2*l.Beta+gamma)
		}
		if m.n&(m.n-1) != 0 {
			t += 2*m.far.Alpha + s*(2*m.far.Beta+gamma)
		}
		return part * t
	case Direct:
		if v.OneShot && m.hosts == 1 && m.n <= topology.BoardRanks && req.Bytes <= topology.BoardBytes && m.g.Cores() > 0 {
			// Of ranks on cores, every one writes its part once, where all others read it.
			return m.far.Alpha + s*m.far.Beta + (n-1)*s*topology.Nary(n)*gamma
		}
		if v.OneShot {
			return m.far.Alpha + (n-2)*m.gap + (n-1)*s*(m.far.Beta+topology.Nary(n)*gamma)
		}
		if rooted {
			return m.far.Alpha + (n-1)*(m.gap+s*m.far.Beta)
		}
		return part * (2*m.far.Alpha + 2*(n-2)*m.gap + 2*(n-1)/n*s*m.far.Beta + (n-1)/n*s*topology.Nary(n)*gamma)
	}
	return m.hierarchy(v, req, s, gamma, part)
}

// hierarchy is everybody with everybody inside the hosts and a flat schedule between them, over one block a local rank.
func (m *model) hierarchy(v Variant, req Request, s, gamma, part float64) float64 {
	p := float64(m.perHost)
	inside := 0.0
	if p > 1 {
		inside = part * (2*m.near.Alpha + 2*(p-2)*topology.Gap*m.near.Alpha + 2*(p-1)/p*s*m.near.Beta + (p-1)/p*s*topology.Nary(p)*gamma)
	}
	switch {
	case v.Leaders:
		// While a leader reads or sends, its neighbours wait, and do not keep it from its core.
		inside = 2*m.near.Alpha + 2*(p-2)*topology.Gap*m.lone.Alpha + (p-1)*s*(2*m.lone.Beta+topology.Nary(p)*gamma/m.crowd)
		p = 1
	case req.Collective.Rooted():
		if p > 1 {
			inside = m.near.Alpha + (p-1)*(topology.Gap*m.near.Alpha+s*m.near.Beta+s*topology.Nary(p)*gamma)
		}
		p = 1
	}
	if m.hosts == 1 {
		return inside
	}
	flat := model{g: m.g, n: m.hosts, hosts: m.hosts, perHost: 1, near: m.far, far: m.far, gamma: m.gamma, gap: topology.Gap * m.far.Alpha, crowd: 1}
	req.Bytes = int64(s / p)
	return inside + flat.seconds(Variant{Algorithm: v.Between}, req)
}

// oneShotLimit is the longest vector for a one-shot all-reduce: its sends are copied aside.
const oneShotLimit = 32 << 10

// directLimit is the largest group for schedules in which everybody speaks to everybody.
const directLimit = 1024

// candidates returns the variants worth weighing, cheapest first.
func (p *Planner) candidates(req Request) []Candidate {
	var cs []Candidate
	for _, v := range p.Variants(req.Collective) {
		if v.OneShot && (req.Bytes > oneShotLimit || p.g.Size() > directLimit) {
			continue
		}
		cs = append(cs, Candidate{Variant: v, Seconds: p.model.seconds(v, req)})
	}
	slices.SortStableFunc(cs, func(a, b Candidate) int {
		// All-to-all patterns have n² links: never by default in large groups.
		if x, y := p.crowded(a.Variant), p.crowded(b.Variant); x != y {
			if x {
				return 1
			}
			return -1
		}
		// All ranks must come to the same choice. Where two variants cost the same, the last bits of a sum depend on the
		// processor (some multiply and add in one rounding); single precision has none of them.
		if c := cmp.Compare(float32(a.Seconds), float32(b.Seconds)); c != 0 {
			return c
		}
		// Ring, halving-doubling and direct of two ranks are the same messages. Only the last sends each slice right behind its reduction.
		switch x, y := p.apart(a.Variant, req.Collective), p.apart(b.Variant, req.Collective); {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	return cs
}

func (p *Planner) crowded(v Variant) bool {
	switch {
	case v.Algorithm == Direct:
		return p.g.Size() > directLimit
	case v.Algorithm == Hierarchical:
		return p.model.perHost > directLimit || v.Between == Direct && p.g.Hosts() > directLimit
	}
	return false
}
