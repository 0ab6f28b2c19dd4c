package engine

import (
	"math"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
)

// A oneShot is a program in which nothing is left to decide: eager sends of one chunk in one slice, then one joint
// reduction of what all peers sent. It runs without a Machine, and that is most of what a small operation costs.
// Whatever is out of the ordinary, a full window, a frame that is not the expected one, a peer that keeps it waiting, sends
// it back to the Machine, which goes on behind the sends that were posted.
type oneShot struct {
	src, dst schedule.Chunk
	to       []*conn
	from     []*conn // by rank
	match    []int32 // the step of each one's frame
	own      int     // how many of from are lower ranks
	final    bool
	all      bool                // every other rank is in from
	whole    bool                // all, and the chunk is the whole vector
	words    [headerWords]uint64 // of the frames, but for what differs from operation to operation
	inline   int                 // longer payloads are put aside, for some peer at least
}

// oneShotOf returns the program of sc as a oneShot, or nil if it is none.
func (e *Engine) oneShotOf(sc *Script, p *schedule.Program) *oneShot {
	out, in := schedule.OutLane(0), schedule.InLane(0)
	sends, recvs := p.Len(out), p.Len(in)
	if p.Channels() != 1 || sends == 0 || recvs == 0 {
		return nil
	}
	x := &oneShot{inline: math.MaxInt}
	for i := range sends {
		op, _ := p.At(e.rank, out, i)
		if _, _, waits := op.After.Get(); waits || op.Kind != schedule.Send || !op.Eager || op.N != 1 || i > 0 && op.Src != x.src {
			return nil
		}
		c := sc.conns[out][i]
		x.src, x.to, x.inline = op.Src, append(x.to, c), min(x.inline, c.inline)
	}
	if width, joint := schedule.Fuse(p, e.rank, in, 0); !joint || width != recvs || sc.slicing.Count(1) != 1 {
		return nil
	}
	for i := range recvs {
		op, _ := p.At(e.rank, in, i)
		if op.Src != x.src || op.N != 1 {
			return nil
		}
		x.dst, x.final = op.Dst, op.Final
		at := len(x.from)
		for at > 0 && x.from[at-1].peer > int(op.Peer) {
			at--
		}
		if op.Peer < e.rank {
			x.own++
		}
		x.from = append(x.from[:at], append([]*conn{sc.conns[in][i]}, x.from[at:]...)...)
		x.match = append(x.match[:at], append([]int32{op.Match}, x.match[at:]...)...)
	}
	x.all = recvs == e.cfg.Size-1
	x.whole = x.all && sc.layout.Chunks() == 1
	h := sc.head
	h.Length = uint32(sc.length * sc.size)
	x.words = words(&h)
	return x
}

// mayShoot reports whether sc's one-shot form may be tried: there is one, and the memory for what is put aside is free.
func (e *Engine) mayShoot(sc *Script) bool {
	if sc.shot == nil || e.cause.Load() != nil {
		return false
	}
	if need := sc.length * sc.size; need > sc.shot.inline {
		a := &e.asides[e.runs&1]
		if a.used || len(a.mem) < need {
			return false
		}
		a.readers, a.filled = a.readers[:0], 0
	}
	return true
}

// shoot runs sc's one-shot program. It returns false when the Machine must go on, and how many sends have been posted.
func (e *Engine) shoot(sc *Script, m *Operands) (sent int, done bool) {
	x := sc.shot
	lo, hi := sc.slice(x.src, 1, 0, 1)
	data := m.span(x.src, lo, hi, sc.size)
	own := data
	h := &e.head
	*h = sc.head
	h.Seq, h.Length = e.now.stamp, uint32(len(data))
	for i, c := range x.to {
		payload := data
		if len(data) > c.inline {
			payload = e.asideOf(data, lo, sc)
		}
		h.Step = uint32(i)
		if ok, err := c.Post(h, payload); !ok || err != nil {
			return i, false
		}
		c.posted++
		if len(data) > c.inline {
			e.borrow(c)
		}
	}
	srcs := e.srcs[:0]
	for i, c := range x.from {
		f := e.await(c)
		if f == nil || f.Kind != transport.Data || f.Epoch != e.epoch || e.now.differs(&f.Header) || f.Step != uint32(x.match[i]) || f.Slice != 0 ||
			f.Channel != 0 || f.Length != h.Length || c.near && e.failed(c) != nil {
			return len(x.to), false
		}
		if i == x.own {
			srcs = append(srcs, own)
		}
		srcs = append(srcs, f.Payload)
	}
	if x.own == len(x.from) {
		srcs = append(srcs, own)
	}
	e.srcs = srcs
	if len(data) > 0 {
		dst := m.span(x.dst, lo, hi, sc.size)
		sc.kernel.Reduce(dst, srcs)
		if x.final && m.Finish {
			sc.kernel.Finish(dst, e.cfg.Size)
		}
	}
	for _, c := range x.from {
		c.Release()
	}
	if x.all {
		// Every rank has sent its part, and did so after it had read all that this one sent in the operations before.
		e.asides[(e.runs-1)&1].used = false
	}
	return len(x.to), true
}

// await waits for a frame, as long as a rank waits without sleeping. It returns nil when there is none, or the link has
// ended.
func (e *Engine) await(c *conn) *transport.Frame {
	for turn := 0; ; turn++ {
		f, err := c.Poll()
		switch {
		case f != nil:
			return f
		case err != nil || turn >= e.waiter.spins+e.waiter.yields || e.cause.Load() != nil:
			return nil
		}
		e.waiter.rest(turn)
	}
}
