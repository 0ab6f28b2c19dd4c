package nccl

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ringtree/ringtree/topology"
)

// A GPU is a GPU of a host.
type GPU struct {
	Dev     int
	Compute int    // compute capability, such as 90
	BusID   string // such as "0000:19:00.0"
	NUMA    int
	NVLinks int     // links of all NVLink elements together
	PCI     float64 // bytes a second of its slot; 0: not known

	path []*Element // from the processor to the slot
}

// A NIC is a port of a network card.
type NIC struct {
	Name  string
	Dev   int
	Speed float64 // bytes a second
	NUMA  int

	path []*Element
}

// nvlinkRate is what NCCL counts a link of NVLink for, in bytes a second, by compute capability (src/graph/topo.h).
func nvlinkRate(compute int) float64 {
	switch {
	case compute >= 100:
		return 40.1e9
	case compute >= 90:
		return 20.6e9
	case compute == 86:
		return 12e9
	case compute >= 70:
		return 20e9
	}
	return 18e9
}

// pciRates are the bytes a second of a lane of PCI Express as NCCL counts them, 12 GB/s for 16 lanes of generation 3.
var pciRates = map[string]float64{"2.5": 0.1875e9, "5": 0.375e9, "8": 0.75e9, "16": 1.5e9, "32": 3e9, "64": 6e9}

func pciRate(slot *Element) float64 {
	speed, _, _ := strings.Cut(slot.Get("link_speed"), " ")
	lanes, err := strconv.Atoi(slot.Get("link_width"))
	if err != nil {
		return 0
	}
	return pciRates[strings.TrimSuffix(speed, ".0")] * float64(lanes)
}

func (s *System) walk(f func(e *Element, path []*Element)) {
	var visit func(e *Element, path []*Element)
	visit = func(e *Element, path []*Element) {
		f(e, path)
		for _, c := range e.Children {
			visit(c, append(path[:len(path):len(path)], e))
		}
	}
	visit(s.Root, nil)
}

// place returns the processor's number and what is between it and an element.
func place(path []*Element) (numa int, below []*Element) {
	for i, e := range path {
		if e.Name == "cpu" {
			numa, _ = strconv.Atoi(e.Get("numaid"))
			return numa, path[i:]
		}
	}
	return -1, path
}

// GPUs returns the GPUs by ascending Dev.
func (s *System) GPUs() []GPU {
	var out []GPU
	s.walk(func(e *Element, path []*Element) {
		if e.Name != "gpu" {
			return
		}
		slot := path[len(path)-1]
		g := GPU{BusID: slot.Get("busid"), PCI: pciRate(slot)}
		g.NUMA, g.path = place(path)
		g.Dev, _ = strconv.Atoi(e.Get("dev")) // Parse has checked the numbers
		g.Compute, _ = strconv.Atoi(e.Get("sm"))
		for _, c := range e.Children {
			if c.Name == "nvlink" {
				n, _ := strconv.Atoi(c.Get("count"))
				g.NVLinks += n
			}
		}
		out = append(out, g)
	})
	slices.SortFunc(out, func(a, b GPU) int { return cmp.Compare(a.Dev, b.Dev) })
	return out
}

// NICs returns the network ports by ascending Dev.
func (s *System) NICs() []NIC {
	var out []NIC
	s.walk(func(e *Element, path []*Element) {
		if e.Name != "net" {
			return
		}
		n := NIC{Name: e.Get("name")}
		n.Dev, _ = strconv.Atoi(e.Get("dev"))
		mbits, _ := strconv.Atoi(e.Get("speed"))
		n.Speed = float64(mbits) * 1e6 / 8
		n.NUMA, n.path = place(path[:len(path)-1]) // without the nic itself
		out = append(out, n)
	})
	slices.SortFunc(out, func(a, b NIC) int { return cmp.Compare(a.Dev, b.Dev) })
	return out
}

// A Distance is how far a GPU is from a NIC, in NCCL's classes. Lower is nearer.
type Distance uint8

// The distances: one PCI switch, several of them, the processor, another processor.
const (
	PIX Distance = iota
	PXB
	PHB
	SYS
)

func (d Distance) String() string {
	if d <= SYS {
		return [...]string{"PIX", "PXB", "PHB", "SYS"}[d]
	}
	return fmt.Sprintf("Distance(%d)", uint8(d))
}

// Distance returns how far a GPU is from a NIC of the same system.
func (s *System) Distance(g GPU, n NIC) Distance {
	common := 0
	for common < len(g.path) && common < len(n.path) && g.path[common] == n.path[common] {
		common++
	}
	switch {
	case common == 0:
		return SYS
	case common == 1:
		return PHB
	case len(g.path) <= common+1 && len(n.path) <= common+1:
		return PIX
	}
	return PXB
}

// Nearest returns the index, in NICs, of the NIC of each GPU: the nearest, and of equally near ones the one that fewest
// GPUs have yet. It is -1 where there is none.
func (s *System) Nearest() []int {
	nics := s.NICs()
	used := make([]int, len(nics))
	var out []int
	for _, g := range s.GPUs() {
		best := -1
		for i, n := range nics {
			if best < 0 || cmp.Or(cmp.Compare(s.Distance(g, n), s.Distance(g, nics[best])), cmp.Compare(used[i], used[best])) < 0 {
				best = i
			}
		}
		if best >= 0 {
			used[best]++
		}
		out = append(out, best)
	}
	return out
}

