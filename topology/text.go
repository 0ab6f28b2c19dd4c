package topology

import "strconv"

const header = "topology v1"

// AppendText appends the text form of g, which is the same for equal graphs, to b. The error is always nil.
func (g *Graph) AppendText(b []byte) ([]byte, error) {
	b = append(b, header+"\n"...)
	if g.cores != 0 {
		b = append(b, "cores "...)
		b = strconv.AppendInt(b, int64(g.cores), 10)
		b = append(b, '\n')
	}
	if g.reduce != 0 {
		b = append(b, "reduce"...)
		b = appendFloats(b, g.reduce)
	}
	for _, t := range g.tiers {
		b = append(b, "tier "...)
		b = append(b, t.Level.String()...)
		b = appendFloats(b, t.Alpha, t.Beta)
	}
	for p := range g.Paths() {
		b = append(b, "path "...)
		b = append(b, p.From...)
		b = append(b, ' ')
		b = append(b, p.To...)
		b = appendFloats(b, p.Alpha, p.Beta)
	}
	for _, l := range g.layers {
		b = appendLayer(b, l)
	}
	return g.appendRanks(b), nil
}

// MarshalText returns the text form of g. The error is always nil. A Graph is immutable, so there is no
// UnmarshalText: the inverse is [Parse].
func (g *Graph) MarshalText() ([]byte, error) { return g.AppendText(nil) }

// String returns the text form of g.
func (g *Graph) String() string {
	b, _ := g.AppendText(nil)
	return string(b)
}

// appendFloats ends a line with the given numbers.
func appendFloats(b []byte, v ...float64) []byte {
	for _, f := range v {
		b = append(b, ' ')
		b = strconv.AppendFloat(b, f, 'g', -1, 64)
	}
	return append(b, '\n')
}
