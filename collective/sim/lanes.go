package sim

import "github.com/ringtree/ringtree/collective/schedule"

// wake runs a lane as far as it goes, and those that wait for it.
func (x *stepper) wake(r int32, l schedule.Lane) {
	m := x.f.Machine(r)
	stack := append(x.stack[:0], l)
	for len(stack) > 0 && x.err == nil {
		l := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		lc, base := m.Lane(l)
		moved, more := x.advance(&m, r, l, lc, base)
		if more {
			stack = append(stack, l)
		}
		if moved {
			for i := len(lc.Wakes) - 1; i >= 0; i-- {
				if lc.Wakes[i] != l {
					stack = append(stack, lc.Wakes[i])
				}
			}
		}
	}
	x.stack = stack
}

// advance runs a lane as far as it goes, or up to a receive that others wait for: first comes what that makes possible. It reports
// whether a step was run, and whether the lane is to be asked again.
func (x *stepper) advance(m *schedule.FleetMachine, r int32, l schedule.Lane, lc *schedule.LaneCode, base uint32) (moved, more bool) {
	for x.err == nil {
		st, c, ok := m.Ready(l)
		if !ok {
			break
		}
		entry := base + uint32(st.Code)
		switch c.Kind {
		case schedule.Send:
			x.send(m, r, l, st, c, entry)
		case schedule.Copy:
			a := &x.actors[r]
			a.cpu += x.slowed(r, x.m.copying.Latency+x.m.copying.PerByte.Of(x.size.of(x.f, r, l, c, entry, st.Op, st.Slice)))
			a.end = max(a.end, a.cpu)
			m.Start(l)
			x.complete(m, l)
		default:
			if !x.receive(m, r, l, st, c, entry) {
				return moved, false
			}
			if len(lc.Wakes) > 0 {
				return true, true
			}
		}
		moved = true
	}
	return moved, false
}

// complete completes what is over of the steps that a lane has started: the oldest of them, in order, that wait for nobody, or whose
// slices have been taken.
func (x *stepper) complete(m *schedule.FleetMachine, l schedule.Lane) {
	lc, base := m.Lane(l)
	for {
		st, ok := m.Oldest(l)
		if !ok {
			return
		}
		c := &lc.Codes[st.Code]
		if l.In() || len(lc.Wakes) == 0 || c.Eager || c.Kind == schedule.Copy ||
			x.arrived[base+uint32(st.Code)] > uint32(st.Op*c.Slices+st.Slice) {
			m.Complete(l)
			x.left--
			continue
		}
		return
	}
}

// receive tries to take a slice, of one peer or of all of a joint reduction.
func (x *stepper) receive(m *schedule.FleetMachine, r int32, l schedule.Lane, st schedule.FleetStep, c *schedule.Code, entry uint32) bool {
	tick := uint32(st.Op*c.Slices + st.Slice)
	var cost Time
	if st.Width == 1 {
		if x.arrived[entry] <= tick {
			if x.asked != nil {
				x.grant(r, l, entry, tick)
			}
			return false
		}
		cost = x.costs[x.class[entry]].Overhead
	} else {
		if !x.allThere(r, l, st, entry, tick) {
			return false
		}
		for i := range st.Width {
			cost += x.costs[x.class[entry+uint32(i)]].Overhead
		}
	}
	if c.Kind == schedule.RecvReduce {
		cost += x.m.reduction(x.size.of(x.f, r, l, c, entry, st.Op, st.Slice), st.Width)
	}
	if x.cfg.slow != nil {
		cost = x.slowed(r, cost)
	}
	a := &x.actors[r]
	a.cpu += cost
	a.end = max(a.end, a.cpu)
	m.Pass(l)
	x.left--
	for i := range st.Width {
		x.release(m, l, entry+uint32(i), st.Op, a.cpu)
	}
	return true
}

// allThere reports whether the slices of all members of a joint reduction have come.
func (x *stepper) allThere(r int32, l schedule.Lane, st schedule.FleetStep, entry, tick uint32) bool {
	seen := &x.joint[int(r)*x.lanes+int(l)]
	for ; *seen < st.Width; *seen++ {
		if x.arrived[entry+uint32(*seen)] <= tick {
			for i := *seen; x.asked != nil && i < st.Width; i++ {
				x.grant(r, l, entry+uint32(i), tick)
			}
			return false
		}
	}
	*seen = 0
	return true
}

// release tells the sender of a slice of operation k of an entry that it has been taken.
func (x *stepper) release(m *schedule.FleetMachine, l schedule.Lane, entry uint32, k int32, at Time) {
	peer := x.f.Peer(entry)
	lc, base := x.f.Lane(peer, l.Opposite())
	if len(lc.Wakes) == 0 { // nobody waits for its sends
		s := &x.actors[peer]
		s.end = max(s.end, at)
		return
	}
	own, first := m.Lane(l)
	if code, _, ok := lc.Find(own.Codes[entry-first].Match + k); ok && !lc.Codes[code].Eager {
		x.push(&event{at: at, rank: peer, entry: base + uint32(code), lane: uint16(l.Opposite()), kind: taken, rec: -1})
	}
}
