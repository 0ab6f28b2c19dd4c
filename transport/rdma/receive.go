package rdma

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// receiveDepth is how many immediates a queue pair can take without being looked at: a window of frames, a credit for
// each frame of the other direction and for each that the word had told of before, and those that have been taken and
// not made room for.
func (l *link) receiveDepth() int { return l.refill() + 3*len(l.in) + 8 }
func (l *link) refill() int       { return len(l.in) }

// readCredit takes the credits that have come. mu is held.
func (l *link) readCredit() {
	// The immediates first: what the word has told of may be posted without taking them, and they would pile up.
	l.ep.progress()
	word := (*uint64)(unsafe.Pointer(unsafe.SliceData(l.window)))
	l.grant(fromLittle(atomic.LoadUint64(word)))
}

// fromLittle reads a number that stands in memory in little endian, as it does on the wire.
func fromLittle(x uint64) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], x)
	return binary.LittleEndian.Uint64(b[:])
}

// grant notes the peer's count of released frames, which may come late and out of order.
func (l *link) grant(count uint64) {
	if count > l.posted.Load() {
		l.broke(&transport.FrameError{Reason: fmt.Sprintf("credit for %d frames of %d", count, l.posted.Load())})
		return
	}
	for {
		old := l.granted.Load()
		if count <= old || l.granted.CompareAndSwap(old, count) {
			return
		}
	}
}

// credit tells the peer of released frames: with an immediate, which wakes it, when half its window is used up, as it
// may wait for that; else without, for it to see when it looks. mu is held.
func (l *link) credit() {
	released, arrived := l.released.Load(), l.arrived.Load()
	if l.refusal() != nil || released == l.told && !l.owing {
		return
	}
	wake := 2*(arrived-l.told) >= uint64(l.limit)
	e := l.ends[0]
	if !e.room(1, l.sendDepth()) {
		l.ep.progress()
		if !e.room(1, l.sendDepth()) {
			l.owing = true
			return
		}
	}
	l.owing = false
	l.w = write{to: uintptr(l.theirs.slots), toKey: l.theirs.key}
	if wake {
		l.w.withImm, l.w.imm = true, creditBit|uint32(released)&countMask
		l.told = released
	} else {
		// A place of its own: the write may read it late if the device takes nothing inline.
		cell := l.cells[len(l.out)*cellSize:]
		word := (*uint64)(unsafe.Pointer(unsafe.SliceData(cell)))
		atomic.StoreUint64(word, fromLittle(released))
		l.w.head, l.w.headLength, l.w.headKey = addressOf(cell), 8, l.cellKey
		l.w.inline = e.pair.inline() >= 8
	}
	if err := l.write(e, false); err != nil {
		l.broke(err)
	}
}

// arrive takes an immediate. The endpoint's look is held.
func (l *link) arrive(c *completion) {
	if !c.immediate {
		l.broke(&transport.FrameError{Reason: "something without an immediate"})
		return
	}
	count := uint64(c.imm & countMask)
	if c.imm&creditBit != 0 {
		old := l.granted.Load()
		ahead := (count - old) & countMask
		if ahead < creditBit/2 { // else it is older than what is known
			l.grant(old + ahead)
		}
		return
	}
	base := l.released.Load()
	seq := base + (count-base)&countMask
	slot := &l.in[seq%uint64(len(l.in))]
	if seq-base >= uint64(len(l.in)) || slot.Load() == seq+1 || l.window == nil {
		l.broke(&transport.FrameError{Reason: fmt.Sprintf("frame number %d, want one from %d", seq, base)})
		return
	}
	l.grant(binary.LittleEndian.Uint64(l.slot(seq)[headAt:]) &^ placedBit)
	l.arrived.Add(1)
	slot.Store(seq + 1)
}

// slot returns the memory of a frame that has come.
func (l *link) slot(seq uint64) []byte {
	at := wordSize + int(seq%uint64(len(l.in)))*slotSize
	return l.window[at : at+slotSize : at+slotSize]
}

func (l *link) Poll() (*transport.Frame, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Load() != endedNot {
		return nil, transport.ErrClosed
	}
	if course(l.course.Load()) == relayed {
		return l.control.Poll()
	}
	if l.held {
		return &l.frame, nil
	}
	taken := l.released.Load()
	s := &l.in[taken%uint64(len(l.in))]
	if s.Load() != taken+1 {
		if course(l.course.Load()) == direct {
			l.ep.progress()
			if l.owing {
				l.credit()
			}
		}
		end := l.over.Load()
		if s.Load() != taken+1 { // after over: what has come before the end is read first
			if end == nil || end.drain && taken != end.final {
				return nil, nil
			}
			return nil, end.err
		}
	}
	// The slot is memory that the peer can write: its header is copied, and then checked.
	slot := l.slot(taken)
	if err := l.frame.Header.UnmarshalBinary(slot[headAt+8:]); err != nil {
		l.broke(err)
		return nil, l.over.Load().err
	}
	n := int(l.frame.Length)
	if binary.LittleEndian.Uint64(slot[headAt:])&placedBit == 0 {
		l.frame.Payload = slot[slotHead : slotHead+n : slotHead+n]
	} else if l.frame.Payload = l.place(taken, n); l.frame.Payload == nil {
		l.broke(&transport.FrameError{Reason: fmt.Sprintf("%d bytes stored where nobody wanted them", n)})
		return nil, l.over.Load().err
	} else if there, err := l.settle(taken); !there {
		l.frame.Payload = nil
		if err != nil {
			l.broke(err)
			return nil, &transport.LostError{Peer: l.rank, Cause: err}
		}
		return nil, nil
	}
	l.held = true
	return &l.frame, nil
}

func (l *link) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if course(l.course.Load()) == relayed {
		l.control.Release()
		return
	}
	if !l.held {
		panic("rdma: Release without a frame from Poll")
	}
	l.held, l.frame.Payload = false, nil
	l.forgetPlace(l.released.Add(1) - 1)
	if l.gone {
		l.freeMemory()
		return
	}
	l.credit()
}
