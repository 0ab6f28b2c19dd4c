package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Run simulates one collective of a vector of so many bytes: for a reduce-scatter or all-gather the whole vector.
func Run(g *topology.Graph, s schedule.Schedule, bytes int64, opts ...Option) (*Result, error) {
	m, err := New(g, s, opts...)
	if err != nil {
		return nil, err
	}
	return m.Run(bytes)
}

// A Simulation is a schedule on a graph, made ready to be run at many sizes. It is not safe for concurrent use.
type Simulation struct {
	g       *topology.Graph
	s       schedule.Schedule
	cfg     *config
	model   *model
	turning *turning // where it needs no fleet of all ranks
	fleet   *schedule.Fleet
	class   []uint8
	traffic *traffic // at Congestion
	windows *windows // of the last run, where it went by them
	checked Check
}

// A Check says how a schedule was found right before it was run.
type Check string

// The checks.
const (
	Unchecked Check = "not checked"
	Proved    Check = "proved on symbols"  // schedule.Verify
	Sampled   Check = "sampled on symbols" // schedule.VerifySample
)

// proveLimit is the largest group for a full proof: it takes milliseconds there.
const proveLimit = 32

// New reads a schedule. It checks it, in full for up to 32 ranks and else by following a sample of its chunks, with all
// contributions that come together in them, through the whole group ([schedule.VerifySample]). Errors are an
// [*OptionError], a [*ModelError], a [*schedule.VerifyError] or a [*schedule.LimitError].
func New(g *topology.Graph, s schedule.Schedule, opts ...Option) (*Simulation, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	n := s.Ranks()
	if g.Size() != n {
		return nil, &OptionError{fmt.Sprintf("a schedule for %d ranks on a graph of %d", n, g.Size())}
	}
	for _, r := range cfg.named() {
		if r < 0 || int(r) >= n {
			return nil, &OptionError{fmt.Sprintf("rank %d of %d", r, n)}
		}
	}
	m := &Simulation{g: g, s: s, cfg: cfg, checked: Unchecked}
	if cfg.verify {
		if n <= proveLimit {
			m.checked, err = Proved, schedule.Verify(s, cfg.contract)
		} else {
			m.checked, err = Sampled, schedule.VerifySample(s, cfg.contract, rand.New(rand.NewPCG(cfg.seed, uint64(n))), 1)
		}
		if err != nil {
			return nil, err
		}
	}
	if m.model, err = newModel(g, cfg.override); err != nil {
		return nil, err
	}
	if m.turning, err = m.turn(); err == nil && m.turning == nil {
		err = m.read()
	}
	if err == nil && cfg.level == Congestion {
		err = m.wire()
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// read reads what all ranks do, and the links between them.
func (m *Simulation) read() (err error) {
	if m.fleet, err = read(m.s, m.cfg.limit); err == nil {
		m.class, err = m.classify(m.fleet)
	}
	return err
}

// wire makes the network ready.
func (m *Simulation) wire() error {
	net := m.cfg.net
	if net == nil {
		var err error
		if net, err = m.g.Network(); err != nil {
			return err
		}
	} else if net.Graph().Size() != m.g.Size() {
		return &OptionError{fmt.Sprintf("a network of %d ranks for a graph of %d", net.Graph().Size(), m.g.Size())}
	}
	m.traffic = newTraffic(newFabric(net, m.cfg.flows, m.cfg.choice), m.fleet, m.cfg.refresh)
	return nil
}

// named returns the ranks that options name.
func (c *config) named() (ranks []topology.Rank) {
	for r := range c.late {
		ranks = append(ranks, r)
	}
	for r := range c.slow {
		ranks = append(ranks, r)
	}
	for r := range c.dead {
		ranks = append(ranks, r)
	}
	for l := range c.lostLinks {
		ranks = append(ranks, l.from, l.to)
	}
	slices.Sort(ranks)
	return ranks
}

// stepByEvents is up to how many steps a ring is run by events when every message is wanted.
const stepByEvents = 1 << 22

// roundsFrom is from how many flows on a run goes by rounds.
const roundsFrom = 1 << 18

// foldFrom is from how many steps on classes are looked for.
const foldFrom = 1 << 12

// Run simulates the collective for a vector of so many bytes. Errors are an [*OptionError], a [*StuckError], a
// [*ScheduleError], a [*BoundError], or, of long rings at the level Congestion, a [*RouteError].
func (m *Simulation) Run(bytes int64) (*Result, error) {
	switch {
	case bytes < 0 || bytes%m.cfg.elem != 0:
		return nil, &OptionError{fmt.Sprintf("%d bytes are not a vector of elements of %d", bytes, m.cfg.elem)}
	case bytes/m.cfg.elem > math.MaxInt:
		return nil, &OptionError{fmt.Sprintf("%d elements are more than an int of this machine counts, %d", bytes/m.cfg.elem, math.MaxInt)}
	}
	if m.cfg.contract.Collective == schedule.Barrier {
		bytes = 0
	}
	size := newSizes(m.s, int(bytes/m.cfg.elem), m.cfg.elem)
	res := &Result{
		Ranks: m.s.Ranks(), Bytes: bytes, Contract: m.cfg.contract, Level: m.cfg.level, Checked: m.checked, Classes: m.s.Ranks(),
		elements: m.cfg.elem,
	}
	done := false
	if m.turning != nil && size.chunk >= 0 {
		var err error
		if done, err = m.turned(res, &size); err != nil {
			return nil, err
		}
	}
	if !done {
		if m.fleet == nil {
			if err := m.read(); err != nil {
				return nil, err
			}
		}
		if err := m.fleet.Slice(m.slicing(m.fleet, &size)); err != nil {
			return nil, err
		}
		res.Steps = m.fleet.Steps()
		if err := m.run(res, &size); err != nil {
			return nil, err
		}
	}
	res.Bound = m.model.bound(m.cfg, res.Ranks, bytes, m.traffic)
	res.sum()
	if res.Time < res.Bound {
		return nil, &BoundError{res.Time, res.Bound}
	}
	return res, nil
}

func (m *Simulation) slicing(f *schedule.Fleet, size *sizes) schedule.Slicing {
	chunk := int64(size.layout.Longest(size.length)) * size.elem
	slice := m.cfg.slice
	switch {
	case slice == 0:
		return schedule.Slicing{}
	case slice < 0:
		longest := chunk * int64(f.Longest())
		slice = max(128<<10, (longest+63)/64)
	}
	slice = max(slice/size.elem, 1) * size.elem
	return schedule.Slicing{Chunk: chunk, Slice: slice}
}

func (m *Simulation) run(res *Result, size *sizes) error {
	cfg := m.cfg
	level := cfg.level
	if level == Auto {
		if level = Classes; cfg.disturbed() || cfg.records > 0 {
			level = Messages
		}
	}
	res.Level = level
	if level == Classes && cfg.disturbed() {
		return &OptionError{"disturbed ranks are not alike: run them by messages"}
	}
	if level == Classes || cfg.records == 0 && (cfg.stepped || res.Steps > stepByEvents) {
		if g := asRing(m.fleet, m.model, cfg, m.class, size); g != nil {
			if m.traffic != nil {
				m.traffic.reset()
				if err := g.share(m.traffic.fabric, m.model, cfg); err != nil {
					return err
				}
			}
			res.Finish, res.Method = g.finish(level != Messages)
			g.account(m.model, res, m.traffic)
			if cfg.wires == PairWires { // there are no ports to be busy
				res.Ports = nil
			}
			if m.traffic != nil {
				res.Method += ", on links that all share at once"
				m.traffic.report(res)
			}
			return nil
		}
	}
	if level == Classes && res.Steps >= foldFrom && cfg.wires == PortWires && !m.model.asks() {
		if of, classes, ok := fold(m.fleet, m.class, size, res.Ranks/2); ok {
			return m.folded(res, size, of, classes)
		}
	}
	if level != Congestion {
		w := m.windows
		m.windows = nil
		if w == nil || !w.again(size) {
			w = newWindows(m.fleet, m.model, cfg, m.class, size, level == Classes)
		}
		if w != nil && w.run() {
			m.windows = w
			res.Method, res.Classes, res.Finish = ByWindows, w.different(), make([]Time, res.Ranks)
			if res.Classes < res.Ranks {
				res.Method = ByLikeness
			}
			for r, busy := range w.account(res, nil) {
				res.Finish[r] = w.finished(int32(r))
				res.port(topology.Rank(r), busy)
			}
			return nil
		}
	}
	x := newStepper(m.fleet, m.model, cfg, m.class, *size)
	res.Method = "messages"
	if x.traffic = m.traffic; x.traffic != nil {
		x.traffic.reset()
		res.Method = "transfers"
		if cfg.rounds || cfg.refresh < 0 && res.Steps/2*int64(cfg.flows) > roundsFrom {
			x.rounds, res.Method = &rounds{}, "transfers, by rounds"
		}
	}
	if err := x.run(); err != nil {
		return err
	}
	res.Finish = make([]Time, res.Ranks)
	for r := range res.Finish {
		res.Finish[r] = x.actors[r].end
		res.port(topology.Rank(r), x.actors[r].busy)
	}
	res.Tiers = x.tiers()
	if x.rounds != nil && x.rounds.inStep {
		res.Method = InStep
	}
	if x.traffic != nil {
		x.traffic.report(res)
	}
	if res.log = x.log; res.log != nil {
		res.log.last = x.binding
	}
	return nil
}

// folded runs one rank of each class.
func (m *Simulation) folded(res *Result, size *sizes, of []int32, classes int) error {
	f := m.fleet.Fold(of, classes)
	class := make([]uint8, 0, f.Entries())
	next := int32(0)
	weight := make([]int64, classes)
	for r, c := range of {
		weight[c]++
		if c != next {
			continue
		}
		next++
		_, lo := m.fleet.Lane(int32(r), 0)
		hi := uint32(m.fleet.Entries())
		if r+1 < len(of) {
			_, hi = m.fleet.Lane(int32(r+1), 0)
		}
		class = append(class, m.class[lo:hi]...)
	}
	return m.alike(res, size, f, class, of, weight)
}

// alike runs a fleet of one rank of each class; rank r is like machine of[r].
func (m *Simulation) alike(res *Result, size *sizes, f *schedule.Fleet, class []uint8, of []int32, weight []int64) error {
	res.Method, res.Classes, res.Finish = "classes", f.Ranks(), make([]Time, res.Ranks)
	if w := newWindows(f, m.model, m.cfg, class, size, false); w != nil && w.run() {
		busy := w.account(res, weight)
		for r, c := range of {
			res.Finish[r] = w.finished(c)
			res.port(topology.Rank(r), busy[c])
		}
		return nil
	}
	x := newStepper(f, m.model, m.cfg, class, *size)
	x.weight = weight
	if err := x.run(); err != nil {
		return err
	}
	for r, c := range of {
		res.Finish[r] = x.actors[c].end
		res.port(topology.Rank(r), x.actors[c].busy)
	}
	res.Tiers = x.tiers()
	return nil
}

// account adds up what a ring sends.
func (g *ring) account(m *model, res *Result, shared *traffic) {
	for v := range g.n {
		u := g.before(v)
		k := &m.classes[g.class[v]]
		t := &res.Tiers[k.link.Level]
		messages := int64(g.steps) * int64(g.slices)
		bytes := messages * g.bytes
		busy := Time(messages) * (g.wire[v] + g.gap[v])
		if g.long != nil {
			// Message j into v is that which began j+1 places before; going round once, each passes once.
			for j := range g.steps % g.n {
				if g.isLong(v, j) {
					bytes, busy = bytes+res.elements, busy+g.longWire[v]-g.wire[v]
				}
			}
			for _, long := range g.long {
				if long {
					rounds := g.steps / g.n
					bytes, busy = bytes+int64(rounds)*res.elements, busy+Time(rounds)*(g.longWire[v]-g.wire[v])
				}
			}
		}
		t.Messages += messages
		t.Bytes += bytes
		var ports [2]Time
		ports[k.cost.port()] = busy
		res.port(topology.Rank(g.rank[u]), ports)
		if shared != nil {
			x := &shared.transfers[g.slots[v]]
			x.bytes = bytes
			shared.leave(x)
		}
	}
}
