package plan

import (
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// By leaders, the other ranks of a host have two messages, one each way, and only leaders speak to other hosts.
func TestLeaders(t *testing.T) {
	g := hostsOf(t, nil, 4, 3, 1, 4)
	p := New(g)
	for _, v := range p.Variants(schedule.AllReduce) {
		if !v.Leaders {
			continue
		}
		s, err := p.Build(v, Request{Collective: schedule.AllReduce})
		if err != nil {
			t.Fatal(err)
		}
		for r := range topology.Rank(g.Size()) {
			var near, far [2]int
			for l := range schedule.Lane(2 * s.Channels()) {
				for i := 0; ; i++ {
					op, ok := s.At(r, l, i)
					if !ok {
						break
					}
					switch {
					case op.Kind == schedule.Copy:
					case g.Host(op.Peer) == g.Host(r):
						near[l&1]++
					default:
						far[l&1]++
					}
				}
			}
			want := 1
			if g.LocalIndex(r) == 0 {
				want = g.HostSize(g.Host(r)) - 1
			}
			if leader := g.LocalIndex(r) == 0; near != [2]int{want, want} || leader != (far[0] > 0) || leader != (far[1] > 0) {
				t.Errorf("%v: rank %d has %v messages within its host and %v to others, want %d each way within", v, r, near, far, want)
			}
		}
	}
}

// Leaders are chosen where ranks share cores and vectors are small: there, messages are what costs.
func TestLeadersWhereCrowded(t *testing.T) {
	for _, c := range []struct {
		cores   int
		bytes   int64
		leaders bool
	}{
		{2, 4, true}, {2, 1 << 10, true}, {2, 1 << 20, false}, {8, 4, false}, {0, 4, false}, {0, 1 << 20, false},
	} {
		g, err := topology.New(topology.Spec{
			Shape: topology.Shape{Ranks: 64, PerHost: 8}, Cores: c.cores,
			Tiers: []topology.Link{{Level: topology.Host, Alpha: 3e-7, Beta: 1e-10}, {Level: topology.Rack, Alpha: 1.75e-5, Beta: 4e-10}},
		})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := New(g).Choose(Hierarchical, Request{Collective: schedule.AllReduce, Bytes: c.bytes})
		if err != nil {
			t.Fatal(err)
		}
		if plan.Variant.Leaders != c.leaders {
			t.Errorf("%s over 8 hosts of 8 ranks on %d cores: got %v, want leaders: %t", Bytes(c.bytes), c.cores, plan.Variant, c.leaders)
		}
	}
}
