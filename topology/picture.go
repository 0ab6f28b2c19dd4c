package topology

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// pictureMost is how many ranks, switches or groups of a kind a picture shows beside each other.
const pictureMost = 8

// levelColors of the picture are told apart also by readers who do not see red and green as others do (Okabe and Ito,
// 2008).
var levelColors = [levels]string{"#56b4e9", "#0072b2", "#009e73", "#e69f00", "#d55e00"}

// Picture returns a drawing of the network's layers as an SVG document: a row of boxes a layer, how many switches
// each group has, what joins them, and the rate and latency of a wire.
func (n *Network) Picture() string {
	const rowHeight, width, left = 92, 940, 250
	height := (len(n.layers)+1)*rowHeight + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	box := func(x, y, w int, color, text string) {
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="24" rx="4" fill="%s"/><text x="%d" y="%d" fill="white" text-anchor="middle" font-size="10">%s</text>`+"\n",
			x, y, w, color, x+w/2, y+16, html.EscapeString(text))
	}
	line := func(x1, y1, x2, y2 int, color string) {
		fmt.Fprintf(&b, `<path d="M%d %dL%d %d" stroke="%s" stroke-opacity="0.55"/>`+"\n", x1, y1, x2, y2, color)
	}
	text := func(x, y int, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", x, y, html.EscapeString(s))
	}
	// A row is drawn with up to pictureMost boxes, whose middles the next row's wires end at.
	row := func(y, count int, color string, name func(int) string) []int {
		shown := min(count, pictureMost)
		var middles []int
		step := (width - left - 20) / shown
		for k := range shown {
			s := name(k)
			if k == shown-1 && shown < count {
				s = "… " + name(count-1)
			}
			box(left+k*step, y, step-6, color, s)
			middles = append(middles, left+k*step+(step-6)/2)
		}
		return middles
	}
	y := height - rowHeight
	ranks := row(y, len(n.g.host), "#444444", func(k int) string { return n.NodeName(NodeID(k)) })
	text(12, y+10, strconv.Itoa(len(n.g.host))+" ranks, "+strconv.Itoa(len(n.g.hosts))+" hosts")
	text(12, y+26, strconv.Itoa(len(n.g.racks))+" racks, "+strconv.Itoa(len(n.g.sites))+" sites")
	below, belowY := ranks, y
	for i := range n.layers {
		l := &n.layers[i]
		y -= rowHeight
		color := levelColors[l.Span.Level()]
		from, fromY := below, belowY
		if l.Ports {
			from, fromY = ranks, height-rowHeight
		}
		var here []int
		switch l.Wiring {
		case Mesh, Torus:
			s := "each joined to every other"
			if l.Wiring == Torus {
				s = fmt.Sprintf("a torus of %d × %d × %d", l.Dims[0], l.Dims[1], l.Dims[2])
			}
			here = row(y, 1, color, func(int) string { return s })
		default:
			here = row(y, l.groups*l.Width, color, func(k int) string { return n.NodeName(NodeID(l.nodeBase + k)) })
		}
		for k, x1 := range from {
			for m, x2 := range here {
				if l.Wiring != Rail || m == k%len(here) {
					line(x1, fromY, x2, y+24, color)
				}
			}
		}
		text(12, y+2, fmt.Sprintf("%v: %d of %s", l.Span, l.groups, l.about()))
		text(12, y+18, fmt.Sprintf("wire: %.4g GB/s, %.3g µs", l.Rate/1e9, n.wireAlpha(i)*1e6))
		below, belowY = here, y
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (l *Layer) about() string {
	switch l.Wiring {
	case Star:
		return strconv.Itoa(l.Width) + " switches"
	case Rail:
		return strconv.Itoa(l.Width) + " rails"
	case Mesh:
		return "a mesh"
	}
	return "a torus"
}

// wireAlpha is the latency of one wire of a layer that joins two nodes.
func (n *Network) wireAlpha(i int) float64 {
	l := &n.layers[i]
	end := n.wires
	if i+1 < len(n.layers) {
		end = n.layers[i+1].wireBase
	}
	for w := l.wireBase; w < end; w++ {
		if x := n.Wire(WireID(w)); x.From != x.To {
			return x.Alpha
		}
	}
	return l.alpha
}
