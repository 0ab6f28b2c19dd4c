package sim

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/ringtree/ringtree/topology"
)

// Time is virtual time in picoseconds. Its range is 106 days.
type Time int64

// Units of Time.
const (
	Picosecond  Time = 1
	Nanosecond       = 1000 * Picosecond
	Microsecond      = 1000 * Nanosecond
	Millisecond      = 1000 * Microsecond
	Second           = 1000 * Millisecond
)

// Seconds returns t in seconds.
func (t Time) Seconds() float64 { return float64(t) / float64(Second) }

// Duration returns t to the nearest nanosecond.
func (t Time) Duration() time.Duration { return time.Duration((t + 500) / 1000) }

func (t Time) String() string {
	switch {
	case t < Microsecond:
		return fmt.Sprintf("%.3fns", float64(t)/float64(Nanosecond))
	case t < Millisecond:
		return fmt.Sprintf("%.3fµs", float64(t)/float64(Microsecond))
	case t < Second:
		return fmt.Sprintf("%.3fms", float64(t)/float64(Millisecond))
	}
	return fmt.Sprintf("%.3fs", t.Seconds())
}

// seconds turns seconds into Time, to the nearest picosecond. It fails for what is no time.
func seconds(s float64) (Time, bool) {
	ps := math.Round(s * 1e12)
	return Time(ps), ps >= 0 && ps < 1<<62
}

// A Cost is what messages of one class of links cost, in LogGPS terms (D. Culler et al., "LogP", PPoPP 1993; A. Alexandrov et
// al., "LogGP", SPAA 1995; F. Ino et al., "LogGPS", PPoPP 2001).
//
// A sender is busy for Overhead. Then, once the port is free, the message occupies it for Gap and for PerByte a byte; its
// last byte arrives Latency and PerByte a byte after it began to leave, or later if the receiver's port is busy with
// others. The receiver is busy for Overhead, and for the reduction where there is one.
//
// A message of more than Eager bytes first asks the receiver and leaves when that has come to its receive (LogGPS's S). Slices of one
// operation, and operations on as many chunks, which may be an element apart, all ask if the longest of them does.
type Cost struct {
	Latency  Time  // L
	Overhead Time  // o, at either end
	Gap      Time  // g
	PerByte  Rate  // G
	Eager    int64 // S; 0: no limit
	// Near says that messages use the rank's port inside the host, not its network card.
	Near bool
}

// port returns the port that messages use: 0 is the network's, 1 the one inside the host.
func (c *Cost) port() int {
	if c.Near {
		return 1
	}
	return 0
}

// A Rate is a time a byte, in units of 2⁻²⁰ ps.
type Rate int64

// perByte turns seconds a byte into a Rate.
func perByte(s float64) (Rate, bool) {
	x := math.Round(s * 1e12 * (1 << 20))
	return Rate(x), x >= 0 && x < 1<<62
}

// RateOf returns the Rate of so many picoseconds a byte.
func RateOf(ps float64) Rate { return Rate(math.Round(ps * (1 << 20))) }

// Of returns the time of so many bytes, to the nearest picosecond.
func (r Rate) Of(bytes int64) Time {
	hi, lo := bits.Mul64(uint64(r), uint64(bytes))
	lo, carry := bits.Add64(lo, 1<<19, 0)
	hi += carry
	if hi>>20 != 0 {
		return math.MaxInt64 / 4
	}
	return Time(min(hi<<44|lo>>20, math.MaxInt64/4))
}

// A ModelError is a cost that cannot be.
type ModelError struct{ Reason string }

func (e *ModelError) Error() string { return "sim: " + e.Reason }

// A model is what everything on a graph costs: one Cost for each distinct link.
type model struct {
	g       *topology.Graph
	classes []class
	index   map[topology.Link]uint8
	reduce  Rate
	copying Cost // of a local copy

	override func(topology.Link) Cost
}

type class struct {
	link topology.Link
	cost Cost
}

// newModel prices links as the planner does: Alpha is the latency of a message, [topology.Gap] of it the gap, Beta the time
// a byte. override, if not nil, has the last word.
func newModel(g *topology.Graph, override func(topology.Link) Cost) (*model, error) {
	m := &model{g: g, index: make(map[topology.Link]uint8), override: override}
	var ok bool
	if m.reduce, ok = perByte(g.Reduce()); !ok {
		return nil, &ModelError{fmt.Sprintf("a reduction of %g s a byte", g.Reduce())}
	}
	var err error
	if m.copying, err = linkCost(g.Tier(topology.Device)); err != nil {
		return nil, err
	}
	return m, nil
}

func linkCost(l topology.Link) (Cost, error) {
	alpha, okAlpha := seconds(l.Alpha)
	gap, _ := seconds(l.Alpha * topology.Gap)
	beta, okBeta := perByte(l.Beta)
	if !okAlpha || !okBeta {
		return Cost{}, &ModelError{fmt.Sprintf("a link of %g s and %g s a byte", l.Alpha, l.Beta)}
	}
	return Cost{Latency: alpha, Gap: gap, PerByte: beta, Near: l.Level <= topology.Host}, nil
}

// class returns the number of the class of a link.
func (m *model) class(l topology.Link) (uint8, error) {
	if c, ok := m.index[l]; ok {
		return c, nil
	}
	if len(m.classes) == maxClasses {
		return 0, errClasses
	}
	cost, err := linkCost(l)
	if err != nil {
		return 0, err
	}
	if m.override != nil {
		cost = m.override(l)
	}
	if cost.Latency < 0 || cost.Overhead < 0 || cost.Gap < 0 || cost.PerByte < 0 || cost.Eager < 0 {
		return 0, &ModelError{fmt.Sprintf("a negative cost: %+v", cost)}
	}
	c := uint8(len(m.classes))
	m.classes = append(m.classes, class{l, cost})
	m.index[l] = c
	return c, nil
}

// reduction returns the time of one reduction of width operands that came and the rank's own, of so many bytes each.
func (m *model) reduction(bytes int64, width int32) Time {
	return joint(m.reduce.Of(bytes), width)
}

// joint returns the time of a reduction of width operands that came and the rank's own, where that of two takes two: by topology.Nary,
// (n+1)/3 of it for n operands.
func joint(two Time, width int32) Time {
	if width == 1 {
		return two
	}
	return two * Time(width+2) / 3
}
