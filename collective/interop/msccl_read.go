package interop

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// ReadMSCCL reads the XML of MSCCL: the steps s, r, rrc, cpy and nop (send, receive, receive-reduce-copy, copy, nothing) of
// allreduce, reduce_scatter, allgather, broadcast and reduce. Thread blocks of one channel of a rank become its two
// lanes, in the order of a run in which every send meets its receive at once, or, with the protocol LL, is eager and done
// at once; an algorithm that comes to a standstill in such a run is refused. It returns the schedule and the collective that
// it is for, for [schedule.Verify]. It fails with a [*FormatError].
func ReadMSCCL(r io.Reader) (*Listing, schedule.Contract, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText))
	if err != nil {
		return nil, schedule.Contract{}, &FormatError{Reason: err.Error()}
	}
	var a mscclAlgo
	d := xml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&a); err != nil {
		line, _ := d.InputPos()
		return nil, schedule.Contract{}, &FormatError{line, err.Error()}
	}
	m := &mscclReader{algo: &a}
	if err := m.prepare(); err != nil {
		return nil, schedule.Contract{}, err
	}
	if err := m.run(); err != nil {
		return nil, schedule.Contract{}, err
	}
	return m.out, m.want, nil
}

type mscclReader struct {
	algo   *mscclAlgo
	want   schedule.Contract
	layout schedule.Layout
	eager  bool
	gpus   []*mscclGPU // by rank
	next   [][]int     // by rank and thread block: its next step
	done   [][][]refs  // by rank, thread block and step: what became of it
	counts [][]int     // by rank and output chunk: contributions in it, -1: undefined
	out    *Listing
	waited []map[schedule.Ref]bool // by rank: what another lane waits for
	// With LL, what is sent and not yet received, by link.
	flying map[linkID][]*sent
}

type linkID struct{ from, to, channel int }

// A sent message: its operation, and how many contributions each of its chunks has.
type sent struct {
	src    schedule.Chunk
	ref    schedule.Ref
	counts []int
}

// refs names what stands for a step: the operation that it became, or, for a nop, what it waited for.
type refs struct {
	all  []schedule.Ref
	done bool
}

