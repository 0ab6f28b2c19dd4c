// Package plan turns a topology into schedules: it knows the algorithms, what each of them costs on a graph, and so
// which one to use for an operation and a size.
//
// All algorithms serve every collective, every number of ranks and every length:
//
//	ring    neighbours only; the ring crosses each host, rack and site boundary once
//	tree    two binary trees at once, each rank a leaf in one of them; hosts stay together
//	hd      recursive halving and doubling
//	direct  everybody with everybody, in one shot for tiny sizes, else in two
//	hier    reduce-scatter inside each host, any of the above between hosts, all-gather inside
package plan

import (
	"fmt"
	"strings"
	"sync"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Algorithm is a family of schedules.
type Algorithm uint8

// The algorithms. Auto lets the planner choose.
const (
	Auto Algorithm = iota
	Ring
	Tree
	HalvingDoubling
	Direct
	Hierarchical
)

var algorithmNames = [...]string{"auto", "ring", "tree", "hd", "direct", "hier"}

func (a Algorithm) String() string {
	if int(a) < len(algorithmNames) {
		return algorithmNames[a]
	}
	return fmt.Sprintf("Algorithm(%d)", uint8(a))
}

// Algorithms returns all algorithms but Auto.
func Algorithms() []Algorithm { return []Algorithm{Ring, Tree, HalvingDoubling, Direct, Hierarchical} }

// ParseAlgorithm returns the algorithm of that name.
func ParseAlgorithm(name string) (Algorithm, error) {
	for i, s := range algorithmNames {
		if s == name {
			return Algorithm(i), nil
		}
	}
	return 0, &RequestError{fmt.Sprintf("algorithm %q: want one of %s", name, strings.Join(algorithmNames[:], ", "))}
}

// A RequestError is a request for a schedule that cannot be.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return "plan: " + e.Reason }

// A Request describes one operation.
type Request struct {
	Collective schedule.Collective
	Root       topology.Rank // of Broadcast and Reduce
	// Bytes is the length of the whole vector: of the result of an all-gather, of the input of a reduce-scatter,
	// of either side of the others.
	Bytes int64
}

// A Variant is one schedule out of an algorithm's family.
type Variant struct {
	Algorithm Algorithm
	OneShot   bool      // Direct
	Between   Algorithm // Hierarchical: the algorithm between hosts
	Leaders   bool      // Hierarchical all-reduce: one rank speaks for its host, with the whole vector
}

func (v Variant) String() string {
	switch {
	case v.Algorithm == Direct && v.OneShot:
		return "direct one-shot"
	case v.Leaders:
		return "leaders/" + v.Between.String()
	case v.Algorithm == Hierarchical && v.Between != Auto:
		return "hier/" + v.Between.String()
	}
	return v.Algorithm.String()
}

// Code is a number for v that fits a frame header, so that ranks which chose differently notice.
func (v Variant) Code() uint16 {
	c := uint16(v.Algorithm)<<8 | uint16(v.Between)<<1
	if v.OneShot || v.Leaders {
		c |= 1
	}
	return c
}

// A Plan is a chosen schedule.
type Plan struct {
	Request  Request
	Variant  Variant
	Schedule schedule.Schedule
	// SliceBytes is the longest slice that chunks should move in.
	SliceBytes int
	// Candidates are all that were weighed, cheapest first; the chosen one has Chosen set.
	Candidates []Candidate
}

// A Candidate is a variant and what the cost model says of it.
type Candidate struct {
	Variant Variant
	Seconds float64
	Chosen  bool
}

// A Planner makes plans for one graph. It is safe for concurrent use, and ranks of one process should share it:
// schedules hold tables as long as the group.
type Planner struct {
	g     *topology.Graph
	model model

	mu        sync.Mutex
	schedules map[key]schedule.Schedule
	ring      order
	ordered   bool
}

type key struct {
	variant Variant
	coll    schedule.Collective
	root    topology.Rank
}

// New returns the planner of g.
func New(g *topology.Graph) *Planner {
	return &Planner{g: g, model: newModel(g), schedules: make(map[key]schedule.Schedule)}
}

// Graph returns the planner's graph.
func (p *Planner) Graph() *topology.Graph { return p.g }

// Choose returns the plan for a request: of algorithm a, or, for Auto, of the one that the cost model finds cheapest.
func (p *Planner) Choose(a Algorithm, req Request) (*Plan, error) {
	if err := p.check(req); err != nil {
		return nil, err
	}
	if int(a) >= len(algorithmNames) {
		return nil, &RequestError{fmt.Sprintf("unknown algorithm %d", a)}
	}
	plan := &Plan{Request: req, Candidates: p.candidates(req)}
	for i := range plan.Candidates {
		c := &plan.Candidates[i]
		if a == Auto || c.Variant.Algorithm == a {
			c.Chosen = true
			plan.Variant = c.Variant
			break
		}
	}
	if plan.Variant.Algorithm == Auto {
		return nil, &RequestError{fmt.Sprintf("no %v schedule for %v over %d ranks", a, req.Collective, p.g.Size())}
	}
	s, err := p.Build(plan.Variant, req)
	if err != nil {
		return nil, err
	}
	plan.Schedule, plan.SliceBytes = s, SliceBytes(plan.Variant, req, s.Layout())
	return plan, nil
}

func (p *Planner) check(req Request) error {
	switch {
	case !req.Collective.Valid():
		return &RequestError{fmt.Sprintf("unknown collective %d", req.Collective)}
	case req.Bytes < 0:
		return &RequestError{fmt.Sprintf("%d bytes", req.Bytes)}
	case req.Collective.Rooted() && (req.Root < 0 || int(req.Root) >= p.g.Size()):
		return &RequestError{fmt.Sprintf("root %d of %d ranks", req.Root, p.g.Size())}
	}
	return nil
}

// Build returns the schedule of a variant. Equal arguments give the same schedule.
func (p *Planner) Build(v Variant, req Request) (schedule.Schedule, error) {
	if err := p.check(req); err != nil {
		return nil, err
	}
	if !req.Collective.Rooted() {
		req.Root = 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := key{v, req.Collective, req.Root}
	if s := p.schedules[k]; s != nil {
		return s, nil
	}
	s, err := p.build(v, req)
	if err != nil {
		return nil, err
	}
	if len(p.schedules) >= maxSchedules {
		clear(p.schedules)
	}
	p.schedules[k] = s
	return s, nil
}

// maxSchedules bounds the memory of a planner whose callers use many roots.
const maxSchedules = 1024

func (p *Planner) build(v Variant, req Request) (schedule.Schedule, error) {
	n := p.g.Size()
	switch v.Algorithm {
	case Ring:
		return newRing(req.Collective, req.Root, n, p.order()), nil
	case Tree:
		return newTree(req.Collective, req.Root, n, p.order(), p.g), nil
	case HalvingDoubling:
		return newHalving(req.Collective, req.Root, n, p.order()), nil
	case Direct:
		return newDirect(req.Collective, req.Root, n, v.OneShot, p.apart(v, req.Collective)), nil
	case Hierarchical:
		return p.hierarchy(v, req)
	}
	return nil, &RequestError{fmt.Sprintf("no schedules for algorithm %v", v.Algorithm)}
}

func (p *Planner) hierarchy(v Variant, req Request) (schedule.Schedule, error) {
	between := v.Between
	if between == Auto {
		between = Ring
	}
	if between > Direct {
		return nil, &RequestError{fmt.Sprintf("algorithm %v between hosts: want one of ring, tree, hd, direct", between)}
	}
	switch req.Collective {
	case schedule.ReduceScatter, schedule.AllGather:
		return newRails(p.g, req.Collective), nil
	case schedule.Broadcast, schedule.Reduce:
		return newRelay(p.g, req.Collective, req.Root, func(hosts int, root topology.Rank) schedule.Schedule {
			switch between {
			case Tree:
				return &tree{n: hosts, coll: req.Collective, trees: []shape{fed{inorder{hosts - 1, false}, order{}, int(root)}}}
			case HalvingDoubling:
				return newHalving(req.Collective, root, hosts, order{})
			case Direct:
				return newDirect(req.Collective, root, hosts, false, false)
			}
			return newRing(req.Collective, root, hosts, order{})
		}), nil
	}
	return newHier(p.g, v.Leaders, func(hosts, block int) flat {
		var s schedule.Schedule
		switch between {
		case Tree:
			return singleTree(hosts, block%2 == 1)
		case HalvingDoubling:
			s = newHalving(schedule.AllReduce, 0, hosts, order{})
		case Direct:
			s = newDirect(schedule.AllReduce, 0, hosts, false, false)
		default:
			s = newRing(schedule.AllReduce, 0, hosts, order{})
		}
		return s.(flat)
	}), nil
}

// order returns the ring order of the graph. The caller holds p.mu.
func (p *Planner) order() order {
	if !p.ordered {
		p.ring, p.ordered = newOrder(p.g.RingOrder()), true
	}
	return p.ring
}

// SliceBytes returns how long the slices of a variant should be: pipelines along a path want several slices a chunk, the others
// frames as long as the transports carry.
func SliceBytes(v Variant, req Request, l schedule.Layout) int {
	chunk := req.Bytes / int64(l.Chunks())
	deep := v.Algorithm == Tree || v.Algorithm == Hierarchical || req.Collective.Rooted() && v.Algorithm == Ring
	if deep {
		return int(min(max(chunk/8, 16<<10), 128<<10))
	}
	return 128 << 10
}

// Variants returns every variant that serves the collective on the planner's graph.
func (p *Planner) Variants(c schedule.Collective) []Variant {
	vs := []Variant{{Algorithm: Ring}, {Algorithm: Tree}, {Algorithm: HalvingDoubling}, {Algorithm: Direct}}
	if c == schedule.AllReduce || c == schedule.Barrier {
		vs = append(vs, Variant{Algorithm: Direct, OneShot: true})
	}
	if c.ByRank() || p.g.Hosts() == 1 {
		return append(vs, Variant{Algorithm: Hierarchical, Between: Direct})
	}
	for _, b := range []Algorithm{Ring, Tree, HalvingDoubling, Direct} {
		vs = append(vs, Variant{Algorithm: Hierarchical, Between: b})
	}
	if (c == schedule.AllReduce || c == schedule.Barrier) && p.model.perHost > 1 {
		for _, b := range []Algorithm{HalvingDoubling, Direct} {
			vs = append(vs, Variant{Algorithm: Hierarchical, Between: b, Leaders: true})
		}
	}
	return vs
}
