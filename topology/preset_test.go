package topology_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

func TestPresets(t *testing.T) {
	if got, want := topology.Presets(), []string{"clos2", "clos3", "dragonfly", "hosts", "llama3", "local", "meta100k", "nvl72", "nvlink", "pcie", "rail", "torus3d", "wan"}; !slices.Equal(got, want) {
		t.Errorf("Presets = %v, want %v", got, want)
	}
	for _, name := range topology.Presets() {
		for _, n := range []int{1, 2, 3, 8, 9, 100, 5000} {
			g, err := topology.Preset(name, n, map[string]string{"cores": "3"})
			if err != nil {
				t.Fatalf("%s of %d ranks: %v", name, n, err)
			}
			if g.Size() != n || g.Cores() != 3 || !(g.Reduce() > 0) {
				t.Errorf("%s of %d ranks has %d ranks, %d cores, reduce %g", name, n, g.Size(), g.Cores(), g.Reduce())
			}
			for l := topology.Host; l <= topology.World; l++ { // farther is never cheaper
				near, far := g.Tier(l-1), g.Tier(l)
				if far.Alpha < near.Alpha || far.Alpha <= 0 || far.Beta <= 0 {
					t.Errorf("%s: tier %v costs %+v, %v costs %+v", name, l-1, near, l, far)
				}
			}
		}
	}
}

// The costs of the presets, as the sources that the constants name would put them.
func TestPresetCosts(t *testing.T) {
	for _, c := range []struct {
		name   string
		params map[string]string
		level  topology.Level
		alpha  float64
		gbs    float64 // GB/s
	}{
		{"local", nil, topology.Host, 0.3e-6, 10},
		{"local", map[string]string{"alpha": "1e-6", "beta": "5e-11"}, topology.Host, 1e-6, 20},
		{"hosts", nil, topology.Rack, 17.5e-6, 25.0 / 8},
		{"hosts", map[string]string{"gbps": "100", "alpha": "2e-6"}, topology.Rack, 2e-6, 12.5},
		{"rail", nil, topology.Host, 0.6e-6, 370.8},
		{"rail", nil, topology.Rack, 2.7e-6, 48},
		{"rail", map[string]string{"spine-alpha": "9e-6"}, topology.Site, 9e-6, 48},
		{"llama3", nil, topology.Rack, 11e-6 / 7, 48},
		{"llama3", nil, topology.Site, 11e-6, 48},
		{"llama3", nil, topology.World, 165e-6 / 7, 48.0 / 7},
		{"llama3", map[string]string{"oversub": "2.8", "gbps": "800"}, topology.World, 165e-6 / 7, 96 / 2.8},
		{"clos2", map[string]string{"oversub": "4"}, topology.Site, 5.4e-6, 12},
		{"clos3", map[string]string{"oversub-rack": "2", "oversub-pod": "3"}, topology.World, 8.1e-6, 8},
		{"nvlink", nil, topology.Host, 0.6e-6, 370.8},
		{"pcie", nil, topology.Host, 1e-6, 22},
		{"nvl72", nil, topology.Host, 0.6e-6, 721.8},
		{"meta100k", nil, topology.World, 330e-6 / 7, 48 / 2.8},
		{"torus3d", nil, topology.Host, 1e-6, 50},
		{"dragonfly", nil, topology.World, 2.5e-6, 24},
		{"wan", nil, topology.World, 0.05, 0.125},
		{"wan", map[string]string{"alpha": "0.01", "beta": "1e-9"}, topology.World, 0.01, 1},
	} {
		g, err := topology.Preset(c.name, 16, c.params)
		if err != nil {
			t.Fatal(err)
		}
		got := g.Tier(c.level)
		if near := func(a, b float64) bool { return math.Abs(a/b-1) < 1e-12 }; !near(got.Alpha, c.alpha) || !near(got.Beta, 1e-9/c.gbs) {
			t.Errorf("%s %v: tier %v costs %g s and %g GB/s, want %g s and %g GB/s", c.name, c.params, c.level, got.Alpha, 1e-9/got.Beta, c.alpha, c.gbs)
		}
	}
}

