package engine

import (
	"context"
	"errors"
	"slices"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
)

// An offload drives the Machine over a Memory that the host does not address. What the host path does at once, a copy or
// a reduction, is here a piece of work of a buffer.Queue, and the step is complete when its ticket is done. A send copies its
// slice out to a slot and posts that, while the next slices follow; a receive puts the payload into a slot, from which it is
// copied in or, by the reducing kernel itself, read. Links whose device reads this Memory by itself send from it, without a slot, and
// where the device writes to it, too, what comes is stored in its place, or where the kernel reads it (expect.go).
type offload struct {
	queue buffer.Queue
	lanes []pieces
	ends  map[*conn]*end
	list  []*end // the same, in the order in which they came
	loose []loan // slots of eager sends of this and earlier operations
	acks  bool   // some peer is to be told what has been read
}

const (
	// loansPerLink is how many slices of a link may be on the way at a time, from the start of the copy out to the peer's
	// release; piecesPerLane is how much local work of an in lane is.
	loansPerLink  = 4
	piecesPerLane = 8
)

// An end is what an offload knows of a link.
type end struct {
	c       *conn
	ack     *conn  // to the same peer, once it is needed
	loans   int    // pieces of sends that are not complete
	given   uint32 // references posted
	taken   uint32 // of those, how many the peer has read
	read    uint32 // references of the peer that this rank has read
	told    uint32 // what the peer knows of that
	channel uint16
}

// pieces are the steps of a lane that have started and are not complete, oldest first.
type pieces struct {
	list   []piece
	posted int // how many of the first are sends that have been posted, or no sends
}

// A piece is one of them.
type piece struct {
	ticket buffer.Ticket
	busy   bool           // the ticket is not known to be done
	slot   []byte         // lent for the step
	more   [][]byte       // further ones
	lands  []landingPlace // that the work reads
	reads  []*end         // whose memory the work reads in place
	src    []byte         // what the work reads of the operands, and writes
	dst    []byte

	// Of a send:
	to    *end
	head  transport.Header
	data  []byte
	seq   uint64 // number of the frame on its link
	given uint32 // number of the reference, from 1
	eager bool
}

// A loan is a slot that a link still borrows.
type loan struct {
	slot []byte
	c    *conn
	seq  uint64
}

// offloadQueue returns the engine's queue, made at the first call.
func (e *Engine) offloadQueue() (*offload, error) {
	if e.off == nil {
		q, err := e.cfg.Memory.NewQueue()
		if err != nil {
			return nil, err
		}
		e.off = &offload{queue: q, ends: make(map[*conn]*end)}
	}
	return e.off, nil
}

// runOffload is loop for a Memory. Whatever its end is, nothing is in flight afterwards.
func (e *Engine) runOffload(ctx context.Context, sc *Script, m *Operands) error {
	o, err := e.offloadQueue()
	if err != nil {
		return err
	}
	e.away = true
	defer func() { e.away = false }()
	n := e.machine.Lanes()
	for len(o.lanes) < n {
		o.lanes = append(o.lanes, pieces{})
	}
	for i := range o.lanes {
		o.lanes[i].list, o.lanes[i].posted = o.lanes[i].list[:0], 0
	}
	if err := e.sweep(); err != nil {
		return err
	}
	if err := e.loopOffload(ctx, sc, m); err != nil {
		return errors.Join(err, o.queue.Drain())
	}
	return nil
}

func (e *Engine) loopOffload(ctx context.Context, sc *Script, m *Operands) error {
	o := e.off
	if m.Gate != nil {
		t, err := o.queue.After(m.Gate)
		if err != nil {
			return err
		}
		if err := e.finish(ctx, sc, t); err != nil {
			return err
		}
	}
	if len(sc.lands) > 0 { // nothing on the stream uses the memory any more
		e.landing.prepare(sc.lands, e.cfg.Landing)
		e.beginExpecting(sc, m, sc.lands)
	}
	e.waiter.begin(e.cfg.Bell)
	lanes := schedule.Lane(e.machine.Lanes())
	for {
		progress, err := e.hearAcks()
		if err != nil {
			return err
		}
		for l := range lanes {
			before := e.machine.Over(l)
			moved, err := e.advanceOffload(sc, m, l)
			if err != nil {
				return err
			}
			if moved && len(e.awaits) > 0 && l.In() {
				e.expectNext(sc, m, l, before)
			}
			progress = progress || moved
		}
		if err := e.sendAcks(sc); err != nil {
			return err
		}
		if e.machine.Done() && !o.acks {
			return nil
		}
		if progress {
			e.waiter.begin(e.cfg.Bell)
			continue
		}
		if err := e.wait(ctx, sc); err != nil {
			return err
		}
	}
}

// finish waits for one piece of work.
func (e *Engine) finish(ctx context.Context, sc *Script, t buffer.Ticket) error {
	e.waiter.begin(e.cfg.Bell)
	for {
		if done, err := e.off.queue.Done(t); done || err != nil {
			return err
		}
		if err := e.wait(ctx, sc); err != nil {
			return err
		}
	}
}

