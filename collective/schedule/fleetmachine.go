package schedule

// A FleetMachine is the machine of one rank of a [Fleet], looked up once for all that is asked of it. It is no copy.
type FleetMachine struct {
	lanes []LaneCode
	at    []laneAt
	first uint32 // of its entries
}

// Machine returns the machine of rank r.
func (f *Fleet) Machine(r int32) FleetMachine {
	at := int(r) * f.lanes
	return FleetMachine{f.programs[f.which[r]].lanes, f.at[at : at+f.lanes], f.first[r]}
}

// Lane returns the code of a lane and the number of its first entry.
func (m *FleetMachine) Lane(l Lane) (*LaneCode, uint32) {
	lc := &m.lanes[l]
	return lc, m.first + lc.First
}

// Lane returns the code of a lane of rank r and the number of its first entry.
func (f *Fleet) Lane(r int32, l Lane) (*LaneCode, uint32) {
	lc := &f.programs[f.which[r]].lanes[l]
	return lc, f.first[r] + lc.First
}

// A FleetStep is what a lane may do next. Code is the number of the code of its first operation in the lane, Op which
// operation of that code's run, Slice which slice of it. A joint reduction takes Width codes together.
type FleetStep struct {
	Code, Op, Slice, Width int32
}

// Next returns the step that the lane is at, whether or not it may run; ok is false past the end.
func (m *FleetMachine) Next(l Lane) (st FleetStep, c *Code, ok bool) {
	at := &m.at[l]
	codes := m.lanes[l].Codes
	if int(at.start) >= len(codes) {
		return st, nil, false
	}
	c = &codes[at.start]
	if c.Width == 1 && c.Slices == 1 {
		return FleetStep{at.start, at.startTick, 0, 1}, c, true
	}
	st = c.step(at.start, at.startTick)
	if st.Code != at.start {
		c = &codes[st.Code]
	}
	return st, c, true
}

// step turns a tick of the unit at code i into a step.
func (c *Code) step(i, tick int32) FleetStep {
	switch {
	case c.Width == 1:
		k := tick / c.Slices
		return FleetStep{i, k, tick - k*c.Slices, 1}
	case c.Joint:
		return FleetStep{i, 0, tick, c.Width}
	}
	k := tick / c.Width
	return FleetStep{i + tick - k*c.Width, 0, k, 1}
}

// Ready returns the next step of a lane, as [Machine.Ready] does.
func (m *FleetMachine) Ready(l Lane) (st FleetStep, c *Code, ok bool) {
	if st, c, ok = m.Next(l); ok && c.wait >= 0 {
		dl, di, _ := c.After(st.Op)
		ok = m.passed(dl, di, st.Slice, c.Streams)
	}
	return st, c, ok
}

// passed reports whether operation i of a lane is complete, or, for one that streams, its slice.
func (m *FleetMachine) passed(l Lane, i, slice int32, stream bool) bool {
	at := &m.at[l]
	codes := m.lanes[l].Codes
	if int(at.done) >= len(codes) {
		return true
	}
	c := &codes[at.done]
	k := i - c.Index
	if k < 0 {
		return true
	}
	if c.Width > 1 {
		switch {
		case !stream || k >= c.Width:
			return false
		case c.Joint:
			return at.doneTick > slice
		}
		done := at.doneTick / c.Width
		if k < at.doneTick-done*c.Width {
			done++
		}
		return done > slice
	}
	if c.Slices == 1 {
		return k < at.doneTick
	}
	op := at.doneTick / c.Slices
	return k < op || k == op && stream && at.doneTick-op*c.Slices > slice
}

// advance moves a place in a lane by one step.
func advance(codes []Code, code, tick *int32) {
	c := &codes[*code]
	if *tick++; *tick == c.ticks {
		*tick = 0
		if c.Width > 1 {
			*code += c.Width
		} else {
			*code++
		}
	}
}

// Start says that the step which Ready returned has begun, as [Machine.Start] does.
func (m *FleetMachine) Start(l Lane) {
	at := &m.at[l]
	advance(m.lanes[l].Codes, &at.start, &at.startTick)
}

// Complete says that the oldest started step of the lane has finished, as [Machine.Complete] does.
func (m *FleetMachine) Complete(l Lane) {
	at := &m.at[l]
	if at.done == at.start && at.doneTick == at.startTick {
		panic("schedule: Complete without Start")
	}
	advance(m.lanes[l].Codes, &at.done, &at.doneTick)
}

// Pass is Start and Complete in one, for a lane in which nothing has started that is not complete.
func (m *FleetMachine) Pass(l Lane) {
	at := &m.at[l]
	advance(m.lanes[l].Codes, &at.start, &at.startTick)
	at.done, at.doneTick = at.start, at.startTick
}

// Oldest returns the oldest step of the lane that has started and is not complete.
func (m *FleetMachine) Oldest(l Lane) (st FleetStep, ok bool) {
	at := &m.at[l]
	if at.done == at.start && at.doneTick == at.startTick {
		return st, false
	}
	return m.lanes[l].Codes[at.done].step(at.done, at.doneTick), true
}

// Ended reports whether every step of the lane is complete.
func (m *FleetMachine) Ended(l Lane) bool { return int(m.at[l].done) >= len(m.lanes[l].Codes) }
