package topology

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// A Fault is a part of a [Network] that is dead or slow.
type Fault struct {
	Node   NodeID // all wires of a node, where Wire is NoWire
	Wire   WireID // one direction of one link, or NoWire
	Factor float64
}

// NoWire is the Wire of a [Fault] that is a node's.
const NoWire WireID = -1

type faults struct {
	node map[NodeID]float64
	wire map[WireID]float64
}

// factor returns what part of its rate a wire has left.
func (f *faults) factor(w WireID, from, to NodeID) float64 {
	if f == nil {
		return 1
	}
	part := 1.0
	if v, ok := f.wire[w]; ok {
		part = v
	}
	for _, n := range [...]NodeID{from, to} {
		if v, ok := f.node[n]; ok {
			part *= v
		}
	}
	return part
}

// With returns the network with more faults. A Factor of 0 kills, one below 1 slows down; routes go around what is
// dead. It fails with a [*FaultError] where a fault names no node or wire or has another factor.
func (n *Network) With(list ...Fault) (*Network, error) {
	f := &faults{node: make(map[NodeID]float64), wire: make(map[WireID]float64)}
	if n.faults != nil {
		maps.Copy(f.node, n.faults.node)
		maps.Copy(f.wire, n.faults.wire)
	}
	for _, x := range list {
		switch {
		case !(x.Factor >= 0 && x.Factor < 1):
			return nil, &FaultError{fmt.Sprint(x.Factor), "not a factor between 0 and 1"}
		case x.Wire == NoWire && x.Node >= 0 && int(x.Node) < n.nodes:
			f.node[x.Node] = x.Factor
		case x.Wire >= 0 && int(x.Wire) < n.wires:
			f.wire[x.Wire] = x.Factor
		default:
			return nil, &FaultError{fmt.Sprintf("node %d, wire %d", x.Node, x.Wire), "not of the network"}
		}
	}
	out := *n
	out.faults = f
	return &out, nil
}

// A FaultError says why a fault is none of a network's.
type FaultError struct{ Fault, Reason string }

func (e *FaultError) Error() string { return fmt.Sprintf("topology: fault %q: %s", e.Fault, e.Reason) }

// NodeName names a node: "rank5", or, for a switch, its layer, group and number, such as "site0.3". The spare nodes
// of a torus are named by their place, such as "node70".
func (n *Network) NodeName(id NodeID) string {
	if id >= 0 && int(id) < len(n.g.host) {
		return "rank" + strconv.Itoa(int(id))
	}
	for i := len(n.layers) - 1; i >= 0; i-- {
		l := &n.layers[i]
		if k := int(id) - l.nodeBase; k >= 0 && l.Wiring != Mesh && int(id) < n.nodes {
			if l.Wiring == Torus {
				return "node" + strconv.Itoa(int(id))
			}
			return fmt.Sprintf("%v%d.%d", l.Span, k/l.Width, k%l.Width)
		}
	}
	return fmt.Sprintf("node%d", id)
}

// ParseNode is the inverse of [Network.NodeName]. It fails with a [*FaultError].
func (n *Network) ParseNode(s string) (NodeID, error) {
	if digits, ok := strings.CutPrefix(s, "rank"); ok {
		if r, ok := parseInt(digits); ok && r < len(n.g.host) {
			return NodeID(r), nil
		}
	}
	if digits, ok := strings.CutPrefix(s, "node"); ok {
		if r, ok := parseInt(digits); ok && r >= len(n.g.host) && r < n.nodes && n.NodeName(NodeID(r)) == s {
			return NodeID(r), nil
		}
	}
	for i := range n.layers {
		l := &n.layers[i]
		rest, ok := strings.CutPrefix(s, l.Span.String())
		if !ok || l.Wiring == Mesh || l.Wiring == Torus {
			continue
		}
		group, number, _ := strings.Cut(rest, ".")
		gr, ok1 := parseInt(group)
		k, ok2 := parseInt(number)
		if ok1 && ok2 && gr < l.groups && k < l.Width {
			return NodeID(l.nodeBase + gr*l.Width + k), nil
		}
	}
	return 0, &FaultError{s, "no such node; name one such as rank5, or switch 3 of site 0 as site0.3"}
}

// ParseFault reads a fault: the name of a node, or of two joined by wires such as "rank5-rack0.3" for both
// directions or "rank5>rack0.3" for one; then perhaps "*" and what part of the rate is left. It gives a Fault for
// each wire. It fails with a [*FaultError].
func (n *Network) ParseFault(s string) ([]Fault, error) {
	what, part, slow := strings.Cut(s, "*")
	factor := 0.0
	if slow {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || !(v >= 0 && v < 1) {
			return nil, &FaultError{s, strconv.Quote(part) + " is not a factor between 0 and 1"}
		}
		factor = v
	}
	cut := strings.IndexAny(what, "->")
	if cut < 0 {
		node, err := n.ParseNode(what)
		if err != nil {
			return nil, err
		}
		return []Fault{{Node: node, Wire: NoWire, Factor: factor}}, nil
	}
	a, err := n.ParseNode(what[:cut])
	if err != nil {
		return nil, err
	}
	b, err := n.ParseNode(what[cut+1:])
	if err != nil {
		return nil, err
	}
	var out []Fault
	for w := range WireID(n.wires) {
		x := n.Wire(w)
		if x.From == a && x.To == b || what[cut] == '-' && x.From == b && x.To == a {
			out = append(out, Fault{Wire: w, Factor: factor})
		}
	}
	if len(out) == 0 {
		return nil, &FaultError{s, "no wire joins the two"}
	}
	return out, nil
}