// Move copies within the engine's Memory, and returns when that is done. It belongs to the goroutine of Run.
func (e *Engine) Move(ctx context.Context, dst, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	o, err := e.offloadQueue()
	if err != nil {
		return err
	}
	t, err := o.queue.Copy(dst, src)
	if err != nil {
		return err
	}
	e.away = true
	defer func() { e.away = false }()
	err = e.finish(ctx, e.now.sc, t)
	e.waiter.begin(e.cfg.Bell)
	if err != nil {
		return errors.Join(err, o.queue.Drain())
	}
	return nil
}

// advanceOffload moves a lane as far as it goes without waiting.
func (e *Engine) advanceOffload(sc *Script, m *Operands, l schedule.Lane) (moved bool, err error) {
	if moved, err = e.settleOffload(sc, l); err != nil {
		return moved, err
	}
	for {
		st, ok := e.machine.Ready(l)
		if !ok {
			return moved, nil
		}
		op := e.machine.Op(l, st.First)
		var did bool
		switch op.Kind {
		case schedule.Send:
			did, err = e.lend(sc, m, l, st, &op)
		case schedule.Copy:
			did, err = e.copyWithin(sc, m, l, st, &op)
		default:
			did, err = e.take(sc, m, l, st, &op)
		}
		if err != nil || !did {
			return moved, err
		}
		e.machine.Start(l)
		moved = true
		if _, err := e.settleOffload(sc, l); err != nil {
			return moved, err
		}
	}
}

// blocked reports whether work on these operands must wait for work of the same lane. A lane's steps take effect in their order,
// which the host path gets for nothing, and schedules count on it.
func (o *offload) blocked(l schedule.Lane, src, dst []byte) bool {
	for i := range o.lanes[l].list {
		if p := &o.lanes[l].list[i]; p.busy && (meet(p.dst, src) || meet(p.dst, dst) || meet(p.src, dst)) {
			return true
		}
	}
	return false
}

// meet reports whether two places have a byte in common.
func meet(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}

// enter appends a piece to its lane.
func (o *offload) enter(l schedule.Lane, p piece) bool {
	o.lanes[l].list = append(o.lanes[l].list, p)
	return true
}

// endOf returns the end of a link.
func (o *offload) endOf(c *conn, channel schedule.Channel) *end {
	n := o.ends[c]
	if n == nil {
		n = &end{c: c, channel: uint16(channel)}
		o.ends[c] = n
		o.list = append(o.list, n)
	}
	return n
}

// settleOffload posts what has been copied out and completes the lane's oldest steps that are over.
func (e *Engine) settleOffload(sc *Script, l schedule.Lane) (moved bool, err error) {
	o := e.off
	ps := &o.lanes[l]
	for ps.posted < len(ps.list) {
		p := &ps.list[ps.posted]
		if p.to != nil {
			if p.busy {
				done, err := o.queue.Done(p.ticket)
				if err != nil {
					return moved, err
				}
				if !done {
					break
				}
				p.busy = false
			}
			ok, err := p.to.c.Post(&p.head, p.data)
			if err != nil {
				return moved, e.blame(p.to.c, sc, l, int(p.head.Step), err)
			}
			if !ok {
				break
			}
			p.to.c.posted++
			p.seq = p.to.c.posted
		}
		ps.posted++
		moved = true
	}
	over := 0
	for ; over < ps.posted; over++ {
		p := &ps.list[over]
		if p.busy {
			done, err := o.queue.Done(p.ticket)
			if err != nil {
				return moved, err
			}
			if !done {
				break
			}
		}
		if n := p.to; n != nil {
			switch {
			case p.eager && p.slot != nil:
				o.loose = append(o.loose, loan{p.slot, n.c, p.seq})
				p.slot = nil
			case p.given > 0 && int32(n.taken-p.given) < 0, p.given == 0 && !p.eager && n.c.Completed() < p.seq:
				ps.drop(over)
				return moved || over > 0, nil
			}
			n.loans--
		}
		if p.slot != nil {
			if err := o.queue.Return(p.slot); err != nil {
				return moved, err
			}
		}
		for _, slot := range p.more {
			if err := o.queue.Return(slot); err != nil {
				return moved, err
			}
		}
		for _, x := range p.lands {
			e.landing.put(x)
		}
		for _, n := range p.reads {
			n.read++
			o.acks = true
		}
		e.machine.Complete(l)
	}
	ps.drop(over)
	return moved || over > 0, nil
}

// waiting yields the links on which some send is not complete.
func (o *offload) waiting() func(yield func(*end) bool) {
	return func(yield func(*end) bool) {
		if o == nil {
			return
		}
		for _, n := range o.list {
			if n.loans > 0 && !yield(n) {
				return
			}
		}
	}
}

// drop removes the first n pieces.
func (ps *pieces) drop(n int) {
	ps.list = slices.Delete(ps.list, 0, n)
	ps.posted -= n
}

// sweep takes back the slots that no link borrows any more.
func (e *Engine) sweep() error {
	o := e.off
	kept := o.loose[:0]
	for _, x := range o.loose {
		if x.c.Completed() < x.seq {
			kept = append(kept, x)
			continue
		}
		if err := o.queue.Return(x.slot); err != nil {
			return err
		}
	}
	clear(o.loose[len(kept):])
	o.loose = kept
	return nil
}

// wakeOffload lets the rank's bell ring when work of the queue is done.
func (e *Engine) wakeOffload() {
	if e.away {
		e.off.queue.Wake(e.cfg.Bell.Ring)
	}
}
