package stripe

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// Limits of one write: it takes frames until it has this many bytes or segments. A frame of full size goes
// alone, so that its sender hears early that it is written.
const (
	writeBytes    = 256 << 10
	writeSegments = 64
	arenaSize     = 64 << 10
	arenaOrders   = writeSegments * (messageSize + transport.MaxReason) // of that, for control messages
	readBuffer    = 16 << 10
)

// An entry is a frame in the queue of a connection.
type entry struct {
	link *link
	seq  uint64
	size int
}

// A control is a message that goes ahead of queued frames.
type control struct {
	kind kind
	link *link
}

// A wire is one connection of a session, or the place of one that is yet to come: what is queued waits for it.
type wire struct {
	peer  *peer
	index int
	// taken is set when a connection has been chosen for this place; under peer.mu.
	taken bool
	// attached says that conn is there and its writer runs.
	attached  atomic.Bool
	conn      Conn
	prompt    prompt          // conn; nil if it has to be waited for
	readiness syscall.RawConn // of prompt
	intake    intake
	sent      atomic.Uint64 // writes
	pulsing   atomic.Bool   // a pulse is queued
	queued    atomic.Int64  // bytes of the queued frames
	// unfinished says that a turn left something which was begun.
	unfinished atomic.Bool

	mu       sync.Mutex
	controls []control
	frames   []entry
	bye      uint32 // what to say when everything is written; 0: nothing yet
	stopped  bool
	sleeping bool
	wake     chan struct{}

	turnMu sync.Mutex // of who writes: the writer's goroutine, or whoever queues something; before mu

	// Under turnMu.
	err     error // why nothing is written any more
	batch   []entry
	orders  []control
	arena   []byte
	start   int // of the part of arena that is in no segment yet
	segs    [][]byte
	left    [][]byte // of segs, to be written
	writing []entry  // what is in segs
	over    bool     // the bye is in segs, or written
	timer   *time.Timer
}

func newWire(p *peer, index int) *wire {
	return &wire{peer: p, index: index, wake: make(chan struct{}, 1)}
}

// enqueue adds a frame, which the next push or rouse sends. It never blocks: the window of each link bounds the queue.
func (w *wire) enqueue(e entry) {
	w.queued.Add(int64(e.size) + frameSize)
	w.mu.Lock()
	w.frames = append(w.frames, e)
	w.mu.Unlock()
}

// control adds a message that overtakes frames, which the next push or rouse sends.
func (w *wire) control(c control) {
	w.mu.Lock()
	if !w.stopped { // else there is nobody to tell, and the session outlives its links
		w.controls = append(w.controls, c)
	}
	w.mu.Unlock()
}

// sayBye makes the writer end with a bye, when all that is queued is written.
func (w *wire) sayBye(mask uint32) {
	w.mu.Lock()
	w.bye = mask
	w.mu.Unlock()
	w.rouse()
}

// stop ends the writer as soon as its Write returns.
func (w *wire) stop() {
	w.mu.Lock()
	w.stopped, w.controls, w.frames = true, nil, nil
	w.mu.Unlock()
	w.rouse()
}

// rouse wakes the writer's goroutine if it sleeps, and reports whether it did.
func (w *wire) rouse() bool {
	w.mu.Lock()
	sleeping := w.sleeping
	w.sleeping = false
	w.mu.Unlock()
	if sleeping {
		w.wake <- struct{}{}
	}
	return sleeping
}

// push writes what is queued at once, as far as the connection takes it; the writer's goroutine sees to the rest. So nobody has to be woken
// where a connection has room. It must not be called with a lock that a link or a peer has.
func (w *wire) push() {
	if !w.attached.Load() || w.prompt == nil {
		w.rouse()
		return
	}
	if !w.turnMu.TryLock() {
		return // who has it looks again afterwards
	}
	done, err := w.turn()
	w.turnMu.Unlock()
	if err != nil {
		w.peer.lose(fmt.Errorf("connection %d: %w", w.index, err))
	}
	if !done || w.busy() {
		w.rouse()
	}
}

