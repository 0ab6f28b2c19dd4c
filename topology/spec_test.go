package topology_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

func TestSpecErrors(t *testing.T) {
	one := []topology.Place{{Host: "a"}}
	free := func(l topology.Level) topology.Link { return topology.Link{Level: l} }
	cases := []struct {
		name  string
		spec  topology.Spec
		rank  topology.Rank
		field string
	}{
		{"nothing", topology.Spec{}, topology.NoRank, "ranks"},
		{"too many", topology.Spec{Shape: topology.Shape{Ranks: topology.MaxRanks + 1}}, topology.NoRank, "ranks"},
		{"too many places", topology.Spec{Places: make([]topology.Place, topology.MaxRanks+1)}, topology.NoRank, "ranks"},
		{"negative ranks", topology.Spec{Shape: topology.Shape{Ranks: -1}}, topology.NoRank, "ranks"},
		{"negative shape", topology.Spec{Shape: topology.Shape{Ranks: 1, PerHost: -1}}, topology.NoRank, "shape"},
		{"places and shape", topology.Spec{Places: one, Shape: topology.Shape{Ranks: 1}}, topology.NoRank, "shape"},
		{"no host", topology.Spec{Places: []topology.Place{{Host: "a"}, {}}}, 1, "host"},
		{"blank in host", topology.Spec{Places: []topology.Place{{Host: "a b"}}}, 0, "host"},
		{"comment in rack", topology.Spec{Places: []topology.Place{{Host: "a", Rack: "#"}}}, 0, "rack"},
		{"slash in site", topology.Spec{Places: []topology.Place{{Host: "a", Site: "x/1"}}}, 0, "site"},
		{"percent in device", topology.Spec{Places: []topology.Place{{Host: "a", Device: "%"}}}, 0, "device"},
		{"control in host", topology.Spec{Places: []topology.Place{{Host: "a\n"}}}, 0, "host"},
		{"bad UTF-8 in host", topology.Spec{Places: []topology.Place{{Host: "a\xff"}}}, 0, "host"},
		{"long host", topology.Spec{Places: []topology.Place{{Host: strings.Repeat("h", 256)}}}, 0, "host"},
		{"host in two racks", topology.Spec{Places: []topology.Place{{Host: "a", Rack: "x"}, {Host: "b", Rack: "y"}, {Host: "a", Rack: "y"}}}, 2, "rack"},
		{"rack in two sites", topology.Spec{Places: []topology.Place{{Host: "a", Rack: "x", Site: "1"}, {Host: "b", Rack: "x", Site: "2"}}}, 1, "site"},
		{"host in two sites", topology.Spec{Places: []topology.Place{{Host: "a", Rack: "x", Site: "1"}, {Host: "a", Rack: "x", Site: "2"}}}, 1, "site"},
		{"negative cores", topology.Spec{Places: one, Cores: -1}, topology.NoRank, "cores"},
		{"absurd cores", topology.Spec{Places: one, Cores: 1<<20 + 1}, topology.NoRank, "cores"},
		{"negative reduce", topology.Spec{Places: one, Reduce: -1}, topology.NoRank, "reduce"},
		{"NaN alpha", topology.Spec{Places: one, Tiers: []topology.Link{{Level: topology.Rack, Alpha: math.NaN()}}}, topology.NoRank, "tier rack alpha"},
		{"infinite beta", topology.Spec{Places: one, Tiers: []topology.Link{{Level: topology.Site, Beta: math.Inf(1)}}}, topology.NoRank, "tier site beta"},
		{"tier twice", topology.Spec{Places: one, Tiers: []topology.Link{free(topology.Host), free(topology.Host)}}, topology.NoRank, "tier host"},
		{"no such tier", topology.Spec{Places: one, Tiers: []topology.Link{free(9)}}, topology.NoRank, "tier Level(9)"},
		{"host tier missing", topology.Spec{Shape: topology.Shape{Ranks: 3}}, 1, "tier host"},
		{"host tier missing beside devices", topology.Spec{Places: []topology.Place{{Host: "a", Device: "0"}, {Host: "a", Device: "0"}, {Host: "a", Device: "1"}}}, 2, "tier host"},
		{"rack tier missing", topology.Spec{Shape: topology.Shape{Ranks: 3, PerHost: 1, HostsPerRack: 2}}, 1, "tier rack"},
		{"site tier missing", topology.Spec{Shape: topology.Shape{Ranks: 3, PerHost: 1, HostsPerRack: 1}}, 1, "tier site"},
		{"world tier missing", topology.Spec{Shape: topology.Shape{Ranks: 3, PerHost: 1, HostsPerRack: 1, RacksPerSite: 1}}, 1, "tier world"},
		{"world tier missing for one way", topology.Spec{
			Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}},
			Paths:  []topology.Path{{From: "x", To: "y"}},
		}, 1, "tier world"},
		{"path from nowhere", topology.Spec{Places: one, Paths: []topology.Path{{From: "x", To: "s0"}}}, topology.NoRank, "path x s0"},
		{"path to nowhere", topology.Spec{Places: one, Paths: []topology.Path{{From: "s0", To: "x"}}}, topology.NoRank, "path s0 x"},
		{"path to itself", topology.Spec{Places: one, Paths: []topology.Path{{From: "s0", To: "s0"}}}, topology.NoRank, "path s0 s0"},
		{"negative path", topology.Spec{
			Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}},
			Paths:  []topology.Path{{From: "x", To: "y", Beta: -1}},
		}, topology.NoRank, "path x y beta"},
		{"path twice", topology.Spec{
			Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}},
			Paths:  []topology.Path{{From: "x", To: "y"}, {From: "x", To: "y"}},
		}, topology.NoRank, "path x y"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g, err := topology.New(c.spec)
			var se *topology.SpecError
			if !errors.As(err, &se) || g != nil {
				t.Fatalf("New = %v, %v, want a SpecError", g, err)
			}
			if se.Rank != c.rank || se.Field != c.field || se.Reason == "" {
				t.Errorf("New fails with %+v, want rank %d, field %q", *se, c.rank, c.field)
			}
			if !strings.HasPrefix(err.Error(), "topology: ") || !strings.Contains(err.Error(), c.field) {
				t.Errorf("the error reads %q", err)
			}
		})
	}
}

