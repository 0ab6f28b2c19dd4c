package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// The stages of a wait, in turns through the lanes. A turn that spins takes some tens of nanoseconds, one that yields
// about a microsecond. Waking a sleeper costs tens of microseconds on virtual machines, so a rank sleeps only when
// it has waited longer than that; but a rank that spins while another wants its core costs that one a time slice, so
// where ranks outnumber cores nobody spins.
const (
	spinTurns    = 80  // about 2 µs
	yieldTurns   = 150 // about 100 µs
	pausesInTurn = 1
	sharedTurns  = 40
	glances      = 64 // some 100 ns
)

// sleepLimit bounds a sleep; its end is when deadlines of peers and links are looked at again.
const sleepLimit = 50 * time.Millisecond

// sleepers is how many ranks of a process may sleep so. Where there are more, all sleep longer, so that looking around never
// takes more than a small part of a core: 65,536 ranks would otherwise do nothing else.
const sleepers = 512

// hailAfter is after how many sleeps an operation stands still so long that its ranks ask their neighbours what they are doing.
const hailAfter = 2

type waiter struct {
	spins, yields int
	shared        bool
	turn          int
	armed         bool
	since         time.Time // of the first sleep of this wait
	sleep         time.Duration
	ranks         []topology.Rank
}

func (w *waiter) init(cfg Config) {
	w.spins, w.yields, w.shared = spinTurns, yieldTurns, cfg.Shared
	w.sleep = sleepLimit * time.Duration(max(1, cfg.InProcess/sleepers))
	if cfg.Crowded {
		w.spins = 0
	}
	if cfg.Shared {
		w.yields = sharedTurns
		if cfg.Size > 256 {
			w.yields = 1
		}
	}
}

// begin starts a new wait: there was progress.
func (w *waiter) begin(b transport.Bell) {
	w.turn = 0
	if w.armed {
		w.armed = false
		b.Disarm()
	}
}

func (w *waiter) arm(b transport.Bell) {
	w.armed = true
	b.Arm()
}

// glance looks for a number for a moment, without a pause: what ranks that work in step have to wait for takes as long as a cache
// line from one core to another.
func (w *waiter) glance(number *uint64, want uint64) bool {
	for range min(glances, 1+w.spins) {
		if atomic.LoadUint64(number) == want {
			return true
		}
	}
	return false
}

// rest passes the time of a turn, counted from 0, that is before the first sleep of a wait.
func (w *waiter) rest(turn int) {
	switch {
	case turn < w.spins:
		pause(pausesInTurn)
	case w.shared:
		runtime.Gosched()
	default:
		yieldThread()
	}
}

// wait is called after every turn without progress. It returns when another turn may be worth while, or why there is
// none.
func (e *Engine) wait(ctx context.Context, sc *Script) error {
	w := &e.waiter
	w.turn++
	if w.turn <= w.spins+w.yields {
		if w.turn > w.spins && w.turn&15 == 0 {
			if err := e.check(ctx, sc); err != nil {
				return err
			}
		}
		w.rest(w.turn - 1)
		return nil
	}
	if w.turn == w.spins+w.yields+1 {
		w.since = time.Now()
		for _, c := range e.control {
			if c != nil {
				c.hailed = false
			}
		}
		w.arm(e.cfg.Bell) // and look once more
		return nil
	}
	w.armed = false
	e.wakeOffload()
	e.cfg.Bell.Sleep(ctx, w.sleep)
	if err := e.check(ctx, sc); err != nil {
		return err
	}
	if time.Since(w.since) > hailAfter*w.sleep {
		if err := e.hail(sc); err != nil {
			return err
		}
	}
	w.arm(e.cfg.Bell)
	return nil
}

// check looks for reasons to give up other than the link that is waited for.
func (e *Engine) check(ctx context.Context, sc *Script) error {
	if err := e.Err(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return e.overdue(sc, Ended(ctx))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		if err := e.failed(c); err != nil {
			return err
		}
	}
	return nil
}

