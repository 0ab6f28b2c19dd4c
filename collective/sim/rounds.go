package sim

import "math"

// rounds are what a run by rounds has instead of a queue: the messages of a round share the wires of a network as if all of them began
// and ended together, so rates are worked out once a round and not once for every change. Times are not rounded to rounds: a message
// leaves when its sender is ready and its connection is free.
type rounds struct {
	events []event // of the next round
	spare  []event
	starts []int32 // transfers of this round
	held   []int32 // of the next one: their connections are busy until then
}

func (x *stepper) byRounds() {
	r := x.rounds
	done := 0
	for x.err == nil && (len(r.events) > 0 || len(r.held) > 0) {
		x.batch = r.events
		r.events = r.spare[:0]
		r.starts, r.held = append(r.starts[:0], r.held...), r.held[:0]
		if len(x.batch) > 0 {
			x.together()
		}
		r.spare = x.batch
		x.round()
		if done += len(x.batch); done > 1<<16 && x.cfg.progress != nil {
			done = 0
			x.cfg.progress(1 - float64(x.left)/float64(x.f.Steps()))
		}
	}
}

// round runs the transfers of a round.
func (x *stepper) round() {
	r, t := x.rounds, x.traffic
	for _, slot := range r.starts {
		if m := &t.transfers[slot]; m.bytes > 0 && (len(m.wires) > 0 || !math.IsInf(m.most, 1)) {
			t.add(slot)
		}
	}
	if len(t.active) > 0 {
		t.solve()
	}
	for _, slot := range r.starts {
		m := &t.transfers[slot]
		end := m.began
		if m.at >= 0 {
			m.left, m.since = float64(m.bytes), m.began
			end = m.ends()
			t.leave(m)
			m.at = -1
		}
		x.q.now = max(x.q.now, end)
		if next := x.deliver(slot, end); next >= 0 {
			after := &t.transfers[next]
			after.began = max(after.began, end+x.m.classes[m.e.class].cost.Gap)
			r.held = append(r.held, next)
		}
		t.free = append(t.free, slot)
	}
	t.active = t.active[:0]
}
