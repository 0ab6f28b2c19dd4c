package cudabridge

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ringtree/ringtree/collective/buffer"
)

// A queue does the work of one rank on a device, on three streams, so that copies out, copies in and kernels overlap, and a
// fourth that waits for the caller's.
type queue struct {
	memory   *Memory
	lines    [4]line
	slots    map[*byte]*HostBuffer
	scratch  *Buffer
	outgrown []*Buffer // what was scratch, each at most half as long as the next
	closed   bool
	err      error // the first failure of any work
}

// The lines of a queue. A Ticket has the line in its lowest bits, and above it the number of the piece of work on it.
const (
	outLine = iota
	inLine
	kernelLine
	gateLine

	lineBits = 2
)

// A line is a stream and an event behind each piece of work that may be in flight.
type line struct {
	stream *Stream
	events []*Event // piece n's is at n modulo the length, a power of two
	issued uint64
	done   uint64
	waker  *waker
}

// NewQueue makes the streams.
func (m *Memory) NewQueue() (buffer.Queue, error) {
	q := &queue{memory: m, slots: make(map[*byte]*HostBuffer)}
	for i := range q.lines {
		s, err := m.device.NewStream()
		if err != nil {
			return nil, errors.Join(err, q.Close())
		}
		q.lines[i].stream = s
	}
	return q, nil
}

// issue gives a piece of work to a line and records an event behind it.
func (q *queue) issue(which int, work func(s *Stream) error) (buffer.Ticket, error) {
	if q.err != nil {
		return 0, q.err
	}
	if q.closed {
		return 0, ErrClosed
	}
	l := &q.lines[which]
	if int(l.issued-l.done) == len(l.events) {
		if err := l.grow(); err != nil {
			return 0, q.fail(err)
		}
	}
	if err := work(l.stream); err != nil {
		return 0, q.fail(err)
	}
	l.issued++
	if err := l.stream.Record(l.event(l.issued)); err != nil {
		return 0, q.fail(err)
	}
	return buffer.Ticket(l.issued<<lineBits | uint64(which)), nil
}

func (l *line) event(n uint64) *Event { return l.events[n&uint64(len(l.events)-1)] }

// grow doubles the events.
func (l *line) grow() error {
	events := make([]*Event, max(16, 2*len(l.events)))
	for n := l.done + 1; n <= l.issued; n++ {
		events[n&uint64(len(events)-1)] = l.event(n)
	}
	for i := range events {
		if events[i] == nil {
			e, err := l.stream.device.NewEvent(false)
			if err != nil {
				return err
			}
			events[i] = e
		}
	}
	l.events = events
	return nil
}

func (q *queue) fail(err error) error {
	if q.err == nil {
		q.err = err
	}
	return q.err
}

// Slot is a stretch of pinned memory that begins like its counterpart on the device, so that kernels move both 16 bytes at a time.
func (q *queue) Slot(n int, like []byte) ([]byte, error) {
	if err := size("Slot", n); err != nil {
		return nil, err
	}
	h, err := q.memory.device.takePinned(n + 16)
	if err != nil {
		return nil, err
	}
	skip := int(addressOf(like) & 15) // pinned memory begins on a page
	slot := h.data[skip : skip+n]
	q.slots[&slot[0]] = h
	return slot, nil
}

// Return gives a slot back to the device's stock.
func (q *queue) Return(slot []byte) error {
	h := q.slots[&slot[0]]
	if h == nil {
		return fmt.Errorf("cudabridge: Return of what is no slot: %w", ErrArgument)
	}
	delete(q.slots, &slot[0])
	return q.memory.device.givePinned(h)
}

func (q *queue) CopyOut(slot, src []byte) (buffer.Ticket, error) {
	return q.issue(outLine, func(s *Stream) error { return s.CopyOut(slot, src) })
}

func (q *queue) CopyIn(dst, slot []byte) (buffer.Ticket, error) {
	return q.issue(inLine, func(s *Stream) error { return s.CopyIn(dst, slot) })
}

func (q *queue) Copy(dst, src []byte) (buffer.Ticket, error) {
	return q.issue(inLine, func(s *Stream) error { return s.Copy(dst, src) })
}

