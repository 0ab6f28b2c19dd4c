package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// A flow is where the value of one chunk comes from, on all ranks: a graph of the writes of the chunk, built backwards
// from those that somebody asks about.
type flow struct {
	s     Schedule
	want  Contract
	chunk int
	block int
	total sum
	index map[write]int32 // in nodes
	nodes []node
	edges []int32
	stack []int32
}

// A write is a receive, a joint reduction, named by its first operation, or a copy.
type write struct {
	rank topology.Rank
	spot
}

type node struct {
	write
	last    int32 // operation of the unit
	reduce  bool
	final   bool
	state   int8 // of the walk: 0 new, 1 its sources are being worked out, 2 val is known
	val     sum
	lo, hi  int32 // edges to the writes that it takes its value from
	senders []sender
}

// A sender is a send that a write takes its value from.
type sender struct {
	rank topology.Rank
	spot
	after Ref
}

func newFlow(s Schedule, want Contract, chunk int) *flow {
	f := &flow{s: s, want: want, chunk: chunk, block: chunk / s.Layout().Pieces, index: make(map[write]int32)}
	f.total = want.total(s.Ranks(), f.block, chunk)
	return f
}

func (f *flow) fail(r topology.Rank, l Lane, i int32, format string, args ...any) error {
	return &VerifyError{Rank: r, Lane: l, Index: int(i), Reason: fmt.Sprintf(format, args...)}
}

// touches reports whether the operation writes the chunk.
func (f *flow) touches(op *Op) bool {
	return op.writes() && op.Dst.Index() <= f.chunk && f.chunk < op.Dst.Index()+int(op.N)
}

// find returns the node of the write at an operation that touches the chunk.
func (f *flow) find(r topology.Rank, l Lane, i int32) int32 {
	op, _ := f.s.At(r, l, int(i))
	first, end := i, i+1
	if op.Kind == RecvReduce {
		first, end = f.unit(r, l, i, &op)
	}
	w := write{r, spot{l, first}}
	k, ok := f.index[w]
	if !ok {
		k = int32(len(f.nodes))
		f.index[w] = k
		f.nodes = append(f.nodes, node{write: w, last: end - 1, reduce: op.Kind == RecvReduce, final: op.Final})
	}
	return k
}

// unit returns the joint reduction [first, end) that operation i is in: units begin where a neighbour differs in more
// than its peer, and from there on [Fuse] says where they end.
func (f *flow) unit(r topology.Rank, l Lane, i int32, op *Op) (first, end int32) {
	for first = i; first > 0; first-- {
		before, _ := f.s.At(r, l, int(first)-1)
		if before.Kind != op.Kind || before.N != op.N || before.After != op.After || before.Final != op.Final ||
			before.Eager != op.Eager || before.Src != op.Src || before.Dst != op.Dst {
			break
		}
	}
	for {
		w, _ := Fuse(f.s, r, l, int(first))
		if end = first + int32(w); end > i {
			return first, end
		}
		first = end
	}
}

// near is how far back in its own lane an operation of an in lane looks for the write that it reads before it asks its
// After.
const near = 64

// producer returns the write whose value operation i of a lane reads from the output. Out lanes write by copies only, so
// there it is the latest write up to what After names, else the latest of the lane; in lanes it is the latest of the lane
// when that is near, then what After says, then whatever is further back.
func (f *flow) producer(r topology.Rank, l Lane, i int32, after Ref) (int32, error) {
	scan := func(l Lane, i, end int) (int32, bool) {
		for ; i > end; i-- {
			if op, _ := f.s.At(r, l, i); f.touches(&op) {
				return f.find(r, l, int32(i)), true
			}
		}
		return 0, false
	}
	window := 0
	if l.In() {
		window = near
	}
	if k, ok := scan(l, int(i)-1, max(-1, int(i)-1-window)); ok {
		return k, nil
	}
	if dl, di, ok := after.Get(); ok {
		end := -1
		if dl == l { // the rest of the lane comes next
			end = di - 1
		}
		if k, ok := scan(dl, di, end); ok {
			return k, nil
		}
	}
	if k, ok := scan(l, int(i)-1-window, -1); ok {
		return k, nil
	}
	return 0, f.fail(r, l, i, "reads chunk %d, which holds nothing yet", f.chunk)
}

