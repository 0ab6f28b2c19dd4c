package sim

import (
	"fmt"
	"strings"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A ScheduleError is an operation that cannot be simulated because its partner is not there.
type ScheduleError struct {
	Rank   topology.Rank
	Lane   schedule.Lane
	Index  int
	Reason string
}

func (e *ScheduleError) Error() string {
	return fmt.Sprintf("sim: rank %d %v op %d: %s", e.Rank, e.Lane, e.Index, e.Reason)
}

// A Wait is a lane that does not go on.
type Wait struct {
	Rank   topology.Rank
	Lane   schedule.Lane
	Index  int
	Slice  int
	Kind   schedule.Kind
	On     topology.Rank // whose doing it waits for
	OnLane schedule.Lane
	OnOp   int
	Reason string
}

func (w Wait) String() string {
	return fmt.Sprintf("rank %d %v op %d slice %d (%v) %s", w.Rank, w.Lane, w.Index, w.Slice, w.Kind, w.Reason)
}

// A StuckError is a simulation that came to a stop before its end: every rank waits.
type StuckError struct {
	At    Time
	Ranks int   // how many ranks are not done
	Left  int64 // steps that are not done
	Lost  int64 // messages that were lost on dead links
	// Waits is a chain of waits; each waits for the next. Cycle says that the last waits for the first.
	Waits []Wait
	Cycle bool
}

func (e *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sim: stuck at %v with %d ranks and %d steps to go", e.At, e.Ranks, e.Left)
	if e.Lost > 0 {
		fmt.Fprintf(&b, ", %d messages lost", e.Lost)
	}
	if e.Cycle {
		b.WriteString("; a cycle of waits")
	}
	for i, w := range e.Waits {
		if hidden := len(e.Waits) - 8; hidden > 1 && i >= 4 && i < len(e.Waits)-4 {
			if i == 4 {
				fmt.Fprintf(&b, "; … %d more", hidden)
			}
			continue
		}
		b.WriteString("; ")
		b.WriteString(w.String())
	}
	return b.String()
}

// place is a lane of a rank.
type place struct {
	rank int32
	lane schedule.Lane
}

// stuck explains why nothing goes on.
func (x *stepper) stuck() error {
	e := &StuckError{At: x.q.now, Left: x.left, Lost: x.lost}
	start := place{rank: -1}
	for r := range int32(len(x.actors)) {
		m := x.f.Machine(r)
		for l := range schedule.Lane(x.lanes) {
			if !m.Ended(l) {
				e.Ranks++
				if start.rank < 0 {
					start = place{r, l}
				}
				break
			}
		}
	}
	if start.rank < 0 {
		return e
	}
	seen := make(map[place]int)
	for p := start; ; {
		if i, again := seen[p]; again {
			e.Waits, e.Cycle = e.Waits[i:], true
			return e
		}
		seen[p] = len(e.Waits)
		w, next, more := x.wait(p)
		if w.Reason != "" {
			e.Waits = append(e.Waits, w)
		}
		if !more {
			return e
		}
		p = next
	}
}

// wait returns what a lane waits for.
func (x *stepper) wait(p place) (w Wait, next place, more bool) {
	lc, base := x.f.Lane(p.rank, p.lane)
	m := x.f.Machine(p.rank)
	st, c, ok := m.Next(p.lane)
	if !ok { // all started: it waits for a peer to take what it sent
		st, ok = m.Oldest(p.lane)
		if !ok {
			return w, next, false
		}
		c = &lc.Codes[st.Code]
		w = x.describe(p, c, st)
		peer := x.f.Peer(base + uint32(st.Code))
		w.On, w.OnLane, w.OnOp = x.f.Of(peer), p.lane.Opposite(), int(c.Match+st.Op)
		w.Reason = fmt.Sprintf("waits for rank %d to take it by %v op %d", w.On, w.OnLane, w.OnOp)
		return w, place{peer, p.lane.Opposite()}, true
	}
	w = x.describe(p, c, st)
	if at, dies := x.cfg.dead[w.Rank]; dies {
		w.Reason = fmt.Sprintf("is dead since %v", at)
		return w, next, false
	}
	if _, _, ready := m.Ready(p.lane); !ready {
		l, i, _ := c.After(st.Op)
		w.On, w.OnLane, w.OnOp = w.Rank, l, int(i)
		w.Reason = fmt.Sprintf("waits for its own %v op %d", l, i)
		return w, place{p.rank, l}, true
	}
	if c.Kind == schedule.Send || c.Kind == schedule.Copy {
		return w, next, false
	}
	tick := uint32(st.Op*c.Slices + st.Slice)
	code := st.Code
	for i := range st.Width {
		if x.arrived[base+uint32(st.Code+i)] <= tick {
			code = st.Code + i
			break
		}
	}
	c = &lc.Codes[code]
	peer := x.f.Peer(base + uint32(code))
	w.On, w.OnLane, w.OnOp = x.f.Of(peer), p.lane.Opposite(), int(c.Match+st.Op)
	w.Reason = fmt.Sprintf("waits for rank %d %v op %d", w.On, w.OnLane, w.OnOp)
	if x.cfg.lostLinks[link{w.On, w.Rank}] {
		w.Reason += ", over a dead link"
		return w, next, false
	}
	return w, place{peer, p.lane.Opposite()}, true
}

func (x *stepper) describe(p place, c *schedule.Code, st schedule.FleetStep) Wait {
	return Wait{Rank: x.f.Of(p.rank), Lane: p.lane, Index: int(c.Index + st.Op), Slice: int(st.Slice), Kind: c.Kind}
}
