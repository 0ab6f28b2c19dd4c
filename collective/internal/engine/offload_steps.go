package engine

import (
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
)

// lend starts a send: by reference, or with the copy out to a slot.
func (e *Engine) lend(sc *Script, m *Operands, l schedule.Lane, st schedule.Step, op *schedule.Op) (bool, error) {
	c, err := e.link(sc, l, st.First, op.Peer)
	if err != nil {
		return false, err
	}
	o := e.off
	n := o.endOf(c, l.Channel())
	if n.loans >= loansPerLink {
		return false, nil
	}
	lo, hi := sc.slice(op.Src, op.N, st.Slice, sc.slicing.Count(op.N))
	data := m.span(op.Src, lo, hi, sc.size)
	if o.blocked(l, data, nil) {
		return false, nil
	}
	p := piece{to: n, head: sc.head, eager: op.Eager, src: data}
	p.head.Seq, p.head.Channel, p.head.Step, p.head.Slice = e.now.stamp, uint16(l.Channel()), uint32(st.First), uint32(st.Slice)
	inPlace := e.cfg.Reads != nil && e.cfg.Reads(c.peer)
	switch {
	case len(data) == 0:
	case !op.Eager && !inPlace && c.device && e.cfg.Direct != nil && e.cfg.Direct(data):
		p.data = data // the link's device reads it where it lies
	case !op.Eager && inPlace:
		if ref, err := o.queue.Export(nil, data); err == nil {
			if n.ack == nil {
				if n.ack, err = e.conn(c.peer, ackChannel); err != nil {
					return false, err
				}
			}
			n.given++
			p.data, p.given = ref, n.given
			p.head.Slice |= byReference
			break
		}
		fallthrough
	default:
		if p.slot, err = o.queue.Slot(len(data), data); err != nil {
			return false, err
		}
		p.data, p.busy = p.slot, true
		if p.ticket, err = o.queue.CopyOut(p.slot, data); err != nil {
			return false, err
		}
	}
	p.head.Length = uint32(len(p.data))
	n.loans++
	return o.enter(l, p), nil
}

// copyWithin starts a copy of the schedule's.
func (e *Engine) copyWithin(sc *Script, m *Operands, l schedule.Lane, st schedule.Step, op *schedule.Op) (bool, error) {
	if len(e.off.lanes[l].list) >= piecesPerLane && l.In() {
		return false, nil
	}
	lo, hi := sc.slice(op.Src, op.N, st.Slice, sc.slicing.Count(op.N))
	src, dst := m.span(op.Src, lo, hi, sc.size), m.span(op.Dst, lo, hi, sc.size)
	if e.off.blocked(l, src, dst) {
		return false, nil
	}
	p := piece{src: src, dst: dst}
	if len(src) > 0 && &src[0] != &dst[0] {
		var err error
		if p.ticket, err = e.off.queue.Copy(dst, src); err != nil {
			return false, err
		}
		p.busy = true
	}
	return e.off.enter(l, p), nil
}

// take starts a receive, from one peer or, for a joint reduction, from all of them at once.
func (e *Engine) take(sc *Script, m *Operands, l schedule.Lane, st schedule.Step, op *schedule.Op) (bool, error) {
	o := e.off
	if len(o.lanes[l].list) >= piecesPerLane {
		return false, nil
	}
	lo, hi := sc.slice(op.Dst, op.N, st.Slice, sc.slicing.Count(op.N))
	length := (hi - lo) * sc.size
	p := piece{dst: m.span(op.Dst, lo, hi, sc.size)}
	if op.Kind == schedule.RecvReduce {
		p.src = m.span(op.Src, lo, hi, sc.size)
	}
	if o.blocked(l, p.src, p.dst) {
		return false, nil
	}
	e.frames = e.frames[:0]
	conns := e.takers[:0]
	ranks := e.waiter.ranks[:0]
	for j := range st.Width {
		other := op
		if j > 0 {
			x := e.machine.Op(l, st.First+j)
			other = &x
		}
		c, err := e.link(sc, l, st.First+j, other.Peer)
		if err != nil {
			return false, err
		}
		f, err := e.poll(sc, c, l, st.First+j)
		if f == nil {
			return false, err
		}
		if f.Step != uint32(other.Match) || f.Slice&^byReference != uint32(st.Slice) || f.Channel != uint16(l.Channel()) ||
			f.Slice&byReference == 0 && int(f.Length) != length || f.Slice&byReference != 0 && length == 0 {
			return false, e.blame(c, sc, l, st.First+j, &transport.FrameError{Reason: "not the next one of the schedule"})
		}
		e.frames, conns, ranks = append(e.frames, f), append(conns, c), append(ranks, other.Peer)
	}
	e.takers, e.waiter.ranks = conns, ranks
	e.srcs = e.srcs[:0]
	for j, f := range e.frames {
		src, err := e.reachable(&p, conns[j], f, l)
		if err != nil {
			return false, e.blame(conns[j], sc, l, st.First+j, err)
		}
		e.srcs = append(e.srcs, src)
	}
	if length > 0 && !(op.Kind == schedule.Recv && unsafe.SliceData(e.srcs[0]) == unsafe.SliceData(p.dst)) { // else it is there
		var err error
		if p.ticket, err = e.work(sc, m, op, &p); err != nil {
			return false, err
		}
		p.busy = true
	}
	return o.enter(l, p), nil
}

// reachable returns a place that the queue reaches with the payload of a frame, and releases the frame.
func (e *Engine) reachable(p *piece, c *conn, f *transport.Frame, l schedule.Lane) (place []byte, err error) {
	o, dst, landed := e.off, p.dst, c.landed()
	switch {
	case f.Slice&byReference != 0:
		if place, err = o.queue.Import(f.Payload, len(dst)); err != nil {
			return nil, err
		}
		p.reads = append(p.reads, o.endOf(c, l.Channel()))
	case isThere(f, dst):
		place = dst
	case isThere(f, landed.mem):
		p.lands = append(p.lands, landed)
		place, landed = landed.mem, landingPlace{}
	case len(dst) > 0 && c.expecting != nil && e.cfg.Direct != nil && e.cfg.Direct(f.Payload):
		return nil, &transport.FrameError{Reason: "stored where another is expected"}
	case len(dst) > 0:
		if place, err = o.queue.Slot(len(dst), dst); err != nil {
			return nil, err
		}
		buffer.Copy(place, f.Payload)
		p.more = append(p.more, place)
	}
	if len(dst) > 0 {
		// A peer that gave up meanwhile may have changed the data under the reader's eyes: it fails its links first.
		if err := e.failed(c); err != nil {
			return nil, err
		}
	}
	e.landing.put(landed)
	c.Release()
	return place, nil
}

// work gives the queue what a receive is for. e.srcs holds the peers' operands, e.waiter.ranks their ranks.
func (e *Engine) work(sc *Script, m *Operands, op *schedule.Op, p *piece) (buffer.Ticket, error) {
	q, dst := e.off.queue, p.dst
	if op.Kind == schedule.Recv {
		if len(p.reads) > 0 {
			return q.Copy(dst, e.srcs[0])
		}
		return q.CopyIn(dst, e.srcs[0])
	}
	// All operands in the order of ranks, the own one included.
	e.srcs = append(e.srcs, p.src)
	e.inOrder(append(e.waiter.ranks, e.rank))
	contributions := 1
	if op.Final && m.Finish {
		contributions = e.cfg.Size
	}
	return q.Reduce(sc.kernel, dst, e.srcs, contributions)
}