// overdue names the first peer that the operation waits for. It returns nil if there is none, because what was waited for
// has come in the meantime.
func (e *Engine) overdue(sc *Script, cause error) error {
	name := sc.Collective.String()
	if e.reader != nil {
		return &PeerError{Rank: e.reader.peer, Op: name, Channel: -1, Step: -1, Err: cause}
	}
	for _, in := range []bool{true, false} {
		for l := range schedule.Lane(e.machine.Lanes()) {
			if l.In() != in {
				continue
			}
			if st, ok := e.machine.Ready(l); ok {
				for j := range st.Width {
					op := e.machine.Op(l, st.First+j)
					if c, err := e.link(sc, l, st.First+j, op.Peer); err == nil && in {
						if f, err := c.Poll(); f != nil || err != nil {
							continue
						}
					}
					return &PeerError{Rank: int(op.Peer), Op: name, Channel: int(l.Channel()), Step: st.First + j, Err: cause}
				}
			}
		}
	}
	for l := range schedule.Lane(e.machine.Lanes()) {
		ln := &e.lanes[l]
		if ln.count == 0 {
			continue
		}
		if s := &ln.pending[ln.first]; s.c != nil && s.c.Completed() < s.seq {
			return &PeerError{Rank: s.c.peer, Op: name, Channel: int(l.Channel()), Step: -1, Err: cause}
		}
	}
	if e.away { // the rank's own work, or a peer that has not read what it was given
		for l := range e.off.waiting() {
			return &PeerError{Rank: l.c.peer, Op: name, Channel: int(l.channel), Step: -1, Err: cause}
		}
		return &PeerError{Rank: e.cfg.Rank, Op: name, Channel: -1, Step: -1, Err: cause}
	}
	return nil
}

// blame turns the end of a link into the error of an operation.
func (e *Engine) blame(c *conn, sc *Script, l schedule.Lane, i int, err error) error {
	if cause := e.Err(); cause != nil && errors.Is(err, transport.ErrClosed) {
		return cause
	}
	if remote, ok := errors.AsType[*transport.RemoteError](err); ok {
		return decodeReason(c.peer, remote.Reason)
	}
	// A peer that gave up before it had this link has told its neighbours why, and may have left since.
	for side := range e.control {
		if peer, ok := e.neighbour(side); !ok || peer != c.peer {
			continue
		}
		if h := e.hailer(side); h != nil && h != c {
			if err := e.failed(h); err != nil {
				return err
			}
		}
	}
	if lost, ok := errors.AsType[*transport.LostError](err); ok { // the link counts ranks of the group that it was made in
		err = &transport.LostError{Peer: c.peer, Cause: lost.Cause}
	}
	return &PeerError{Rank: c.peer, Op: sc.Collective.String(), Channel: int(l.Channel()), Step: i, Err: err}
}

// neighbour returns the rank below (side 0) or above this one; in a group of two they are the same, and only one counts.
func (e *Engine) neighbour(side int) (rank int, ok bool) {
	n := e.cfg.Size
	return (e.cfg.Rank + n - 1 + 2*side) % n, n > 2 || n == 2 && side == 0
}

// hailer returns the control link to a neighbour, or nil when there is none.
func (e *Engine) hailer(side int) *conn {
	if e.control[side] == nil {
		if peer, ok := e.neighbour(side); ok {
			if c, err := e.conn(peer, controlChannel); err == nil {
				e.control[side] = c
			}
		}
	}
	return e.control[side]
}

