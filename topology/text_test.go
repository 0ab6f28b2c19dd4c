package topology_test

import (
	"bytes"
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ringtree/ringtree/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

var (
	_ encoding.TextMarshaler = (*topology.Graph)(nil)
	_ encoding.TextAppender  = (*topology.Graph)(nil)
	_ fmt.Stringer           = (*topology.Graph)(nil)
)

func mustParse(t testing.TB, text string) *topology.Graph {
	t.Helper()
	g, err := topology.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Parse: %v, of\n%s", err, text)
	}
	return g
}

func TestGolden(t *testing.T) {
	preset := func(name string, n int, params map[string]string) *topology.Graph {
		g, err := topology.Preset(name, n, params)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	mixed := topology.Spec{Tiers: tiers(), Cores: 2, Reduce: 1e-10, Paths: []topology.Path{
		{From: "oslo", To: "lima", Alpha: 0.0931, Beta: 2.1e-8},
		{From: "lima", To: "oslo", Alpha: 0.0928, Beta: 6.4e-8},
		{From: "graz", To: "lima", Alpha: 0.1104, Beta: 1.9e-8},
	}}
	for r := range 24 {
		switch {
		case r < 8: // four processes of two ranks
			mixed.Places = append(mixed.Places, topology.Place{Host: "big", Device: fmt.Sprint("p", r/2), Rack: "a", Site: "oslo"})
		case r < 20: // dealt round-robin
			mixed.Places = append(mixed.Places, topology.Place{Host: fmt.Sprint("n", 9+r%3), Rack: "b", Site: "lima"})
		default:
			mixed.Places = append(mixed.Places, topology.Place{Host: fmt.Sprintf("old-%02d", r), Site: "graz"})
		}
	}
	for name, g := range map[string]*topology.Graph{
		"local":          topology.Local(4),
		"llama3-65536":   preset("llama3", 65536, nil),
		"rail-2048":      preset("rail", 2048, nil),
		"pcie-8":         preset("pcie", 8, nil),
		"meta100k-16384": preset("meta100k", 16384, map[string]string{"zones-per-building": "3"}),
		"torus3d-60":     preset("torus3d", 60, nil),
		"dragonfly-4096": preset("dragonfly", 4096, nil),
		"hosts-10":       preset("hosts", 10, map[string]string{"hosts": "3", "cores": "2"}),
		"wan":            preset("wan", 20, map[string]string{"sites": "3", "per-host": "4"}),
		"mixed":          mustNew(t, mixed),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".topology")
			got, err := g.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if want := bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
				t.Errorf("the text is\n%s\nand %s has\n%s", got, file, want)
			}
			if back := mustParse(t, string(want)); !back.Equal(g) {
				t.Errorf("%s parses to\n%s\nwant\n%s", file, back, g)
			}
		})
	}
}

func TestTextRoundTrip(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 3))
		g := mustNew(t, randomSpec(rng, 120))
		text := g.String()
		back := mustParse(t, text)
		if !back.Equal(g) || !g.Equal(back) {
			t.Fatalf("seed %d: the graph\n%s\ncame back as\n%s", seed, text, back)
		}
		if again := back.String(); again != text {
			t.Fatalf("seed %d: the text\n%s\ncame back as\n%s", seed, text, again)
		}
	}
}

func rankLines(g *topology.Graph) int { return strings.Count(g.String(), "\nranks ") }

