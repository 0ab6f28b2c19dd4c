package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// A run moves symbols by a schedule, one thread a lane of a rank, under the tightest rules: a link holds one slice, and a
// send is over when the peer has taken it.
//
// Clocks follow lanes, After and messages only, never the order in which this run happens to go, so an access pair that
// they do not order is a hazard although this run may be lucky.
type run struct {
	want     Contract
	n        int
	lanes    int
	slices   int
	table    *table
	clocks   *clocks
	machines []Machine
	threads  []thread
	links    []message // by link: what it holds
	memories [2]*memory
	total    []sum // by place: the whole reduction, or the only input
	queue    []int32
}

// A message is a started send that has not been taken.
type message struct {
	full  bool
	from  int32 // thread
	index int32 // of the operation
	step  int32 // of the thread
	stamp stamp
	eager bool
	empty bool // covers no place
	place int
	vals  [2]sum   // by memory
	cells [2]*cell // by memory: what it reads until it is taken; nil if eager
}

func newRun(t *table, want Contract, slices int) *run {
	v := &run{want: want, n: t.Ranks(), lanes: 2 * t.Channels(), slices: slices, table: t}
	layout := t.Layout()
	for i, inPlace := range []bool{true, false} {
		v.memories[i] = newMemory(want, layout, v.n, slices, inPlace)
	}
	v.total = make([]sum, layout.Chunks()*slices)
	for i := range v.total {
		v.total[i] = want.total(v.n, i/slices/layout.Pieces, i)
	}
	v.machines = make([]Machine, v.n)
	v.threads = make([]thread, v.n*v.lanes)
	v.connect()
	return v
}

// total returns the reduction over n ranks of place i of a block, or the only input there.
func (c Contract) total(n, block, i int) sum {
	switch c.Collective {
	case AllGather:
		return contribution(block, i)
	case Broadcast:
		return contribution(int(c.Root), i)
	}
	var all sum
	for r := range n {
		all = all.plus(contribution(r, i))
	}
	return all
}

func (v *run) thread(r int, l Lane) int32 { return int32(r*v.lanes + int(l)) }

func (v *run) name(e event) string {
	return fmt.Sprintf("rank %d %v", int(e.thread)/v.lanes, Lane(int(e.thread)%v.lanes))
}

func (v *run) fail(m *memory, r int, l Lane, i int, reason string) error {
	if m != nil && m.inPlace {
		reason += " (in place)"
	} else if m != nil {
		reason += " (out of place)"
	}
	return &VerifyError{Rank: topology.Rank(r), Lane: l, Index: i, Reason: reason}
}

// wake puts a thread on the queue of those that may go on.
func (v *run) wake(id int32) {
	if t := &v.threads[id]; !t.queued {
		t.queued = true
		v.queue = append(v.queue, id)
	}
}

