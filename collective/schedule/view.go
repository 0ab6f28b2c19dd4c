package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// A spot is a place in a rank's program.
type spot struct {
	lane  Lane
	index int32
}

// An access is what an operation, or a joint unit, whose last member then stands for it, does with one chunk.
type access struct {
	spot
	first         int32 // the unit's first operation
	read, written bool
	src           Chunk // if read
}

// A view is one rank's program with the order that its lanes and Afters alone give.
type view struct {
	*Program
	rank  topology.Rank
	want  Contract
	group []int32 // by lane: lanes that no After connects are never ordered here
	slot  []int32 // by lane
	size  []int32 // by group: lanes
	// By lane, for each operation size[group] pairs of counts: of another lane's operations, how many have started
	// before it, and how many are over.
	before [][]progress
	// Of chunk c, accesses[at[c]:at[c+1]], in an order in which the rank could run them.
	at       []int32
	accesses []access
}

type progress struct{ started, over int32 }

func newView(p *Program, r topology.Rank, want Contract) (*view, error) {
	v := &view{Program: p, rank: r, want: want}
	var pairs [][2]int32
	for l, ops := range p.lanes {
		for i := range ops {
			if dl, _, ok := ops[i].op.After.Get(); ok && int(dl) != l {
				if k := len(pairs); k == 0 || pairs[k-1] != [2]int32{int32(l), int32(dl)} {
					pairs = append(pairs, [2]int32{int32(l), int32(dl)})
				}
			}
		}
	}
	v.group, v.slot, v.size = connected(len(p.lanes), func(yield func(a, b int32)) {
		for _, x := range pairs {
			yield(x[0], x[1])
		}
	})
	order, err := v.order()
	if err != nil {
		return nil, err
	}
	v.index(order)
	return v, nil
}

// unit returns the operations [first, end) of the unit that operation i of a lane is in.
func (p *Program) unit(l Lane, i int32) (first, end int32) {
	for first = i; p.lanes[l][first].width == 0; first-- {
	}
	return first, first + p.lanes[l][first].width
}

// order works out before for every operation and returns them all in an order in which they could run.
func (v *view) order() ([]spot, error) {
	total := 0
	v.before = make([][]progress, len(v.lanes))
	next := make([]int32, len(v.lanes))
	for l, ops := range v.lanes {
		v.before[l] = make([]progress, len(ops)*int(v.size[v.group[l]]))
		total += len(ops)
	}
	order := make([]spot, 0, total)
	for moved := true; moved; {
		moved = false
		for l := range v.lanes {
			for int(next[l]) < len(v.lanes[l]) && v.enter(Lane(l), next[l], next) {
				order = append(order, spot{Lane(l), next[l]})
				next[l]++
				moved = true
			}
		}
	}
	for l, ops := range v.lanes {
		if i := next[l]; int(i) < len(ops) {
			return nil, &VerifyError{Rank: v.rank, Lane: Lane(l), Index: int(i), Reason: "deadlock: waits for " + waitsFor(ops[i].op.After)}
		}
	}
	return order, nil
}

func waitsFor(r Ref) string {
	l, i, _ := r.Get()
	return fmt.Sprintf("%v op %d", l, i)
}

// enter works out what comes before operation i of a lane, or returns false when what it waits for is not known yet.
func (v *view) enter(l Lane, i int32, next []int32) bool {
	width := v.size[v.group[l]]
	mine := v.before[l][i*width : (i+1)*width]
	op := &v.lanes[l][i].op
	dl, di, waits := op.After.Get()
	if waits {
		if int32(di) >= next[dl] {
			return false
		}
		end := int32(di) + 1
		if first, e := v.unit(dl, int32(di)); op.streams <= 0 || v.lanes[dl][first].joint {
			end = e // of the unit, which moves as one
		}
		if end > next[dl] {
			return false
		}
		copy(mine, v.before[dl][(end-1)*width:end*width])
		mine[v.slot[dl]] = progress{end, end}
	}
	if i > 0 {
		for k, b := range v.before[l][(i-1)*width : i*width] {
			mine[k].started, mine[k].over = max(mine[k].started, b.started), max(mine[k].over, b.over)
		}
	}
	own := &mine[v.slot[l]]
	own.started = max(own.started, i)
	if l.In() {
		own.over = own.started // a receive is over before the lane's next one starts
	}
	return true
}