// expand finds the sources of node k.
func (f *flow) expand(k int32) error {
	n := f.nodes[k]
	lo := int32(len(f.edges))
	var val sum
	reads := func(r topology.Rank, l Lane, i int32, op *Op) error {
		if !op.Src.IsOutput() {
			if !f.want.HasInput(r, f.block) {
				return f.fail(r, l, i, "reads chunk %d, which is not an input of this rank", f.chunk)
			}
			val = val.plus(contribution(int(r), f.chunk))
			return nil
		}
		p, err := f.producer(r, l, i, op.After)
		f.edges = append(f.edges, p)
		return err
	}
	var senders []sender
	for i := n.spot.index; i <= n.last; i++ {
		op, _ := f.s.At(n.rank, n.lane, int(i))
		reason := checkForm(f.s, n.rank, n.lane, &op)
		if reason == "" && op.Kind != Copy {
			reason = checkPartner(f.s, n.rank, n.lane, int(i), &op)
		}
		if reason != "" {
			return f.fail(n.rank, n.lane, i, "%s", reason)
		}
		if op.reads() && i == n.spot.index {
			if err := reads(n.rank, n.lane, i, &op); err != nil {
				return err
			}
		}
		if op.Kind == Copy {
			break
		}
		send, _ := f.s.At(op.Peer, n.lane.Opposite(), int(op.Match))
		if reason := checkForm(f.s, op.Peer, n.lane.Opposite(), &send); reason != "" {
			return f.fail(op.Peer, n.lane.Opposite(), op.Match, "%s", reason)
		}
		senders = append(senders, sender{op.Peer, spot{n.lane.Opposite(), op.Match}, send.After})
		if err := reads(op.Peer, n.lane.Opposite(), op.Match, &send); err != nil {
			return err
		}
	}
	p := &f.nodes[k]
	p.senders, p.val, p.lo, p.hi = senders, val, lo, int32(len(f.edges))
	return nil
}

// value works out the value of node k and of all that it comes from.
func (f *flow) value(k int32) error {
	f.stack = append(f.stack[:0], k)
	for len(f.stack) > 0 {
		k := f.stack[len(f.stack)-1]
		switch f.nodes[k].state {
		case 0:
			f.nodes[k].state = 1
			if err := f.expand(k); err != nil {
				return err
			}
			for _, e := range f.edges[f.nodes[k].lo:f.nodes[k].hi] {
				switch f.nodes[e].state {
				case 0:
					f.stack = append(f.stack, e)
				case 1:
					n := &f.nodes[e]
					return f.fail(n.rank, n.lane, n.spot.index, "chunk %d is made from itself", f.chunk)
				}
			}
			continue
		case 1:
			n := &f.nodes[k]
			for _, e := range f.edges[n.lo:n.hi] {
				n.val = n.val.plus(f.nodes[e].val)
			}
			if done := n.val == f.total; n.reduce && done != n.final {
				return f.fail(n.rank, n.lane, n.last, "chunk %d has %d of %d contributions, Final is %v", f.chunk, n.val.count, f.total.count, n.final)
			}
			n.state = 2
		}
		f.stack = f.stack[:len(f.stack)-1]
	}
	return nil
}

// A place is a lane of a rank.
type place struct {
	rank topology.Rank
	lane Lane
}

