package rdma

import (
	"encoding/binary"
	"fmt"

	"github.com/ringtree/ringtree/transport"
)

// unsignaledWrites is how many writes go without a completion of their own.
const unsignaledWrites = 8

// copyChunk bounds a copy that cannot be preempted.
const copyChunk = 64 << 10

func (l *link) Post(h *transport.Header, payload []byte) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		return false, err
	}
	if int64(h.Length) != int64(len(payload)) {
		return false, &transport.FrameError{Reason: fmt.Sprintf("length %d with a payload of %d", h.Length, len(payload))}
	}
	if err := h.Check(); err != nil {
		return false, err
	}
	switch course(l.course.Load()) {
	case relayed:
		return l.relay(h, payload)
	case connecting:
		return l.wait(h, payload)
	}
	if !l.room() {
		l.readCredit()
		if err := l.refusal(); err != nil {
			return false, err
		}
		if !l.room() {
			// A credit without an immediate may be on its way, and rings no bell: the steward looks for it.
			if l.blocked.CompareAndSwap(false, true) {
				l.ep.steward.Ring()
			}
			return false, nil
		}
	}
	if err := l.send(h, payload); err != nil {
		l.broke(err)
		return false, l.refusal()
	}
	return true, nil
}

// wait keeps a frame until the link is up. mu is held.
func (l *link) wait(h *transport.Header, payload []byte) (bool, error) {
	if l.posted.Load()-l.granted.Load()+uint64(len(l.waiting)) >= uint64(len(l.in)) {
		return false, nil
	}
	s, registered := l.ep.memory.find(payload)
	f := waiting{header: *h, payload: payload, borrowed: true}
	if s.read != nil {
		f.payload, f.borrowed = make([]byte, len(payload)), false
		if err := s.read(f.payload, addressOf(payload)); err != nil {
			return false, fmt.Errorf("rdma: read of memory of a device: %w", err)
		}
	} else if !registered || !s.device && len(payload) <= tiny {
		f.payload, f.borrowed = append([]byte(nil), payload...), false
	}
	l.waiting = append(l.waiting, f)
	return true, nil
}

// relay posts a frame on the control link, which then borrows it. mu is held.
func (l *link) relay(h *transport.Header, payload []byte) (bool, error) {
	payload, err := l.hostCopy(payload)
	if err != nil {
		return false, err
	}
	posted, err := l.control.Post(h, payload)
	if posted {
		l.posted.Add(1)
	}
	return posted, err
}

// hostCopy returns a payload as the control link can read it.
func (l *link) hostCopy(payload []byte) ([]byte, error) {
	if s, ok := l.ep.memory.find(payload); ok {
		return s.hostCopy(payload)
	}
	return payload, nil
}

// room reports whether a frame can be sent. mu is held.
func (l *link) room() bool {
	posted := l.posted.Load()
	if posted-l.granted.Load() >= uint64(l.limit) {
		return false
	}
	l.reclaim()
	if posted-l.reclaimed >= uint64(len(l.out)) {
		return false
	}
	e := l.ends[posted%uint64(len(l.ends))]
	return e.room(2, l.sendDepth()-l.forOffers()-l.forCredits()) // its payload may go elsewhere than its header
}

// room reports whether n more writes make no more than limit that are not known to be done.
func (d *end) room(n, limit int) bool { return d.posts-d.reaped.Load()+uint64(n) <= uint64(limit) }

// sendDepth is how many writes a queue pair holds: the frames of a window, of two writes each, and more, which have not been
// looked at yet, and what is reserved for offers and credits.
func (l *link) sendDepth() int  { return 2*len(l.in) + 24 + l.forOffers() + l.forCredits() }
func (l *link) forOffers() int  { return offersOf(len(l.in)) }
func (l *link) forCredits() int { return 2*len(l.in) + 8 }

// reclaim frees the slots of frames that the device has done with. mu is held.
func (l *link) reclaim() {
	for l.reclaimed < l.posted.Load() {
		o := &l.out[l.reclaimed%uint64(len(l.out))]
		if (o.borrowed || o.stage != nil) && o.end.reaped.Load() <= o.write {
			break
		}
		if o.stage != nil {
			l.ep.stages.put(o.stage)
		}
		*o = outSlot{}
		l.reclaimed++
	}
	l.completed = max(l.completed, l.reclaimed)
	for l.completed < l.posted.Load() && !l.out[l.completed%uint64(len(l.out))].borrowed {
		l.completed++
	}
}

