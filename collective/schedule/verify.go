package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// Verify proves a schedule right, or returns a [*VerifyError] that says where it is not. It checks, for in
// place and out of place, and with more than one slice a chunk:
//
//   - every send meets its receive: Op.Match names each from the other, with equal chunks;
//   - no deadlock: all ranks come to their end even if a link holds a single slice and a send is complete only
//     when the peer has taken it. Progress is monotonic (an operation that may run stays allowed), so one
//     run to the end stands for every interleaving;
//   - no hazard: accesses to the same chunk, one of them a write, are ordered by lanes, by After and by
//     messages alone, in every interleaving. A send by reference reads until the peer has taken it;
//   - nothing undefined is read, and nothing is written that nobody reads;
//   - every contribution is in the result exactly once, and Final stands on exactly the reductions that
//     complete one;
//   - the contract holds on every rank.
//
// It drives one [Machine] a rank. Time and memory grow with ranks² and more; above some hundred ranks use
// [VerifySample].
func Verify(s Schedule, want Contract) error {
	if err := want.check(s); err != nil {
		return err
	}
	for r := range topology.Rank(s.Ranks()) {
		if err := checkLinks(s, r); err != nil {
			return err
		}
	}
	for _, inPlace := range []bool{true, false} {
		if err := newSymbols(s, want, inPlace, 2).run(); err != nil {
			return err
		}
	}
	return nil
}

// checkLinks checks the form of every operation of rank r and that its partner names it back.
func checkLinks(s Schedule, r topology.Rank) error {
	n, chunks := s.Ranks(), s.Layout().Chunks()
	for l := range Lane(2 * s.Channels()) {
		for i := 0; ; i++ {
			op, ok := s.At(r, l, i)
			if !ok {
				break
			}
			fail := func(format string, args ...any) error {
				return &VerifyError{Rank: r, Lane: l, Index: i, Reason: fmt.Sprintf(format, args...)}
			}
			if op.reads() && op.Src.Index()+int(op.N) > chunks || op.writes() && op.Dst.Index()+int(op.N) > chunks {
				return fail("chunks beyond the %d of the layout", chunks)
			}
			if op.writes() && !op.Dst.IsOutput() {
				return fail("writes to the input")
			}
			if dl, di, ok := op.After.Get(); ok {
				if int(dl) >= 2*s.Channels() {
					return fail("waits for channel %d of %d", dl.Channel(), s.Channels())
				}
				if _, ok := s.At(r, dl, di); !ok {
					return fail("waits for %v op %d, which does not exist", dl, di)
				}
			}
			switch op.Kind {
			case Copy:
				if op.Src.Index() != op.Dst.Index() {
					return fail("copies chunk %d to chunk %d", op.Src.Index(), op.Dst.Index())
				}
				continue
			case RecvReduce:
				if op.Src.Index() != op.Dst.Index() {
					return fail("reduces chunk %d into chunk %d", op.Src.Index(), op.Dst.Index())
				}
			case Send, Recv:
			default:
				return fail("%v", op.Kind)
			}
			if l.In() == (op.Kind == Send) {
				return fail("%v in the wrong lane", op.Kind)
			}
			if op.Peer < 0 || int(op.Peer) >= n || op.Peer == r {
				return fail("peer %d", op.Peer)
			}
			peer, ok := s.At(op.Peer, l.Opposite(), int(op.Match))
			if !ok {
				return fail("%v rank %d, which has no %v op %d", op.Kind, op.Peer, l.Opposite(), op.Match)
			}
			mine, theirs := op.Src, peer.Dst
			if l.In() {
				mine, theirs = op.Dst, peer.Src
			}
			switch {
			case peer.Kind == Copy || (peer.Kind == Send) == (op.Kind == Send):
				return fail("%v meets %v of rank %d", op.Kind, peer.Kind, op.Peer)
			case peer.Peer != r || int(peer.Match) != i:
				return fail("meets %v op %d of rank %d, which is for rank %d op %d", l.Opposite(), op.Match, op.Peer, peer.Peer, peer.Match)
			case op.N != peer.N || op.N > 0 && mine.Index() != theirs.Index():
				return fail("%d chunks from %d meet %d chunks from %d of rank %d", op.N, mine.Index(), peer.N, theirs.Index(), op.Peer)
			}
		}
	}
	return nil
}

// A sum stands for a reduced value: how many contributions, and the sum of the random weights that stand for them.
// Sums of distinct multisets collide with probability 2^-64.
type sum struct {
	count uint32
	hash  uint64
}

