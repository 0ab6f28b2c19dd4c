package stripe

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// An intake is what has arrived of a connection's next message. Bytes come in any portions, from whoever reads.
type intake struct {
	mu    sync.Mutex // of who reads: a goroutine of the connection, or a rank that waits
	reads atomic.Uint64

	// Under mu.
	buf     []byte // messages, and what comes with them
	r, w    int
	frame   *link // whose payload arrives; nil: none does
	seq     uint64
	rest    []byte // of the payload's memory
	discard int    // bytes of payload that nobody is going to read
	dropped bool   // of the frame, that is
	said    bool   // the peer has said bye
	over    bool
	err     error // why, when over; nil after a bye
}

// room returns where bytes are wanted: first a, and what is beyond it in b.
func (in *intake) room() (a, b []byte) {
	if in.buf == nil {
		in.buf = make([]byte, readBuffer)
	}
	in.w = copy(in.buf, in.buf[in.r:in.w])
	in.r = 0
	switch { // nothing is in buf: it would be in rest
	case len(in.rest) >= readBuffer:
		return in.rest, in.buf[:frameSize] // what is behind it is likely to be as long, and goes to its own place
	case len(in.rest) > 0:
		return in.rest, in.buf
	}
	return in.buf[in.w:], nil
}

// got takes n bytes that have come into the room.
func (w *wire) got(n int) error {
	in := &w.intake
	in.reads.Add(1)
	if w.index > 0 {
		w.peer.arrived(n)
	}
	if m := min(n, len(in.rest)); m > 0 {
		in.rest = in.rest[m:]
		n -= m
	}
	in.w += n
	return w.parse()
}

// parse takes in what has come as far as it is whole.
func (w *wire) parse() error {
	in := &w.intake
	var m message
	var h transport.Header
	for {
		if in.frame != nil {
			there := in.buf[in.r:in.w]
			n := min(in.discard, len(there))
			in.discard -= n
			n += copy(in.rest, there[n:])
			in.rest = in.rest[min(len(in.rest), n):]
			in.r += n
			if len(in.rest) > 0 || in.discard > 0 {
				return nil
			}
			l := in.frame
			in.frame, in.rest = nil, nil
			l.arrive(in.seq, in.dropped)
			w.after(l)
		}
		there := in.buf[in.r:in.w]
		if len(there) > 0 && in.said {
			return &transport.FrameError{Reason: "message behind a bye"}
		}
		if len(there) < messageSize {
			return nil
		}
		if err := m.parse(there); err != nil {
			return err
		}
		size := messageSize
		switch m.kind {
		case kindFrame:
			size = frameSize
		case kindFail:
			size += int(m.length)
		}
		if len(there) < size {
			return nil
		}
		in.r += size
		switch m.kind {
		case kindPulse:
			continue
		case kindMore:
			if err := w.peer.heardMore(int(m.length)); err != nil {
				return err
			}
			continue
		case kindArrived:
			w.peer.heardArrived(arrival{bytes: m.seq, clock: time.Duration(m.credit)})
			continue
		case kindBye:
			in.said = true
			if err := w.peer.heardBye(w.index, m.length); err != nil {
				return err
			}
			continue
		case kindFrame:
			if err := h.UnmarshalBinary(there[messageSize:size]); err != nil {
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
			memory, err := l.reserve(m.seq, &h, w.prompt != nil)
			if err != nil {
				return err
			}
			in.frame, in.seq, in.rest, in.dropped, in.discard = l, m.seq, memory, memory == nil, 0
			if in.dropped {
				in.discard = int(h.Length)
			}
			continue
		case kindFail:
			reason := append([]byte(nil), there[messageSize:size]...)
			err = l.remoteEnded(&remoteEnd{err: &transport.RemoteError{Reason: reason}, final: m.seq})
		case kindClose:
			err = l.remoteEnded(&remoteEnd{err: transport.ErrPeerClosed, drain: true, final: m.seq})
		}
		if err != nil {
			return err
		}
		w.after(l)
	}
}

// after tells who is concerned that there is news of a link.
func (w *wire) after(l *link) {
	if l.through() {
		w.peer.reap(l)
	}
	w.peer.ep.bell.Ring()
}

// took takes what a read into the room has returned.
func (w *wire) took(n int, err error) {
	if n > 0 {
		if bad := w.got(n); bad != nil {
			err = bad
		}
	}
	if err != nil {
		w.end(err)
	}
}

// end notes that nothing more is read.
func (w *wire) end(err error) {
	in := &w.intake
	in.over = true
	switch {
	case in.said && !isFrameError(err): // whatever ended the connection, nothing was missing
	case errors.Is(err, io.EOF) && (in.w > in.r || in.frame != nil):
		in.err = io.ErrUnexpectedEOF
	default:
		in.err = err
	}
}

func isFrameError(err error) bool {
	_, ok := errors.AsType[*transport.FrameError](err)
	return ok
}

// read is the reader: it returns when the connection has ended, with nil after a bye.
func (w *wire) read() error {
	in := &w.intake
	if w.prompt != nil {
		err := w.readiness.Read(func(uintptr) bool {
			in.mu.Lock()
			defer in.mu.Unlock()
			return w.drain(nil)
		})
		in.mu.Lock()
		defer in.mu.Unlock()
		if !in.over { // it was closed on this side
			w.end(err)
		}
		return in.err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for !in.over {
		a, _ := in.room()
		w.took(w.conn.Read(a))
	}
	return in.err
}

// drain reads without waiting until there is nothing, or until the next frame of l is there, if that is not nil. It returns true when
// nothing more will come. The intake's mu is held.
func (w *wire) drain(l *link) bool {
	in := &w.intake
	for !in.over {
		a, b := in.room()
		n, err := w.prompt.TryRead(a, b)
		if n == 0 && err == nil {
			return false
		}
		w.took(n, err)
		if l != nil && !in.over && l.next() {
			return false
		}
	}
	return true
}

// look reads in place of the reader's goroutine, which would have to be woken: its link's owner waits for a frame and has nothing else to do.
func (p *peer) look(l *link) {
	for _, w := range p.active() {
		if !w.attached.Load() || w.prompt == nil {
			continue
		}
		if w.unfinished.Load() {
			w.push()
		}
		in := &w.intake
		if !in.mu.TryLock() {
			continue
		}
		over := w.drain(l)
		err := in.err
		in.mu.Unlock()
		if over && err != nil {
			p.lose(fmt.Errorf("connection %d: %w", w.index, err))
			return
		}
		if l.next() {
			return
		}
	}
}

// help writes what the kernel did not take before.
func (p *peer) help() {
	for _, w := range p.active() {
		if w.unfinished.Load() {
			w.push()
		}
	}
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
