package rdma

import (
	"sync/atomic"

	"github.com/ringtree/ringtree/transport"
)

// What a device stores in memory of another device need not be there when its completion is: the completion is written to the
// host's memory, on another way. So a frame whose payload was stored in a GPU's memory is handed out when that has settled. Some GPUs order
// the two by themselves; the driver of others has a call that waits. Where there is neither, the device reads a byte from
// there: on its bus a read does not overtake what the same device has written. NCCL always does the latter on GPUs before Hopper.
//
// One flush, or read, is for all frames that had come before it.

// readDepth is how many reads an endpoint's reader takes at a time, one for each link that waits.
const readDepth = 64

// A readBack reads memory of the endpoint's own host through its device. The endpoint's look is held for all but done and failed.
type readBack struct {
	reader reader
	queue  *sharedQueue
	posted uint64
	done   atomic.Uint64 // reads that are done, in order
	failed atomic.Pointer[error]
}

// makeReader makes the endpoint's reader, if there is none.
func (e *Endpoint) makeReader() error {
	e.look.Lock()
	defer e.look.Unlock()
	b := &e.back
	if b.reader != nil {
		return nil
	}
	q, err := e.reserve(readDepth)
	if err != nil {
		return err
	}
	if b.reader, err = q.queue.reader(readDepth); err != nil {
		q.taken -= readDepth
		b.reader = nil
		return err
	}
	b.queue = q
	return nil
}

// is reports whether a pair is the reader's.
func (b *readBack) is(pair uint32) bool { return b.reader != nil && b.reader.number() == pair }

// take takes a completion.
func (b *readBack) take(c *completion, device string) {
	if c.status != StatusOK {
		var err error = &CompletionError{Device: device, Status: c.status, Vendor: c.vendor}
		b.failed.CompareAndSwap(nil, &err)
		return
	}
	b.done.Store(c.id + 1)
}

// close takes the reader apart. No link uses it any more.
func (b *readBack) close() {
	if b.reader != nil {
		b.reader.destroy()
		b.queue.taken -= readDepth
		b.reader = nil
	}
}

// startRead reads from a place in registered memory. It returns the number of the read, from 1, or 0 if there is no room for it now.
func (e *Endpoint) startRead(at remote) (uint64, error) {
	e.look.Lock()
	defer e.look.Unlock()
	b := &e.back
	switch {
	case b.reader == nil:
		return 0, transport.ErrClosed
	case b.posted-b.done.Load() >= readDepth:
		return 0, nil
	}
	if err := b.reader.read(b.posted, at.addr, at.key); err != nil {
		return 0, err
	}
	b.posted++
	return b.posted, nil
}

// hasRead reports whether a read is done.
func (e *Endpoint) hasRead(n uint64) (bool, error) {
	if err := e.back.failed.Load(); err != nil {
		return false, *err
	}
	return e.back.done.Load() >= n, nil
}

// settle reports whether the payload of a frame that was stored in its place has come to where its owner sees it, and sees to that. mu
// is held.
func (l *link) settle(frame uint64) (bool, error) {
	x := &l.expects[frame%uint64(len(l.expects))]
	if x.settling == settlesAtOnce || frame < l.settled {
		return true, nil
	}
	var err error
	switch x.settling {
	case settlesByFlush:
		until := l.come(frame)
		if err = x.flush(); err == nil {
			l.settled = until
		}
	case settlesByRead:
		if l.reading == 0 {
			until := l.come(frame)
			if l.reading, err = l.ep.startRead(x.at); l.reading == 0 {
				break
			}
			l.settling = until
		}
		done := false
		if done, err = l.ep.hasRead(l.reading); !done && err == nil {
			l.ep.progress()
			done, err = l.ep.hasRead(l.reading)
		}
		if done {
			l.settled, l.reading = l.settling, 0
		}
	}
	return frame < l.settled, err
}

// come returns the number of the first frame from this one on that has not come.
func (l *link) come(frame uint64) uint64 {
	end := l.released.Load() + uint64(len(l.in))
	for frame < end && l.in[frame%uint64(len(l.in))].Load() == frame+1 {
		frame++
	}
	return frame
}
