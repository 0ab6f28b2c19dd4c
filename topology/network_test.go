package topology_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/topology"
)

func mustPreset(t testing.TB, text string, n int) *topology.Graph {
	t.Helper()
	g, err := topology.PresetFor(text, n)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func mustNetwork(t testing.TB, g *topology.Graph) *topology.Network {
	t.Helper()
	n, err := g.Network()
	if err != nil {
		t.Fatalf("Network: %v, of\n%.2000s", err, g)
	}
	return n
}

// checkRoute holds a route to be a path from a to b that uses no wire twice.
func checkRoute(t testing.TB, n *topology.Network, a, b topology.Rank, route []topology.WireID) {
	t.Helper()
	at := topology.NodeID(a)
	seen := make(map[topology.WireID]bool)
	for i, id := range route {
		w := n.Wire(id)
		if w.From != at || w.From == w.To || w.Rate <= 0 || w.Alpha < 0 || seen[id] {
			t.Fatalf("route from %d to %d: wire %d is %s to %s at %g B/s, %g s, and the one before ends at %s (seen: %v)",
				a, b, i, n.NodeName(w.From), n.NodeName(w.To), w.Rate, w.Alpha, n.NodeName(at), seen[id])
		}
		seen[id] = true
		at = w.To
	}
	if len(route) > 0 && at != topology.NodeID(b) {
		t.Fatalf("route from %d to %d ends at %s", a, b, n.NodeName(at))
	}
}

// wirings are presets of every kind, and graphs whose ranks are not in the order of their hosts.
func wirings(t testing.TB) map[string]*topology.Graph {
	out := map[string]*topology.Graph{}
	for _, name := range topology.Presets() {
		for _, size := range []int{1, 2, 9, 100, 5000} {
			out[fmt.Sprint(name, " ", size)] = mustPreset(t, name, size)
		}
	}
	for _, text := range []string{
		"clos3,hosts-per-rack=2,racks-per-pod=3,oversub-rack=2,oversub-pod=7", "rail,hosts-per-rack=4", "wan,sites=5,per-host=3",
		"dragonfly,routers=3,global=2", "meta100k,zones-per-building=2", "nvl72,domain=6,rails=4,domains-per-rack=3", "torus3d,x=7,y=1",
	} {
		out[text] = mustPreset(t, text, 7000)
	}
	spec := topology.Spec{Tiers: tiers(), Layers: mustPreset(t, "rail,hosts-per-rack=4", 64).Layers()}
	for r := range 60 { // dealt in turn, seven hosts of eight or nine ranks
		spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", r%7)})
	}
	out["dealt in turn"] = mustNew(t, spec)
	spec.Layers = nil
	out["no layers"] = mustNew(t, spec)
	return out
}

func TestRoutes(t *testing.T) {
	for name, g := range wirings(t) {
		n := mustNetwork(t, g)
		rng := rand.New(rand.NewPCG(1, 2))
		var route []topology.WireID
		for range 300 {
			a, b := topology.Rank(rng.IntN(g.Size())), topology.Rank(rng.IntN(g.Size()))
			c := topology.Choice{Flow: rng.IntN(16), Seed: rng.Uint64(), Spread: rng.IntN(2) == 0, Cross: rng.IntN(2) == 0}
			var ok bool
			route, ok = n.Route(route[:0], a, b, c)
			if !ok || (len(route) == 0) != (a == b) {
				t.Fatalf("%s: route from %d to %d is %v, %v", name, a, b, route, ok)
			}
			checkRoute(t, n, a, b, route)
			if a == b || strings.HasPrefix(name, "torus3d") {
				continue
			}
			hosts := 0 // wires of the host that a change of rails pays for
			for _, w := range route {
				if n.Wire(w).Level == topology.Host {
					hosts++
				}
			}
			if want, got := g.Link(a, b).Alpha, n.Alpha(route); (got > want*(1+1e-9) && !c.Cross || got < want*(1-1e-9) && !strings.HasPrefix(name, "dragonfly")) && (hosts == 0 || g.Host(a) == g.Host(b)) {
				t.Errorf("%s: the route from %d to %d takes %g s, the link %g s", name, a, b, got, want)
			}
			if got, want := n.Rate(route), 1/g.Link(a, b).Beta; got < want*(1-1e-9) && !strings.HasPrefix(name, "dragonfly") {
				t.Errorf("%s: the route from %d to %d has %g B/s, the link %g", name, a, b, got, want)
			}
		}
	}
}

func TestEqualChoicesMakeEqualRoutes(t *testing.T) {
	n := mustNetwork(t, mustPreset(t, "llama3", 65536))
	c := topology.Choice{Flow: 3, Seed: 9}
	first, _ := n.Route(nil, 5, 60000, c)
	again, _ := n.Route(nil, 5, 60000, c)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Errorf("one choice gave %v and %v", first, again)
	}
	differ := 0
	for flow := range 16 {
		if r, _ := n.Route(nil, 5, 60000, topology.Choice{Flow: flow, Seed: 9}); fmt.Sprint(r) != fmt.Sprint(first) {
			differ++
		}
	}
	if differ < 12 {
		t.Errorf("%d of 16 flows differ from one of them, want nearly all", differ)
	}
	if allocs := testing.AllocsPerRun(100, func() { first, _ = n.Route(first[:0], 5, 60000, c) }); allocs != 0 {
		t.Errorf("a route allocates %v times", allocs)
	}
}

