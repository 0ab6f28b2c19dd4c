// Package interop writes schedules in the formats of other tools, and reads some of them back.
//
//	WriteGOAL, ReadGOAL     GOAL text, of LogGOPSim and ATLAHS
//	WriteMSCCL, ReadMSCCL   the XML of Microsoft's MSCCL
//	WriteChakra             execution traces of MLCommons Chakra, for ASTRA-sim and others
//
// What is read is a schedule like any other: [schedule.Verify] says whether it does what it should, and the engine and the
// simulator run it.
//
// Sizes are not part of a schedule, so the formats that have them need a [Vector]. All of them list every operation of every
// rank: a ring over n ranks has 4n(n-1) of them.
package interop

import (
	"fmt"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A Vector is what a schedule runs over.
type Vector struct {
	Length  int // elements
	Element int // bytes of an element
	// Reduce is the time of reducing a byte in nanoseconds; 0 leaves reductions out.
	Reduce float64
}

func (v Vector) check() error {
	if v.Length < 0 || v.Element < 1 || int64(v.Length) > 1<<62/int64(v.Element) || !(v.Reduce >= 0 && v.Reduce <= 1e9) {
		return &FormatError{Reason: fmt.Sprintf("a vector of %d elements of %d bytes, reduced in %g ns a byte", v.Length, v.Element, v.Reduce)}
	}
	return nil
}

// bytes returns the bytes of the chunks that an operation covers.
func (v Vector) bytes(l schedule.Layout, op *schedule.Op) int64 {
	c := op.Src
	if op.Kind == schedule.Recv {
		c = op.Dst
	}
	lo, hi := l.Range(v.Length, c.Index(), int(op.N))
	return int64(hi-lo) * int64(v.Element)
}

// A FormatError says where a text is not what it should be, or what cannot be written.
type FormatError struct {
	Line   int // counted from 1; 0: no one line
	Reason string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return "interop: " + e.Reason
	}
	return fmt.Sprintf("interop: line %d: %s", e.Line, e.Reason)
}

// A Listing is a schedule that is written out, operation by operation.
type Listing struct {
	channels int
	layout   schedule.Layout
	ops      [][][]schedule.Op // by rank and lane
}

var _ schedule.Schedule = (*Listing)(nil)

// Ranks returns the size of the group.
func (x *Listing) Ranks() int { return len(x.ops) }

// Channels returns how many channels there are.
func (x *Listing) Channels() int { return x.channels }

// Layout returns how the vector is cut.
func (x *Listing) Layout() schedule.Layout { return x.layout }

// At returns operation i of a lane.
func (x *Listing) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if ops := x.ops[r][l]; uint(i) < uint(len(ops)) {
		return ops[i], true
	}
	return schedule.Op{}, false
}

func newListing(ranks, channels int, layout schedule.Layout) *Listing {
	x := &Listing{channels: channels, layout: layout, ops: make([][][]schedule.Op, ranks)}
	for r := range x.ops {
		x.ops[r] = make([][]schedule.Op, 2*channels)
	}
	return x
}

// Limits of what is read, so that a short text cannot ask for much memory.
const (
	maxRanks    = 1 << 16
	maxChannels = 1 << 10
	maxChunks   = 1 << 24
	maxOps      = 1 << 24
	maxText     = 1 << 30
)

// each calls f for every operation of a lane.
func each(s schedule.Schedule, r topology.Rank, l schedule.Lane, f func(i int, op schedule.Op)) {
	for i := 0; ; i++ {
		op, ok := s.At(r, l, i)
		if !ok {
			return
		}
		f(i, op)
	}
}

// layoutFor is the layout of so many chunks for a collective.
func layoutFor(want schedule.Contract, ranks, chunks int) (schedule.Layout, error) {
	if want.Collective.ByRank() {
		if chunks%ranks != 0 {
			return schedule.Layout{}, &FormatError{Reason: fmt.Sprintf("%d chunks for %d ranks", chunks, ranks)}
		}
		return schedule.Layout{Blocks: ranks, Pieces: chunks / ranks}, nil
	}
	return schedule.Layout{Blocks: chunks, Pieces: 1}, nil
}