// Latencies of NCCL's model for LL (src/graph/tuning.cc), in seconds.
const (
	nvlinkAlpha = 0.6e-6
	pciAlpha    = 1e-6
	netAlpha    = 2.7e-6
)

// netEfficiency is the part of a NIC's rate that NCCL counts: 12 GB/s for 100 Gb/s.
const netEfficiency = 0.96

// socketRate is what NCCL counts between two processors of recent servers, in bytes a second.
const socketRate = 22e9

// Spec describes so many hosts of the system's kind, a rank a GPU, behind one switch: NVLink switches inside where every
// GPU has links, else PCI Express below each processor. With a NIC for every GPU each has a port of its own, on the rail of
// its NIC; otherwise the GPUs of a host share what its NICs have together, and sockets are not told apart. It fails with a [*SpecError] for a system without GPUs, more than
// one host without NICs, or no hosts.
func (s *System) Spec(hosts int) (topology.Spec, error) {
	gpus, nics := s.GPUs(), s.NICs()
	switch {
	case len(gpus) == 0:
		return topology.Spec{}, &SpecError{"no GPU"}
	case hosts < 1 || hosts > topology.MaxRanks/len(gpus):
		return topology.Spec{}, &SpecError{fmt.Sprintf("%d hosts of %d GPUs", hosts, len(gpus))}
	}
	spec := topology.Spec{
		Shape: topology.Shape{Ranks: hosts * len(gpus), PerHost: len(gpus)},
	}
	nvlink, slot := gpus[0].nvlinkRate(), gpus[0].PCI
	sockets := make(map[int]int)
	for _, g := range gpus {
		nvlink, slot = min(nvlink, g.nvlinkRate()), min(slot, g.PCI)
		sockets[g.NUMA]++
	}
	switch {
	case nvlink > 0:
		spec.Tiers = append(spec.Tiers, topology.Link{Level: topology.Host, Alpha: nvlinkAlpha, Beta: 1 / nvlink})
		spec.Layers = append(spec.Layers, topology.Layer{Span: topology.SpanHost, Wiring: topology.Star, Width: 1, Rate: nvlink, Ports: true})
	case slot > 0:
		rate := slot
		star := topology.Layer{Span: topology.SpanHost, Wiring: topology.Star, Width: 1, Rate: slot, Ports: true}
		if even := s.evenSockets(gpus, sockets); even > 0 && (hosts == 1 || len(nics) >= len(gpus)) {
			rate = min(rate, socketRate)
			star.Span, star.Count = topology.SpanSocket, even
			spec.Layers = append(spec.Layers, star, topology.Layer{Span: topology.SpanHost, Wiring: topology.Mesh, Width: 1, Rate: socketRate})
		} else {
			spec.Layers = append(spec.Layers, star)
		}
		spec.Tiers = append(spec.Tiers, topology.Link{Level: topology.Host, Alpha: pciAlpha, Beta: 1 / rate})
	default:
		return topology.Spec{}, &SpecError{"neither NVLink nor a PCI slot of known speed"}
	}
	if hosts == 1 {
		spec.Layers[len(spec.Layers)-1].Span = topology.SpanWorld
		return spec, nil
	}
	total, least := 0.0, 0.0
	for i, n := range nics {
		total += n.Speed * netEfficiency
		if i == 0 || n.Speed*netEfficiency < least {
			least = n.Speed * netEfficiency
		}
	}
	if least <= 0 {
		return topology.Spec{}, &SpecError{"no NIC of known speed to join hosts"}
	}
	net := topology.Layer{Span: topology.SpanWorld, Wiring: topology.Star, Width: 1, Rate: total}
	each := total / float64(len(gpus))
	if len(nics) >= len(gpus) {
		net = topology.Layer{Span: topology.SpanWorld, Wiring: topology.Rail, Width: len(gpus), Rate: least, Ports: true}
		each = least
	}
	spec.Layers = append(spec.Layers, net)
	spec.Tiers = append(spec.Tiers, topology.Link{Level: topology.Rack, Alpha: netAlpha, Beta: 1 / each})
	return spec, nil
}

func (g GPU) nvlinkRate() float64 { return float64(g.NVLinks) * nvlinkRate(g.Compute) }

// evenSockets returns how many GPUs each processor has, 0 unless there are several, all have as many, and the GPUs of one
// follow each other.
func (s *System) evenSockets(gpus []GPU, sockets map[int]int) int {
	per := len(gpus) / len(sockets)
	if len(sockets) < 2 || per*len(sockets) != len(gpus) {
		return 0
	}
	for i, g := range gpus {
		if g.NUMA != gpus[i/per*per].NUMA {
			return 0
		}
	}
	for _, k := range sockets {
		if k != per {
			return 0
		}
	}
	return per
}

// A SpecError says why a system cannot become a description of hosts.
type SpecError struct{ Reason string }

func (e *SpecError) Error() string { return "nccl: " + e.Reason }