// Flow hashing is as uneven as theory and Meta ("RDMA over Ethernet for Distributed AI Training at Meta Scale",
// SIGCOMM 2024) have it: over 16 links the busiest of 1,000 flows' has more than 1.2 times the mean.
func TestHashIsUneven(t *testing.T) {
	n := mustNetwork(t, mustPreset(t, "llama3", 3072))
	for _, spread := range []bool{false, true} {
		var worst, sum float64
		for seed := range uint64(20) {
			load := map[topology.WireID]int{}
			rng := rand.New(rand.NewPCG(seed, 1))
			for flow := range 1000 {
				from, to := topology.Rank(flow%16), topology.Rank(16+rng.IntN(3056))
				route, _ := n.Route(nil, from, to, topology.Choice{Flow: flow / 16, Seed: seed, Spread: spread})
				load[route[1]]++ // out of the one rack switch
			}
			if len(load) != 16 {
				t.Fatalf("the flows use %d of 16 links", len(load))
			}
			most := 0
			for _, k := range load {
				most = max(most, k)
			}
			worst = max(worst, float64(most)/(1000.0/16))
			sum += float64(most) / (1000.0 / 16)
		}
		switch mean := sum / 20; {
		case !spread && (mean < 1.2 || mean > 1.5):
			t.Errorf("hashed, the busiest link has %.3f times the mean, want 1.2 to 1.5", mean)
		case spread && worst > 1.02:
			t.Errorf("spread, the busiest link has %.3f times the mean, want the mean", worst)
		}
	}
}

// What leaves a pod of the Llama 3 cluster is a seventh of what its ranks send, and a pod itself narrows nothing.
func TestOversubscription(t *testing.T) {
	for text, want := range map[string]map[topology.Level]float64{ // GB/s for a rank, upward
		"llama3":                             {topology.Rack: 48, topology.Site: 48, topology.World: 48.0 / 7},
		"llama3,oversub=2.8":                 {topology.Rack: 48, topology.Site: 48, topology.World: 48 / 2.8},
		"clos3,oversub-rack=2,oversub-pod=3": {topology.Rack: 48, topology.Site: 24, topology.World: 8},
		"clos3,oversub-rack=0.5":             {topology.Rack: 48, topology.Site: 96, topology.World: 96},
	} {
		g := mustPreset(t, text, 6144)
		n := mustNetwork(t, g)
		up := map[topology.Level]float64{}
		for id := range topology.WireID(n.Wires()) {
			if w := n.Wire(id); w.From < w.To && w.Level != topology.Host { // lower nodes come first
				up[w.Level] += w.Rate
			}
		}
		for level, gbs := range want {
			if got := up[level] / 6144 / 1e9; math.Abs(got/gbs-1) > 1e-9 {
				t.Errorf("%s: %v has %g GB/s a rank upwards, want %g", text, level, got, gbs)
			}
		}
	}
}