// shares reports whether the connection takes frames from the bulk.
func (w *wire) shares() bool {
	return w.index > 0 && w.prompt == nil && w.index < int(w.peer.width.Load())
}

// busy reports whether something is queued.
func (w *wire) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.controls) > 0 || len(w.frames) > 0 || w.bye != 0
}

// rest waits for something to write. It returns false when the writer is to end.
func (w *wire) rest() bool {
	for {
		w.mu.Lock()
		switch {
		case w.stopped:
			w.mu.Unlock()
			return false
		case len(w.controls) > 0 || len(w.frames) > 0 || w.bye != 0 || w.unfinished.Load() || w.shares() && w.peer.bulk.waiting.Load() > 0:
			w.mu.Unlock()
			return true
		}
		w.sleeping = true
		w.mu.Unlock()
		<-w.wake
	}
}

// next takes something to write into batch and orders. When there is nothing more, it returns the bye that is to be said, if it is time.
func (w *wire) next() (bye uint32, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
		return 0, false
	case len(w.controls) > 0 || len(w.frames) > 0:
		n := min(len(w.controls), writeSegments)
		w.orders = append(w.orders[:0], w.controls[:n]...)
		w.controls = dequeue(w.controls, n)
		// Segments point into the arena, so it does not grow.
		n, bytes, arena := 0, 0, arenaOrders
		for n < len(w.frames) && n < writeSegments/2 && arena+frameSize+small <= arenaSize && (bytes == 0 || bytes+w.frames[n].size <= writeBytes) {
			size := w.frames[n].size
			bytes += size + frameSize
			if arena += frameSize; size <= small {
				arena += size
			}
			n++
		}
		w.batch = append(w.batch[:0], w.frames[:n]...)
		w.frames = dequeue(w.frames, n)
		return 0, true
	case w.shares():
		if w.batch = w.peer.bulk.take(w.batch[:0], int(w.peer.width.Load())); len(w.batch) > 0 {
			w.orders = w.orders[:0]
			return 0, true
		}
	}
	return w.bye, false
}

// dequeue drops the first n of a queue, and keeps its memory.
func dequeue[T any](q []T, n int) []T {
	rest := copy(q, q[n:])
	clear(q[rest:])
	return q[:rest]
}

// write is the writer's goroutine: it runs until the session ends, and returns what went wrong.
func (w *wire) write() error {
	defer w.abandon()
	var done, over bool
	var err error
	turn := func(uintptr) bool {
		w.turnMu.Lock()
		defer w.turnMu.Unlock()
		done, err = w.turn()
		over = done && w.over
		return done
	}
	for w.rest() {
		if w.prompt == nil {
			turn(0)
		} else if e := w.readiness.Write(turn); err == nil {
			err = e
		}
		if err != nil || over {
			return err
		}
	}
	return nil
}

// abandon gives back what nobody writes any more.
func (w *wire) abandon() {
	w.turnMu.Lock()
	defer w.turnMu.Unlock()
	if w.err == nil && !w.over { // who has said bye has lost nobody
		w.err = net.ErrClosed
	}
	w.giveBack()
}

// turn writes what is queued, and what is unfinished before that. It returns false when the connection would have to be waited for. turnMu
// is held.
func (w *wire) turn() (done bool, err error) {
	for w.err == nil && (w.unfinished.Load() || w.compose()) {
		if done, w.err = w.flush(); !done {
			return false, nil
		}
	}
	return true, w.err
}

