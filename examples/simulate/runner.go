package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/ringtree/ringtree/collective/calibrate"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
)

// element is the bytes of an element: the float of nccl-tests.
const element = 4

// A runner simulates what the options ask for, on one graph.
type runner struct {
	o        *options
	g        *topology.Graph
	planner  *plan.Planner
	opts     []sim.Option
	model    *calibrate.Model // shown beside; nil: none
	spread   float64          // how far costs were from their fit: the standard deviation of its relative errors, 0: not known
	sims     map[simKey]*sim.Simulation
	done     map[runKey]*timed // of pictures, which share runs
	progress *progress
}

// A runKey names one run of a picture.
type runKey struct {
	ranks   int
	variant plan.Variant
	bytes   int64
}

// A timed is a result and what it is of.
type timed struct {
	variant plan.Variant
	*sim.Result
	low, high float64 // seconds between which nine of ten measurements should be; 0: not known
}

func newRunner(o *options, terminal *os.File) (*runner, error) {
	g, err := graph(o)
	if err != nil {
		return nil, err
	}
	r := &runner{o: o, progress: newProgress(terminal)}
	if o.calibration != "" {
		if g, err = r.calibrate(g); err != nil {
			return nil, err
		}
	}
	return r, r.on(g)
}

// on makes the runner work on a graph.
func (r *runner) on(g *topology.Graph) error {
	o := r.o
	if o.coll.Rooted() && o.root >= g.Size() {
		return usagef("root", "%d: there are %d ranks", o.root, g.Size())
	}
	r.g, r.planner, r.sims = g, plan.New(g), make(map[simKey]*sim.Simulation)
	r.opts = []sim.Option{sim.For(r.contract()), sim.At(o.level), sim.Elements(element), sim.Costs(cost), sim.Progress(r.progress.part)}
	if o.jitter > 0 {
		r.opts = append(r.opts, sim.Jitter(o.jitter, o.seed))
	}
	var network func() (*topology.Network, error)
	if o.level == sim.Congestion {
		network = g.Network
		r.opts = append(r.opts, sim.Routed(o.flows, topology.Choice{Seed: o.seed, Spread: o.spray}))
	}
	faults, net, err := faultOptions(o.faults, g.Size(), network)
	if err != nil {
		return err
	}
	if r.opts = append(r.opts, faults...); net != nil {
		r.opts = append(r.opts, sim.Wired(net))
	}
	return nil
}

// longestGap is the most of a latency, in seconds, that can be a sender's work on a message. What is more is distance, and the next
// message need not wait for it.
const longestGap = 20e-6

// cost prices a link as the planner does, but for far ones.
func cost(l topology.Link) sim.Cost {
	return sim.Cost{
		Latency: seconds(l.Alpha), Gap: seconds(min(topology.Gap*l.Alpha, longestGap)), PerByte: sim.RateOf(l.Beta * 1e12), Near: l.Level <= topology.Host,
	}
}

func seconds(s float64) sim.Time { return sim.Time(math.Round(s * 1e12)) }

func (r *runner) contract() schedule.Contract {
	c := schedule.Contract{Collective: r.o.coll}
	if r.o.coll.Rooted() {
		c.Root = topology.Rank(r.o.root)
	}
	return c
}

func (r *runner) request(bytes int64) plan.Request {
	return plan.Request{Collective: r.o.coll, Root: r.contract().Root, Bytes: bytes}
}

// graph is a preset, or what a file says.
func graph(o *options) (*topology.Graph, error) {
	f, err := os.Open(o.topo)
	if err != nil {
		g, e := topology.PresetFor(o.topo, o.ranks)
		if e != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return g, e
	}
	defer f.Close()
	g, err := topology.Parse(f)
	if err == nil && o.given["ranks"] && g.Size() != o.ranks {
		return nil, usagef("ranks", "%d: %s has %d", o.ranks, o.topo, g.Size())
	}
	return g, err
}

// calibrate reads the file of -calibration: costs that were measured, which the graph is returned with, or a model.
func (r *runner) calibrate(g *topology.Graph) (*topology.Graph, error) {
	text, err := os.ReadFile(r.o.calibration)
	if err != nil {
		return nil, err
	}
	report, notReport := probe.ParseReport(text)
	if notReport == nil {
		for _, t := range report.Tiers {
			r.spread = max(r.spread, t.Residual)
		}
		for _, p := range report.Paths {
			r.spread = max(r.spread, p.Residual)
		}
		return report.Apply(g)
	}
	m, err := calibrate.ParseModel(text)
	if err != nil {
		return nil, fmt.Errorf("-calibration %s is neither a report of topology/probe (%w) nor a model of -calibrate (%w)", r.o.calibration, notReport, err)
	}
	r.model = m
	return g, nil
}

// directLimit is the largest group of which everybody speaks to everybody unless asked for by name.
const directLimit = 1024

