package rdma

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ringtree/ringtree/transport"
)

// prove writes a word of zeros, which says that nothing has been released, over every queue pair.
func (l *link) prove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proving.Store(true)
	n := min(len(l.ends), len(l.theirs.pairs))
	l.spare, l.ends = l.ends[n:], l.ends[:n]
	l.out, l.expects = make([]outSlot, l.limit), make([]expected, offersOf(l.limit))
	for _, d := range l.ends {
		cell := l.cells[len(l.in)*cellSize:]
		l.w = write{to: uintptr(l.theirs.slots), toKey: l.theirs.key, head: addressOf(cell), headLength: 8, headKey: l.cellKey}
		if err := l.write(d, true); err != nil {
			l.proofFailed(err)
		}
	}
}

// proofFailed notes that the path does not carry, the first time.
func (l *link) proofFailed(err error) {
	l.proofErr.CompareAndSwap(nil, &err)
	l.ep.steward.Ring()
}

func (l *link) proof() error {
	if err := l.proofErr.Load(); err != nil {
		return *err
	}
	return nil
}

// acknowledged reports whether everything that was written has been. The link must not be busy.
func (l *link) acknowledged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.ends {
		if d.reaped.Load() < d.posts {
			return false
		}
	}
	return true
}

// flush sends the frames that were posted before the link was up, as far as there is room, and reports whether all are.
func (l *link) flush() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.over.Load() == nil && len(l.waiting) > 0 {
		if !l.room() {
			if l.readCredit(); !l.room() {
				return false
			}
		}
		if err := l.send(&l.waiting[0].header, l.waiting[0].payload); err != nil {
			l.broke(err)
			break
		}
		l.waiting[0] = waiting{}
		l.waiting = l.waiting[1:]
	}
	l.waiting = nil
	l.course.Store(uint32(direct))
	return true
}

// run looks after a link whose frames go over the device.
func (l *link) run(closed, closing bool) {
	s := &l.setup
	end := l.over.Load()
	lost := end != nil && !end.drain
	if lost && !s.told {
		s.told = true
		if !s.silent {
			l.say(brokenMessage(end.err))
			l.speak()
		}
		l.look(false)
		l.dismantle()
	}
	if !closed {
		return
	}
	if lost {
		l.control.Close()
		l.finish()
		return
	}
	if !s.fenced {
		s.fenced = true
		l.look(true)
		l.say(closingMessage(l.fence()))
	}
	l.speak()
	// What the peer has closed its end to need not arrive.
	if end == nil && !l.acknowledged() || len(s.outbox) > 0 && !s.silent {
		return
	}
	l.look(false)
	if !l.delivered.Swap(true) && closing {
		select {
		case l.ep.news <- struct{}{}:
		default:
		}
	}
	// The queue pairs stay until the peer has closed its end, too, so that it does not take their end for a failure.
	if s.closing || s.silent {
		l.control.Close()
		l.finish()
	}
}

// fence posts a last write that completes, behind all others, and returns the number of frames.
func (l *link) fence() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.ends {
		if d.reaped.Load() == d.posts {
			continue
		}
		l.w = write{to: uintptr(l.theirs.slots), toKey: l.theirs.key}
		if err := l.write(d, true); err != nil {
			l.broke(err)
		}
	}
	return l.posted.Load()
}

// startRelay lets the control link carry the frames.
func (l *link) startRelay(why error) {
	s := &l.setup
	l.look(false)
	l.undo()
	if !errors.Is(why, errPeer) {
		s.whys[0] = cutText(why.Error())
	}
	if s.phase == phaseMaking {
		l.say((&hello{why: s.whys[0]}).append())
	} else {
		l.say(relayMessage(s.whys[0]))
	}
	l.mu.Lock()
	l.out = nil
	l.mu.Unlock()
	s.phase = phaseRelaying
}

// relayReason returns why the control link carries the frames, in the words of both ends, which come to the same text.
func (l *link) relayReason() string {
	texts, ranks := l.setup.whys, [2]int{l.ep.rank, l.rank}
	if ranks[0] > ranks[1] {
		texts[0], texts[1], ranks[0], ranks[1] = texts[1], texts[0], ranks[1], ranks[0]
	}
	if texts[0] == texts[1] {
		return texts[0]
	}
	var parts []string
	for i, text := range texts {
		if text != "" {
			parts = append(parts, fmt.Sprintf("rank %d: %s", ranks[i], text))
		}
	}
	return strings.Join(parts, "; ")
}

// passOn gives the frames that were posted meanwhile to the control link, and then the link itself to its owner.
func (l *link) passOn(closed bool) {
	s := &l.setup
	l.speak()
	if len(s.outbox) > 0 && !s.silent {
		return
	}
	l.mu.Lock()
	l.relayBase = s.sent
	for len(l.waiting) > 0 && !s.silent {
		f := &l.waiting[0]
		if f.borrowed { // it may be memory of a device, which the control link must not read
			host, err := l.hostCopy(f.payload)
			if err != nil {
				l.lose(&remoteEnd{err: &transport.LostError{Peer: l.rank, Cause: err}})
				break
			}
			f.payload = host
		}
		ok, err := l.control.Post(&f.header, f.payload)
		if !ok && err == nil {
			l.mu.Unlock()
			return
		}
		if err != nil {
			break // which the owner hears from the control link
		}
		l.posted.Add(1)
		l.waiting = l.waiting[1:]
	}
	switch {
	case closed:
		l.mu.Unlock()
		l.control.Close()
		l.finish()
		return
	case l.over.Load() != nil:
		s.phase = phaseEnded
	case s.relay || s.silent:
		l.waiting, l.why = nil, l.relayReason()
		l.course.Store(uint32(relayed))
		l.delivered.Store(true)
		s.phase = phaseOver
		l.ep.t.cfg.logger.Warn("RDMA link carried by the control transport", "rank", l.ep.rank, "peer", l.rank, "control", l.ep.t.control.Name(), "why", l.why)
	}
	l.mu.Unlock()
	l.ep.bell.Ring()
}
