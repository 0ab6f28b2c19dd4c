package nccl_test

import (
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/nccl"
)

func read(t testing.TB, file string) (string, *nccl.System) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := nccl.Parse(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n"), s
}

// A file comes back byte for byte.
func TestRoundTrip(t *testing.T) {
	for _, file := range []string{"nvlink.xml", "pcie.xml"} {
		want, s := read(t, file)
		got, err := s.MarshalText()
		if err != nil || string(got) != want {
			t.Errorf("%s came back as\n%s (%v)", file, got, err)
		}
	}
}

func TestDevices(t *testing.T) {
	_, s := read(t, "nvlink.xml")
	gpus, nics := s.GPUs(), s.NICs()
	if len(gpus) != 8 || len(nics) != 8 {
		t.Fatalf("%d GPUs, %d NICs, want 8 and 8", len(gpus), len(nics))
	}
	g := gpus[5]
	if g.Dev != 5 || g.Compute != 90 || g.NVLinks != 18 || g.NUMA != 1 || g.BusID != "0000:61:00.0" || g.PCI != 48e9 {
		t.Errorf("GPU 5 is %+v", g)
	}
	if n := nics[2]; n.Name != "mlx5_2" || n.Speed != 50e9 || n.NUMA != 0 {
		t.Errorf("NIC 2 is %+v", n)
	}
	for _, c := range []struct {
		gpu, nic int
		want     nccl.Distance
	}{{0, 0, nccl.PIX}, {0, 1, nccl.PHB}, {0, 4, nccl.SYS}, {7, 7, nccl.PIX}} {
		if got := s.Distance(gpus[c.gpu], nics[c.nic]); got != c.want {
			t.Errorf("GPU %d is %v from NIC %d, want %v", c.gpu, got, c.nic, c.want)
		}
	}
	if got := fmt.Sprint(s.Nearest()); got != "[0 1 2 3 4 5 6 7]" {
		t.Errorf("the nearest NICs are %v", got)
	}
	_, p := read(t, "pcie.xml")
	if got := fmt.Sprint(p.Nearest(), p.Distance(p.GPUs()[3], p.NICs()[0]), nccl.Distance(9)); got != "[0 0 0 0] PHB Distance(9)" {
		t.Errorf("of one NIC: %v", got)
	}
}

// The two switches of a deeper tree.
func TestPXB(t *testing.T) {
	s, err := nccl.Parse(strings.NewReader(`<system version="1"><cpu numaid="0"><pci busid="1"><pci busid="2"><pci busid="3"><gpu dev="0" sm="80"/></pci></pci>
		<pci busid="4"><nic><net name="n" dev="0" speed="100000"/></nic></pci></pci></cpu></system>`))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Distance(s.GPUs()[0], s.NICs()[0]); got != nccl.PXB {
		t.Errorf("got %v, want PXB", got)
	}
}

func TestSpec(t *testing.T) {
	for _, c := range []struct {
		file  string
		hosts int
		host  float64 // GB/s of the tier
		rack  float64
		path  string // from rank 0 to the last
	}{
		{"nvlink.xml", 1, 370.8, 370.8, "world0.0 rank7"},
		{"nvlink.xml", 4, 370.8, 48, "host0.0 rank7 world0.7 rank31"},
		{"pcie.xml", 1, 22, 22, "socket0.0 socket1.0 rank3"},
		{"pcie.xml", 2, 24, 0.75, "host0.0 world0.0 host1.0 rank7"},
	} {
		_, s := read(t, c.file)
		spec, err := s.Spec(c.hosts)
		if err != nil {
			t.Fatal(err)
		}
		g, err := topology.New(spec)
		if err != nil {
			t.Errorf("%s, %d hosts: %v", c.file, c.hosts, err)
			continue
		}
		near := func(l topology.Level, gbs float64) {
			if got := 1 / g.Tier(l).Beta / 1e9; math.Abs(got/gbs-1) > 1e-9 {
				t.Errorf("%s, %d hosts: %v has %g GB/s, want %g", c.file, c.hosts, l, got, gbs)
			}
		}
		near(topology.Host, c.host)
		near(topology.Rack, c.rack)
		n, err := g.Network()
		if err != nil {
			t.Fatal(err)
		}
		route, ok := n.Route(nil, 0, topology.Rank(g.Size()-1), topology.Choice{})
		path := ""
		for _, w := range route {
			path += " " + n.NodeName(n.Wire(w).To)
		}
		if !ok || path != " "+c.path {
			t.Errorf("%s, %d hosts: the way is%s, want %s", c.file, c.hosts, path, c.path)
		}
	}
}

