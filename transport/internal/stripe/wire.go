package stripe

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/ringtree/ringtree/transport"
)

// Limits of one write: it takes frames until it has this many bytes or segments. A frame of full size goes
// alone, so that its sender hears early that it is written.
const (
	writeBytes    = 256 << 10
	writeSegments = 64
	arenaSize     = 64 << 10
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
	attached atomic.Bool
	conn     Conn
	in       meter         // of conn
	sent     atomic.Uint64 // writes
	pulsing  atomic.Bool   // a pulse is queued
	queued   atomic.Int64  // bytes of the queued frames

	mu       sync.Mutex
	controls []control
	frames   []entry
	bye      uint32 // what to say when everything is written; 0: nothing yet
	stopped  bool
	sleeping bool
	wake     chan struct{}

	// The writer's own.
	batch   []entry
	orders  []control
	arena   []byte
	start   int // of the part of arena that is in no segment yet
	segs    [][]byte
	writing []entry
}

func newWire(p *peer, index int) *wire {
	return &wire{peer: p, index: index, wake: make(chan struct{}, 1)}
}

// enqueue adds a frame. It never blocks: the window of each link bounds the queue.
func (w *wire) enqueue(e entry) {
	w.queued.Add(int64(e.size) + frameSize)
	w.mu.Lock()
	w.frames = append(w.frames, e)
	w.rouse()
}

// control adds a message that overtakes frames.
func (w *wire) control(c control) {
	w.mu.Lock()
	if w.stopped { // there is nobody to tell, and the session outlives its links
		w.mu.Unlock()
		return
	}
	w.controls = append(w.controls, c)
	w.rouse()
}

// sayBye makes the writer end with a bye, when all that is queued is written.
func (w *wire) sayBye(mask uint32) {
	w.mu.Lock()
	w.bye = mask
	w.rouse()
}

// stop ends the writer as soon as its Write returns.
func (w *wire) stop() {
	w.mu.Lock()
	w.stopped, w.controls, w.frames = true, nil, nil
	w.rouse()
}

// rouse wakes the writer if it sleeps, and unlocks mu.
func (w *wire) rouse() {
	sleeping := w.sleeping
	w.sleeping = false
	w.mu.Unlock()
	if sleeping {
		w.wake <- struct{}{}
	}
}

// next waits for something to write, and takes it into batch and orders. It returns false when the writer is
// to end, with the bye that is to be said before, if any.
func (w *wire) next() (bye uint32, more bool) {
	for {
		w.mu.Lock()
		switch {
		case w.stopped:
			w.mu.Unlock()
			return 0, false
		case len(w.controls) > 0 || len(w.frames) > 0:
			n := min(len(w.controls), writeSegments)
			w.orders = append(w.orders[:0], w.controls[:n]...)
			w.controls = dequeue(w.controls, n)
			n, bytes := 0, 0
			for n < len(w.frames) && n < writeSegments/2 && (bytes == 0 || bytes+w.frames[n].size <= writeBytes) {
				bytes += w.frames[n].size + frameSize
				n++
			}
			w.batch = append(w.batch[:0], w.frames[:n]...)
			w.frames = dequeue(w.frames, n)
			w.mu.Unlock()
			return 0, true
		case w.bye != 0:
			w.mu.Unlock()
			return w.bye, false
		}
		w.sleeping = true
		w.mu.Unlock()
		<-w.wake
	}
}

// dequeue drops the first n of a queue, and keeps its memory.
func dequeue[T any](q []T, n int) []T {
	rest := copy(q, q[n:])
	clear(q[rest:])
	return q[:rest]
}