func TestRegularMachinesAreShort(t *testing.T) {
	const n = 65536
	place := func(f func(r int) topology.Place) *topology.Graph {
		spec := topology.Spec{Places: make([]topology.Place, n), Tiers: tiers()}
		for r := range spec.Places {
			spec.Places[r] = f(r)
		}
		return mustNew(t, spec)
	}
	named := func(format string, i int) string { return fmt.Sprintf(format, i) }
	for name, c := range map[string]struct {
		g    *topology.Graph
		most int // lines of ranks
	}{
		"blocks of 8": {place(func(r int) topology.Place {
			return topology.Place{Host: named("h%d", r/8), Rack: named("r%d", r/64), Site: named("s%d", r/4096)}
		}), 1},
		"a rank a host": {place(func(r int) topology.Place { return topology.Place{Host: named("node%d", r)} }), 1},
		"dealt in turn": {place(func(r int) topology.Place {
			return topology.Place{Host: named("h%d", r%8192), Rack: named("r%d", r%8192/8)}
		}), 1},
		"dealt in pairs": {place(func(r int) topology.Place { return topology.Place{Host: named("h%d", r/2%4096)} }), 1},
		"processes of 2": {place(func(r int) topology.Place {
			return topology.Place{Host: named("h%d", r/8), Device: named("p%d", r/2%4)}
		}), 1},
		"one odd host": {place(func(r int) topology.Place { // host 0 has 5 ranks
			return topology.Place{Host: named("h%d", (r+3)/8), Rack: named("r%d", (r+3)/64)}
		}), 20},
		"one host is missing": {place(func(r int) topology.Place {
			h := r / 8
			if h >= 4000 {
				h++
			}
			return topology.Place{Host: named("h%d", h), Rack: named("r%d", h/16)}
		}), 4},
		"hosts of 8 and 4 in turn": {place(func(r int) topology.Place { return topology.Place{Host: named("h%d", r/12*2+r%12/8)} }), 1 + n/12*2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rankLines(c.g); got > c.most {
				t.Errorf("%d lines of ranks, want at most %d; they begin\n%.600s", got, c.most, c.g)
			}
			if back := mustParse(t, c.g.String()); !back.Equal(c.g) {
				t.Error("the text does not come back as it was")
			}
		})
	}
	for _, name := range topology.Presets() {
		g, err := topology.Preset(name, n, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(g.String(), "\n"); got >= 2000 {
			t.Errorf("preset %s of %d ranks has %d lines, want less than 2000", name, n, got)
		}
	}
}

// No machine needs more lines than it has runs of ranks on one host.
func TestIrregularMachinesStayLinear(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 4))
		spec := topology.Spec{Tiers: tiers()}
		runs := 0
		for h := 0; len(spec.Places) < 200; h++ {
			for range 1 + rng.IntN(9) {
				spec.Places = append(spec.Places, topology.Place{Host: fmt.Sprint("h", h), Rack: fmt.Sprint("r", h/3)})
			}
			runs++
		}
		g := mustNew(t, spec)
		if got := rankLines(g); got > runs {
			t.Fatalf("seed %d: %d lines of ranks for %d hosts:\n%s", seed, got, runs, g)
		}
	}
}

func TestAppendText(t *testing.T) {
	g := topology.Local(2)
	got, err := g.AppendText([]byte("# before\n"))
	if want := "# before\n" + g.String(); err != nil || string(got) != want {
		t.Errorf("AppendText = %q, %v, want %q", got, err, want)
	}
}

func TestParseAcceptsWhatPeopleWrite(t *testing.T) {
	text := "\r\n# a comment\n\t topology\tv1 # the header\r\nranks 0-3 site x host a\nranks 4 device d7 host b rack q # one\ntier host 1 2\n" +
		"tier world 0x1p-2 1E-3\nranks 5-6 host b2/1 rack q2/1\ntier rack 3 3\ntier site 4 4"
	g := mustParse(t, text)
	want := mustNew(t, topology.Spec{
		Places: []topology.Place{
			{Host: "a", Site: "x"}, {Host: "a", Site: "x"}, {Host: "a", Site: "x"}, {Host: "a", Site: "x"},
			{Device: "d7", Host: "b", Rack: "q"}, {Host: "b2", Rack: "q2"}, {Host: "b3", Rack: "q3"},
		},
		Tiers: []topology.Link{{Level: topology.Host, Alpha: 1, Beta: 2}, {Level: topology.World, Alpha: 0.25, Beta: 1e-3},
			{Level: topology.Rack, Alpha: 3, Beta: 3}, {Level: topology.Site, Alpha: 4, Beta: 4}},
	})
	if !g.Equal(want) {
		t.Errorf("parsed\n%s\nwant\n%s", g, want)
	}
}

