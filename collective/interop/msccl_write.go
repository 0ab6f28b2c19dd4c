package interop

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// WriteMSCCL writes s, which is for the given collective, as the XML of Microsoft's MSCCL, to run out of place. A
// lane becomes a thread block for each peer, and what a lane orders between peers a dependency. Schedules with eager
// sends use the protocol LL, which copies what it sends, others Simple. It fails with a [*FormatError] for a barrier,
// which MSCCL does not have, or with the writer's error. It does not hold the schedule to MSCCL's limits, of 256 steps a thread
// block among others.
func WriteMSCCL(w io.Writer, s schedule.Schedule, want schedule.Contract, name string) error {
	l := s.Layout()
	coll, ok := mscclNames[want.Collective]
	if !ok {
		return &FormatError{Reason: fmt.Sprintf("MSCCL has no %v", want.Collective)}
	}
	a := mscclAlgo{
		Name: name, Protocol: "Simple", Channels: s.Channels(), Chunks: l.Chunks(), Ranks: s.Ranks(), Collective: coll,
		OutOfPlace: 1, MaxBytes: 1 << 62,
	}
	if want.Collective.Rooted() {
		root := int(want.Root)
		a.Root = &root
	}
	for r := range topology.Rank(s.Ranks()) {
		g := mscclWriter{s: s, want: want, r: r, gpu: mscclGPU{ID: int(r), Input: l.Chunks(), Output: l.Chunks()}}
		switch want.Collective {
		case schedule.AllGather:
			g.gpu.Input = l.Pieces
		case schedule.ReduceScatter:
			g.gpu.Output, g.gpu.Scratch = l.Pieces, l.Chunks()
		}
		g.write()
		if g.eager {
			a.Protocol = "LL"
		}
		a.GPUs = append(a.GPUs, g.gpu)
	}
	text, err := xml.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

type mscclWriter struct {
	s     schedule.Schedule
	want  schedule.Contract
	r     topology.Rank
	gpu   mscclGPU
	eager bool
}

type stepRef struct{ block, step int }

func (g *mscclWriter) write() {
	type key struct {
		lane schedule.Lane
		peer topology.Rank
	}
	blocks := make(map[key]int)
	at := make(map[schedule.Ref]stepRef) // where an operation became a step
	// Thread blocks first: an After may name a lane that comes later.
	type laid struct {
		lane  schedule.Lane
		index int
		op    schedule.Op
		block int
	}
	var all []laid
	for lane := range schedule.Lane(2 * g.s.Channels()) {
		each(g.s, g.r, lane, func(i int, op schedule.Op) {
			k := key{lane, op.Peer}
			if op.Kind == schedule.Copy {
				k.peer = -1
			}
			b, ok := blocks[k]
			if !ok {
				b = len(g.gpu.Blocks)
				blocks[k] = b
				tb := mscclBlock{ID: b, Send: -1, Recv: -1, Channel: int(lane.Channel())}
				if op.Kind == schedule.Send {
					tb.Send = int(op.Peer)
				} else if op.Kind != schedule.Copy {
					tb.Recv = int(op.Peer)
				}
				g.gpu.Blocks = append(g.gpu.Blocks, tb)
			}
			all = append(all, laid{lane, i, op, b})
		})
	}
	waits := func(o *laid) (on []schedule.Ref) {
		if o.index > 0 { // the order of the lane, where it goes on in another thread block
			on = append(on, schedule.At(o.lane, o.index-1))
		}
		if _, _, ok := o.op.After.Get(); ok {
			on = append(on, o.op.After)
		}
		return on
	}
	blockOf := make(map[schedule.Ref]int)
	for _, o := range all {
		blockOf[schedule.At(o.lane, o.index)] = o.block
	}
	// Steps are numbered before they are written, because they name each other.
	next := make([]int, len(g.gpu.Blocks))
	foreign := func(o *laid) (on []schedule.Ref) {
		for _, ref := range waits(o) {
			if blockOf[ref] != o.block {
				on = append(on, ref)
			}
		}
		return on
	}
	for i := range all {
		o := &all[i]
		if k := len(foreign(o)); k > 1 {
			next[o.block] += k - 1 // a nop for each dependency but one
		}
		next[o.block] += len(g.runs(&o.op))
		at[schedule.At(o.lane, o.index)] = stepRef{o.block, next[o.block] - 1}
	}
	waited := make(map[stepRef]bool)
	for i := range all {
		o := &all[i]
		tb := &g.gpu.Blocks[o.block]
		on := foreign(o)
		for k, ref := range on {
			waited[at[ref]] = true
			if k < len(on)-1 {
				tb.Steps = append(tb.Steps, mscclStep{
					Index: len(tb.Steps), Type: "nop", SrcBuffer: "i", DstBuffer: "o", DepBlock: at[ref].block, DepStep: at[ref].step,
				})
			}
		}
		from := 0
		for k, n := range g.runs(&o.op) {
			step := g.step(&o.op, o.lane, o.index, from, n)
			step.Index, step.DepBlock, step.DepStep = len(tb.Steps), -1, -1
			if k == 0 && len(on) > 0 {
				last := at[on[len(on)-1]]
				step.DepBlock, step.DepStep = last.block, last.step
			}
			tb.Steps = append(tb.Steps, step)
			from += n
		}
	}
	for ref := range waited {
		g.gpu.Blocks[ref.block].Steps[ref.step].HasDep = 1
	}
}

// runs cuts the chunks of an operation where they lie apart in the buffers of this rank or of its peer, so that both
// ends of a message have the same steps. It returns the lengths.
func (g *mscclWriter) runs(op *schedule.Op) (lengths []int) {
	n := int(op.N)
	if n <= 1 {
		return []int{n}
	}
	first := op.Src.Index()
	if op.Kind == schedule.Recv {
		first = op.Dst.Index()
	}
	ranks := []topology.Rank{g.r}
	if op.Kind != schedule.Copy {
		ranks = append(ranks, op.Peer)
	}
	from := 0
	for k := 1; k < n; k++ {
		if slices.ContainsFunc(ranks, func(r topology.Rank) bool { return g.seam(r, first+k) }) {
			lengths = append(lengths, k-from)
			from = k
		}
	}
	return append(lengths, n-from)
}

// seam reports whether the buffers of a rank have one before a chunk: where the own block of a reduce-scatter's output,
// which is not scratch, begins and ends. The input of an all-gather has none: but for the own block it is nowhere.
func (g *mscclWriter) seam(r topology.Rank, chunk int) bool {
	if g.want.Collective != schedule.ReduceScatter {
		return false
	}
	l := g.s.Layout()
	return chunk == int(r)*l.Pieces || chunk == (int(r)+1)*l.Pieces
}

// step makes the step for n chunks of an operation, from its chunk number from on.
func (g *mscclWriter) step(op *schedule.Op, lane schedule.Lane, i, from, n int) mscclStep {
	l := g.s.Layout()
	x := mscclStep{Count: n, SrcBuffer: "i", DstBuffer: "o"}
	x.Type = map[schedule.Kind]string{schedule.Send: "s", schedule.Recv: "r", schedule.RecvReduce: "rrc", schedule.Copy: "cpy"}[op.Kind]
	g.eager = g.eager || op.Eager
	src, dst := op.Src, op.Dst
	if op.Kind == schedule.RecvReduce && i > 0 {
		// Members of a joint reduction read their operand once; a chain of steps goes on from its own result.
		if before, ok := g.s.At(g.r, lane, i-1); ok && before.Kind == op.Kind && before.Dst == op.Dst && before.Src == op.Src && before.N == op.N {
			src = dst
		}
	}
	if n == 0 {
		return x
	}
	if op.Kind != schedule.Recv {
		x.SrcBuffer, x.SrcOffset = place(g.want, l, g.r, src+schedule.Chunk(from))
	}
	if op.Kind != schedule.Send {
		x.DstBuffer, x.DstOffset = place(g.want, l, g.r, dst+schedule.Chunk(from))
	}
	return x
}