// write is the writer: it runs until the session ends, and returns what went wrong.
func (w *wire) write() error {
	w.arena = make([]byte, 0, arenaSize)
	for {
		bye, more := w.next()
		if !more {
			if bye == 0 {
				return nil
			}
			m := message{kind: kindBye, length: bye}
			w.arena = m.append(w.arena[:0])
			w.cut()
			return w.flush()
		}
		for _, c := range w.orders {
			w.order(c)
		}
		for i, e := range w.batch {
			w.batch[i] = entry{}
			h, payload, ok := e.link.take(e.seq)
			if !ok {
				w.queued.Add(-int64(e.size) - frameSize)
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
			if cap(w.arena)-len(w.arena) < 2*(frameSize+small) {
				// Segments point into the arena: it is used again only after they are written.
				if err := w.flush(); err != nil {
					return err
				}
			}
		}
		w.cut()
		if err := w.flush(); err != nil {
			return err
		}
	}
}

// order appends a control message. controls of one batch fit: writeSegments times the longest reason.
func (w *wire) order(c control) {
	l := c.link
	if c.kind == kindPulse {
		w.pulsing.Store(false)
		m := message{kind: kindPulse}
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

// flush writes the segments, and then gives back the frames in them, even if that failed.
func (w *wire) flush() error {
	w.cut()
	var err error
	if v, ok := w.conn.(vectored); ok {
		if len(w.segs) > 0 {
			err = v.WriteBuffers(w.segs)
		}
	} else {
		for i := 0; i < len(w.segs) && err == nil; i++ {
			_, err = w.conn.Write(w.segs[i])
		}
		if f, ok := w.conn.(flusher); ok && err == nil {
			err = f.Flush()
		}
	}
	w.sent.Add(1)
	clear(w.segs)
	w.segs, w.arena, w.start = w.segs[:0], w.arena[:0], 0
	for i, e := range w.writing {
		e.link.wrote(e.seq)
		w.queued.Add(-int64(e.size) - frameSize)
		w.writing[i] = entry{}
	}
	if len(w.writing) > 0 {
		w.writing = w.writing[:0]
		w.peer.ep.bell.Ring()
	}
	return err
}

// read is the reader: it returns when the connection has ended, with nil after a bye.
func (w *wire) read() error {
	in := bufio.NewReaderSize(&w.in, readBuffer)
	var buf [frameSize]byte
	var m message
	var h transport.Header
	said := false
	for {
		if _, err := io.ReadFull(in, buf[:messageSize]); err != nil {
			if said {
				return nil
			}
			return err
		}
		if said {
			return &transport.FrameError{Reason: "message behind a bye"}
		}
		if err := m.parse(buf[:]); err != nil {
			return err
		}
		switch m.kind {
		case kindPulse:
			continue
		case kindBye:
			said = true
			if err := w.peer.heardBye(w.index, m.length); err != nil {
				return err
			}
			continue
		case kindFrame:
			if _, err := io.ReadFull(in, buf[messageSize:]); err != nil {
				return err
			}
			if err := h.UnmarshalBinary(buf[messageSize:]); err != nil {
				return err
			}
		}
		l, err := w.peer.incoming(m.link, m.kind)
		if err != nil {
			return err
		}
		if l == nil { // a credit for a link that is through
			continue
		}
		if err := l.grant(m.credit); err != nil {
			return err
		}
		switch m.kind {
		case kindFrame:
			if err := w.readFrame(in, l, &m, &h); err != nil {
				return err
			}
		case kindFail:
			reason := make([]byte, m.length)
			if _, err := io.ReadFull(in, reason); err != nil {
				return err
			}
			if err := l.remoteEnded(&remoteEnd{err: &transport.RemoteError{Reason: reason}, final: m.seq}); err != nil {
				return err
			}
		case kindClose:
			if err := l.remoteEnded(&remoteEnd{err: transport.ErrPeerClosed, drain: true, final: m.seq}); err != nil {
				return err
			}
		}
		if l.through() {
			w.peer.reap(l)
		}
		w.peer.ep.bell.Ring()
	}
}

// readFrame reads the payload of a frame into the slot of its link.
func (w *wire) readFrame(in *bufio.Reader, l *link, m *message, h *transport.Header) error {
	slot, err := l.reserve(m.seq, h)
	if err != nil {
		return err
	}
	if slot == nil {
		if _, err := in.Discard(int(h.Length)); err != nil {
			return err
		}
	} else if _, err := io.ReadFull(in, slot); err != nil {
		return err
	}
	l.arrive(m.seq, slot == nil)
	return nil
}

// remoteEnded takes the peer's Close or Fail of the link. It fails when there was one before, or when more
// frames have come than it says.
func (l *link) remoteEnded(end *remoteEnd) error {
	if l.remote.Load() != nil {
		return &transport.FrameError{Reason: "a link ended twice"}
	}
	if n := l.arrived.Load(); n > end.final {
		return &transport.FrameError{Reason: fmt.Sprintf("%d frames of %d", n, end.final)}
	}
	l.lose(end)
	return nil
}
