package topology

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Span says which ranks one group of a [Layer] joins.
type Span uint8

// The spans, smallest first. Each divides the next.
const (
	SpanSocket Span = iota // so many neighbouring ranks of a host
	SpanHost
	SpanRack
	SpanSite
	SpanRegion // so many neighbouring sites
	SpanWorld  // everybody
)

var spanNames = [...]string{"socket", "host", "rack", "site", "region", "world"}

func (s Span) String() string {
	if int(s) < len(spanNames) {
		return spanNames[s]
	}
	return fmt.Sprintf("Span(%d)", uint8(s))
}

// Level returns the tier that a wire of the span counts to.
func (s Span) Level() Level {
	switch s {
	case SpanSocket, SpanHost:
		return Host
	case SpanRack:
		return Rack
	case SpanSite:
		return Site
	}
	return World
}

// counted reports whether the span needs a number.
func (s Span) counted() bool { return s == SpanSocket || s == SpanRegion }

// A Wiring is how the members of a group are joined.
type Wiring uint8

// The wirings.
const (
	// Star: Width switches a group; every member is wired to each of them.
	Star Wiring = iota
	// Rail: Width switches a group; the rank of local index i of a host is wired to switch i mod Width alone.
	Rail
	// Mesh: no switches; Width parallel wires between every two members.
	Mesh
	// Torus: rank r is node r of a grid of Dims, wired to its neighbours in each dimension and around the ends.
	Torus
)

var wiringNames = [...]string{"star", "rail", "mesh", "torus"}

func (w Wiring) String() string {
	if int(w) < len(wiringNames) {
		return wiringNames[w]
	}
	return fmt.Sprintf("Wiring(%d)", uint8(w))
}

// A Layer is one layer of the wiring of a [Graph]: how the groups of its span are joined inside. Its members are the
// switches of the layer before it, or the ranks themselves where Ports is set and in the first layer. A message
// climbs from layer to layer as far as the first whose group has both of its ends; layers from the last one with Ports
// that is not above that.
type Layer struct {
	Span   Span
	Count  int // ranks of a socket, sites of a region; 0 for other spans
	Wiring Wiring
	Width  int     // switches of a group, parallel wires of a mesh; 0 for a torus
	Dims   [3]int  // of a torus
	Rate   float64 // bytes a second of each wire, each way
	Ports  bool    // ranks have ports of their own in this layer
}

// maxWidth bounds the switches of a group, so that products of a layer's sizes stay far inside an int64.
const maxWidth = 1 << 16

// maxRate stands for a wire that costs nothing to use.
const maxRate = 1e15

// badLayer returns what is wrong with layer i, or "".
func badLayer(layers []Layer, i int) string {
	l := layers[i]
	ports := l.Ports || i == 0
	switch {
	case int(l.Span) >= len(spanNames):
		return "not a span"
	case int(l.Wiring) >= len(wiringNames):
		return "not a wiring"
	case i > 0 && layers[i-1].Span >= l.Span:
		return fmt.Sprintf("stands after the layer of %v", layers[i-1].Span)
	case l.Span.counted() != (l.Count != 0) || l.Count < 0 || l.Count > MaxRanks:
		return fmt.Sprintf("has a count of %d", l.Count)
	case math.IsNaN(l.Rate) || l.Rate <= 0 || l.Rate > maxRate:
		return fmt.Sprintf("has a rate of %g bytes a second, which is not above 0 and at most %g", l.Rate, float64(maxRate))
	case l.Wiring == Torus:
		nodes := 1
		for _, d := range l.Dims {
			if d < 1 || d > MaxRanks/nodes {
				return fmt.Sprintf("has the dimensions %v", l.Dims)
			}
			nodes *= d
		}
		if l.Width != 0 || l.Span != SpanWorld || !ports {
			return "is a torus, which joins the ports of all ranks"
		}
	case l.Width < 1 || l.Width > maxWidth:
		return fmt.Sprintf("has a width of %d, which is not between 1 and %d", l.Width, maxWidth)
	case l.Dims != [3]int{}:
		return "has dimensions and is no torus"
	case l.Wiring == Rail && !ports:
		return "is a rail layer, which joins ports of ranks"
	case ports:
	case layers[i-1].Wiring == Mesh && l.Wiring == Star:
		return "is a star over a mesh, which has no switches"
	case layers[i-1].Wiring == Mesh && (i < 2 || layers[i-1].Ports || layers[i-2].Wiring != Star || layers[i-2].Width != 1):
		return "is a mesh over a mesh whose members are not single switches"
	case layers[i-1].Wiring == Rail && l.Wiring == Mesh:
		return "is a mesh over rails"
	}
	return ""
}