// past returns, for every lane that the value of node k passed through, the last operation of it that surely comes
// before the write.
func (f *flow) past(k int32) map[place]int32 {
	past := make(map[place]int32)
	reach := func(r topology.Rank, l Lane, i int32) {
		if last, ok := past[place{r, l}]; !ok || i > last {
			past[place{r, l}] = i
		}
	}
	seen := map[int32]bool{k: true}
	todo := []int32{k}
	for len(todo) > 0 {
		n := &f.nodes[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		reach(n.rank, n.lane, n.last)
		for _, s := range n.senders {
			if l, i, ok := s.after.Get(); ok {
				reach(s.rank, l, int32(i))
			}
		}
		for _, e := range f.edges[n.lo:n.hi] {
			if !seen[e] {
				seen[e] = true
				todo = append(todo, e)
			}
		}
	}
	return past
}

// check checks the chunk on the rank of v: its accesses are ordered, and it ends with the right value.
func (f *flow) check(v *view) error {
	all := v.chunk(f.chunk)
	keeps := f.want.HasOutput(v.rank, f.block)
	nodes := make([]int32, len(all)) // of writes
	pasts := make([]map[place]int32, len(all))
	for i := range all {
		if a := &all[i]; a.written {
			nodes[i] = f.find(v.rank, a.lane, a.index)
			if err := f.value(nodes[i]); err != nil {
				return err
			}
			pasts[i] = f.past(nodes[i])
		}
	}
	// reaches reports whether access i is over before the messages of write j, or of its sender, came.
	reaches := func(i, j int) bool {
		end := place{v.rank, all[i].lane}
		index := all[i].index
		if op := &v.lanes[all[i].lane][index].op; op.Kind == Send && !op.Eager {
			end, index = place{op.Peer, all[i].lane.Opposite()}, op.Match // when it is taken
		}
		last, ok := pasts[j][end]
		return ok && last >= index
	}
	// precedes reports whether access i comes before access j, by the rank's own order, by messages, or by messages and
	// then the rank's order.
	precedes := func(i, j int) bool {
		if v.precedes(&all[i], &all[j]) || all[j].written && reaches(i, j) {
			return true
		}
		for k := range all {
			if k != i && k != j && all[k].written && v.precedes(&all[k], &all[j]) && reaches(i, k) {
				return true
			}
		}
		return false
	}
	for i := range all {
		a := &all[i]
		input := a.read && !a.src.IsOutput()
		for j := range all {
			w := &all[j]
			if i == j || !w.written {
				continue
			}
			if a.written && i < j && !precedes(i, j) && !precedes(j, i) {
				return v.fail(w, "writes chunk %d, not ordered with the write by %v op %d", f.chunk, a.lane, a.index)
			}
			switch {
			case a.read && !input && !precedes(i, j) && !precedes(j, i):
				return v.fail(w, "writes chunk %d, not ordered with the read by %v op %d", f.chunk, a.lane, a.index)
			case input && keeps && !v.copies(a) && !v.copies(w) && !precedes(i, j):
				return v.fail(w, "writes chunk %d, not after %v op %d has read the input (in place)", f.chunk, a.lane, a.index)
			}
		}
	}
	for i := range all { // what it reads is the latest
		a := &all[i]
		if !a.read || !a.src.IsOutput() {
			continue
		}
		from, err := f.producer(v.rank, a.lane, a.first, v.lanes[a.lane][a.first].op.After)
		if err != nil {
			return err
		}
		at := -1
		for j := range all {
			if all[j].written && nodes[j] == from {
				at = j
			}
		}
		for j := range all {
			if j != i && j != at && all[j].written && precedes(j, i) && !precedes(j, at) {
				return v.fail(a, "reads chunk %d, which %v op %d writes after what it waits for", f.chunk, all[j].lane, all[j].index)
			}
		}
	}
	if !keeps {
		return nil
	}
	last := -1
	for i := range all {
		if all[i].written && (last < 0 || precedes(last, i)) {
			last = i
		}
	}
	if last < 0 {
		return &VerifyError{Rank: v.rank, Reason: fmt.Sprintf("contract: chunk %d is never written: %v", f.chunk, f.want)}
	}
	if val := f.nodes[nodes[last]].val; val != f.total {
		return v.fail(&all[last], "contract: chunk %d ends with %d contributions, want %d: %v", f.chunk, val.count, f.total.count, f.want)
	}
	return nil
}