// run runs every thread until none can go on, and then looks at what there is.
func (v *run) run() error {
	for id := range v.threads {
		v.wake(int32(id))
	}
	for len(v.queue) > 0 {
		batch := v.queue
		v.queue = nil
		for _, id := range batch {
			v.threads[id].queued = false
			for {
				moved, err := v.step(int(id)/v.lanes, Lane(int(id)%v.lanes))
				if err != nil {
					return err
				}
				if !moved {
					break
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
				return v.fail(nil, r, l, int(c.unit+c.member), fmt.Sprintf("deadlock: %v rank %d, slice %d, never runs", op.Kind, op.Peer, c.slice))
			}
		}
	}
	for _, m := range v.memories {
		if err := v.checkContract(m); err != nil {
			return err
		}
	}
	return nil
}

// step tries to run the next step of a thread.
func (v *run) step(r int, l Lane) (moved bool, err error) {
	m := &v.machines[r]
	st, ok := m.Ready(l)
	if !ok {
		return false, nil
	}
	id := v.thread(r, l)
	t := &v.threads[id]
	if t.count == maxSteps {
		return false, v.fail(nil, r, l, st.First, fmt.Sprintf("more than %d slices in a lane: too large for Verify", maxSteps))
	}
	op := &t.ops[st.First].op
	switch op.Kind {
	case Send:
		return v.send(r, l, id, st, op)
	case Copy:
		s := v.tick(id, op, st.Slice)
		if op.N > 0 {
			place := op.Src.Index()*v.slices + st.Slice
			for _, m := range v.memories {
				src, dst := m.at(r, op.Src, place), m.at(r, op.Dst, place)
				if src == dst {
					continue
				}
				reason := v.checkRead(src, &s, place)
				if reason == "" {
					src.readBy(s.at)
					reason = v.write(dst, src.val, &s, place)
				}
				if reason != "" {
					return false, v.fail(m, r, l, st.First, reason)
				}
			}
		}
		t.ended = append(t.ended, completion{s, true})
		m.Start(l)
		v.settle(id)
		return true, nil
	}
	return v.receive(r, l, id, st)
}

func (v *run) send(r int, l Lane, id int32, st Step, op *Op) (bool, error) {
	t := &v.threads[id]
	msg := &v.links[t.links[st.First]]
	if msg.full {
		return false, nil
	}
	s := v.tick(id, op, st.Slice)
	*msg = message{
		full: true, from: id, index: int32(st.First), step: int32(len(t.ended)), stamp: s, eager: op.Eager,
		empty: op.N == 0, place: op.Src.Index()*v.slices + st.Slice,
	}
	if !msg.empty {
		for i, m := range v.memories {
			c := m.at(r, op.Src, msg.place)
			if reason := v.checkRead(c, &s, msg.place); reason != "" {
				return false, v.fail(m, r, l, st.First, reason)
			}
			msg.vals[i] = c.val
			if op.Eager {
				c.readBy(s.at)
			} else {
				c.open++
				msg.cells[i] = c
			}
		}
	}
	t.ended = append(t.ended, completion{s, op.Eager})
	v.machines[r].Start(l)
	v.settle(id)
	v.wake(v.thread(int(op.Peer), l.Opposite()))
	return true, nil
}

// receive takes the messages of a receive or of a joint reduction.
func (v *run) receive(r int, l Lane, id int32, st Step) (bool, error) {
	t := &v.threads[id]
	for j := st.First; j < st.First+st.Width; j++ {
		if !v.links[t.links[j]].full {
			return false, nil
		}
	}
	op := &t.ops[st.First].op
	s := v.tickLearner(id, op, st.Slice)
	for j := st.First; j < st.First+st.Width; j++ {
		msg := &v.links[t.links[j]]
		if want := t.ops[j].op.Match; msg.index != want {
			return false, v.fail(nil, r, l, j, fmt.Sprintf("gets op %d of rank %d, wants op %d", msg.index, t.ops[j].op.Peer, want))
		}
		v.clocks.learn(&s, &msg.stamp)
	}
	t.base = s.base
	var vals [2]sum
	for j := st.First; j < st.First+st.Width; j++ {
		msg := &v.links[t.links[j]]
		for i := range vals {
			vals[i] = vals[i].plus(msg.vals[i])
			if c := msg.cells[i]; c != nil {
				c.open--
				c.readBy(s.at)
			}
		}
		msg.full = false
		if !msg.eager {
			v.threads[msg.from].ended[msg.step] = completion{s.stamp, true}
		}
	}
	if op.N > 0 {
		place := op.Dst.Index()*v.slices + st.Slice
		for i, m := range v.memories {
			if reason := v.store(m, r, op, place, vals[i], &s.stamp); reason != "" {
				return false, v.fail(m, r, l, st.First, reason)
			}
		}
	}
	t.ended = append(t.ended, completion{s.stamp, true})
	v.machines[r].Start(l)
	v.settle(id)
	for j := st.First; j < st.First+st.Width; j++ { // the senders go on
		from := v.thread(int(t.ops[j].op.Peer), l.Opposite())
		v.settle(from)
		v.wake(from)
	}
	return true, nil
}

// store puts what came, reduced if op says so, where op says, or returns why it may not.
func (v *run) store(m *memory, r int, op *Op, place int, val sum, s *stamp) string {
	if op.Kind == RecvReduce {
		src := m.at(r, op.Src, place)
		if reason := v.checkRead(src, s, place); reason != "" {
			return reason
		}
		src.readBy(s.at)
		val = val.plus(src.val)
		if done := val == v.total[place]; done != op.Final {
			return fmt.Sprintf("chunk %d has %d of %d contributions, Final is %v", place/v.slices, val.count, v.total[place].count, op.Final)
		}
	}
	return v.write(m.at(r, op.Dst, place), val, s, place)
}

// settle completes the started steps of a thread that are over, in order.
func (v *run) settle(id int32) {
	t := &v.threads[id]
	before := t.settled
	for t.settled < len(t.ended) && t.ended[t.settled].over {
		v.machines[int(id)/v.lanes].Complete(Lane(int(id) % v.lanes))
		t.settled++
	}
	if t.settled > before {
		for _, w := range t.wakes {
			v.wake(w)
		}
	}
}

// tick returns the stamp of the thread's next step.
func (v *run) tick(id int32, op *Op, slice int) stamp {
	s := v.tickLearner(id, op, slice)
	v.threads[id].base = s.base
	return s.stamp
}

func (v *run) tickLearner(id int32, op *Op, slice int) learner {
	t := &v.threads[id]
	t.count++
	s := learner{stamp: stamp{t.base, event{id, t.count}}}
	dl, di, ok := op.After.Get()
	if !ok {
		return s
	}
	on := v.thread(int(id)/v.lanes, dl)
	k := v.steps(on, di, slice, op.streams > 0) - 1
	if dl.In() {
		v.clocks.learn(&s, &v.threads[on].ended[k].stamp) // which knows all before it
		return s
	}
	v.clocks.learnAll(&s, v.sent(on, k))
	return s
}

// sent returns what the completion of steps 0..k of an out lane tells. Sends end when their peers have taken them, each
// by a clock of its own.
func (v *run) sent(id int32, k int) vector {
	t := &v.threads[id]
	for len(t.known) <= k {
		i := len(t.known)
		s := learner{stamp: stamp{at: event{thread: id}}}
		if i > 0 {
			s.base = t.known[i-1]
		}
		v.clocks.learn(&s, &t.ended[i].stamp)
		t.known = append(t.known, s.base)
	}
	return t.known[k]
}

// steps returns how many completions of a thread are certain once operation i of it, or only its slice when stream, is
// complete.
func (v *run) steps(id int32, i, slice int, stream bool) int {
	t := &v.threads[id]
	first := i
	for t.ops[first].width == 0 {
		first--
	}
	begins, e := int(t.begins[i]), &t.ops[first]
	per := int(e.width)
	if e.joint {
		per = 1
	}
	switch {
	case !stream:
		return begins + per*v.machines[int(id)/v.lanes].slicing.Count(e.op.N)
	case e.joint:
		return begins + slice + 1
	}
	return begins + slice*per + i - first + 1
}