func checkLayers(layers []Layer) error {
	for i := range layers {
		if why := badLayer(layers, i); why != "" {
			return specErrorf(NoRank, "layer "+layers[i].Span.String(), "%s", why)
		}
	}
	if k := len(layers); k > 0 && layers[k-1].Span != SpanWorld {
		return specErrorf(NoRank, "layer "+layers[k-1].Span.String(), "is the last, which must be the layer of the world")
	}
	return nil
}

// appendLayer appends a line of the text form.
func appendLayer(b []byte, l Layer) []byte {
	b = append(b, "layer "...)
	b = append(b, l.Span.String()...)
	if l.Count != 0 {
		b = append(b, '/')
		b = strconv.AppendInt(b, int64(l.Count), 10)
	}
	b = append(b, ' ')
	b = append(b, l.Wiring.String()...)
	b = append(b, ' ')
	if l.Wiring == Torus {
		b = fmt.Appendf(b, "%dx%dx%d", l.Dims[0], l.Dims[1], l.Dims[2])
	} else {
		b = strconv.AppendInt(b, int64(l.Width), 10)
	}
	b = append(b, ' ')
	b = strconv.AppendFloat(b, l.Rate, 'g', -1, 64)
	if l.Ports {
		b = append(b, " ports"...)
	}
	return append(b, '\n')
}

func (l Layer) String() string { return strings.TrimSuffix(string(appendLayer(nil, l)), "\n") }

// layer reads a line of the text form.
func (p *parser) layer(w []word) error {
	if len(w) != 5 && (len(w) != 6 || w[5].text != "ports") {
		return p.fail(w[0].col, `"layer" takes a span, a wiring, a width, a rate and perhaps "ports"`)
	}
	l := Layer{Ports: len(w) == 6}
	name, count, counted := strings.Cut(w[1].text, "/")
	span, ok := indexOf(spanNames[:], name)
	if !ok {
		return p.fail(w[1].col, "%q is not one of %s", name, strings.Join(spanNames[:], ", "))
	}
	l.Span = Span(span)
	if counted {
		if l.Count, ok = parseInt(count); !ok || l.Count == 0 {
			return p.fail(w[1].col, "%q is not a number of members", count)
		}
	}
	wiring, ok := indexOf(wiringNames[:], w[2].text)
	if !ok {
		return p.fail(w[2].col, "%q is not one of %s", w[2].text, strings.Join(wiringNames[:], ", "))
	}
	l.Wiring = Wiring(wiring)
	if l.Wiring == Torus {
		dims := strings.Split(w[3].text, "x")
		if len(dims) != len(l.Dims) {
			return p.fail(w[3].col, "%q is not three dimensions such as 4x4x4", w[3].text)
		}
		for i, d := range dims {
			if l.Dims[i], ok = parseInt(d); !ok {
				return p.fail(w[3].col, "%q is not three dimensions such as 4x4x4", w[3].text)
			}
		}
	} else if l.Width, ok = parseInt(w[3].text); !ok {
		return p.fail(w[3].col, "%q is not a number of switches or wires", w[3].text)
	}
	if err := p.floats(w[4:5], &l.Rate); err != nil {
		return err
	}
	p.spec.Layers = append(p.spec.Layers, l)
	return p.once(w[1], "layer "+name)
}

func indexOf(names []string, name string) (int, bool) {
	for i, s := range names {
		if s == name {
			return i, true
		}
	}
	return 0, false
}

// defaultLayers are those of a graph that names none: every rank has a port of its own in every tier that the graph
// uses, at the rate of the tier, and nothing above it is shared, except that paths between sites are wires.
func (g *Graph) defaultLayers() []Layer {
	rate := func(l Level) float64 { return min(1/g.tiers[l].Beta, maxRate) }
	layers := []Layer{{Span: SpanHost, Wiring: Star, Width: 1, Rate: rate(Host), Ports: true}}
	if len(g.racks) < len(g.hosts) {
		layers = append(layers, Layer{Span: SpanRack, Wiring: Star, Width: 1, Rate: rate(Rack), Ports: true})
	}
	if len(g.sites) > 1 || len(g.racks) > 1 {
		layers = append(layers, Layer{Span: SpanSite, Wiring: Star, Width: 1, Rate: rate(Site), Ports: true})
	}
	switch {
	case len(g.paths) > 0:
		layers = append(layers, Layer{Span: SpanWorld, Wiring: Mesh, Width: 1, Rate: rate(World)})
	case len(g.sites) > 1:
		layers = append(layers, Layer{Span: SpanWorld, Wiring: Star, Width: 1, Rate: rate(World), Ports: true})
	default:
		layers[len(layers)-1].Span = SpanWorld
	}
	return layers
}

// Layers returns the layers of the graph's wiring, nearest first, or none where it has no other than what its tiers
// say: then [Graph.Network] gives every rank a port in every tier, at the tier's rate.
func (g *Graph) Layers() []Layer { return append([]Layer(nil), g.layers...) }