func TestTiersThatNobodyNeeds(t *testing.T) {
	for name, spec := range map[string]topology.Spec{
		"one rank":   {Places: []topology.Place{{Host: "a"}}},
		"one device": {Places: []topology.Place{{Host: "a", Device: "0"}, {Host: "a", Device: "0"}}},
		"both ways given": {
			Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}},
			Paths:  []topology.Path{{From: "x", To: "y"}, {From: "y", To: "x"}},
		},
	} {
		if _, err := topology.New(spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUniform(t *testing.T) {
	g, err := topology.Uniform(3, 4, tiers()...)
	if err != nil {
		t.Fatal(err)
	}
	if g.Size() != 12 || g.Hosts() != 3 || g.Racks() != 1 || g.Sites() != 1 || g.Host(7) != 1 || g.Link(3, 4).Level != topology.Rack {
		t.Errorf("Uniform(3, 4) is\n%s", g)
	}
	for _, c := range [][2]int{{0, 1}, {1, 0}, {-1, -1}, {topology.MaxRanks, 2}, {1 << 30, 1 << 30}, {2, 1 << 30}} {
		var se *topology.SpecError
		if _, err := topology.Uniform(c[0], c[1], tiers()...); !errors.As(err, &se) || se.Field != "ranks" {
			t.Errorf("Uniform(%d, %d) = %v, want a SpecError of the ranks", c[0], c[1], err)
		}
	}
}

func TestSpecIsNotKept(t *testing.T) {
	spec := topology.Spec{Places: []topology.Place{{Host: "a", Site: "x"}, {Host: "b", Site: "y"}}, Tiers: tiers(),
		Paths: []topology.Path{{From: "x", To: "y", Alpha: 1}}}
	g := mustNew(t, spec)
	want := g.String()
	spec.Places[0].Host, spec.Tiers[1].Alpha, spec.Paths[0].Alpha = "z", 99, 99
	if got := g.String(); got != want {
		t.Errorf("after a change of the spec the graph is\n%s\nwant\n%s", got, want)
	}
}
