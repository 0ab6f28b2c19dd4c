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
	e.waiter.begin(e.cfg.Bell)
	for a.used {
		busy := false
		e.mu.Lock()
		for _, c := range e.conns {
			if c.Completed() < c.aside[e.runs&1] {
				if err := c.Err(); err != nil {
					e.mu.Unlock()
					return e.blame(c, sc, 0, -1, err)
				}
				busy, e.reader = true, c
			}
		}
		e.mu.Unlock()
		if a.used = busy; busy {
			if err := e.wait(ctx, sc); err != nil {
				return err
			}
		}
		e.reader = nil
	}
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
	a.used, a.filled = true, 0
	return nil
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
