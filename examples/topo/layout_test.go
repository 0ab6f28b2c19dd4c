package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"

	"github.com/ringtree/ringtree/topology"
)

// Whatever the machine, nothing lies outside of the picture and nothing upon another, and every tier that the hosts drawn
// have is there.
func TestLayOut(t *testing.T) {
	for _, test := range []struct {
		name   string
		graph  *topology.Graph
		hosts  int
		buses  string // levels
		legend int
		more   string
	}{
		{"one", topology.Local(1), 1, "", 0, ""},
		{"local", topology.Local(5), 1, "", 1, ""},
		{"large host", topology.Local(40), 1, "", 1, ""},
		{"hosts", mustPreset(t, "hosts", 6, "hosts", "3"), 3, "rack", 2, ""},
		{"racks", mustPreset(t, "llama3", 48, "", ""), 6, "rack rack rack site", 3, ""},
		{"wan", mustPreset(t, "wan", 12, "sites", "3"), 3, "world", 2, ""},
		{"many", mustPreset(t, "rail", 4096, "", ""), drawnHosts, "rack", 3, "the first 8 of 512 hosts"},
		{"mixed", parse(t, "tier host 1 1\ntier rack 2 2\ntier site 3 3\ntier world 4 4\nranks 0-2 host h0/1 rack a site x\nranks 3 host b rack b site x\nranks 4 host c rack c site y"), 5, "rack site world", 3, ""},
	} {
		p := layOut(test.graph)
		var levels []string
		for _, b := range p.buses {
			levels = append(levels, b.level.String())
			if b.y <= 0 || b.y >= p.height || b.from < 0 || b.to > p.width || b.from >= b.to {
				t.Errorf("%s: %+v lies outside of %v by %v", test.name, b, p.width, p.height)
			}
			for _, d := range b.drops {
				if d.Y >= b.y || d.X < b.from || d.X > b.to {
					t.Errorf("%s: %+v does not hang from %+v", test.name, d, b)
				}
			}
		}
		if got := strings.Join(levels, " "); got != test.buses || len(p.hosts) != test.hosts || len(p.legend) != test.legend || p.more != test.more {
			t.Errorf("%s: got buses %q, %d hosts, %d in the legend, %q, want %q, %d, %d, %q", test.name, got, len(p.hosts), len(p.legend), p.more, test.buses, test.hosts, test.legend, test.more)
		}
		for i, h := range p.hosts {
			if h.box.Min.X < 0 || h.box.Max.X > p.width || i > 0 && h.box.Min.X <= p.hosts[i-1].box.Max.X {
				t.Errorf("%s: host %d lies outside or upon another: %+v", test.name, i, h.box)
			}
			seen := make(map[vg.Point]bool)
			for _, r := range h.ranks {
				in := r.at.X-rankRadius >= h.box.Min.X && r.at.X+rankRadius <= h.box.Max.X && r.at.Y-rankRadius >= h.box.Min.Y && r.at.Y+rankRadius <= h.box.Max.Y
				if !in || seen[r.at] {
					t.Errorf("%s: rank %d lies outside of its host, or upon another", test.name, r.rank)
				}
				seen[r.at] = true
			}
			if all := len(h.ranks) == test.graph.HostSize(h.index); all != (h.more == "") {
				t.Errorf("%s: host %d has %d of %d ranks and says %q", test.name, i, len(h.ranks), test.graph.HostSize(h.index), h.more)
			}
		}
	}
}

func TestDrawErrors(t *testing.T) {
	if err := draw(filepath.Join(t.TempDir(), "no", "folder.png"), "", topology.Local(2)); err == nil {
		t.Error("in a folder that is not there: got nil, want an error")
	}
}

func mustPreset(t *testing.T, name string, n int, key, value string) *topology.Graph {
	t.Helper()
	params := map[string]string{}
	if key != "" {
		params[key] = value
	}
	g, err := topology.Preset(name, n, params)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func parse(t *testing.T, text string) *topology.Graph {
	t.Helper()
	g, err := topology.Parse(strings.NewReader(fmt.Sprintf("topology v1\n%s\n", text)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}