// oneShotLimit is the longest vector of which everybody sends all to everybody unless asked for by name.
const oneShotLimit = 32 << 10

// variants returns what to run for a size.
func (r *runner) variants(bytes int64) ([]plan.Variant, error) {
	switch {
	case len(r.o.algos) > 0:
		return r.o.algos, nil
	case r.o.all:
		var out []plan.Variant
		for _, v := range r.planner.Variants(r.o.coll) {
			if v.Algorithm == plan.Direct && r.g.Size() > directLimit || v.Between == plan.Direct && r.g.Hosts() > directLimit ||
				v.OneShot && bytes > oneShotLimit || v.Algorithm == plan.Hierarchical && r.g.Hosts() == 1 && r.g.Size() > directLimit {
				continue
			}
			out = append(out, v)
		}
		return out, nil
	}
	p, err := r.planner.Choose(plan.Auto, r.request(bytes))
	if err != nil {
		return nil, err
	}
	return []plan.Variant{p.Variant}, nil
}

// engineRanks is the largest group whose operations are cut into slices as short as the engine's: it may have very many.
const engineRanks = 64

// simulation returns a schedule made ready to run for vectors of so many bytes.
func (r *runner) simulation(v plan.Variant, bytes int64) (*sim.Simulation, error) {
	slice, err := r.slice(v, bytes)
	if err != nil {
		return nil, err
	}
	key := simKey{v, slice}
	if m := r.sims[key]; m != nil {
		return m, nil
	}
	m, err := r.fresh(v, slice)
	if err == nil {
		clear(r.sims) // one at a time: they are as long as the group
		r.sims[key] = m
	}
	return m, err
}

// slice returns how long slices are, or 0 where the simulator is to choose.
func (r *runner) slice(v plan.Variant, bytes int64) (int, error) {
	if r.g.Size() > engineRanks {
		return 0, nil
	}
	s, err := r.planner.Build(v, r.request(0))
	if err != nil {
		return 0, err
	}
	return plan.SliceBytes(v, r.request(bytes), s.Layout()), nil
}

// A simKey names a simulation that is made ready: of a variant, in slices of so many bytes, or 0.
type simKey struct {
	variant plan.Variant
	slice   int
}

// fresh makes a schedule ready to run in slices of so many bytes, or of what the simulator chooses.
func (r *runner) fresh(v plan.Variant, slice int, more ...sim.Option) (*sim.Simulation, error) {
	s, err := r.planner.Build(v, r.request(0))
	if err != nil {
		return nil, err
	}
	if slice > 0 {
		more = append(more, sim.Slices(int64(slice)))
	}
	return sim.New(r.g, s, append(slices.Clone(r.opts), more...)...)
}

// run simulates one collective of so many bytes, cut to whole elements.
func (r *runner) run(v plan.Variant, bytes int64) (*timed, error) {
	r.progress.at(fmt.Sprintf("%v, %s over %d ranks", v, plan.Bytes(bytes), r.g.Size()))
	m, err := r.simulation(v, bytes)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", v, err)
	}
	res, err := m.Run(bytes - bytes%element)
	if err != nil {
		return nil, fmt.Errorf("%v of %s: %w", v, plan.Bytes(bytes), err)
	}
	return r.dressed(v, res)
}

// dressed adds to a result the band that measurements should be in.
func (r *runner) dressed(v plan.Variant, res *sim.Result) (*timed, error) {
	x := &timed{variant: v, Result: res}
	switch {
	case r.model != nil && r.o.coll == schedule.AllReduce:
		p, err := r.model.Predict(calibrate.Shape{Ranks: r.g.Size(), Hosts: r.g.Hosts()}, res.Bytes)
		if err != nil {
			return nil, err
		}
		x.low, x.high = p.Low, p.High
	case r.spread > 0:
		const nineOfTen = 1.645 // standard deviations of a normal distribution
		f := math.Exp(nineOfTen * r.spread)
		x.low, x.high = res.Time.Seconds()/f, res.Time.Seconds()*f
	}
	return x, nil
}

// recordLimit is how many messages are kept for a path, a trace or a chart.
const recordLimit = 1 << 21

// recorded runs again what was run, with all messages on record, or returns nil where there are too many.
func (r *runner) recorded(x *timed) (*sim.Result, error) {
	if x.Messages() > recordLimit {
		return nil, nil
	}
	level := r.o.level
	if level == sim.Classes {
		level = sim.Messages
	}
	slice, err := r.slice(x.variant, x.Bytes)
	if err != nil {
		return nil, err
	}
	m, err := r.fresh(x.variant, slice, sim.Unverified(), sim.Record(recordLimit), sim.At(level))
	if err != nil {
		return nil, err
	}
	res, err := m.Run(x.Bytes)
	if err == nil && res.Time != x.Time {
		return nil, fmt.Errorf("%v of %s takes %v on record, and %v without", x.variant, plan.Bytes(x.Bytes), res.Time, x.Time)
	}
	return res, err
}
