package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// A sum stands for a reduced value: how many contributions, and the sum of the random weights that stand for them.
// Sums of distinct multisets collide with probability 2^-64.
type sum struct {
	count uint32
	hash  uint64
}

func (a sum) plus(b sum) sum { return sum{a.count + b.count, a.hash + b.hash} }

// contribution is the symbol of rank r's input at a place. Its weight is a hash (the finalizer of splitmix64).
func contribution(r, place int) sum {
	x := uint64(r)<<32 ^ uint64(place) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return sum{1, x ^ x>>31}
}

// A cell is one place, a slice of a chunk, in one space of one rank.
type cell struct {
	val     sum
	by      event   // the last write; count 0: none
	read    event   // a read since the last write, likewise
	reads   []event // more of them
	open    int32   // sends that are reading it
	defined bool
	written bool // by an operation, and nobody has read it since
}

// memory is the cells of all ranks. A run keeps two, one as if the operation were in place and one as if it were not:
// they differ in which cells are one, never in who runs when.
type memory struct {
	inPlace bool
	cells   []cell // by rank, then output, then input
	places  int
	perBloc int // places of a block
	want    Contract
}

func newMemory(want Contract, layout Layout, ranks, slices int, inPlace bool) *memory {
	m := &memory{inPlace: inPlace, places: layout.Chunks() * slices, perBloc: layout.Pieces * slices, want: want}
	m.cells = make([]cell, ranks*2*m.places)
	for r := range ranks {
		for b := range layout.Blocks {
			if !want.HasInput(topology.Rank(r), b) {
				continue
			}
			for i := b * m.perBloc; i < (b+1)*m.perBloc; i++ {
				c := m.at(r, Input(0), i)
				c.val, c.defined = contribution(r, i), true
			}
		}
	}
	return m
}

// at returns place i of the space that c lies in. In place, input and output are one where both are the caller's.
func (m *memory) at(r int, c Chunk, i int) *cell {
	if !c.IsOutput() && !(m.inPlace && m.want.HasOutput(topology.Rank(r), i/m.perBloc)) {
		i += m.places
	}
	return &m.cells[r*2*m.places+i]
}

// readBy adds a read that is over.
func (c *cell) readBy(e event) {
	if c.read.count == 0 || c.read.thread == e.thread {
		c.read = e
		return
	}
	c.reads = append(c.reads, e)
}

// checkRead returns why s may not read c, or "".
func (v *run) checkRead(c *cell, s *stamp, place int) string {
	if !c.defined {
		return fmt.Sprintf("reads chunk %d, which holds nothing yet", place/v.slices)
	}
	if c.by.count > 0 && !v.clocks.knows(s, c.by) {
		return fmt.Sprintf("reads chunk %d, not ordered after the write by %v", place/v.slices, v.name(c.by))
	}
	c.written = false
	return ""
}

// write stores val in c, or returns why s may not.
func (v *run) write(c *cell, val sum, s *stamp, place int) string {
	if c.open > 0 {
		return fmt.Sprintf("writes chunk %d while a send reads it", place/v.slices)
	}
	if c.written {
		return fmt.Sprintf("writes chunk %d, whose last value nobody has read", place/v.slices)
	}
	late := func(e event) bool { return e.count > 0 && !v.clocks.knows(s, e) }
	unordered := event{}
	switch {
	case late(c.by):
		unordered = c.by
	case late(c.read):
		unordered = c.read
	default:
		for _, e := range c.reads {
			if late(e) {
				unordered = e
				break
			}
		}
	}
	if unordered.count > 0 {
		return fmt.Sprintf("writes chunk %d, not ordered after the access by %v", place/v.slices, v.name(unordered))
	}
	c.val, c.defined, c.written, c.by, c.read, c.reads = val, true, true, s.at, event{}, c.reads[:0]
	return ""
}

// checkContract checks what the cells hold in the end.
func (v *run) checkContract(m *memory) error {
	for r := range v.n {
		for i, want := range v.total {
			c := m.at(r, Output(0), i)
			if !v.want.HasOutput(topology.Rank(r), i/m.perBloc) {
				if c.written {
					return v.fail(m, r, 0, 0, fmt.Sprintf("scratch chunk %d is written and never read", i/v.slices))
				}
				continue
			}
			if !c.defined || c.val != want {
				return v.fail(m, r, 0, 0, fmt.Sprintf("contract: chunk %d ends with %d contributions, want %d: %v", i/v.slices, c.val.count, want.count, v.want))
			}
		}
	}
	return nil
}
