package sim

import (
	"math/rand/v2"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A turning is what has to be read of a schedule that looks the same from many ranks, by its own word (schedule.Turner), on a graph that
// does, too: rank r and rank r + period do the same at the same times.
type turning struct {
	base   *schedule.Fleet // of the ranks that have to be read, with peers of the whole group
	period int
	volley *volley
	fleet  *schedule.Fleet // of one period, where it is needed
	class  []uint8
	of     []int32 // by rank: its machine
	weight []int64
}

// turn returns nil for what has to be read in full.
func (m *Simulation) turn() (*turning, error) {
	cfg, n := m.cfg, m.s.Ranks()
	s, ok := m.s.(schedule.Turner)
	if !ok || cfg.level != Auto && cfg.level != Classes || cfg.disturbed() || cfg.records > 0 || cfg.wires != PortWires {
		return nil, nil
	}
	step := s.Turn()
	if step <= 0 || n%step != 0 || step == n {
		return nil, nil
	}
	t := &turning{period: periodOf(m.g, step)}
	if t.period == n && step > 1 {
		return nil, nil
	}
	rng := rand.New(rand.NewPCG(cfg.seed, uint64(n)))
	var err error
	if t.base, err = schedule.NewTurnedFleet(s, schedule.Slicing{}, cfg.limit, 1+rng.IntN(n/step-1)); err != nil {
		return nil, err
	}
	if step == 1 {
		t.volley = newVolley(t.base, n, t.period)
	}
	if t.period == n && t.volley == nil {
		return nil, nil
	}
	return t, nil
}

// turned runs one rank of each class, and reports whether it could.
func (m *Simulation) turned(res *Result, size *sizes) (bool, error) {
	t, n := m.turning, m.s.Ranks()
	z := m.slicing(t.base, size)
	if err := t.base.Slice(z); err != nil {
		return false, err
	}
	res.Level, res.Steps = Classes, t.base.Steps()*int64(n/t.base.Ranks())
	if t.volley != nil {
		if ok, err := t.volley.run(m, res, size); ok || err != nil {
			return ok, err
		}
	}
	if t.period == n || m.model.asks() {
		m.turning = nil
		return false, nil
	}
	if t.fleet == nil {
		each := 1 // ranks that a machine stands for
		if step := t.base.Ranks(); t.base.Rotates() && interchangeable(m.g, step) {
			each = step
		}
		f := t.base.Turned(t.period, each)
		var err error
		if t.class, err = m.classify(f); err != nil {
			return false, err
		}
		if m.model.asks() {
			m.turning = nil
			return false, nil
		}
		f.Wrap(each)
		t.fleet, t.of, t.weight = f, make([]int32, n), make([]int64, f.Ranks())
		for r := range t.of {
			t.of[r] = int32(r % t.period / each)
			t.weight[t.of[r]]++
		}
	}
	if err := t.fleet.Slice(z); err != nil {
		return false, err
	}
	return true, m.alike(res, size, t.fleet, t.class, t.of, t.weight)
}

// asks reports whether there may be messages that wait until a receiver grants them. Grants of one time are taken in the order of the
// receivers' numbers, which is not the same for ranks that are alike but for that.
func (m *model) asks() bool {
	return slices.ContainsFunc(m.classes, func(c class) bool { return c.cost.Eager > 0 })
}

// interchangeable reports whether ranks that follow each other, as many as step, have equal links to each other, and to any other rank.
func interchangeable(g *topology.Graph, step int) bool {
	for r := range g.Size() {
		if g.Host(topology.Rank(r)) != g.Host(topology.Rank(r-r%step)) {
			return false
		}
	}
	return g.Devices() == g.Size()
}

// periodOf returns the least multiple of step, which divides the number of ranks, by which the graph can be turned: links from rank a to
// rank b, and from rank a + period to rank b + period, modulo their number, are equal.
func periodOf(g *topology.Graph, step int) int {
	n := g.Size()
	paths := false
	for range g.Paths() {
		paths = true
		break
	}
	t := turner{g, make([]int32, max(g.Hosts(), g.Devices())), paths}
	for by := step; by < n; by += step {
		if n%by == 0 && t.turns(by) {
			return by
		}
	}
	return n
}

type turner struct {
	g     *topology.Graph
	to    []int32
	paths bool
}

// turns reports whether what ranks share, those share that are as many further on.
func (t *turner) turns(by int) bool {
	g, n := t.g, t.g.Size()
	maps := func(groups int, of func(r topology.Rank) int) bool {
		to := t.to[:groups]
		for i := range to {
			to[i] = -1
		}
		q := by
		for r := range n {
			a, b := of(topology.Rank(r)), int32(of(topology.Rank(q)))
			if to[a] < 0 {
				to[a] = b
			} else if to[a] != b {
				return false
			}
			if q++; q == n {
				q = 0
			}
		}
		return true
	}
	if !maps(g.Hosts(), g.Host) || !maps(g.Racks(), g.Rack) || g.Devices() < n && !maps(g.Devices(), g.Device) || !maps(g.Sites(), g.Site) {
		return false
	}
	if !t.paths {
		return true
	}
	if g.Sites() > maxTurnedSites {
		return false
	}
	first := make([]int, g.Sites()) // a rank of each site
	for r := range n {
		first[g.Site(topology.Rank(r))] = r
	}
	for _, a := range first {
		for _, b := range first {
			if a != b && g.Link(topology.Rank(a), topology.Rank(b)) != g.Link(topology.Rank((a+by)%n), topology.Rank((b+by)%n)) {
				return false
			}
		}
	}
	return true
}

// maxTurnedSites bounds the pairs of sites that are compared where paths between them differ.
const maxTurnedSites = 256
