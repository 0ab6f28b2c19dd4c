package sim_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// Whole operations over links that are all alike, from 2 to 65,536 ranks, take what the formulas say, to the tick: alpha a
// hop, b picoseconds a byte, r a reduced byte.
func TestClosedForms(t *testing.T) {
	const alpha, b, r = 3_000_000, 20, 3
	for _, n := range []int{2, 4, 8, 64, 1024, 65536} {
		chunk := int64(4096)
		bytes := int64(n) * chunk
		g := flat(t, n, alpha*1e-12, b*1e-12, r*1e-12)
		log := int64(math.Log2(float64(n)))
		for _, tc := range []struct {
			a    plan.Algorithm
			c    schedule.Collective
			want int64
		}{
			{plan.Ring, schedule.AllReduce, 2*int64(n-1)*(alpha+chunk*b) + int64(n-1)*chunk*r},
			{plan.Ring, schedule.ReduceScatter, int64(n-1) * (alpha + chunk*b + chunk*r)},
			{plan.HalvingDoubling, schedule.AllReduce, 2*log*alpha + (bytes-chunk)*(2*b+r)},
			{plan.HalvingDoubling, schedule.ReduceScatter, log*alpha + (bytes-chunk)*(b+r)},
		} {
			s := build(t, g, plan.Variant{Algorithm: tc.a}, tc.c, 0)
			res := run(t, g, s, bytes, sim.For(schedule.Contract{Collective: tc.c}), sim.Slices(0), sim.Unverified())
			if int64(res.Time) != tc.want {
				t.Errorf("%v by %v over %d ranks: %d ps by %s, want %d", tc.c, tc.a, n, res.Time, res.Method, tc.want)
			}
			if res.Time < res.Bound {
				t.Errorf("%v by %v over %d ranks: %v is below %v", tc.c, tc.a, n, res.Time, res.Bound)
			}
		}
		// A tree of empty messages takes its height up and down, twice the height of its deeper twin at most.
		s := build(t, g, plan.Variant{Algorithm: plan.Tree}, schedule.AllReduce, 0)
		res := run(t, g, s, 0, sim.Slices(0), sim.Unverified(), sim.Costs(func(topology.Link) sim.Cost { return sim.Cost{Latency: alpha} }))
		if want := 2 * log * alpha; int64(res.Time) != want {
			t.Errorf("tree over %d ranks: %d ps, want %d", n, res.Time, want)
		}
	}
}

// Hosts of 8: reduce to the owners inside, halve and double between, and spread the result.
func TestClosedFormOfHierarchy(t *testing.T) {
	const near, nearB, far, farB = 600_000, 3, 3_000_000, 20
	for _, hosts := range []int{2, 8, 128, 8192} {
		n := 8 * hosts
		g, err := topology.Uniform(hosts, 8, topology.Link{Level: topology.Host, Alpha: near * 1e-12, Beta: nearB * 1e-12},
			topology.Link{Level: topology.Rack, Alpha: far * 1e-12, Beta: farB * 1e-12})
		if err != nil {
			t.Fatal(err)
		}
		s := build(t, g, plan.Variant{Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling}, schedule.AllReduce, 0)
		block := int64(hosts) * 1024 // of a local rank
		res := run(t, g, s, 8*block, sim.Slices(0), sim.Unverified())
		// Every rank sends seven blocks one after the other, and gets seven; and once more with the results.
		wire := block * nearB
		in, out := near+wire+6*(wire+near/2), near+wire+6*(wire+near/2)
		between := 2*int64(math.Log2(float64(hosts)))*far + 2*(block-1024)*farB
		if want := in + between + out; int64(res.Time) != want {
			t.Errorf("%d ranks: %d ps by %s, want %d", n, res.Time, res.Method, want)
		}
	}
}

