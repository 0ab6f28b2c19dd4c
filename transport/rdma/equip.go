package rdma

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
)

// equip makes the memory and the queue pairs of a link. It runs in a goroutine of its own.
func (l *link) equip() error {
	err := l.makeEquipment()
	l.idle()
	return err
}

// idle ends what another goroutine did with the queue pairs.
func (l *link) idle() {
	l.mu.Lock()
	l.busy = false
	abandoned := l.abandoned
	l.mu.Unlock()
	if abandoned {
		l.dismantle()
		l.release()
	}
}

func roundUp(n int) int {
	page := os.Getpagesize()
	return (n + page - 1) / page * page
}

func (l *link) makeEquipment() error {
	e := l.ep
	window, err := newPages(roundUp(windowBytes(len(l.in))))
	if err != nil {
		return err
	}
	cells, err := newPages(roundUp(cellsBytes(len(l.in))))
	if err != nil {
		return errors.Join(err, freePages(window))
	}
	l.mu.Lock()
	l.window, l.cells = window, cells
	l.mu.Unlock()
	slots, err := e.fabric.register(addressOf(window), len(window), peersWrite)
	if err != nil {
		return err
	}
	out, err := e.fabric.register(addressOf(cells), len(cells), 0)
	if err != nil {
		return errors.Join(err, slots.release())
	}
	mine := &hello{window: len(l.in), slots: uint64(addressOf(window)), place: e.fabric.place()}
	_, mine.key = slots.keys()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regions = []region{slots, out}
	l.cellKey, _ = out.keys()
	e.look.Lock()
	defer e.look.Unlock()
	for range e.t.cfg.queuePairs {
		d := &end{link: l, refill: l.refill(), psn: randomPSN()}
		if d.queue, err = e.reserve(l.sendDepth() + l.receiveDepth()); err != nil {
			return err
		}
		if d.pair, err = d.queue.queue.pair(l.sendDepth(), l.receiveDepth()); err == nil {
			l.ends = append(l.ends, d)
			e.ends[d.pair.number()] = d
			err = d.pair.receives(l.receiveDepth())
		} else {
			d.queue.taken -= l.sendDepth() + l.receiveDepth()
		}
		if err != nil {
			return err
		}
		mine.pairs = append(mine.pairs, helloPair{d.pair.number(), d.psn})
	}
	l.setup.mine = mine // the steward reads it behind made
	return nil
}

func randomPSN() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint32(b[:]) & 0xffffff
}

// connect joins the queue pairs of both ends. It runs in a goroutine of its own.
func (l *link) connect(mine, theirs *hello) error {
	l.mu.Lock()
	ends := l.ends
	l.mu.Unlock()
	var err error
	for i := range min(len(mine.pairs), len(theirs.pairs)) {
		r := route{
			to: theirs.place, number: theirs.pairs[i].number, psnIn: theirs.pairs[i].psn, psnOut: mine.pairs[i].psn,
			mtu: min(mine.place.mtu, theirs.place.mtu),
		}
		if err = ends[i].pair.connect(r); err != nil {
			break
		}
	}
	l.idle()
	return err
}

// dismantle takes the queue pairs apart. Whatever they still had to do is undone.
func (l *link) dismantle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		l.abandoned = true
		return
	}
	e := l.ep
	e.look.Lock()
	defer e.look.Unlock()
	for _, d := range append(l.ends, l.spare...) {
		// In this order nothing of this pair is left in the queue when its number comes again.
		delete(e.ends, d.pair.number())
		d.pair.reset()
		d.pair.destroy()
		d.queue.taken -= l.sendDepth() + l.receiveDepth()
	}
	if len(l.ends) > 0 {
		e.collect()
	}
	l.ends, l.spare = nil, nil
	for i := range l.out {
		if o := &l.out[i]; o.stage != nil || o.borrowed {
			if o.stage != nil {
				e.stages.put(o.stage)
			}
			*o = outSlot{}
		}
	}
}

// release gives the memory of a link back, but for a frame that is held. The queue pairs are gone.
func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		return
	}
	for _, r := range l.regions {
		if err := r.release(); err != nil {
			l.ep.t.cfg.logger.Warn("RDMA memory not given back", "error", err)
		}
	}
	l.regions = nil
	if l.held {
		l.gone = true
		return
	}
	l.freeMemory()
}

// freeMemory frees the slots and cells. mu is held.
func (l *link) freeMemory() {
	for _, b := range [][]byte{l.window, l.cells} {
		if b != nil {
			_ = freePages(b) // nothing can be done about it
		}
	}
	l.window, l.cells = nil, nil
}
