package schedule

import (
	"slices"

	"github.com/ringtree/ringtree/topology"
)

// linear is up to how many ranks a list is searched from its beginning.
const linear = 16

// Fuse returns how many operations from index first of the lane form one unit, and whether they are one joint
// n-ary reduction. The width is 0 past the end of the lane.
//
// Operations join when they are of one kind, cover as many chunks, wait for the same operation and speak to
// different peers; reductions only when they also have the same source and destination. A unit advances slice by
// slice over all its members. That is what keeps all-to-all patterns free of deadlock when a link holds a
// single slice: nobody insists on the second slice of one peer before the first of another.
func Fuse(s Schedule, r topology.Rank, l Lane, first int) (width int, joint bool) {
	return fuse(func(i int) (Op, bool) { return s.At(r, l, first+i) })
}

// fuse is Fuse for operations that are at hand.
func fuse(at func(i int) (Op, bool)) (width int, joint bool) {
	a, ok := at(0)
	if !ok {
		return 0, false
	}
	if a.Kind == Copy {
		return 1, false
	}
	var room [linear]topology.Rank
	seen := distinct{list: room[:0]}
	for seen.add(a.Peer); ; {
		b, ok := at(seen.n)
		if !ok || b.Kind != a.Kind || b.N != a.N || b.After != a.After || b.Eager != a.Eager || b.Final != a.Final {
			break
		}
		if a.Kind == RecvReduce && (a.Src != b.Src || a.Dst != b.Dst) {
			break
		}
		if !seen.add(b.Peer) {
			break
		}
	}
	return seen.n, a.Kind == RecvReduce
}

// A distinct is a list of ranks that all differ. Most lists go around the group one way, in any strides, and then their order says what a
// set would.
type distinct struct {
	n           int
	first, last topology.Rank
	down        bool // each is less than the one before, but where the list goes on from the other end
	turned      bool // it has gone on from the other end
	mixed       bool // the order says nothing
	list        []topology.Rank
	set         map[topology.Rank]bool // of a long list that is mixed
}

// add appends a rank, unless it is there.
func (d *distinct) add(p topology.Rank) bool {
	if d.mixed = d.mixed || !d.follows(p); d.mixed && d.has(p) {
		return false
	}
	if d.set != nil {
		d.set[p] = true
	}
	d.list = append(d.list, p)
	d.n++
	d.last = p
	return true
}

// has reports whether a rank is in the list.
func (d *distinct) has(p topology.Rank) bool {
	if d.n <= linear {
		return slices.Contains(d.list, p)
	}
	if d.set == nil {
		d.set = make(map[topology.Rank]bool, 2*d.n)
		for _, q := range d.list {
			d.set[q] = true
		}
	}
	return d.set[p]
}

// follows reports whether a rank goes on in the order of the list, so that it is new.
func (d *distinct) follows(p topology.Rank) bool {
	switch d.n {
	case 0:
		d.first = p
		return true
	case 1:
		d.down = p < d.first
		return p != d.first
	}
	on, before := p > d.last, p < d.first
	if d.down {
		on, before = p < d.last, p > d.first
	}
	if d.turned {
		return on && before
	}
	if !on && before {
		d.turned = true
		return true
	}
	return on
}

// streams reports whether op, which waits for dep, may follow it slice by slice: both cover the same chunks.
func streams(op, dep *Op) bool {
	if op.N != dep.N {
		return false
	}
	touches := func(o *Op, index int) bool {
		return o.reads() && o.Src.Index() == index || o.writes() && o.Dst.Index() == index
	}
	if op.reads() && !touches(dep, op.Src.Index()) {
		return false
	}
	return !op.writes() || touches(dep, op.Dst.Index())
}