func TestPresetShapes(t *testing.T) {
	sizes := func(g *topology.Graph) (s []int) {
		for h := range g.Hosts() {
			s = append(s, g.HostSize(h))
		}
		return s
	}
	for _, c := range []struct {
		name         string
		n            int
		params       map[string]string
		hosts        string
		racks, sites int
	}{
		{"local", 5, nil, "[5]", 1, 1},
		{"hosts", 11, nil, "[6 5]", 1, 1},
		{"hosts", 11, map[string]string{"hosts": "4"}, "[3 3 3 2]", 1, 1},
		{"hosts", 3, map[string]string{"hosts": "3"}, "[1 1 1]", 1, 1},
		{"rail", 20, map[string]string{"hosts-per-rack": "2"}, "[8 8 4]", 2, 1},
		{"llama3", 40, nil, "[8 8 8 8 8]", 3, 1},
		{"llama3", 40, map[string]string{"hosts-per-rack": "1", "racks-per-pod": "2"}, "[8 8 8 8 8]", 5, 3},
		{"wan", 1, nil, "[1]", 1, 1},
		{"wan", 20, nil, "[8 2 8 2]", 2, 2},
		{"wan", 10, map[string]string{"sites": "3", "per-host": "2"}, "[2 2 2 1 2 1]", 3, 3},
	} {
		g, err := topology.Preset(c.name, c.n, c.params)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(sizes(g)); got != c.hosts || g.Racks() != c.racks || g.Sites() != c.sites {
			t.Errorf("%s of %d %v: hosts of %s ranks, %d racks, %d sites, want %s, %d, %d", c.name, c.n, c.params, got, g.Racks(), g.Sites(), c.hosts, c.racks, c.sites)
		}
	}
	g, err := topology.Preset("llama3", 24576, nil) // Meta's cluster: 8 pods of 192 racks of 16
	if err != nil || g.Hosts() != 3072 || g.Racks() != 1536 || g.Sites() != 8 {
		t.Errorf("racks of 24576 ranks: %d hosts, %d racks, %d sites, %v, want 3072, 1536, 8", g.Hosts(), g.Racks(), g.Sites(), err)
	}
}

func TestPresetErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int
		params map[string]string
		param  string
	}{
		{"moon", 4, nil, ""},
		{"local", 0, nil, ""},
		{"local", -1, nil, ""},
		{"local", topology.MaxRanks + 1, nil, ""},
		{"local", 4, map[string]string{"hosts": "2"}, "hosts"},
		{"local", 4, map[string]string{"cores": "-1"}, "cores"},
		{"local", 4, map[string]string{"cores": "1048577"}, "cores"},
		{"local", 4, map[string]string{"alpha": ""}, "alpha"},
		{"local", 4, map[string]string{"beta": "-1"}, "beta"},
		{"local", 4, map[string]string{"beta": "NaN"}, "beta"},
		{"hosts", 4, map[string]string{"hosts": "5"}, "hosts"},
		{"hosts", 4, map[string]string{"hosts": "0"}, "hosts"},
		{"hosts", 4, map[string]string{"hosts": "two"}, "hosts"},
		{"hosts", 4, map[string]string{"gbps": "0"}, "gbps"},
		{"hosts", 4, map[string]string{"gbps": "1e-320"}, "gbps"},
		{"llama3", 4, map[string]string{"oversub": "nan"}, "oversub"},
		{"wan", 4, map[string]string{"sites": "5"}, "sites"},
		{"torus3d", 9, map[string]string{"x": "2", "y": "2", "z": "2"}, "x"},
		{"torus3d", 9, map[string]string{"x": "4194304", "y": "2"}, "x"},
		{"nvl72", 9, map[string]string{"rails": "65537"}, "rails"},
		{"meta100k", 4 << 20, map[string]string{"zones-per-building": "513"}, "zones-per-building"},
		{"wan", 4, map[string]string{"per-host": "1.5"}, "per-host"},
	} {
		g, err := topology.Preset(c.name, c.n, c.params)
		var pe *topology.PresetError
		if !errors.As(err, &pe) || g != nil || pe.Preset != c.name || pe.Param != c.param || !strings.Contains(err.Error(), pe.Reason) {
			t.Errorf("Preset(%q, %d, %v) = %v, %v, want a PresetError of parameter %q", c.name, c.n, c.params, g, err, c.param)
		}
	}
}

// Every parameter that the help names is taken, with the default that it states.
func TestPresetHelp(t *testing.T) {
	for _, name := range topology.Presets() {
		help, err := topology.PresetHelp(name)
		if err != nil || !strings.HasPrefix(help, name+": ") {
			t.Fatalf("PresetHelp(%q) = %q, %v", name, help, err)
		}
		want, err := topology.Preset(name, 100, nil)
		if err != nil {
			t.Fatal(err)
		}
		params := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(help), "\n")[1:] {
			word, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if param, value, ok := strings.Cut(word, "="); ok {
				params[param] = value
			}
		}
		if got, err := topology.Preset(name, 100, params); err != nil || len(params) == 0 || !got.Equal(want) {
			t.Errorf("%s with its stated defaults %v: %v\n%s\nwant\n%s", name, params, err, got, want)
		}
	}
	var pe *topology.PresetError
	if _, err := topology.PresetHelp("moon"); !errors.As(err, &pe) || pe.Preset != "moon" {
		t.Errorf("PresetHelp(moon) = %v, want a PresetError", err)
	}
}

func TestLocal(t *testing.T) {
	g := topology.Local(3)
	if want, err := topology.Preset("local", 3, nil); err != nil || !g.Equal(want) {
		t.Errorf("Local(3) is\n%s\nwant\n%s (%v)", g, want, err)
	}
	defer func() {
		if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "0 ranks") {
			t.Errorf("Local(0) panics with %v, want an error about 0 ranks", err)
		}
	}()
	topology.Local(0)
}
