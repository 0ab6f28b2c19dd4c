package plan

import (
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A listing is a schedule written out, so that it can be damaged.
type listing struct {
	schedule.Schedule
	ops [][][]schedule.Op // by rank and lane
}

func list(s schedule.Schedule) *listing {
	x := &listing{Schedule: s, ops: make([][][]schedule.Op, s.Ranks())}
	for r := range x.ops {
		x.ops[r] = make([][]schedule.Op, 2*s.Channels())
		for l := range x.ops[r] {
			for i := 0; ; i++ {
				op, ok := s.At(topology.Rank(r), schedule.Lane(l), i)
				if !ok {
					break
				}
				x.ops[r][l] = append(x.ops[r][l], op)
			}
		}
	}
	return x
}

func (x *listing) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if ops := x.ops[r][l]; uint(i) < uint(len(ops)) {
		return ops[i], true
	}
	return schedule.Op{}, false
}

func (x *listing) clone() *listing {
	c := &listing{Schedule: x.Schedule, ops: make([][][]schedule.Op, len(x.ops))}
	for r, lanes := range x.ops {
		for _, ops := range lanes {
			c.ops[r] = append(c.ops[r], slices.Clone(ops))
		}
	}
	return c
}

// A linked is an operation that holds on to its partner and to what it waits for while lanes are edited.
type linked struct {
	op      schedule.Op
	rank    topology.Rank
	lane    schedule.Lane
	partner *linked
	after   *linked
}

// A web is a listing of linked operations.
type web struct {
	s   schedule.Schedule
	ops [][][]*linked
}

func (x *listing) web() *web {
	w := &web{s: x.Schedule, ops: make([][][]*linked, len(x.ops))}
	for r, lanes := range x.ops {
		w.ops[r] = make([][]*linked, len(lanes))
		for l, ops := range lanes {
			for _, op := range ops {
				w.ops[r][l] = append(w.ops[r][l], &linked{op: op, rank: topology.Rank(r), lane: schedule.Lane(l)})
			}
		}
	}
	w.each(func(o *linked) {
		if o.op.Kind != schedule.Copy {
			o.partner = w.ops[o.op.Peer][o.lane.Opposite()][o.op.Match]
		}
		if l, i, ok := o.op.After.Get(); ok {
			o.after = w.ops[o.rank][l][i]
		}
	})
	return w
}

func (w *web) each(visit func(*linked)) {
	for _, lanes := range w.ops {
		for _, ops := range lanes {
			for _, o := range ops {
				visit(o)
			}
		}
	}
}

// listing numbers the operations as they now stand.
func (w *web) listing() *listing {
	at := make(map[*linked]int)
	for _, lanes := range w.ops {
		for _, ops := range lanes {
			for i, o := range ops {
				at[o] = i
			}
		}
	}
	x := &listing{Schedule: w.s, ops: make([][][]schedule.Op, len(w.ops))}
	for r, lanes := range w.ops {
		x.ops[r] = make([][]schedule.Op, len(lanes))
		for l, ops := range lanes {
			for _, o := range ops {
				op := o.op
				if o.partner != nil {
					op.Peer, op.Match = o.partner.rank, int32(at[o.partner])
				}
				op.After = schedule.Ref{}
				if o.after != nil {
					op.After = schedule.At(o.after.lane, at[o.after])
				}
				x.ops[r][l] = append(x.ops[r][l], op)
			}
		}
	}
	return x
}

func (w *web) index(o *linked) int { return slices.Index(w.ops[o.rank][o.lane], o) }

// remove takes o out of its lane. What waited for it waits for the operation before it.
func (w *web) remove(o *linked) {
	i := w.index(o)
	var before *linked
	if i > 0 {
		before = w.ops[o.rank][o.lane][i-1]
	}
	for _, ops := range w.ops[o.rank] {
		for _, x := range ops {
			if x.after == o {
				x.after = before
			}
		}
	}
	w.ops[o.rank][o.lane] = slices.Delete(w.ops[o.rank][o.lane], i, i+1)
}

// repeat puts a copy of o behind it. What waited for o waits for the copy.
func (w *web) repeat(o *linked) *linked {
	c := *o
	for _, ops := range w.ops[o.rank] {
		for _, x := range ops {
			if x.after == o {
				x.after = &c
			}
		}
	}
	w.ops[o.rank][o.lane] = slices.Insert(w.ops[o.rank][o.lane], w.index(o)+1, &c)
	return &c
}

// move takes the receive o to another rank, to place i of the same lane there.
func (w *web) move(o *linked, to topology.Rank, i int) {
	w.remove(o)
	o.rank, o.after = to, nil
	w.ops[to][o.lane] = slices.Insert(w.ops[to][o.lane], min(i, len(w.ops[to][o.lane])), o)
}