// hail tells both neighbours which operation this rank is in, and compares what they say and what lies unread on the
// open links. Ranks that called different operations may otherwise wait for each other on links where no frame ever
// meets: somewhere around the circle of all ranks two neighbours differ.
func (e *Engine) hail(sc *Script) error {
	for side := range e.control {
		c := e.hailer(side)
		if c == nil {
			continue
		}
		if !c.hailed {
			h := sc.head
			h.Seq, h.Slice, h.Channel = e.now.stamp, e.now.number>>16, controlChannel
			ok, err := c.Post(&h, nil)
			if err != nil {
				// A neighbour that left in another way may have finished its part, and who needs it will say so.
				if err := e.failed(c); err != nil {
					return err
				}
			}
			c.hailed = ok
		}
		if err := e.hear(c); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, c := range e.conns {
		if key.channel == controlChannel || key.channel == boardChannel {
			continue
		}
		if f, err := c.Poll(); err == nil && f != nil { // the end of a link is for who needs it
			if err := e.compare(c.peer, &f.Header); err != nil {
				return err
			}
		}
	}
	return nil
}

// hear takes in what a peer has said on its control link.
func (e *Engine) hear(c *conn) error {
	for {
		f, err := c.Poll()
		if err != nil {
			if err := e.failed(c); err != nil {
				return err
			}
		}
		if f == nil {
			return nil
		}
		h := f.Header
		c.Release()
		// A neighbour that never waited may find what was said a long time ago: Seq has half of a number, Slice the rest.
		said := h.Slice<<16 | h.Seq&0xffff
		if h.Step == wakeStep || e.now.number-said >= remembered {
			continue
		}
		if err := e.compare(c.peer, &h); err != nil {
			return err
		}
	}
}

// compare returns a MismatchError if the peer's operation of that number is not what this rank's is or was. Of
// numbers to come, and of those long past, it knows nothing: the peer that is ahead compares, too.
func (e *Engine) compare(peer int, h *transport.Header) error {
	back := (e.now.number - h.Seq) & 0xffff
	if h.Epoch != e.epoch || back >= remembered {
		return nil
	}
	if p := &e.past[(e.now.number-back)%remembered]; p.sc != nil && p.differs(h) {
		return e.mismatch(p, peer, h)
	}
	return nil
}

// differs reports whether a frame is of another operation.
func (p *entry) differs(h *transport.Header) bool {
	mine := &p.sc.head
	return h.Seq != p.stamp || h.Coll != mine.Coll || h.Count != mine.Count || h.DType != mine.DType ||
		h.Op != mine.Op || h.Root != mine.Root || h.Algo != mine.Algo
}

// mismatch says in what the frame of a peer differs from this rank's operation.
func (e *Engine) mismatch(p *entry, peer int, h *transport.Header) error {
	m := &MismatchError{Rank: e.cfg.Rank, Peer: peer}
	sc, mine := p.sc, &p.sc.head
	switch {
	case (h.Seq-p.number)&0xffff != 0:
		m.Field, m.Local, m.Remote = "operation number", fmt.Sprint(p.number), fmt.Sprint(int64(p.number)+int64(int16(h.Seq-p.number)))
	case h.Coll != mine.Coll:
		m.Field, m.Local, m.Remote = "collective", sc.Collective.String(), schedule.Collective(h.Coll).String()
	case h.Count != mine.Count:
		m.Field, m.Local, m.Remote = "count", fmt.Sprint(mine.Count), fmt.Sprint(h.Count)
	case h.DType != mine.DType:
		m.Field, m.Local, m.Remote = "dtype", sc.Type.String(), buffer.DType(h.DType).String()
	case h.Op != mine.Op:
		m.Field, m.Local, m.Remote = "op", sc.Op.String(), buffer.Op(h.Op).String()
	case h.Root != mine.Root:
		m.Field, m.Local, m.Remote = "root", fmt.Sprint(mine.Root), fmt.Sprint(h.Root)
	case h.Algo != mine.Algo:
		m.Field, m.Local, m.Remote = "algorithm", fmt.Sprintf("%#x", mine.Algo), fmt.Sprintf("%#x", h.Algo)
	default:
		m.Field, m.Local, m.Remote = "an earlier operation", fmt.Sprintf("(sum %#x)", p.stamp>>16), fmt.Sprintf("(sum %#x)", h.Seq>>16)
	}
	return m
}