// precedes reports whether the lanes and Afters of the rank put access a before access b.
func (v *view) precedes(a, b *access) bool {
	if v.group[a.lane] != v.group[b.lane] {
		return false
	}
	width := v.size[v.group[b.lane]]
	p := v.before[b.lane][b.index*width+v.slot[a.lane]]
	if op := &v.lanes[a.lane][a.index].op; op.Kind == Send && !op.Eager {
		return p.over > a.index
	}
	return p.started > a.index
}

// index sorts the accesses of all operations by chunk.
func (v *view) index(order []spot) {
	chunks := v.Layout().Chunks()
	each := func(visit func(c int, a access)) {
		for _, sp := range order {
			first, end := v.unit(sp.lane, sp.index)
			if v.lanes[sp.lane][first].joint && sp.index != end-1 {
				continue
			} else if !v.lanes[sp.lane][first].joint {
				first = sp.index
			}
			op := &v.lanes[sp.lane][sp.index].op
			a := access{spot: sp, first: first, read: op.reads(), written: op.writes(), src: op.Src}
			from := op.Dst
			if op.Kind == Send {
				from = op.Src
			}
			for c := from.Index(); c < from.Index()+int(op.N); c++ {
				visit(c, a)
			}
		}
	}
	v.at = make([]int32, chunks+1)
	each(func(c int, _ access) { v.at[c+1]++ })
	for c := range chunks {
		v.at[c+1] += v.at[c]
	}
	v.accesses = make([]access, v.at[chunks])
	fill := append([]int32(nil), v.at[:chunks]...)
	each(func(c int, a access) {
		v.accesses[fill[c]] = a
		fill[c]++
	})
}

func (v *view) chunk(c int) []access { return v.accesses[v.at[c]:v.at[c+1]] }

// copies reports whether a is a copy from the input, which in place does nothing.
func (v *view) copies(a *access) bool {
	return v.lanes[a.lane][a.index].op.Kind == Copy && !a.src.IsOutput()
}

func (v *view) fail(a *access, format string, args ...any) error {
	return &VerifyError{Rank: v.rank, Lane: a.lane, Index: int(a.index), Reason: fmt.Sprintf(format, args...)}
}

// checkChunk checks what can be seen of chunk c on this rank alone.
func (v *view) checkChunk(c int) error {
	all := v.chunk(c)
	block := c / v.Layout().Pieces
	keeps := v.want.HasOutput(v.rank, block)
	var writes []*access
	for i := range all {
		if all[i].written {
			writes = append(writes, &all[i])
		}
	}
	used := make([]bool, len(writes))
	for i := range all {
		a := &all[i]
		if !a.read {
			continue
		}
		known := false
		for j, w := range writes {
			if w == a || !v.precedes(w, a) {
				continue
			}
			known = true
			if !a.src.IsOutput() {
				continue
			}
			latest := true
			for _, o := range writes {
				latest = latest && (o == w || o == a || !v.precedes(w, o) || !v.precedes(o, a))
			}
			used[j] = used[j] || latest
		}
		switch {
		case a.src.IsOutput() && !known:
			return v.fail(a, "reads chunk %d, which holds nothing yet", c)
		case !a.src.IsOutput() && !v.want.HasInput(v.rank, block):
			return v.fail(a, "reads chunk %d, which is not an input of this rank", c)
		case !a.src.IsOutput() && known && keeps:
			return v.fail(a, "reads input chunk %d, which it has overwritten (in place)", c)
		}
	}
	left := 0
	if keeps {
		left = 1 // the result
	}
	for j, w := range writes {
		if used[j] {
			continue
		}
		left--
		for _, o := range writes {
			if o != w && v.precedes(w, o) {
				left = -1 // not the result
			}
		}
		if left < 0 {
			return v.fail(w, "writes chunk %d, which nobody reads", c)
		}
	}
	return nil
}