func TestParseErrors(t *testing.T) {
	const h = "topology v1\n"
	cases := []struct {
		name, text   string
		line, column int
		reason       string
	}{
		{"empty", "", 1, 0, "no header"},
		{"only comments", "# a\n\n", 3, 0, "no header"},
		{"no header", "ranks 0 host a\n", 1, 1, "comes first"},
		{"other version", "\ntopology v2\n", 2, 1, "not version 1"},
		{"header goes on", "topology v1 now\n", 1, 1, "not version 1"},
		{"no ranks", h, 2, 0, "no ranks"},
		{"unknown line", h + "  nodes 5\n", 2, 3, `"nodes" begins no line`},
		{"header twice", h + h, 2, 1, `"topology" begins no line`},
		{"cores without a number", h + "cores\n", 2, 1, "takes 1 words"},
		{"cores of a fraction", h + "cores 1.5\n", 2, 7, "not an integer"},
		{"cores below zero", h + "cores -1\n", 2, 7, "not an integer"},
		{"too many cores", h + "cores 1048577\n", 2, 7, "not an integer"},
		{"cores twice", h + "cores 1\ncores 1\n", 3, 1, "was given in line 2"},
		{"reduce of a word", h + "reduce fast\n", 2, 8, "not a number"},
		{"reduce without a number", h + "reduce\n", 2, 1, "takes 1 words"},
		{"reduce below zero", h + "reduce -1\n", 2, 8, "negative"},
		{"reduce twice", h + "reduce 1\n\nreduce 1\n", 4, 1, "was given in line 2"},
		{"tier too short", h + "tier host 1\n", 2, 1, "takes 3 words"},
		{"tier of no level", h + "tier moon 1 1\n", 2, 6, "not a level"},
		{"tier of NaN", h + "tier host nan 1\n", 2, 11, "not a number"},
		{"tier of infinity", h + "tier host 1 inf\n", 2, 13, "infinite"},
		{"tier out of range", h + "tier host 1 1e999\n", 2, 13, "not a number"},
		{"tier twice", h + "tier host 1 1\ntier host 1 1\n", 3, 6, "was given in line 2"},
		{"tier missing", h + "ranks 0-1 host a\n", 3, 0, "rank 1: tier host: needed"},
		{"path too short", h + "path a b 1\n", 2, 1, "takes 4 words"},
		{"path of words", h + "path a b c d\n", 2, 10, "not a number"},
		{"path twice", h + "path a b 1 1\npath a b 1 1\n", 3, 6, "was given in line 2"},
		{"path to nowhere", h + "path s0 b 1 1\nranks 0 host a\n", 2, 0, `no rank is in site "b"`},
		{"ranks without a range", h + "ranks\n", 2, 1, "no range"},
		{"ranks of words", h + "ranks all host a\n", 2, 7, "not a rank"},
		{"ranks of a half range", h + "ranks 0- host a\n", 2, 7, "not a rank"},
		{"ranks below zero", h + "ranks -1-3 host a\n", 2, 7, "not a rank"},
		{"ranks with a gap", h + "ranks 0 host a\nranks 2 host b\n", 3, 7, "go on at 1, not at 2"},
		{"ranks again", h + "ranks 0 host a\nranks 0 host b\n", 3, 7, "go on at 1, not at 0"},
		{"ranks backwards", h + "ranks 0 host a\nranks 1-0 host b\n", 3, 7, "ends before it begins"},
		{"too many ranks", h + "ranks 0-4194304 host a\n", 2, 7, "above the limit"},
		{"far too many ranks", h + "ranks 0-99999999999999999999 host a\n", 2, 7, "not a rank"},
		{"column without a name", h + "ranks 0 host\n", 2, 9, "no name after it"},
		{"no such column", h + "ranks 0 pod a\n", 2, 9, "not host, device, rack or site"},
		{"column twice", h + "ranks 0 host a host a\n", 2, 16, "stands twice"},
		{"no host", h + "ranks 0 rack a\n", 2, 1, "no host"},
		{"empty name", h + "ranks 0 host /2\n", 2, 14, "no name"},
		{"bad name", h + "ranks 0 host a%b\n", 2, 14, "forbidden character at byte 1"},
		{"bad UTF-8", h + "ranks 0 host a\xff\n", 2, 14, "forbidden character at byte 1"},
		{"nothing to count", h + "ranks 0 host a/2\n", 2, 14, "does not end in a number"},
		{"leading zero", h + "ranks 0 host a01/2\n", 2, 14, "does not end in a number"},
		{"long number", h + "ranks 0 host a1234567890/2\n", 2, 14, "does not end in a number"},
		{"count of zero", h + "ranks 0 host a0/0\n", 2, 14, "number after / is not"},
		{"count of nothing", h + "ranks 0 host a0/\n", 2, 14, "number after / is not"},
		{"wrap of zero", h + "ranks 0 host a0/1%0\n", 2, 14, "number after % is not"},
		{"name grows too long", h + "ranks 0-1 host " + strings.Repeat("h", 254) + "9/1\n", 2, 16, "longer than 255"},
		{"name too long", h + "ranks 0 host " + strings.Repeat("h", 256) + "\n", 2, 14, "longer than 255"},
		{"host in two racks", h + "ranks 0 host a\nranks 1 host a rack r\n", 3, 0, `rank 1: rack: host "a" lies in rack "s0" and in rack "r"`},
		{"line too long", h + strings.Repeat("#", 20000) + "\n", 2, 0, "longer than 16384 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g, err := topology.Parse(strings.NewReader(c.text))
			var pe *topology.ParseError
			if !errors.As(err, &pe) || g != nil {
				t.Fatalf("Parse = %v, %v, want a ParseError", g, err)
			}
			if pe.Line != c.line || pe.Column != c.column || !strings.Contains(pe.Reason, c.reason) {
				t.Errorf("Parse fails with line %d, column %d, %q, want %d, %d, %q", pe.Line, pe.Column, pe.Reason, c.line, c.column, c.reason)
			}
			if want := fmt.Sprintf("topology: line %d", c.line); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the error reads %q, want it to begin with %q", err, want)
			}
		})
	}
}

