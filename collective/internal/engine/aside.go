package engine

import (
	"context"

	"github.com/ringtree/ringtree/collective/buffer"
)

// freeAside waits until nobody reads the aside buffer that this operation is going to use, the one of two operations
// ago, and makes it long enough. The peers read it in operations that this rank has finished, so the wait is short and
// depends on nothing that this rank has yet to do.
func (e *Engine) freeAside(ctx context.Context, sc *Script) error {
	a := &e.asides[e.runs&1]
	for a.used {
		var busy *conn
		for _, c := range a.readers {
			if c.Completed() < c.aside[e.runs&1] {
				if err := c.Err(); err != nil {
					return e.blame(c, sc, 0, -1, err)
				}
				busy = c
			}
		}
		if a.used = busy != nil; a.used {
			e.reader = busy
			if err := e.wait(ctx, sc); err != nil {
				return err
			}
		}
		e.reader = nil
	}
	e.waiter.begin(e.cfg.Bell)
	a.readers, a.filled = a.readers[:0], 0
	if need := sc.length * sc.size; len(a.mem) < need {
		mem, err := e.cfg.Alloc(max(need, 4096))
		if err != nil {
			return err
		}
		if a.mem != nil {
			if err := e.cfg.Free(a.mem); err != nil {
				return err
			}
		}
		a.mem = mem
	}
	return nil
}

// borrow notes that the frame just posted on c is in this operation's aside buffer.
func (e *Engine) borrow(c *conn) {
	a := &e.asides[e.runs&1]
	if k := len(a.readers); k == 0 || a.readers[k-1] != c {
		a.readers = append(a.readers, c)
	}
	a.used, c.aside[e.runs&1] = true, c.posted
}

// asideOf returns the copy of data, which begins at element lo of the vector, in this operation's aside buffer. The first
// send of a slice makes the copy: peers may read it while the same slice is sent to others.
func (e *Engine) asideOf(data []byte, lo int, sc *Script) []byte {
	at := lo * sc.size
	a := &e.asides[e.runs&1]
	mem := a.mem[at : at+len(data) : at+len(data)]
	if a.filled <= lo { // slices come in order
		buffer.Copy(mem, data)
		a.filled = lo + len(data)/sc.size
	}
	return mem
}