func TestSpecErrors(t *testing.T) {
	for text, hosts := range map[string]int{
		`<system version="1"/>`: 1,
		`<system version="1"><cpu numaid="0"><pci busid="1"><gpu dev="0" sm="80"/></pci></cpu></system>`:                                                              1,
		`<system version="1"><cpu numaid="0"><pci busid="1" link_speed="16.0 GT/s PCIe" link_width="16"><gpu dev="0" sm="80"/></pci></cpu></system>`:                  2,
		`<system version="1"><cpu numaid="0"><pci busid="1" link_speed="16.0 GT/s PCIe" link_width="16"><gpu dev="0" sm="80"/></pci></cpu></system><!-- no hosts -->`: 0,
	} {
		s, err := nccl.Parse(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var se *nccl.SpecError
		if spec, err := s.Spec(hosts); !errors.As(err, &se) {
			t.Errorf("%s: %+v, %v, want a SpecError", text, spec, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	good, _ := read(t, "pcie.xml")
	for name, text := range map[string]string{
		"nothing":     "",
		"no XML":      "<system",
		"other":       "<graphs/>",
		"two systems": good + good,
		"element":     strings.Replace(good, `<gpu dev="0" sm="86" rank="0" gdr="0"/>`, `<disk/>`, 1),
		"place":       strings.Replace(good, `<gpu dev="0" sm="86" rank="0" gdr="0"/>`, `<cpu numaid="7"/>`, 1),
		"missing":     strings.Replace(good, ` dev="0"`, "", 1),
		"number":      strings.Replace(good, `dev="0"`, `dev="x"`, 1),
		"negative":    strings.Replace(good, `dev="0"`, `dev="-1"`, 1),
		"twice":       strings.Replace(good, `dev="1"`, `dev="0"`, 1),
		"bus twice":   strings.Replace(good, `0000:40:00.0`, `0000:20:00.0`, 1),
		"text":        strings.Replace(good, `<nic>`, `<nic>x`, 1),
		"attribute":   strings.Replace(good, `dev="0"`, `dev="0" dev="0"`, 1),
		"space":       strings.Replace(good, `dev="0"`, `x:dev="0"`, 1),
		"long":        strings.Repeat(" ", 5<<20),
		"deep":        `<system version="1"><cpu numaid="0">` + deep(70) + `</cpu></system>`,
	} {
		s, err := nccl.Parse(strings.NewReader(text))
		var pe *nccl.ParseError
		if !errors.As(err, &pe) || s != nil || pe.Line < 1 || !strings.Contains(err.Error(), pe.Reason) {
			t.Errorf("%s: %v, %v, want a ParseError", name, s, err)
		}
	}
}

func deep(n int) string {
	open, shut := "", ""
	for i := range n {
		open += fmt.Sprintf(`<pci busid="%d">`, i)
		shut += "</pci>"
	}
	return open + shut
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"nvlink.xml", "pcie.xml"} {
		text, _ := read(f, file)
		f.Add(text)
	}
	f.Add(`<system version="&lt;&#34;"><cpu numaid="-1"/><!-- x --></system>`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := nccl.Parse(strings.NewReader(text))
		if err != nil {
			var pe *nccl.ParseError
			if !errors.As(err, &pe) || s != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			return
		}
		first, _ := s.MarshalText()
		back, err := nccl.Parse(strings.NewReader(string(first)))
		if err != nil {
			t.Fatalf("%v of\n%s", err, first)
		}
		if again, _ := back.MarshalText(); string(again) != string(first) {
			t.Fatalf("\n%s\ncame back as\n%s", first, again)
		}
		s.Nearest()
		if spec, err := s.Spec(2); err == nil {
			if _, err := topology.New(spec); err != nil {
				t.Fatalf("%+v: %v", spec, err)
			}
		}
	})
}

func Example() {
	f, err := os.Open("testdata/nvlink.xml")
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	host, err := nccl.Parse(f)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(host.GPUs()), "GPUs,", len(host.NICs()), "NICs")
	spec, err := host.Spec(16)
	if err != nil {
		log.Fatal(err)
	}
	g, err := topology.New(spec)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Size(), "ranks;", spec.Layers[1])
	// Output:
	// 8 GPUs, 8 NICs
	// 128 ranks; layer world rail 8 4.8e+10 ports
}
