package quic

import (
	"net"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// A connection of quic-go has room for quicRoom packets that it has yet to look at, and throws away what comes beyond, which its
// congestion control takes for a loss on the way. So the reader of a socket lets packets lie in the kernel's buffer while a
// connection has backlogLimit packets to do.
const (
	quicRoom     = 256
	backlogLimit = 208
	// stalled is how long a connection may do nothing before the reader asks why: what quic-go has dropped before a connection
	// looked at it is never counted as done. Threads of busy processes may be kept from a processor for longer, so the answer is
	// a few packets more, as long as there is room even if nothing has been done. If the connection looks at these alone, it has nothing
	// else; if it does nothing, it has yet to run.
	stalled = 20 * time.Millisecond
	// gone is after how long without any sign the backlog counts as dropped all the same.
	gone = time.Second
	// backlogPause is between two looks at a backlog, which takes about half a millisecond to work off.
	backlogPause = 100 * time.Microsecond
)

// A backlog is what has come from one address and may wait to be looked at, in the order of its coming.
type backlog struct {
	work   []worker
	given  tally
	done   tally // of given; what is known of it
	marks  [quicRoom]tally
	oldest int // of the marks, of which there are
	n      int

	// Since the connection has begun to do nothing:
	asked   bool
	askedAt uint64 // bytes done then
	extra   uint64 // bytes handed out all the same
}

// A tally counts since some beginning.
type tally struct{ packets, bytes uint64 }

// A worker tells how many bytes it has received and looked at.
type worker interface{ done() uint64 }

// connWorker is a connection of quic-go as a worker.
type connWorker struct{ conn *quicgo.Conn }

func (w connWorker) done() uint64 { return w.conn.ConnectionStats().BytesReceived }

// forget counts everything as done.
func (b *backlog) forget() {
	b.given.bytes = 0
	for _, w := range b.work {
		b.given.bytes += w.done()
	}
	b.done, b.n, b.asked = b.given, 0, false
}

// look finds out what has been done. The workers count bytes; how many packets those are follows from the sizes of what was given, as
// of the moments at which there is a mark.
func (b *backlog) look() {
	b.done.bytes = 0
	for _, w := range b.work {
		b.done.bytes += w.done()
	}
	if b.done.bytes >= b.given.bytes { // more, if there are other sources
		b.forget()
		return
	}
	for b.n > 0 && b.marks[b.oldest].bytes <= b.done.bytes {
		b.done.packets = b.marks[b.oldest].packets
		b.oldest = (b.oldest + 1) % len(b.marks)
		b.n--
	}
}

// waiting returns how many packets are still to do.
func (b *backlog) waiting() int { return int(b.given.packets - b.done.packets) }

// give counts what is handed out.
func (b *backlog) give(packets, bytes int) {
	b.given.packets += uint64(packets)
	b.given.bytes += uint64(bytes)
	if b.n < len(b.marks) {
		b.n++
	} // else the last mark moves
	b.marks[(b.oldest+b.n-1)%len(b.marks)] = b.given
}

// ask is asked when the connection has done nothing for a while, and reports whether packets are to be handed out all the same.
func (b *backlog) ask(packets, bytes int) bool {
	since := b.done.bytes - b.askedAt
	switch {
	case b.asked && since > 0 && since <= b.extra:
		b.forget()
	case b.waiting()+packets > quicRoom:
		return false
	case b.asked && since == 0:
		b.extra += uint64(bytes)
	default:
		b.asked, b.askedAt, b.extra = true, b.done.bytes, uint64(bytes)
	}
	b.give(packets, bytes)
	return true
}

// backlogs are those of one socket. Packets from addresses without a connection pass.
type backlogs struct {
	mu sync.Mutex
	of map[netip.AddrPort]*backlog
}

// add begins to watch a connection until stop is called.
func (b *backlogs) add(from net.Addr, w worker) (stop func()) {
	at, ok := addrPort(from)
	if !ok {
		return func() {}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = make(map[netip.AddrPort]*backlog)
	}
	l := b.of[at]
	if l == nil {
		l = &backlog{}
		b.of[at] = l
	}
	l.work = append(l.work, w)
	l.forget()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, other := range l.work {
			if other == w {
				l.work = append(l.work[:i:i], l.work[i+1:]...)
				break
			}
		}
		l.forget()
		if len(l.work) == 0 && b.of[at] == l {
			delete(b.of, at)
		}
	}
}

// admit waits while the connections at an address have more than enough to do, and counts what they are given.
func (b *backlogs) admit(from netip.AddrPort, packets, bytes int) {
	if b.room(from, backlogLimit, packets, bytes) {
		return
	}
	last, since := uint64(0), time.Now()
	asks := since
	for {
		time.Sleep(backlogPause)
		// Half of it, so that a reader which had to wait once does not wait for every packet.
		if b.room(from, backlogLimit/2, packets, bytes) {
			return
		}
		now := time.Now()
		b.mu.Lock()
		if l := b.of[from]; l != nil {
			switch {
			case l.done.bytes != last:
				last, since, asks = l.done.bytes, now, now
			case now.Sub(since) > gone:
				l.forget()
			case now.Sub(asks) > stalled:
				asks = now
				if l.ask(packets, bytes) {
					b.mu.Unlock()
					return
				}
			}
		}
		b.mu.Unlock()
	}
}

// room counts what is given if it leaves no more than limit packets to do, and reports whether it has.
func (b *backlogs) room(from netip.AddrPort, limit, packets, bytes int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.of[from]
	if l == nil {
		return true
	}
	l.look()
	if l.waiting()+packets > limit {
		return false
	}
	l.give(packets, bytes)
	return true
}

// addrPort returns a UDP address as a value.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	at := u.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), true
}
