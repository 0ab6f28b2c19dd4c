package engine

import (
	"slices"
	"unsafe"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
)

// What is received and not reduced can be stored where it belongs, by the peer's device or the link's reads, where the link is a
// transport.ExpectingLink. So the engine says, as far ahead as the link takes it, where such frames of an operation are wanted.
// The device may store there long before the frame's turn has come, so a place is given only when nothing of this rank's uses the memory any
// more: every operation of the lane that is before the receive and touches the same chunks is over, and every one that waits
// for another lane. All that the schedule orders before the receive in another way, it orders by messages, and then it is over when
// the peer sends. For the same reason a receive that itself waits for another lane has no place.
//
// In an operation on Config.Memory the places lie there, and are given once its stream has come so far. What is to be reduced has
// places, too, in memory of the engine's own (see landing.go), which nothing else uses.

// minExpected is the shortest payload, in bytes, that is given a place, which costs a message: 16 KiB take as long either way on the
// stand-in of transport/rdma, whose BENCHMARKS have the figures, and on software RoCE; longer ones take less on the former, and between 0.86
// and 1.17 of the time, in no order, on the latter.
const minExpected = 16 << 10

// awaited are the receives of one link in a script.
type awaited struct {
	c    *conn
	lane schedule.Lane
	list []awaitedOp
	// Of the operation that runs: the next of list, and its slice, to get a place.
	next, slice int
	seen        uint64 // frames that had been taken from the link when it was last looked at
	short       bool   // then the landing was full
}

type awaitedOp struct {
	op   int32 // of the lane
	over int32 // how many operations of the lane must be over
	at   int   // frames of this operation before its first on the link
	land bool  // it is to be reduced, and lands elsewhere
}

// awaitedOf returns what sc's program receives and can have stored, by link, on the host or away.
func (e *Engine) awaitedOf(sc *Script, p *schedule.Program, away bool) []*awaited {
	if sc.slicing.Slice < minExpected || sc.slicing.Chunk < minExpected {
		return nil
	}
	var all []*awaited
	able := func(c *conn) bool {
		return c != nil && c.expecting != nil && !(away && e.cfg.Reads != nil && e.cfg.Reads(c.peer)) // that one sends references
	}
	for lane := range schedule.Lane(len(sc.conns)) {
		if !lane.In() || !slices.ContainsFunc(sc.conns[lane], able) {
			continue
		}
		type link struct {
			frames int
			a      *awaited
		}
		links := make(map[*conn]*link)
		touched := make(map[int]int32) // by chunk: how many operations to the last that touches it
		waits := int32(0)              // the same for the last that waits for another lane
		for i := range p.Len(lane) {
			op, _ := p.At(e.rank, lane, i)
			over := waits
			for k := range int(op.N) {
				over = max(over, touched[op.Dst.Index()+k])
				touched[op.Dst.Index()+k] = int32(i + 1)
				if op.Kind != schedule.Recv {
					touched[op.Src.Index()+k] = int32(i + 1)
				}
			}
			_, _, after := op.After.Get()
			if after {
				waits = int32(i + 1)
			}
			c := sc.conns[lane][i]
			if !able(c) {
				continue
			}
			l := links[c]
			if l == nil {
				l = &link{a: &awaited{c: c, lane: lane}}
				links[c] = l
			}
			x := awaitedOp{op: int32(i), over: over, at: l.frames, land: op.Kind == schedule.RecvReduce}
			if op.N > 0 && (op.Kind == schedule.Recv && !after || x.land && away) {
				if x.land {
					x.over = 0
				}
				if len(l.a.list) == 0 {
					all = append(all, l.a)
				}
				l.a.list = append(l.a.list, x)
			}
			l.frames += sc.slicing.Count(op.N)
		}
	}
	return all
}

// beginExpecting makes the places that sc's receives can have at once.
func (e *Engine) beginExpecting(sc *Script, m *Operands, awaits []*awaited) {
	e.awaits = awaits
	for _, a := range e.awaits {
		a.next, a.slice = 0, 0
		a.c.base = a.c.taken
	}
	for _, a := range e.awaits {
		e.expect(sc, m, a)
	}
}

// expectNext makes the places that can be had behind a step of a lane of which so many operations were over before it.
func (e *Engine) expectNext(sc *Script, m *Operands, l schedule.Lane, before int) {
	freed := e.machine.Over(l) > before // memory
	for _, a := range e.awaits {
		if a.lane == l && (freed || a.short || a.c.taken != a.seen) {
			e.expect(sc, m, a)
		}
	}
}

// expect makes the places that one link can have now.
func (e *Engine) expect(sc *Script, m *Operands, a *awaited) {
	a.seen, a.short = a.c.taken, false
	if a.next == len(a.list) {
		return
	}
	room := a.c.expecting.Expecting()
	over := e.machine.Over(a.lane)
	for ; a.next < len(a.list); a.next, a.slice = a.next+1, 0 {
		x := &a.list[a.next]
		if int(x.over) > over {
			return
		}
		op, _ := sc.sched.At(e.rank, a.lane, int(x.op))
		for count := sc.slicing.Count(op.N); a.slice < count; a.slice++ {
			ahead := int(a.c.base) + x.at + a.slice - int(a.c.taken)
			if ahead >= room {
				return
			}
			lo, hi := sc.slice(op.Dst, op.N, a.slice, count)
			mem := m.span(op.Dst, lo, hi, sc.size)
			if ahead < 0 || len(mem) < minExpected {
				continue
			}
			var p landingPlace
			if x.land {
				if p = e.landing.take(mem); p.whole == nil {
					a.short = true
					return
				}
				mem = p.mem
			}
			h := &e.wanted
			*h = sc.head
			h.Seq, h.Channel, h.Step, h.Slice, h.Length = e.now.stamp, uint16(a.lane.Channel()), uint32(op.Match), uint32(a.slice), uint32(len(mem))
			switch ok := a.c.expecting.Expect(ahead, h, mem); { // if not, it comes as any other
			case !x.land:
			case ok:
				p.frame = a.c.taken + uint64(ahead)
				a.c.lands = append(a.c.lands, p)
			default:
				e.landing.put(p)
			}
		}
	}
}

// isThere reports whether a payload has been stored in dst.
func isThere(f *transport.Frame, dst []byte) bool {
	return len(dst) > 0 && len(f.Payload) == len(dst) && unsafe.SliceData(f.Payload) == unsafe.SliceData(dst)
}
