package schedule

import "github.com/ringtree/ringtree/topology"

// A Step is what a lane may do next: slice Slice of operations First..First+Width-1. Width is over 1 only
// for a joint reduction, whose operands are taken together.
type Step struct {
	First, Width, Slice int
}

// A Machine is the progress of one rank through a schedule. It holds counters only and decides only; whoever
// drives it says when a step has started and completed. It is not safe for concurrent use.
type Machine struct {
	s       Schedule
	r       topology.Rank
	slicing Slicing
	open    int // lanes that are not complete
	lanes   []laneState
}

// Slicing says into how many slices operations are cut, from the length of a schedule's longest chunk and the longest
// slice wanted, in any one unit. The count depends on how many chunks an operation covers and on nothing else, so both
// ends of a message agree on it.
type Slicing struct{ Chunk, Slice int64 }

// Count returns into how many slices, at least one, an operation over n chunks is cut.
func (z Slicing) Count(n uint32) int { return int(z.count(n)) }

// count is Count where an int may be too short for it.
func (z Slicing) count(n uint32) int64 {
	if z.Slice <= 0 || n == 0 || z.Chunk <= 0 {
		return 1
	}
	return (int64(n)*z.Chunk + z.Slice - 1) / z.Slice
}

// A cursor is a place in a lane: member of the unit [unit, unit+width), at one of its slices.
type cursor struct {
	unit, width, member, slice, slices int32
	joint                              bool
}

type laneState struct {
	start, done cursor
	// The operation under start, and a joint unit's After, which its members share.
	op Op
}

// NewMachine returns the machine of rank r before the first step.
func NewMachine(s Schedule, r topology.Rank, z Slicing) *Machine {
	m := new(Machine)
	m.Reset(s, r, z)
	return m
}

// Reset makes m the machine of rank r of s before the first step. It reuses m's memory.
func (m *Machine) Reset(s Schedule, r topology.Rank, z Slicing) {
	n := 2 * s.Channels()
	if cap(m.lanes) < n {
		m.lanes = make([]laneState, n)
	}
	m.s, m.r, m.slicing, m.lanes, m.open = s, r, z, m.lanes[:n], n
	for i := range m.lanes {
		ln := &m.lanes[i]
		*ln = laneState{}
		m.enter(&ln.start, Lane(i), 0)
		ln.done = ln.start
		m.load(ln, Lane(i))
		if ln.done.width == 0 {
			m.open--
		}
	}
}

// Slicing returns how operations are cut.
func (m *Machine) Slicing() Slicing { return m.slicing }

// Lanes returns the number of lanes; lanes are 0..Lanes()-1.
func (m *Machine) Lanes() int { return len(m.lanes) }

// Done reports whether every operation is complete.
func (m *Machine) Done() bool { return m.open == 0 }

// Finished reports whether every operation of the lane has started.
func (m *Machine) Finished(l Lane) bool { return m.lanes[l].start.width == 0 }

// Op returns operation i of a lane of this rank; i must be within the lane.
func (m *Machine) Op(l Lane, i int) Op {
	if ln := &m.lanes[l]; int32(i) == ln.start.unit+ln.start.member {
		return ln.op
	}
	op, _ := m.s.At(m.r, l, i)
	return op
}

// enter puts c at the unit that begins with operation i.
func (m *Machine) enter(c *cursor, l Lane, i int32) {
	w, joint := m.fuse(l, int(i))
	*c = cursor{unit: i, width: int32(w), joint: joint}
	if w > 0 {
		op, _ := m.s.At(m.r, l, int(i))
		c.slices = int32(m.slicing.Count(op.N))
	}
}

func (m *Machine) fuse(l Lane, i int) (int, bool) {
	if p, ok := m.s.(*Program); ok {
		return p.fuse(l, i)
	}
	return Fuse(m.s, m.r, l, i)
}

// advance moves c by one step and reports whether it came to the end of the lane.
func (m *Machine) advance(c *cursor, l Lane) (ended bool) {
	if !c.joint {
		if c.member++; c.member < c.width {
			return false
		}
		c.member = 0
	}
	if c.slice++; c.slice < c.slices {
		return false
	}
	m.enter(c, l, c.unit+c.width)
	return c.width == 0
}

func (m *Machine) load(ln *laneState, l Lane) {
	c := &ln.start
	if c.width == 0 {
		return
	}
	ln.op, _ = m.s.At(m.r, l, int(c.unit+c.member))
	resolve(&ln.op, m.s, m.r)
}

// resolve computes op.streams once.
func resolve(op *Op, s Schedule, r topology.Rank) {
	if op.streams != 0 {
		return
	}
	op.streams = -1
	if dl, di, ok := op.After.Get(); ok {
		if dep, ok := s.At(r, dl, di); ok && streams(op, &dep) {
			op.streams = 1
		}
	}
}

// Ready returns the next step of the lane; ok is false while it has to wait for another lane, and past the end.
func (m *Machine) Ready(l Lane) (st Step, ok bool) {
	ln := &m.lanes[l]
	c := &ln.start
	if c.width == 0 {
		return Step{}, false
	}
	if dl, di, has := ln.op.After.Get(); has && !m.passed(dl, int32(di), c.slice, ln.op.streams > 0) {
		return Step{}, false
	}
	st = Step{First: int(c.unit + c.member), Width: 1, Slice: int(c.slice)}
	if c.joint {
		st.Width = int(c.width)
	}
	return st, true
}

// Over returns how many operations of the lane, from the first, are complete.
func (m *Machine) Over(l Lane) int { return int(m.lanes[l].done.unit) }

// passed reports whether operation i of a lane is complete, or, for one that streams, its slice.
func (m *Machine) passed(l Lane, i, slice int32, stream bool) bool {
	c := &m.lanes[l].done
	switch {
	case c.width == 0 || i < c.unit:
		return true
	case !stream || i >= c.unit+c.width:
		return false
	}
	done := c.slice
	if !c.joint && i-c.unit < c.member {
		done++
	}
	return done > slice
}

// Start says that the step which Ready returned has begun; the lane may go on to the next. It panics past the end of the
// lane.
func (m *Machine) Start(l Lane) {
	ln := &m.lanes[l]
	if ln.start.width == 0 {
		panic("schedule: Start past the end of a lane")
	}
	m.advance(&ln.start, l)
	m.load(ln, l)
}

// Complete says that the oldest started step of the lane has finished: for a send, that its data may be
// overwritten. It panics when no step has started and is not complete.
func (m *Machine) Complete(l Lane) {
	ln := &m.lanes[l]
	if ln.done.width == 0 || ln.done == ln.start {
		panic("schedule: Complete without Start")
	}
	if m.advance(&ln.done, l) {
		m.open--
	}
}

// Oldest returns the oldest step of the lane that has started and is not complete.
func (m *Machine) Oldest(l Lane) (st Step, ok bool) {
	ln := &m.lanes[l]
	c := &ln.done
	if c.width == 0 || *c == ln.start {
		return Step{}, false
	}
	st = Step{First: int(c.unit + c.member), Width: 1, Slice: int(c.slice)}
	if c.joint {
		st.Width = int(c.width)
	}
	return st, true
}
