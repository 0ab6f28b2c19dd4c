package engine

import (
	"slices"
	"time"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
)

// Placement is a message whose data its sender has stored where it belongs. A rank that sends a chunk which comes back reduced
// (schedule.Answers) offers, with the frame, the memory that the result is for. The rank that reduces the chunk has read
// every rank's part by then, and has compared the frame with its own call, so it stores the result there along with its own,
// block by block while they are in the cache, and says so by a frame without data.

// placeBlock is how much is reduced before it is stored to the peers: the parts of eight ranks stay in a second-level cache.
const placeBlock = 16 << 10

// placing is what a script knows of the answers in its program.
type placing struct {
	marks   [][]mark         // by lane and operation
	answers []schedule.Chunk // that this rank gets: where they are stored
	replies int              // that it gives
	slices  int              // of every one of them
}

// A mark says what an operation has to do with answers and replies, by number, -1: nothing. A send offers memory for an answer, or is
// a reply. A receive may be an answer, and a reduction may give a reply.
type mark struct{ answer, reply int32 }

// placingOf looks for the answers of sc's program, if there is one and some link can place.
func (e *Engine) placingOf(sc *Script, p *schedule.Program) *placing {
	able := false
	for _, conns := range sc.conns {
		for _, c := range conns {
			able = able || c != nil && c.places
		}
	}
	if !able {
		return nil
	}
	pl := &placing{marks: make([][]mark, len(sc.conns)), slices: sc.slicing.Count(1)}
	for l := range pl.marks {
		pl.marks[l] = slices.Repeat([]mark{{-1, -1}}, p.Len(schedule.Lane(l)))
	}
	at := func(r schedule.Ref) *mark {
		l, i, _ := r.Get()
		return &pl.marks[l][i]
	}
	for _, a := range schedule.Answers(p, e.rank) {
		l, i, _ := a.Recv.Get()
		op, _ := p.At(e.rank, l, i)
		at(a.Send).answer, at(a.Recv).answer = int32(len(pl.answers)), int32(len(pl.answers))
		pl.answers = append(pl.answers, op.Dst)
	}
	for l := range pl.marks {
		for i := range pl.marks[l] {
			if !schedule.Lane(l).In() {
				continue
			}
			if k := schedule.Reply(p, e.rank, schedule.Lane(l), i); k != (schedule.Ref{}) {
				pl.marks[l][i].reply, at(k).reply = int32(pl.replies), int32(pl.replies)
				pl.replies++
			}
		}
	}
	if len(pl.answers) == 0 && pl.replies == 0 {
		return nil
	}
	return pl
}

// beginPlacing forgets the offers and answers of the operation before.
func (e *Engine) beginPlacing(sc *Script) {
	pl := sc.placing
	if pl == nil {
		return
	}
	for i, bits := range []*[]bool{&e.placed, &e.offered} {
		n := [2]int{pl.replies, len(pl.answers)}[i] * pl.slices
		if cap(*bits) < n {
			*bits = make([]bool, n)
		}
		*bits = (*bits)[:n]
		clear(*bits)
	}
}

// offer makes the offer that goes with slice k of send i of a lane, of elements lo to hi.
func (e *Engine) offer(sc *Script, m *Operands, c *conn, l schedule.Lane, i, k, lo, hi int) {
	pl := sc.placing
	if a := pl.marks[l][i].answer; a >= 0 && c.places {
		e.offered[int(a)*pl.slices+k] = c.Offer(m.span(pl.answers[a], lo, hi, sc.size))
	}
}

// largeOperation is how many bytes of input and output the ranks have together, at least, when what nobody has read before is
// stored past the caches: they are then larger than most last caches.
const largeOperation = 64 << 20

// An answer is memory that the result of a reduction may be stored in.
type answer struct {
	into  []byte
	fresh bool // not where the peer's own part lies: storing there would first read what is overwritten
}

// answerable returns those that the frames of a joint reduction offer.
func (e *Engine) answerable(sc *Script, l schedule.Lane, st schedule.Step) []answer {
	e.answers = e.answers[:0]
	for j, f := range e.frames {
		if r := sc.placing.marks[l][st.First+j].reply; r >= 0 && len(f.Into) > 0 {
			e.answers = append(e.answers, answer{f.Into, unsafe.SliceData(f.Into) != unsafe.SliceData(f.Payload)})
			e.placed[int(r)*sc.placing.slices+st.Slice] = true
		}
	}
	return e.answers
}

// reduceAndPlace reduces e.srcs into dst and the answers, block by block. own is this rank's of e.srcs.
func (e *Engine) reduceAndPlace(sc *Script, dst, own []byte, answers []answer, finish bool) {
	block := placeBlock / sc.size * sc.size
	var result []byte // of a block, where it cannot be in dst
	if sc.large && unsafe.SliceData(dst) != unsafe.SliceData(own) {
		if e.result == nil {
			e.result = make([]byte, placeBlock)
		}
		result = e.result
	}
	parts := e.parts[:0]
	for range e.srcs {
		parts = append(parts, nil)
	}
	for lo := 0; lo < len(dst); lo += block {
		hi := min(lo+block, len(dst))
		for i, src := range e.srcs {
			parts[i] = src[lo:hi:hi]
		}
		d := dst[lo:hi:hi]
		if result != nil {
			d = result[:hi-lo]
		}
		sc.kernel.Reduce(d, parts)
		if finish {
			sc.kernel.Finish(d, e.cfg.Size)
		}
		if result != nil {
			buffer.CopyStream(dst[lo:hi], d)
		}
		for _, a := range answers {
			if sc.large && a.fresh {
				buffer.CopyStream(a.into[lo:hi], d)
			} else {
				buffer.Copy(a.into[lo:hi], d)
			}
		}
	}
	e.parts = parts
}

// isPlaced reports whether slice k of receive i of a lane may be a frame of kind Placed: its memory was offered.
func (e *Engine) isPlaced(sc *Script, l schedule.Lane, i, k int) bool {
	if sc.placing == nil {
		return false
	}
	a := sc.placing.marks[l][i].answer
	return a >= 0 && e.offered[int(a)*sc.placing.slices+k]
}

// hasPlaced reports whether the data of slice k of send i of a lane is stored with the peer already.
func (e *Engine) hasPlaced(sc *Script, l schedule.Lane, i, k int) bool {
	r := sc.placing.marks[l][i].reply
	return r >= 0 && e.placed[int(r)*sc.placing.slices+k]
}

// quietLimit bounds how long a failed operation waits for peers that are in the middle of storing into its memory.
const quietLimit = 500 * time.Millisecond

// quiesce ends all that this rank and its peers may still do to each other's memory: it lets go of the frames that it holds, and
// waits until no peer can store an answer any more.
func (e *Engine) quiesce() {
	e.mu.Lock()
	conns := make([]*conn, 0, len(e.conns))
	for _, c := range e.conns {
		if c.places || c.expecting != nil {
			conns = append(conns, c)
		}
	}
	e.mu.Unlock()
	for _, c := range conns {
		if c.held {
			c.Release()
		}
	}
	start := time.Now()
	for _, c := range conns {
		for turn := 0; !c.Quiet() && time.Since(start) < quietLimit; turn++ {
			if turn < e.waiter.spins+e.waiter.yields {
				e.waiter.rest(turn)
			} else {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
}