// Reduce launches the kernels of a reduction. Sources in slots are read over the bus by the kernel itself, so a copy in and
// the reduction are one.
func (q *queue) Reduce(k buffer.Kernel, dst []byte, srcs [][]byte, ranks int) (buffer.Ticket, error) {
	return q.issue(kernelLine, func(s *Stream) error {
		var scratch []byte
		if len(srcs) > passWidth {
			if q.scratch == nil || len(q.scratch.data) < len(dst)+16 {
				b, err := q.memory.device.Alloc(class(len(dst) + 16))
				if err != nil {
					return err
				}
				if q.scratch != nil { // work uses it, and the driver may wait for the whole device before it frees
					q.outgrown = append(q.outgrown, q.scratch)
				}
				q.scratch = b
			}
			scratch = q.scratch.data
		}
		return s.Reduce(k, dst, srcs, ranks, scratch)
	})
}

// After lets a stream of its own wait for the gate's event.
func (q *queue) After(g buffer.Gate) (buffer.Ticket, error) {
	x, ok := g.(*gate)
	if !ok {
		return 0, fmt.Errorf("cudabridge: a gate %T: %w", g, ErrArgument)
	}
	return q.issue(gateLine, func(s *Stream) error { return s.Wait(x.before) })
}

// Done asks the event behind the piece of work.
func (q *queue) Done(t buffer.Ticket) (bool, error) {
	if q.err != nil {
		return false, q.err
	}
	l, n := &q.lines[t&(1<<lineBits-1)], uint64(t>>lineBits)
	if n <= l.done {
		return true, nil
	}
	done, err := l.event(n).Done()
	if err != nil {
		return false, q.fail(err)
	}
	if done {
		l.done = n
	}
	return done, nil
}

// Wake lets a goroutine of each line with work in flight sleep until the oldest piece is done.
func (q *queue) Wake(ring func()) {
	for i := range q.lines {
		l := &q.lines[i]
		if l.done == l.issued {
			continue
		}
		if l.waker == nil {
			l.waker = newWaker()
		}
		select {
		case l.waker.wait <- wakeUp{l.event(l.done + 1), ring}:
		default: // it waits for something as old
		}
	}
}

// A waker is a goroutine that waits for events.
type waker struct {
	wait  chan wakeUp
	ended sync.WaitGroup
}

type wakeUp struct {
	event *Event
	ring  func()
}

func newWaker() *waker {
	w := &waker{wait: make(chan wakeUp, 1)}
	w.ended.Go(func() {
		for u := range w.wait {
			_ = u.event.Synchronize() // whoever is woken finds the error by Done
			u.ring()
		}
	})
	return w
}

// Drain waits for all streams but the one that waits for the caller's: it touches nothing.
func (q *queue) Drain() error {
	for i := range q.lines[:gateLine] {
		l := &q.lines[i]
		if l.stream == nil || l.done == l.issued {
			continue
		}
		if err := l.stream.Synchronize(); err != nil {
			_ = q.fail(err)
		}
		l.done = l.issued
	}
	return q.err
}

// Export is the reference to b.
func (q *queue) Export(ref, b []byte) ([]byte, error) {
	r, err := q.memory.refer(b)
	if err != nil {
		return ref, err
	}
	return r.append(ref), nil
}

// Import is the place of a peer's reference.
func (q *queue) Import(ref []byte, n int) ([]byte, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	if r.length != uint64(n) {
		return nil, fmt.Errorf("cudabridge: a reference to %d bytes, want %d: %w", r.length, n, ErrArgument)
	}
	return q.memory.resolve(&r)
}

// Close waits for the work, ends the streams and gives everything back.
func (q *queue) Close() error {
	if q.closed {
		return nil
	}
	q.closed = true
	errs := []error{q.Drain()}
	for i := range q.lines {
		l := &q.lines[i]
		if l.waker != nil {
			close(l.waker.wait)
			l.waker.ended.Wait()
		}
		for _, e := range l.events {
			errs = append(errs, e.Close())
		}
		if l.stream != nil {
			errs = append(errs, l.stream.Close())
		}
	}
	q.memory.device.keepPinned(q.slots) // peers may still read them
	clear(q.slots)
	if q.scratch != nil {
		q.outgrown = append(q.outgrown, q.scratch)
	}
	for _, b := range q.outgrown {
		errs = append(errs, b.Close())
	}
	return errors.Join(errs...)
}
