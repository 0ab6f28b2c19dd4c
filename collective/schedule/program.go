package schedule

import (
	"math"

	"github.com/ringtree/ringtree/topology"
)

// A Program is the part of a schedule that concerns one rank, computed once. It is a Schedule that answers from memory
// for that rank and asks the schedule about the others. It is safe for concurrent use.
type Program struct {
	s     Schedule
	r     topology.Rank
	lanes [][]entry
}

type entry struct {
	op    Op
	width int32 // of the unit, at its first operation
	joint bool
}

// Compile computes the operations of rank r. It returns nil when there are more than limit (0: no limit).
func Compile(s Schedule, r topology.Rank, limit int) *Program {
	if limit <= 0 {
		limit = math.MaxInt
	}
	p := &Program{s: s, r: r, lanes: make([][]entry, 2*s.Channels())}
	total := 0
	for l := range p.lanes {
		for i := 0; ; i++ {
			op, ok := s.At(r, Lane(l), i)
			if !ok {
				break
			}
			if total++; total > limit {
				return nil
			}
			p.lanes[l] = append(p.lanes[l], entry{op: op})
		}
	}
	for l, ops := range p.lanes {
		for i := range ops {
			resolve(&ops[i].op, p, r)
		}
		for i := 0; i < len(ops); {
			w, joint := Fuse(p, r, Lane(l), i)
			ops[i].width, ops[i].joint = int32(w), joint
			i += w
		}
	}
	return p
}

// Ranks returns the size of the whole group.
func (p *Program) Ranks() int { return p.s.Ranks() }

// Channels returns how many channels the schedule uses.
func (p *Program) Channels() int { return len(p.lanes) / 2 }

// Layout returns how the schedule cuts the vector.
func (p *Program) Layout() Layout { return p.s.Layout() }

// At returns operation i of a lane; for ranks other than the program's own it asks the schedule.
func (p *Program) At(r topology.Rank, l Lane, i int) (Op, bool) {
	if r != p.r {
		return p.s.At(r, l, i)
	}
	if int(l) < len(p.lanes) {
		if ops := p.lanes[l]; uint(i) < uint(len(ops)) {
			return ops[i].op, true
		}
	}
	return Op{}, false
}

// Repeat says what the schedule says of itself.
func (p *Program) Repeat(r topology.Rank, l Lane, i int) int { return repeat(p.s, r, l, i) }

// Turn says what the schedule says of itself.
func (p *Program) Turn() int { return turnOf(p.s) }

// Len returns how many operations the lane has.
func (p *Program) Len(l Lane) int { return len(p.lanes[l]) }

func (p *Program) fuse(l Lane, i int) (int, bool) {
	if i >= len(p.lanes[l]) {
		return 0, false
	}
	return int(p.lanes[l][i].width), p.lanes[l][i].joint
}

// A table is all programs of a schedule.
type table struct {
	Schedule
	programs []*Program
}

func tabulate(s Schedule) *table {
	t := &table{Schedule: s, programs: make([]*Program, s.Ranks())}
	for r := range t.programs {
		t.programs[r] = Compile(s, topology.Rank(r), 0)
	}
	return t
}

// At returns operation i of a lane of any rank.
func (t *table) At(r topology.Rank, l Lane, i int) (Op, bool) {
	return t.programs[r].At(r, l, i)
}

// Repeat says what the schedule says of itself.
func (t *table) Repeat(r topology.Rank, l Lane, i int) int { return repeat(t.Schedule, r, l, i) }

// Turn says what the schedule says of itself.
func (t *table) Turn() int { return turnOf(t.Schedule) }