func TestRails(t *testing.T) {
	g := mustPreset(t, "rail", 512)
	n := mustNetwork(t, g)
	names := func(a, b topology.Rank, c topology.Choice) string {
		route, ok := n.Route(nil, a, b, c)
		if !ok {
			return "none"
		}
		checkRoute(t, n, a, b, route)
		s := n.NodeName(topology.NodeID(a))
		for _, w := range route {
			s += " " + n.NodeName(n.Wire(w).To)
		}
		return s
	}
	for _, c := range []struct {
		a, b topology.Rank
		c    topology.Choice
		want string // # for the number of a spine switch
	}{
		{3, 5, topology.Choice{}, "rank3 host0.0 rank5"},
		{3, 11, topology.Choice{}, "rank3 rack0.3 rank11"},
		{3, 12, topology.Choice{}, "rank3 host0.0 rank4 rack0.4 rank12"},
		{3, 12, topology.Choice{Cross: true}, "rank3 rack0.3 world0.# rack0.4 rank12"},
		{3, 259, topology.Choice{}, "rank3 rack0.3 world0.# rack1.3 rank259"},
		{3, 260, topology.Choice{}, "rank3 rack0.3 world0.# rack1.4 rank260"},
	} {
		got := names(c.a, c.b, c.c)
		at := strings.Index(got, "world0.")
		if at >= 0 {
			rest := got[at+len("world0."):]
			got = got[:at] + "world0.#" + rest[strings.IndexByte(rest, ' '):]
		}
		if got != c.want {
			t.Errorf("from %d to %d by %+v: %s, want %s", c.a, c.b, c.c, got, c.want)
		}
	}
}