func (a sum) plus(b sum) sum { return sum{a.count + b.count, a.hash + b.hash} }

// weight is the symbol of rank r's contribution to a place (splitmix64).
func weight(r, place int) uint64 {
	x := uint64(r)<<32 ^ uint64(place) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// An event is the count-th step of a thread; a thread is a lane of a rank.
type event struct {
	thread int32
	count  uint16
}

// A cell is one slice of one chunk in one space of one rank.
type cell struct {
	val     sum
	defined bool
	written bool // by an operation, and nobody has read it since
	by      event
	reads   []event // since the last write
	open    int     // sends that are reading it
}

// A message is a started send.
type message struct {
	vals  []sum
	clock []uint16
	cells []*cell  // that it reads until it is taken; nil if eager
	taken []uint16 // clock at which the data may be overwritten; nil before
}

// symbols runs a schedule on symbols.
//
// Clocks are vector clocks over threads. They follow lanes, After and messages only, never the order in which this
// run happens to go, so an access pair that they do not order is a hazard although this run may be lucky.
type symbols struct {
	s        Schedule
	want     Contract
	inPlace  bool
	n        int
	lanes    int
	slices   int
	layout   Layout
	machines []Machine
	programs []*Program
	cells    [][]cell // per rank: output chunks × slices, then input
	clocks   [][]uint16
	ended    [][][]uint16        // per thread: clock at the completion of each step, in the order of steps
	links    map[[3]int]*message // (from, to, channel)
	pending  [][]*message        // per thread: started sends, oldest first
	total    []sum               // per slice of a chunk: the whole reduction
	finals   bool
}

func newSymbols(s Schedule, want Contract, inPlace bool, slices int) *symbols {
	v := &symbols{
		s: s, want: want, inPlace: inPlace, n: s.Ranks(), lanes: 2 * s.Channels(), slices: slices, layout: s.Layout(),
		links: make(map[[3]int]*message), finals: want.Collective.Reduces() || want.Collective == Barrier,
	}
	places := v.layout.Chunks() * slices
	v.total = make([]sum, places)
	v.machines = make([]Machine, v.n)
	v.cells = make([][]cell, v.n)
	v.clocks = make([][]uint16, v.n*v.lanes)
	v.ended = make([][][]uint16, v.n*v.lanes)
	v.pending = make([][]*message, v.n*v.lanes)
	for r := range v.n {
		p := Compile(s, topology.Rank(r), 0)
		v.programs = append(v.programs, p)
		v.machines[r].Reset(p, topology.Rank(r), Slicing{Chunk: slices, Slice: 1})
		v.cells[r] = make([]cell, 2*places)
		for l := range v.lanes {
			v.clocks[r*v.lanes+l] = make([]uint16, v.n*v.lanes)
		}
		for i := range places {
			b := i / slices / v.layout.Pieces
			if !want.HasInput(topology.Rank(r), b) {
				continue
			}
			in := v.cell(r, Input(0), i)
			in.defined = true
			in.val = sum{1, weight(r, i)}
			if v.finals {
				v.total[i] = v.total[i].plus(in.val)
			} else {
				v.total[i] = in.val
			}
		}
	}
	return v
}

// cell returns place i of the space that c lies in. In place, input and output are one where both are the caller's.
func (v *symbols) cell(r int, c Chunk, i int) *cell {
	places := v.layout.Chunks() * v.slices
	if !c.IsOutput() {
		b := i / v.slices / v.layout.Pieces
		if !v.inPlace || !v.want.HasOutput(topology.Rank(r), b) {
			i += places
		}
	}
	return &v.cells[r][i]
}

// span returns the place that slice k of n chunks from c covers: slices are as long as places.
func (v *symbols) span(c Chunk, n uint32, k int) (lo, hi int) {
	if n == 0 {
		return 0, 0
	}
	lo = c.Index()*v.slices + k
	return lo, lo + 1
}

func (v *symbols) run() error {
	for progress := true; progress; {
		progress = false
		for r := range v.machines {
			for l := range Lane(v.lanes) {
				for {
					did, err := v.step(r, l)
					if err != nil {
						return err
					}
					if !did {
						break
					}
					progress = true
				}
			}
		}
	}
	for r := range v.machines {
		m := &v.machines[r]
		for l := range Lane(v.lanes) {
			if !m.Finished(l) {
				c := m.lanes[l].start
				op := m.lanes[l].op
				return v.fail(r, l, int(c.unit+c.member), "deadlock: %v rank %d, slice %d, never runs", op.Kind, op.Peer, c.slice)
			}
		}
		if !m.Done() {
			return v.fail(r, 0, 0, "a send was never taken")
		}
	}
	return v.checkContract()
}

func (v *symbols) fail(r int, l Lane, i int, format string, args ...any) error {
	place := "out of place"
	if v.inPlace {
		place = "in place"
	}
	return &VerifyError{Rank: topology.Rank(r), Lane: l, Index: i, Reason: fmt.Sprintf(format, args...) + " (" + place + ")"}
}

// step tries to run the next step of a lane under the tightest rules: a link holds one slice, and a send is over
// when the peer has taken it.
func (v *symbols) step(r int, l Lane) (bool, error) {
	m := &v.machines[r]
	st, ok := m.Ready(l)
	if !ok {
		return false, nil
	}
	op, _ := v.programs[r].At(topology.Rank(r), l, st.First)
	channel := int(l.Channel())
	switch op.Kind {
	case Send:
		key := [3]int{r, int(op.Peer), channel}
		if v.links[key] != nil {
			return false, nil
		}
		clock := v.tick(r, l, &op, st.Slice)
		msg := &message{clock: clock}
		lo, hi := v.span(op.Src, op.N, st.Slice)
		for i := lo; i < hi; i++ {
			c := v.cell(r, op.Src, i)
			if err := v.read(c, r, l, st.First, clock, i); err != nil {
				return false, err
			}
			msg.vals = append(msg.vals, c.val)
			if op.Eager {
				c.reads = append(c.reads, v.now(r, l))
			} else {
				c.open++
				msg.cells = append(msg.cells, c)
			}
		}
		if op.Eager {
			msg.taken = clock
		}
		v.links[key] = msg
		t := r*v.lanes + int(l)
		v.pending[t] = append(v.pending[t], msg)
		m.Start(l)
		v.settle(r, l)
	case Copy:
		clock := v.tick(r, l, &op, st.Slice)
		lo, hi := v.span(op.Src, op.N, st.Slice)
		for i := lo; i < hi; i++ {
			src, dst := v.cell(r, op.Src, i), v.cell(r, op.Dst, i)
			if src == dst {
				continue
			}
			if err := v.read(src, r, l, st.First, clock, i); err != nil {
				return false, err
			}
			src.reads = append(src.reads, v.now(r, l))
			if err := v.write(dst, src.val, r, l, st.First, clock, i); err != nil {
				return false, err
			}
		}
		t := r*v.lanes + int(l)
		v.pending[t] = append(v.pending[t], &message{taken: clock})
		m.Start(l)
		v.settle(r, l)
	default:
		return v.receive(r, l, st)
	}
	return true, nil
}

// receive takes the messages of a receive or of a joint reduction.
func (v *symbols) receive(r int, l Lane, st Step) (bool, error) {
	channel := int(l.Channel())
	prog := v.programs[r]
	for j := range st.Width {
		op, _ := prog.At(topology.Rank(r), l, st.First+j)
		if v.links[[3]int{int(op.Peer), r, channel}] == nil {
			return false, nil
		}
	}
	first, _ := prog.At(topology.Rank(r), l, st.First)
	clock := v.tick(r, l, &first, st.Slice)
	var vals []sum
	var from []*message
	for j := range st.Width {
		op, _ := prog.At(topology.Rank(r), l, st.First+j)
		key := [3]int{int(op.Peer), r, channel}
		msg := v.links[key]
		join(clock, msg.clock)
		if vals == nil {
			vals = make([]sum, len(msg.vals))
		}
		for i, x := range msg.vals {
			vals[i] = vals[i].plus(x)
		}
		for _, c := range msg.cells {
			c.open--
			c.reads = append(c.reads, v.now(r, l))
		}
		from = append(from, msg)
		delete(v.links, key)
	}
	lo, hi := v.span(first.Dst, first.N, st.Slice)
	for i := lo; i < hi; i++ {
		val := vals[i-lo]
		if first.Kind == RecvReduce {
			src := v.cell(r, first.Src, i)
			if err := v.read(src, r, l, st.First, clock, i); err != nil {
				return false, err
			}
			src.reads = append(src.reads, v.now(r, l))
			val = val.plus(src.val)
			if done := val == v.total[i]; done != first.Final {
				return false, v.fail(r, l, st.First, "chunk %d has %d of %d contributions, Final is %v", i/v.slices, val.count, v.total[i].count, first.Final)
			}
		}
		if err := v.write(v.cell(r, first.Dst, i), val, r, l, st.First, clock, i); err != nil {
			return false, err
		}
	}
	t := r*v.lanes + int(l)
	v.pending[t] = append(v.pending[t], &message{taken: clock})
	v.machines[r].Start(l)
	v.settle(r, l)
	for j, msg := range from { // the senders' lanes go on
		if msg.taken == nil {
			msg.taken = clock
		}
		op, _ := prog.At(topology.Rank(r), l, st.First+j)
		v.settle(int(op.Peer), l.Opposite())
	}
	return true, nil
}

// settle completes the started steps of a lane that are over, in order. Whoever sees one complete has seen all before it.
func (v *symbols) settle(r int, l Lane) {
	t := r*v.lanes + int(l)
	for len(v.pending[t]) > 0 && v.pending[t][0].taken != nil {
		clock := append([]uint16(nil), v.pending[t][0].taken...)
		if k := len(v.ended[t]); k > 0 {
			join(clock, v.ended[t][k-1])
		}
		v.ended[t] = append(v.ended[t], clock)
		v.pending[t] = v.pending[t][1:]
		v.machines[r].Complete(l)
	}
}

// tick returns the clock of the lane's next step.
func (v *symbols) tick(r int, l Lane, op *Op, slice int) []uint16 {
	t := r*v.lanes + int(l)
	v.clocks[t][t]++
	clock := append([]uint16(nil), v.clocks[t]...)
	if dl, di, ok := op.After.Get(); ok {
		join(clock, v.ended[r*v.lanes+int(dl)][v.steps(r, dl, di, slice, op.streams > 0)-1])
	}
	v.clocks[t] = clock
	return clock
}

// steps returns how many completions of a lane are certain once operation i of it, or only its slice when stream, is complete.
func (v *symbols) steps(r int, l Lane, i, slice int, stream bool) int {
	n, u := 0, 0
	for {
		w, joint := v.programs[r].fuse(l, u)
		op, _ := v.programs[r].At(topology.Rank(r), l, u)
		slices := v.machines[r].slicing.Count(op.N)
		per := w
		if joint {
			per = 1
		}
		if i < u+w {
			if !stream {
				return n + per*slices
			}
			if joint {
				return n + slice + 1
			}
			return n + slice*w + i - u + 1
		}
		n += per * slices
		u += w
	}
}

func join(a, b []uint16) {
	for i, x := range b {
		if x > a[i] {
			a[i] = x
		}
	}
}

// now is the event of the lane's latest step.
func (v *symbols) now(r int, l Lane) event {
	t := r*v.lanes + int(l)
	return event{int32(t), v.clocks[t][t]}
}

func (v *symbols) read(c *cell, r int, l Lane, index int, clock []uint16, place int) error {
	if !c.defined {
		return v.fail(r, l, index, "reads chunk %d, which holds nothing yet", place/v.slices)
	}
	if c.by.count > 0 && clock[c.by.thread] < c.by.count {
		return v.fail(r, l, index, "reads chunk %d, not ordered after the write by %v", place/v.slices, v.thread(c.by))
	}
	c.written = false
	return nil
}

func (v *symbols) write(c *cell, val sum, r int, l Lane, index int, clock []uint16, place int) error {
	if c.open > 0 {
		return v.fail(r, l, index, "writes chunk %d while a send reads it", place/v.slices)
	}
	if c.written {
		return v.fail(r, l, index, "writes chunk %d, whose last value nobody has read", place/v.slices)
	}
	for _, e := range append(c.reads, c.by) {
		if e.count > 0 && clock[e.thread] < e.count {
			return v.fail(r, l, index, "writes chunk %d, not ordered after the access by %v", place/v.slices, v.thread(e))
		}
	}
	c.val, c.defined, c.written, c.by, c.reads = val, true, true, v.now(r, l), c.reads[:0]
	return nil
}

func (v *symbols) thread(e event) string {
	return fmt.Sprintf("rank %d %v", int(e.thread)/v.lanes, Lane(int(e.thread)%v.lanes))
}

func (v *symbols) checkContract() error {
	for r := range v.n {
		for i := range v.total {
			b := i / v.slices / v.layout.Pieces
			c := v.cell(r, Output(0), i)
			if !v.want.HasOutput(topology.Rank(r), b) {
				if c.written {
					return v.fail(r, 0, 0, "scratch chunk %d is written and never read", i/v.slices)
				}
				continue
			}
			if !c.defined || c.val != v.total[i] {
				return v.fail(r, 0, 0, "contract: chunk %d ends with %d contributions, want %d: %v", i/v.slices, c.val.count, v.total[i].count, v.want)
			}
		}
	}
	return nil
}