func mscclFail(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

func (m *mscclReader) prepare() error {
	a := m.algo
	if a.Ranks == 0 {
		a.Ranks = len(a.GPUs)
	}
	n := len(a.GPUs)
	if n < 1 || n > maxRanks || a.Ranks != n {
		return mscclFail("%d gpus, ngpus is %d", n, a.Ranks)
	}
	if a.Channels < 1 || a.Channels > maxChannels || a.Chunks < 1 || a.Chunks > maxChunks || a.Chunks > maxOps/n {
		return mscclFail("%d channels, %d chunks", a.Channels, a.Chunks)
	}
	for c, name := range mscclNames {
		if name == a.Collective {
			m.want.Collective = c
		}
	}
	if m.want.Collective == 0 {
		return mscclFail("collective %q is not one of allreduce, reduce_scatter, allgather, broadcast, reduce", a.Collective)
	}
	if m.want.Collective.Rooted() {
		if a.Root == nil || *a.Root < 0 || *a.Root >= n {
			return mscclFail("%s needs a root of %d ranks", a.Collective, n)
		}
		m.want.Root = topology.Rank(*a.Root)
	}
	var err error
	if m.layout, err = layoutFor(m.want, n, a.Chunks); err != nil {
		return err
	}
	m.eager = a.Protocol == "LL"
	m.gpus = make([]*mscclGPU, n)
	m.next, m.done, m.counts = make([][]int, n), make([][][]refs, n), make([][]int, n)
	m.waited = make([]map[schedule.Ref]bool, n)
	for i := range a.GPUs {
		g := &a.GPUs[i]
		if g.ID < 0 || g.ID >= n || m.gpus[g.ID] != nil {
			return mscclFail("gpu %d stands twice or is not one of %d", g.ID, n)
		}
		m.gpus[g.ID] = g
		m.next[g.ID], m.done[g.ID] = make([]int, len(g.Blocks)), make([][]refs, len(g.Blocks))
		for k := range g.Blocks {
			tb := &g.Blocks[k]
			if tb.ID != k {
				return mscclFail("gpu %d: thread block %d stands at place %d", g.ID, tb.ID, k)
			}
			if tb.Channel < 0 || tb.Channel >= a.Channels || tb.Send < -1 || tb.Send >= n || tb.Recv < -1 || tb.Recv >= n || tb.Send == g.ID || tb.Recv == g.ID {
				return mscclFail("gpu %d: thread block %d has channel %d, send %d, recv %d", g.ID, k, tb.Channel, tb.Send, tb.Recv)
			}
			for s := range tb.Steps {
				x := &tb.Steps[s]
				if x.Index != s {
					return mscclFail("gpu %d: thread block %d: step %d stands at place %d", g.ID, k, x.Index, s)
				}
				if x.DepBlock != -1 && (x.DepBlock < 0 || x.DepBlock >= len(g.Blocks) || x.DepStep < 0 || x.DepStep >= len(g.Blocks[x.DepBlock].Steps)) {
					return mscclFail("gpu %d: thread block %d: step %d waits for %d of thread block %d, which does not exist", g.ID, k, s, x.DepStep, x.DepBlock)
				}
				if x.Count < 0 || x.Count > a.Chunks {
					return mscclFail("gpu %d: thread block %d: step %d has %d chunks", g.ID, k, s, x.Count)
				}
			}
			m.done[g.ID][k] = make([]refs, len(tb.Steps))
		}
		m.counts[g.ID] = make([]int, a.Chunks)
		for c := range m.counts[g.ID] {
			m.counts[g.ID][c] = -1
		}
	}
	m.out = newListing(n, a.Channels, m.layout)
	return nil
}

// head returns the next step of a thread block when what it waits for is done.
func (m *mscclReader) head(r, k int) *mscclStep {
	steps := m.gpus[r].Blocks[k].Steps
	i := m.next[r][k]
	if i == len(steps) {
		return nil
	}
	x := &steps[i]
	if x.DepBlock != -1 && !m.done[r][x.DepBlock][x.DepStep].done {
		return nil
	}
	return x
}

// run executes the algorithm, one step or one message at a time, and writes down operations as they come.
func (m *mscclReader) run() error {
	type blockID struct{ r, k int }
	senders, receivers := make(map[linkID]blockID), make(map[linkID]blockID)
	m.flying = make(map[linkID][]*sent)
	var queue []blockID
	for r, g := range m.gpus {
		for k := range g.Blocks {
			tb := &g.Blocks[k]
			if tb.Send >= 0 {
				e := linkID{r, tb.Send, tb.Channel}
				if _, twice := senders[e]; twice {
					return mscclFail("gpu %d has two thread blocks that send to gpu %d on channel %d", r, tb.Send, tb.Channel)
				}
				senders[e] = blockID{r, k}
			}
			if tb.Recv >= 0 {
				e := linkID{tb.Recv, r, tb.Channel}
				if _, twice := receivers[e]; twice {
					return mscclFail("gpu %d has two thread blocks that receive from gpu %d on channel %d", r, tb.Recv, tb.Channel)
				}
				receivers[e] = blockID{r, k}
			}
			queue = append(queue, blockID{r, k})
		}
	}
	// Whoever moves wakes the thread blocks of its rank and, by a message, those of the peer's.
	queued := make(map[blockID]bool)
	wake := func(r int) {
		for k := range m.gpus[r].Blocks {
			if b := (blockID{r, k}); !queued[b] && m.next[r][k] < len(m.gpus[r].Blocks[k].Steps) {
				queued[b] = true
				queue = append(queue, b)
			}
		}
	}
	for _, b := range queue {
		queued[b] = true
	}
	for len(queue) > 0 {
		b := queue[0]
		queue = queue[1:]
		queued[b] = false
		x := m.head(b.r, b.k)
		if x == nil {
			continue
		}
		tb := &m.gpus[b.r].Blocks[b.k]
		switch x.Type {
		case "nop", "cpy":
			if err := m.local(b.r, b.k, x); err != nil {
				return err
			}
			wake(b.r)
		case "s":
			if tb.Send < 0 {
				return mscclFail("gpu %d: thread block %d sends to nobody", b.r, b.k)
			}
			to, ok := receivers[linkID{b.r, tb.Send, tb.Channel}]
			if !ok {
				return mscclFail("gpu %d receives nothing from gpu %d on channel %d", tb.Send, b.r, tb.Channel)
			}
			if y := m.head(to.r, to.k); !m.eager && (y == nil || y.Type != "r" && y.Type != "rrc") {
				continue // woken when the peer moves
			}
			out, err := m.send(b.r, b.k, x)
			if err != nil {
				return err
			}
			if m.eager {
				id := linkID{b.r, tb.Send, tb.Channel}
				m.flying[id] = append(m.flying[id], out)
			} else if err := m.receive(to.r, to.k, m.head(to.r, to.k), out); err != nil {
				return err
			}
			wake(b.r)
			wake(to.r)
		case "r", "rrc":
			from, ok := senders[linkID{tb.Recv, b.r, tb.Channel}]
			if tb.Recv < 0 || !ok {
				return mscclFail("gpu %d: thread block %d receives from nobody", b.r, b.k)
			}
			if id := (linkID{tb.Recv, b.r, tb.Channel}); len(m.flying[id]) > 0 {
				out := m.flying[id][0]
				m.flying[id] = m.flying[id][1:]
				if err := m.receive(b.r, b.k, x, out); err != nil {
					return err
				}
				wake(b.r)
			} else if y := m.head(from.r, from.k); y != nil && y.Type == "s" && !queued[from] {
				queued[from] = true
				queue = append(queue, from)
			}
		default:
			return mscclFail("gpu %d: thread block %d: a step of type %q", b.r, b.k, x.Type)
		}
	}
	for r, g := range m.gpus {
		for k := range g.Blocks {
			if i := m.next[r][k]; i < len(g.Blocks[k].Steps) {
				return mscclFail("the algorithm comes to a standstill: gpu %d waits in step %d of thread block %d", r, i, k)
			}
		}
	}
	return nil
}

// waits returns what a step waits for: the one before it in its thread block, and its dependency.
func (m *mscclReader) waits(r, k int, x *mscclStep) (on []schedule.Ref) {
	if x.Index > 0 {
		on = append(on, m.done[r][k][x.Index-1].all...)
	}
	if x.DepBlock != -1 {
		on = append(on, m.done[r][x.DepBlock][x.DepStep].all...)
	}
	return latest(on)
}

// latest keeps of each lane the last operation, which completes after the others, in the order of lanes.
func latest(on []schedule.Ref) (out []schedule.Ref) {
	slices.SortFunc(on, func(a, b schedule.Ref) int {
		la, ia, _ := a.Get()
		lb, ib, _ := b.Get()
		return cmp.Or(cmp.Compare(la, lb), cmp.Compare(ia, ib))
	})
	for i, ref := range on {
		l, _, _ := ref.Get()
		if i+1 < len(on) {
			if next, _, _ := on[i+1].Get(); next == l {
				continue
			}
		}
		out = append(out, ref)
	}
	return out
}

// add appends an operation of a step to a lane, with what the step waits for, and returns its place. What a second
// dependency needs is a copy of nothing that waits for it.
func (m *mscclReader) add(r, k int, x *mscclStep, lane schedule.Lane, op schedule.Op) schedule.Ref {
	ops := &m.out.ops[r][lane]
	for _, ref := range m.waits(r, k, x) {
		if l, _, _ := ref.Get(); l == lane {
			continue // the lane has its order
		}
		if m.waited[r] == nil {
			m.waited[r] = make(map[schedule.Ref]bool)
		}
		m.waited[r][ref] = true
		if _, _, another := op.After.Get(); another {
			*ops = append(*ops, schedule.Op{Kind: schedule.Copy, Src: schedule.Input(0), Dst: schedule.Output(0), After: op.After})
		}
		op.After = ref
	}
	*ops = append(*ops, op)
	return schedule.At(lane, len(*ops)-1)
}

func (m *mscclReader) finish(r, k int, x *mscclStep, what ...schedule.Ref) {
	m.done[r][k][x.Index] = refs{what, true}
	m.next[r][k]++
}

// chunks returns the chunks of one side of a step.
func (m *mscclReader) chunks(r int, buffer string, offset int, x *mscclStep) (schedule.Chunk, error) {
	if x.Count == 0 {
		return schedule.Output(0), nil
	}
	first, ok := chunkAt(m.want, m.layout, topology.Rank(r), buffer, offset)
	last, ok2 := chunkAt(m.want, m.layout, topology.Rank(r), buffer, offset+x.Count-1)
	if !ok || !ok2 || last != first+schedule.Chunk(x.Count-1) {
		return 0, mscclFail("gpu %d: %d chunks from %s[%d] are not in its buffers", r, x.Count, buffer, offset)
	}
	return first, nil
}

// contributions returns how many ranks' values chunk c of rank r holds, or -1 when it holds nothing.
func (m *mscclReader) contributions(r int, c schedule.Chunk) int {
	if c.IsOutput() {
		return m.counts[r][c.Index()]
	}
	if !m.want.HasInput(topology.Rank(r), c.Index()/m.layout.Pieces) {
		return -1
	}
	return 1
}

func (m *mscclReader) store(r int, c schedule.Chunk, k, n int) {
	if c.IsOutput() {
		m.counts[r][c.Index()+k] = n
	}
}

func (m *mscclReader) local(r, k int, x *mscclStep) error {
	if x.Type == "nop" {
		m.finish(r, k, x, m.waits(r, k, x)...)
		return nil
	}
	src, err := m.chunks(r, x.SrcBuffer, x.SrcOffset, x)
	if err != nil {
		return err
	}
	dst, err := m.chunks(r, x.DstBuffer, x.DstOffset, x)
	if err != nil {
		return err
	}
	tb := &m.gpus[r].Blocks[k]
	lane := schedule.OutLane(schedule.Channel(tb.Channel))
	if tb.Recv >= 0 {
		lane = lane.Opposite()
	}
	ref := m.add(r, k, x, lane, schedule.Op{Kind: schedule.Copy, Src: src, Dst: dst, N: uint32(x.Count)})
	for c := range x.Count {
		m.store(r, dst, c, m.contributions(r, src+schedule.Chunk(c)))
	}
	m.finish(r, k, x, ref)
	return nil
}

// send does a step that sends.
func (m *mscclReader) send(r, k int, x *mscclStep) (*sent, error) {
	tb := &m.gpus[r].Blocks[k]
	src, err := m.chunks(r, x.SrcBuffer, x.SrcOffset, x)
	if err != nil {
		return nil, err
	}
	out := &sent{src: src}
	for c := range x.Count {
		out.counts = append(out.counts, m.contributions(r, src+schedule.Chunk(c)))
	}
	op := schedule.Op{Kind: schedule.Send, Src: src, N: uint32(x.Count), Peer: topology.Rank(tb.Send), Eager: m.eager}
	out.ref = m.add(r, k, x, schedule.OutLane(schedule.Channel(tb.Channel)), op)
	m.finish(r, k, x, out.ref)
	return out, nil
}

// receive does a step that receives what was sent.
func (m *mscclReader) receive(r, k int, x *mscclStep, what *sent) error {
	tb := &m.gpus[r].Blocks[k]
	if x.Count != len(what.counts) {
		return mscclFail("gpu %d sends %d chunks and gpu %d receives %d", tb.Recv, len(what.counts), r, x.Count)
	}
	dst, err := m.chunks(r, x.DstBuffer, x.DstOffset, x)
	if err != nil {
		return err
	}
	out, at, _ := what.ref.Get()
	op := schedule.Op{Kind: schedule.Recv, Dst: dst, N: uint32(x.Count), Peer: topology.Rank(tb.Recv), Match: int32(at)}
	if x.Type == "rrc" {
		op.Kind = schedule.RecvReduce
		if op.Src, err = m.chunks(r, x.SrcBuffer, x.SrcOffset, x); err != nil {
			return err
		}
		op.Final = m.want.Collective.Reduces() && x.Count > 0
	}
	for c, n := range what.counts {
		if x.Type == "rrc" {
			if have := m.contributions(r, op.Src+schedule.Chunk(c)); n >= 0 && have >= 0 {
				n += have
			} else {
				n = -1
			}
			op.Final = op.Final && n == len(m.gpus)
		}
		m.store(r, dst, c, n)
	}
	ref := m.add(r, k, x, out.Opposite(), op)
	_, i, _ := ref.Get()
	m.out.ops[tb.Recv][out][at].Match = int32(i)
	m.join(r, out.Opposite(), i)
	m.finish(r, k, x, ref)
	return nil
}

// join makes operation i of an in lane, where it goes on from the result of those before it, one joint reduction with them.
// Slices of it do not wait for each other as those of a chain do.
func (m *mscclReader) join(r int, lane schedule.Lane, i int) {
	ops := m.out.ops[r][lane]
	op := &ops[i]
	if i == 0 || op.Kind != schedule.RecvReduce || op.Src != op.Dst {
		return
	}
	before := ops[i-1]
	if before.Kind != op.Kind || before.Dst != op.Dst || before.N != op.N || before.After != op.After || m.waited[r][schedule.At(lane, i-1)] {
		return
	}
	first := i - 1
	for first > 0 && sameUnit(&ops[first-1], &before) {
		first--
	}
	for k := first; k < i; k++ {
		if ops[k].Peer == op.Peer {
			return
		}
	}
	op.Src = before.Src
	for k := first; k < i; k++ {
		ops[k].Final = op.Final
	}
}

func sameUnit(a, b *schedule.Op) bool {
	return a.Kind == b.Kind && a.Src == b.Src && a.Dst == b.Dst && a.N == b.N && a.After == b.After && a.Final == b.Final
}