func TestParseErrorWraps(t *testing.T) {
	broken := errors.New("broken pipe")
	_, err := topology.Parse(io.MultiReader(strings.NewReader("topology v1\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("Parse = %v, want it to wrap %v", err, broken)
	}
	_, err = topology.Parse(strings.NewReader("topology v1\nranks 0-1 host a\n"))
	var se *topology.SpecError
	if !errors.As(err, &se) || se.Rank != 1 || se.Field != "tier host" {
		t.Errorf("Parse = %v, want it to wrap a SpecError of rank 1 and the tier", err)
	}
}

func TestParseLimit(t *testing.T) {
	const text = "topology v1\nranks 0-7 host h0/1\ntier rack 0 0\n"
	if g, err := topology.ParseLimit(strings.NewReader(text), 8); err != nil || g.Size() != 8 {
		t.Errorf("with a limit of 8: %v, %v", g, err)
	}
	for _, limit := range []int{7, 1, 0, -1} {
		var pe *topology.ParseError
		if _, err := topology.ParseLimit(strings.NewReader(text), limit); !errors.As(err, &pe) || pe.Line != 2 || pe.Column != 7 {
			t.Errorf("with a limit of %d: %v, want a ParseError at 2:7", limit, err)
		}
	}
}

// A short text that names more ranks than the limit is refused before anything is made for them.
func TestParseRefusesBeforeItAllocates(t *testing.T) {
	text := fmt.Sprintf("topology v1\nranks 0-%d host h0/1\n", topology.MaxRanks)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := topology.Parse(strings.NewReader(text))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 256<<10 {
		t.Errorf("Parse = %v after %d bytes, want an error after at most 256 KiB", err, got)
	}
}

func TestEqualSeesEveryPart(t *testing.T) {
	base := topology.Spec{
		Places: []topology.Place{{Host: "a", Device: "d", Rack: "r", Site: "s"}, {Host: "a", Device: "e", Rack: "r", Site: "s"}, {Host: "b", Rack: "q", Site: "t"}},
		Tiers:  tiers(), Paths: []topology.Path{{From: "s", To: "t", Alpha: 1, Beta: 1}}, Cores: 1, Reduce: 1,
	}
	edit := func(f func(*topology.Spec)) topology.Spec {
		s := base
		s.Places = append([]topology.Place(nil), base.Places...)
		s.Tiers = tiers()
		s.Paths = append([]topology.Path(nil), base.Paths...)
		f(&s)
		return s
	}
	g := mustNew(t, base)
	if same := mustNew(t, edit(func(*topology.Spec) {})); !g.Equal(same) || g.String() != same.String() {
		t.Errorf("a graph does not equal its twin:\n%s\n%s", g, same)
	}
	for name, s := range map[string]topology.Spec{
		"a rank less":  edit(func(s *topology.Spec) { s.Places = s.Places[:2]; s.Paths = nil }),
		"host name":    edit(func(s *topology.Spec) { s.Places[2].Host = "c" }),
		"host":         edit(func(s *topology.Spec) { s.Places[1].Host = "c" }),
		"rack name":    edit(func(s *topology.Spec) { s.Places[2].Rack = "x" }),
		"site name":    edit(func(s *topology.Spec) { s.Places[2].Site = "x"; s.Paths[0].To = "x" }),
		"device name":  edit(func(s *topology.Spec) { s.Places[1].Device = "f" }),
		"device":       edit(func(s *topology.Spec) { s.Places[1].Device = "d" }),
		"no device":    edit(func(s *topology.Spec) { s.Places[0].Device = ""; s.Places[1].Device = "" }),
		"tier":         edit(func(s *topology.Spec) { s.Tiers[3].Beta = 9 }),
		"path":         edit(func(s *topology.Spec) { s.Paths[0].Alpha = 9 }),
		"path's way":   edit(func(s *topology.Spec) { s.Paths[0].From, s.Paths[0].To = "t", "s" }),
		"no path":      edit(func(s *topology.Spec) { s.Paths = nil }),
		"layers":       edit(func(s *topology.Spec) { s.Layers = []topology.Layer{{Span: topology.SpanWorld, Width: 1, Rate: 1}} }),
		"cores":        edit(func(s *topology.Spec) { s.Cores = 2 }),
		"reduce":       edit(func(s *topology.Spec) { s.Reduce = 2 }),
		"order of two": edit(func(s *topology.Spec) { s.Places[0], s.Places[1] = s.Places[1], s.Places[0] }),
	} {
		o := mustNew(t, s)
		if g.Equal(o) || o.Equal(g) || g.String() == o.String() {
			t.Errorf("%s: the graphs count as equal:\n%s\n%s", name, g, o)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.topology"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("topology v1\nranks 0-99 host a0/3%7 device d0/2%4 rack r0/3%7\ntier host 1 1\ntier site 1 1e-9 # x\n")
	f.Add("topology v1\nranks 0-3 host a999999998/1 rack 0/2\nranks 4 host x device 0\ntier rack 0 0\ntier site 0 0\n")
	f.Add("topology v1\npath a b 1 1\npath b a 0x1p-1074 1e308\nranks 0 host 1 site a\nranks 1 host 2 site b\n")
	f.Add("topology v1\nlayer host star 1 1e9 ports\nlayer world torus 2x2x2 5e10 ports\nranks 0-6 host a0/2\ntier host 1 1\ntier rack 1 1\n")
	f.Add("topology v1\nlayer socket/2 star 1 1e9\nlayer region/2 mesh 3 1e8\nlayer world rail 9 1 ports\nranks 0-6 host a\ntier host 1 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := topology.ParseLimit(strings.NewReader(text), 1<<12)
		if err != nil {
			var pe *topology.ParseError
			if !errors.As(err, &pe) || pe.Line < 1 || pe.Reason == "" || g != nil {
				t.Fatalf("Parse = %v, %#v, want a full ParseError", g, err)
			}
			return
		}
		canonical := g.String()
		back, err := topology.Parse(strings.NewReader(canonical))
		if err != nil {
			t.Fatalf("Parse of the canonical text: %v\n%s", err, canonical)
		}
		if !back.Equal(g) {
			t.Fatalf("the graph\n%s\ncame back as\n%s", canonical, back)
		}
		if n, err := g.Network(); err == nil {
			for r := range topology.Rank(min(g.Size(), 40)) {
				last := topology.Rank(g.Size() - 1)
				if route, ok := n.Route(nil, r, last, topology.Choice{Flow: int(r)}); ok {
					checkRoute(t, n, r, last, route)
				} else if len(g.Layers()) == 0 {
					t.Fatalf("no route from %d to %d by the wiring of the tiers", r, last)
				}
			}
		}
		if g.Sites() > 64 {
			return // the search for an order of sites takes longer than the fuzzer should wait
		}
		if order := g.RingOrder(); len(order) != g.Size() || order[0] != 0 {
			t.Fatalf("RingOrder has %d ranks and starts at %d, want %d and 0", len(order), order[0], g.Size())
		}
	})
}

func BenchmarkParse65536(b *testing.B) {
	for name, text := range map[string]string{
		"hosts=8192":  "topology v1\ntier host 1 1\ntier rack 1 1\nranks 0-65535 host h0/8\n",
		"hosts=65536": "topology v1\ntier rack 1 1\nranks 0-65535 host h0/1\n",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := topology.Parse(strings.NewReader(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkString65536(b *testing.B) {
	g, err := topology.Preset("llama3", 65536, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(g.String()) == 0 {
			b.Fatal("empty")
		}
	}
}