func TestTorus(t *testing.T) {
	for _, text := range []string{"torus3d,x=5,y=4,z=3", "torus3d,x=2,y=2,z=2", "torus3d,x=7,y=1,z=1", "torus3d,x=4,y=4"} {
		size := 48
		if strings.Contains(text, "x=2") || strings.Contains(text, "x=7") {
			size = 7
		}
		g := mustPreset(t, text, size)
		n := mustNetwork(t, g)
		neighbours, sum := 0, 0
		for a := range topology.Rank(g.Size()) {
			for b := range topology.Rank(g.Size()) {
				route, ok := n.Route(nil, a, b, topology.Choice{})
				if !ok {
					t.Fatalf("%s: no route from %d to %d", text, a, b)
				}
				checkRoute(t, n, a, b, route)
				back, _ := n.Route(nil, b, a, topology.Choice{})
				if len(back) != len(route) {
					t.Errorf("%s: %d steps from %d to %d and %d back", text, len(route), a, b, len(back))
				}
				sum += len(route)
				if b == a+1 && len(route) == 1 {
					neighbours++
				}
			}
		}
		if neighbours != g.Size()-1 {
			t.Errorf("%s: %d ranks have the next for a neighbour, want %d", text, neighbours, g.Size()-1)
		}
		if nodes := 48; g.Size() == nodes && n.Nodes() == nodes { // the tier's latency is the mean distance
			mean := float64(sum) / float64(nodes*(nodes-1))
			if got := g.Tier(topology.Rack).Alpha / 1e-6; math.Abs(got-mean) > 1e-9 {
				t.Errorf("%s: the tier takes %g hops, the mean is %g", text, got, mean)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	for name, g := range map[string]*topology.Graph{
		"llama3": mustPreset(t, "llama3,racks-per-pod=4,oversub=1", 256), "rail": mustPreset(t, "rail,hosts-per-rack=4", 64),
	} {
		whole := mustNetwork(t, g)
		a, b := topology.Rank(1), topology.Rank(g.Size()-3)
		route, _ := whole.Route(nil, a, b, topology.Choice{})
		for _, dead := range route[1 : len(route)-1] { // the ports of the ends have no other way, but on rails
			n, err := whole.With(topology.Fault{Wire: dead})
			if err != nil {
				t.Fatal(err)
			}
			around, ok := n.Route(nil, a, b, topology.Choice{})
			if !ok {
				t.Errorf("%s: no way around wire %d", name, dead)
				continue
			}
			checkRoute(t, n, a, b, around)
		}
		for id := topology.NodeID(g.Size()); int(id) < whole.Nodes(); id++ { // every switch alone
			n, err := whole.With(topology.Fault{Node: id, Wire: topology.NoWire})
			if err != nil {
				t.Fatal(err)
			}
			around, ok := n.Route(nil, a, b, topology.Choice{})
			only := whole.NodeName(id) == "rack0.0" || whole.NodeName(id) == fmt.Sprintf("rack%d.0", g.Racks()-1)
			if ok == (only && name == "llama3") {
				t.Errorf("%s: without %s there is a way: %v", name, whole.NodeName(id), ok)
			}
			if ok {
				checkRoute(t, n, a, b, around)
			}
		}
	}
}

// A rank whose own port is dead is reached over the other rails of its host, and on a Clos not at all.
func TestDeadPort(t *testing.T) {
	for text, want := range map[string]string{
		"rail,hosts-per-rack=4":   "rank9 host1.0 rank8 rack0.0 rank0 host0.0 rank1",
		"llama3,hosts-per-rack=4": "",
	} {
		n := mustNetwork(t, mustPreset(t, text, 64))
		list, err := n.ParseFault(map[bool]string{true: "rank1-rack0.1", false: "rank1-rack0.0"}[want != ""])
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: %v, %v, want two directions", text, list, err)
		}
		n, err = n.With(list...)
		if err != nil {
			t.Fatal(err)
		}
		route, ok := n.Route(nil, 9, 1, topology.Choice{})
		got := ""
		if ok {
			got = "rank9"
			for _, w := range route {
				got += " " + n.NodeName(n.Wire(w).To)
			}
		}
		if got != want {
			t.Errorf("%s: the way is %q, want %q", text, got, want)
		}
	}
}

func TestSlowFaults(t *testing.T) {
	n := mustNetwork(t, mustPreset(t, "llama3", 64))
	var list []topology.Fault
	for _, s := range []string{"rank3>rack0.0*0.5", "rack0.0*0.25"} {
		f, err := n.ParseFault(s)
		if err != nil || len(f) != 1 {
			t.Fatalf("%s: %v, %v", s, f, err)
		}
		list = append(list, f...)
	}
	slow, err := n.With(list[0])
	if err == nil {
		slow, err = slow.With(list[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	up, _ := slow.Route(nil, 3, 20, topology.Choice{})
	down, _ := slow.Route(nil, 20, 3, topology.Choice{})
	if a, b := slow.Rate(up)/48e9, slow.Rate(down)/48e9; math.Abs(a-0.125) > 1e-9 || math.Abs(b-0.25) > 1e-9 {
		t.Errorf("a port at half behind a switch at a quarter has %g and %g of its rate, want 0.125 up and 0.25 down", a, b)
	}
	if again, _ := n.Route(nil, 3, 20, topology.Choice{}); n.Rate(again) != 48e9 {
		t.Errorf("the whole network has %g B/s left", n.Rate(again))
	}
}

func TestFaultErrors(t *testing.T) {
	n := mustNetwork(t, mustPreset(t, "torus3d,x=3,y=3,z=3", 20))
	for _, s := range []string{"", "rank20", "rank-1", "rank", "node19", "node27", "node", "rank1-rank8", "rank1>", "-", "rank1*2", "rank1*x", "rank1*-0.5", "host0.0", "world0.0"} {
		f, err := n.ParseFault(s)
		var fe *topology.FaultError
		if !errors.As(err, &fe) || f != nil || !strings.Contains(err.Error(), fe.Reason) {
			t.Errorf("ParseFault(%q) = %v, %v, want a FaultError", s, f, err)
		}
	}
	for _, f := range []topology.Fault{{Node: 27, Wire: topology.NoWire}, {Node: -1, Wire: topology.NoWire}, {Wire: topology.WireID(n.Wires())}, {Wire: 0, Factor: 1}, {Wire: 0, Factor: math.NaN()}} {
		var fe *topology.FaultError
		if m, err := n.With(f); !errors.As(err, &fe) || m != nil {
			t.Errorf("With(%+v) = %v, %v, want a FaultError", f, m, err)
		}
	}
}

func TestNodeNames(t *testing.T) {
	for name, g := range wirings(t) {
		n := mustNetwork(t, g)
		seen := make(map[string]bool)
		for id := range topology.NodeID(n.Nodes()) {
			s := n.NodeName(id)
			if back, err := n.ParseNode(s); err != nil || back != id || seen[s] {
				t.Fatalf("%s: node %d is named %q, which is node %d, %v", name, id, s, back, err)
			}
			seen[s] = true
		}
		if s := n.NodeName(topology.NodeID(n.Nodes())); s != fmt.Sprint("node", n.Nodes()) {
			t.Errorf("%s: a node that is none is named %q", name, s)
		}
	}
}

// Every wire but those of a mesh member to itself joins two nodes, and wires there and back match.
func TestWires(t *testing.T) {
	for name, g := range wirings(t) {
		n := mustNetwork(t, g)
		between := make(map[[2]topology.NodeID]int)
		for id := range topology.WireID(n.Wires()) {
			w := n.Wire(id)
			if w.From < 0 || int(w.From) >= n.Nodes() || w.To < 0 || int(w.To) >= n.Nodes() || math.IsNaN(w.Rate) || math.IsInf(w.Rate, 0) {
				t.Fatalf("%s: wire %d is %+v of %d nodes", name, id, w, n.Nodes())
			}
			between[[2]topology.NodeID{w.From, w.To}]++
		}
		for ends, k := range between {
			if back := between[[2]topology.NodeID{ends[1], ends[0]}]; back != k {
				t.Errorf("%s: %d wires from %s to %s and %d back", name, k, n.NodeName(ends[0]), n.NodeName(ends[1]), back)
			}
		}
	}
}

func TestBadLayers(t *testing.T) {
	star := topology.Layer{Span: topology.SpanHost, Width: 1, Rate: 1}
	world := topology.Layer{Span: topology.SpanWorld, Width: 1, Rate: 1}
	edit := func(l topology.Layer, f func(*topology.Layer)) topology.Layer { f(&l); return l }
	for name, layers := range map[string][]topology.Layer{
		"no world":        {star},
		"order":           {world, star},
		"twice":           {world, world},
		"span":            {edit(world, func(l *topology.Layer) { l.Span = 9 })},
		"wiring":          {edit(world, func(l *topology.Layer) { l.Wiring = 9 })},
		"width":           {edit(world, func(l *topology.Layer) { l.Width = 0 })},
		"wide":            {edit(world, func(l *topology.Layer) { l.Width = 1 << 17 })},
		"rate":            {edit(world, func(l *topology.Layer) { l.Rate = 0 })},
		"not a rate":      {edit(world, func(l *topology.Layer) { l.Rate = math.NaN() })},
		"count":           {edit(world, func(l *topology.Layer) { l.Count = 2 })},
		"no count":        {edit(star, func(l *topology.Layer) { l.Span = topology.SpanSocket }), world},
		"dims":            {edit(world, func(l *topology.Layer) { l.Dims = [3]int{1, 1, 1} })},
		"no dims":         {edit(world, func(l *topology.Layer) { l.Wiring = topology.Torus; l.Width = 0 })},
		"large dims":      {{Span: topology.SpanWorld, Wiring: topology.Torus, Dims: [3]int{1 << 20, 1 << 20, 1 << 30}, Rate: 1}},
		"torus of hosts":  {star, {Span: topology.SpanWorld, Wiring: topology.Torus, Dims: [3]int{2, 2, 2}, Rate: 1}},
		"rail of hosts":   {star, edit(world, func(l *topology.Layer) { l.Wiring = topology.Rail })},
		"star over mesh":  {edit(star, func(l *topology.Layer) { l.Wiring = topology.Mesh }), world},
		"mesh over mesh":  {edit(star, func(l *topology.Layer) { l.Wiring = topology.Mesh }), edit(world, func(l *topology.Layer) { l.Wiring = topology.Mesh })},
		"mesh over rails": {edit(star, func(l *topology.Layer) { l.Wiring = topology.Rail }), edit(world, func(l *topology.Layer) { l.Wiring = topology.Mesh })},
	} {
		g, err := topology.New(topology.Spec{Shape: topology.Shape{Ranks: 2}, Tiers: tiers(), Layers: layers})
		var se *topology.SpecError
		if !errors.As(err, &se) || g != nil || !strings.HasPrefix(se.Field, "layer ") {
			t.Errorf("%s: New = %v, %v, want a SpecError of a layer", name, g, err)
		}
	}
	for name, spec := range map[string]topology.Spec{
		"small torus": {Shape: topology.Shape{Ranks: 9}, Layers: []topology.Layer{{Span: topology.SpanWorld, Wiring: topology.Torus, Dims: [3]int{2, 2, 2}, Rate: 1}}},
		"wires":       {Shape: topology.Shape{Ranks: 1 << 16}, Layers: []topology.Layer{{Span: topology.SpanWorld, Wiring: topology.Mesh, Width: 1, Rate: 1}}},
		"nodes":       {Shape: topology.Shape{Ranks: 1 << 16, PerHost: 1}, Layers: []topology.Layer{{Span: topology.SpanHost, Width: 1 << 16, Rate: 1}, world}},
	} {
		spec.Tiers = tiers()
		var se *topology.SpecError
		if n, err := mustNew(t, spec).Network(); !errors.As(err, &se) || n != nil {
			t.Errorf("%s: Network = %v, %v, want a SpecError", name, n, err)
		}
	}
	if got := topology.Span(9).String() + topology.Wiring(9).String(); got != "Span(9)Wiring(9)" {
		t.Errorf("names of nothing are %q", got)
	}
}

func TestPresetFor(t *testing.T) {
	g := mustPreset(t, "llama3,oversub=2.8,racks-per-pod=3", 100)
	want, err := topology.Preset("llama3", 100, map[string]string{"oversub": "2.8", "racks-per-pod": "3"})
	if err != nil || !g.Equal(want) {
		t.Errorf("PresetFor gave\n%s\nwant\n%s (%v)", g, want, err)
	}
	for text, param := range map[string]string{"llama3,": "", "llama3,oversub": "oversub", "llama3,gbps=1,gbps=2": "gbps", "moon,gbps=1": "", "": ""} {
		var pe *topology.PresetError
		if g, err := topology.PresetFor(text, 8); !errors.As(err, &pe) || g != nil || pe.Param != param {
			t.Errorf("PresetFor(%q) = %v, %v, want a PresetError of %q", text, g, err, param)
		}
	}
}

// What a machine of 262,144 ranks takes is in proportion to its ranks.
func TestLargeNetworks(t *testing.T) {
	const n = 1 << 18
	for _, text := range []string{"rail", "llama3", "meta100k", "torus3d", "dragonfly"} {
		net := mustNetwork(t, mustPreset(t, text, n))
		if net.Wires() > 40*n || net.Nodes() > 3*n {
			t.Errorf("%s has %d nodes and %d wires for %d ranks", text, net.Nodes(), net.Wires(), n)
		}
		route, ok := net.Route(nil, 17, n-1, topology.Choice{})
		if !ok {
			t.Fatalf("%s: no route", text)
		}
		checkRoute(t, net, 17, n-1, route)
	}
}

func BenchmarkRoute(b *testing.B) {
	n := mustNetwork(b, mustPreset(b, "llama3", 65536))
	route := make([]topology.WireID, 0, 16)
	b.ReportAllocs()
	i := topology.Rank(0)
	for b.Loop() {
		route, _ = n.Route(route[:0], i, i^0x8000, topology.Choice{})
		i = (i + 7919) & 0xffff
	}
}

func BenchmarkNetwork65536(b *testing.B) {
	g := mustPreset(b, "llama3", 65536)
	b.ReportAllocs()
	for b.Loop() {
		mustNetwork(b, g)
	}
}

func TestPicture(t *testing.T) {
	for name, g := range wirings(t) {
		n := mustNetwork(t, g)
		svg := n.Picture()
		if len(svg) > 200_000 {
			t.Errorf("%s: the picture has %d bytes", name, len(svg))
		}
		d := xml.NewDecoder(strings.NewReader(svg))
		texts := 0
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, svg)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "text" {
				texts++
			}
		}
		if want := 2 + 2*len(n.Layers()); texts < want {
			t.Errorf("%s: %d texts, want at least %d", name, texts, want)
		}
	}
}