// dead ends, in every sense.
func TestStuck(t *testing.T) {
	g := topology.Local(8)
	for _, a := range []plan.Algorithm{plan.Ring, plan.Tree, plan.HalvingDoubling, plan.Direct} {
		s := build(t, g, plan.Variant{Algorithm: a}, schedule.AllReduce, 0)
		for name, fault := range map[string]sim.Option{"is dead": sim.Dead(3, 0), "dead link": sim.DeadLink(3, peerOf(s, 3))} {
			var stuck *sim.StuckError
			if _, err := sim.Run(g, s, 1<<20, fault); !errors.As(err, &stuck) || stuck.Left == 0 || stuck.Ranks == 0 || stuck.Cycle ||
				!strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "rank 3") {
				t.Errorf("%v, %s: got %v", a, name, err)
			}
		}
	}
	var stuck *sim.StuckError
	_, err := sim.Run(topology.Local(3), circle{}, 12, sim.Unverified())
	if !errors.As(err, &stuck) || !stuck.Cycle || len(stuck.Waits) != 6 {
		t.Errorf("a cycle: got %v", err)
	}
	for r := range 3 {
		if want := fmt.Sprintf("rank %d", r); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("a cycle: %v does not name %s", err, want)
		}
	}
	var bad *sim.ScheduleError
	if _, err := sim.Run(topology.Local(3), circle{odd: true}, 12, sim.Unverified()); !errors.As(err, &bad) {
		t.Errorf("no partner: got %v", err)
	}
	var wrong *schedule.VerifyError
	if _, err := sim.Run(topology.Local(3), circle{}, 12); !errors.As(err, &wrong) {
		t.Errorf("checked: got %v", err)
	}
}

// peerOf returns whom rank r sends to first.
func peerOf(s schedule.Schedule, r topology.Rank) topology.Rank {
	for l := schedule.Lane(0); ; l += 2 {
		if op, ok := s.At(r, l, 0); ok && op.Kind == schedule.Send {
			return op.Peer
		}
	}
}

// circle is three ranks that all receive before they send.
type circle struct{ odd bool }

func (circle) Ranks() int              { return 3 }
func (circle) Channels() int           { return 1 }
func (circle) Layout() schedule.Layout { return schedule.Layout{Blocks: 1, Pieces: 1} }
func (c circle) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	switch {
	case i > 0:
		return schedule.Op{}, false
	case l.In():
		return schedule.Op{Kind: schedule.Recv, Peer: (r + 2) % 3, Dst: schedule.Output(0), N: 1}, true
	}
	op := schedule.Op{Kind: schedule.Send, Peer: (r + 1) % 3, Src: schedule.Output(0), N: 1, After: schedule.At(l.Opposite(), 0)}
	if c.odd {
		op.After, op.Match = schedule.Ref{}, 5
	}
	return op, true
}

// Options that cannot be are refused, with a type that says so.
func TestRefuses(t *testing.T) {
	g := topology.Local(4)
	s := build(t, g, plan.Variant{Algorithm: plan.Ring}, schedule.AllReduce, 0)
	for name, f := range map[string]func() (*sim.Result, error){
		"odd bytes":     func() (*sim.Result, error) { return sim.Run(g, s, 3) },
		"bytes below 0": func() (*sim.Result, error) { return sim.Run(g, s, -4) },
		"other graph":   func() (*sim.Result, error) { return sim.Run(topology.Local(5), s, 4) },
		"jitter":        func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Jitter(math.NaN(), 1)) },
		"slow":          func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Slow(1, 0.5)) },
		"late":          func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Late(1, -1)) },
		"rank":          func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Late(4, 1)) },
		"level":         func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.At(99)) },
		"wires":         func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Queue(99)) },
		"slices":        func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Slices(-1)) },
		"elements":      func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Elements(0)) },
		"records":       func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.Record(-1)) },
		"no classes":    func() (*sim.Result, error) { return sim.Run(g, s, 4, sim.At(sim.Classes), sim.Late(1, 1)) },
	} {
		var bad *sim.OptionError
		if _, err := f(); !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want an OptionError", name, err)
		}
	}
	var cost *sim.ModelError
	if _, err := sim.Run(g, s, 4, sim.Costs(func(topology.Link) sim.Cost { return sim.Cost{Latency: -1} })); !errors.As(err, &cost) {
		t.Errorf("negative cost: got %v, want a ModelError", err)
	}
	var limit *schedule.LimitError
	if _, err := sim.Run(g, s, 4, sim.Limit(3)); !errors.As(err, &limit) {
		t.Errorf("limit: got %v, want a LimitError", err)
	}
}