// compose makes segments of what is queued next; false: there is nothing. Behind a bye comes nothing: who has heard it may have hung up already.
func (w *wire) compose() bool {
	if w.over {
		return false
	}
	bye, more := w.next()
	if w.arena == nil {
		w.arena = make([]byte, 0, arenaSize)
	}
	if !more {
		if bye == 0 {
			return false
		}
		w.over = true
		m := message{kind: kindBye, length: bye}
		w.arena = m.append(w.arena)
		w.cut()
		w.left = w.segs
		return true
	}
	for _, c := range w.orders {
		w.order(c)
	}
	for i, e := range w.batch {
		w.batch[i] = entry{}
		h, payload, ok := e.link.take(e.seq)
		if !ok {
			w.settle(e, 0)
			continue
		}
		w.writing = append(w.writing, e)
		m := message{kind: kindFrame, link: e.link.id, seq: e.seq, credit: e.link.tell()}
		w.arena = m.append(w.arena)
		w.arena, _ = h.AppendBinary(w.arena) // never fails
		if len(payload) <= small {
			w.arena = append(w.arena, payload...)
		} else {
			w.cut()
			w.segs = append(w.segs, payload)
		}
	}
	w.cut()
	w.left = w.segs
	return true
}

// order appends a control message.
func (w *wire) order(c control) {
	l := c.link
	switch c.kind {
	case kindPulse:
		w.pulsing.Store(false)
		m := message{kind: kindPulse}
		w.arena = m.append(w.arena)
		return
	case kindMore:
		m := message{kind: kindMore, length: uint32(w.peer.width.Load())}
		w.arena = m.append(w.arena)
		return
	case kindArrived:
		w.peer.meter.reporting.Store(false)
		m := message{kind: kindArrived, seq: w.peer.meter.bytes.Load(), credit: uint64(w.peer.ep.clock())}
		w.arena = m.append(w.arena)
		return
	}
	m := message{kind: c.kind, link: l.id}
	switch c.kind {
	case kindCredit:
		l.crediting.Store(false)
		m.credit = l.tell()
		w.arena = m.append(w.arena)
	case kindClose, kindFail:
		m.length, m.seq, m.credit = uint32(len(l.reason)), l.endFinal, l.tell()
		w.arena = m.append(w.arena)
		w.arena = append(w.arena, l.reason...)
	}
}

// cut makes a segment of what is new in the arena.
func (w *wire) cut() {
	if w.start < len(w.arena) {
		w.segs = append(w.segs, w.arena[w.start:])
		w.start = len(w.arena)
	}
}

// flush writes the segments, and then gives back the frames in them, even if that failed. It returns false when not all are written.
func (w *wire) flush() (done bool, err error) {
	if w.prompt != nil {
		if w.left, done, err = w.prompt.TryWrite(w.left); !done && err == nil {
			w.unfinished.Store(true)
			return false, nil
		}
	} else if v, ok := w.conn.(vectored); ok {
		if len(w.left) > 0 {
			err = v.WriteBuffers(w.left)
		}
	} else {
		for i := 0; i < len(w.left) && err == nil; i++ {
			if w.index > 0 {
				err = w.writePaced(w.left[i])
			} else {
				_, err = w.conn.Write(w.left[i])
			}
		}
		if f, ok := w.conn.(flusher); ok && err == nil {
			err = f.Flush()
		}
	}
	w.giveBack()
	return true, err
}

// settle takes a frame of which bytes have been written off the account of its queue.
func (w *wire) settle(e entry, bytes int) {
	if w.index > 0 && w.prompt == nil {
		w.peer.bulk.wrote(bytes)
	} else {
		w.queued.Add(-int64(e.size) - frameSize)
	}
}

// giveBack ends the writing of the frames in the segments, however it went.
func (w *wire) giveBack() {
	w.unfinished.Store(false)
	w.sent.Add(1)
	clear(w.segs)
	w.segs, w.left, w.arena, w.start = w.segs[:0], nil, w.arena[:0], 0
	for i, e := range w.writing {
		e.link.wrote(e.seq)
		w.settle(e, e.size)
		w.writing[i] = entry{}
	}
	if len(w.writing) > 0 {
		w.writing = w.writing[:0]
		w.peer.ep.bell.Ring()
	}
}