// send writes a frame into the next slot of the peer, or its payload where the peer wants it. mu is held, and there is room.
func (l *link) send(h *transport.Header, payload []byte) error {
	seq := l.posted.Load()
	i := seq % uint64(len(l.out))
	e := l.ends[seq%uint64(len(l.ends))]
	o := outSlot{end: e, write: e.posts}
	cell := l.cells[i*cellSize : (i+1)*cellSize]
	key := l.cellKey
	s, known := l.ep.memory.find(payload)
	at, placed := l.offered(seq, h)
	from := piece{addressOf(payload), len(payload), s.key} // of the payload
	switch {
	case known && s.read == nil && (s.device || len(payload) > tiny):
		o.borrowed = true
	case len(payload) > smallSize:
		var err error
		if o.stage, err = l.ep.stages.get(); err != nil {
			return err
		}
		cell, key = o.stage.mem, o.stage.key
	}
	released := l.released.Load()
	first := released
	if placed {
		first |= placedBit
	}
	binary.LittleEndian.PutUint64(cell[headAt:], first)
	_, _ = h.AppendBinary(cell[headAt+8 : headAt+8 : slotHead]) // never fails
	head := piece{addressOf(cell[headAt:]), headSize, key}
	if !o.borrowed && len(payload) > 0 {
		if err := copyPayload(cell[slotHead:slotHead+len(payload)], payload, &s); err != nil {
			if o.stage != nil {
				l.ep.stages.put(o.stage)
			}
			return err
		}
		from.addr, from.key = addressOf(cell[slotHead:]), key
		if !placed {
			head.length += len(payload)
		}
	}
	if placed {
		o.write++
	}
	// Before the writes: another goroutine may take the peer's credit for this frame as soon as it is on its way.
	l.out[i] = o
	l.posted.Store(seq + 1)
	err := l.sendPieces(e, &o, seq, head, from, at, placed)
	if err != nil {
		if o.stage != nil {
			l.ep.stages.put(o.stage)
		}
		l.out[i] = outSlot{} // the caller ends the link
		return err
	}
	l.told = max(l.told, released)
	if l.completed == seq && !o.borrowed {
		l.completed++
	}
	return nil
}

// A piece is registered memory that a write reads.
type piece struct {
	addr   uintptr
	length int
	key    uint32
}

// sendPieces writes the pieces of a frame: the payload at its place, and behind it the header with the immediate, or both in one. A
// queue pair does in order what it does.
func (l *link) sendPieces(e *end, o *outSlot, seq uint64, head, payload piece, at remote, placed bool) error {
	if placed {
		l.w = write{to: at.addr, toKey: at.key, head: payload.addr, headLength: payload.length, headKey: payload.key}
		l.w.inline = !o.borrowed && payload.length <= e.pair.inline()
		if err := l.write(e, false); err != nil {
			return err
		}
	}
	slot := seq % uint64(l.theirs.window)
	l.w = write{
		to: uintptr(l.theirs.slots) + wordSize + uintptr(slot)*slotSize + headAt, toKey: l.theirs.key, imm: uint32(seq) & countMask, withImm: true,
		head: head.addr, headLength: head.length, headKey: head.key,
	}
	if o.borrowed && !placed {
		l.w.body, l.w.bodyLength, l.w.bodyKey = payload.addr, payload.length, payload.key
	}
	l.w.inline = l.w.bodyLength == 0 && l.w.headLength <= e.pair.inline()
	return l.write(e, o.borrowed || o.stage != nil)
}

// copyPayload copies a payload that lies in s, if anywhere, to memory that the device knows.
func copyPayload(dst, payload []byte, s *span) error {
	if s.read == nil {
		copyOut(dst, payload)
		return nil
	}
	if err := s.read(dst, addressOf(payload)); err != nil {
		return fmt.Errorf("rdma: read of memory of a device: %w", err)
	}
	return nil
}

func copyOut(dst, src []byte) {
	for len(src) > copyChunk {
		copy(dst, src[:copyChunk])
		dst, src = dst[copyChunk:], src[copyChunk:]
	}
	copy(dst, src)
}

// write posts w. mu is held.
func (l *link) write(e *end, signaled bool) error {
	l.w.id = e.posts
	l.w.signaled = signaled || e.unsignaled >= unsignaledWrites
	if err := e.pair.write(&l.w); err != nil {
		return err
	}
	e.posts++
	if l.w.signaled {
		e.unsignaled = 0
	} else {
		e.unsignaled++
	}
	return nil
}

func (l *link) Completed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch course(l.course.Load()) {
	case relayed:
		if n := l.control.Completed(); n > l.relayBase {
			l.completed = max(l.completed, n-l.relayBase)
		}
	case connecting:
		if l.out != nil {
			l.reclaim()
		}
		sent := l.posted.Load()
		for l.completed >= sent && l.completed-sent < uint64(len(l.waiting)) && !l.waiting[l.completed-sent].borrowed {
			l.completed++
		}
	case direct:
		if l.completed < l.posted.Load() && l.out != nil {
			if l.reclaim(); l.completed < l.posted.Load() {
				l.ep.progress()
				l.reclaim()
			}
		}
	}
	return l.completed
}
