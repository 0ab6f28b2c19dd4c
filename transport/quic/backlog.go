package quic

import (
	"net"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// A connection of quic-go has room for 256 packets that it has yet to look at, and throws away what comes beyond,
// which its congestion control takes for a loss on the way. So the reader of a socket lets packets lie in the
// kernel's buffer while a connection has backlogLimit bytes to do.
const (
	backlogLimit = 200 * 1200
	// stalled is how long a connection may do nothing before its backlog counts as gone: what quic-go has dropped before it
	// looked is never counted as done. It is longer than others keep a thread from a busy processor.
	stalled = 20 * time.Millisecond
	// backlogPause is between two looks at a backlog, which takes about half a millisecond to work off.
	backlogPause = 100 * time.Microsecond
)

// A backlog is what has come from one address and may wait to be looked at.
type backlog struct {
	work  []worker
	given uint64 // bytes handed to quic-go
}

// A worker tells how many bytes it has received and looked at.
type worker interface{ done() uint64 }

// connWorker is a connection of quic-go as a worker.
type connWorker struct{ conn *quicgo.Conn }

func (w connWorker) done() uint64 { return w.conn.ConnectionStats().BytesReceived }

func (b *backlog) done() (sum uint64) {
	for _, w := range b.work {
		sum += w.done()
	}
	return sum
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
	l.given = l.done()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, other := range l.work {
			if other == w {
				l.work = append(l.work[:i:i], l.work[i+1:]...)
				break
			}
		}
		l.given = l.done()
		if len(l.work) == 0 && b.of[at] == l {
			delete(b.of, at)
		}
	}
}

// admit waits while the connections at an address have more than enough to do, and counts n bytes more.
func (b *backlogs) admit(from netip.AddrPort, n int) {
	if b.room(from, backlogLimit, n) {
		return
	}
	last, since := uint64(0), time.Now()
	for {
		time.Sleep(backlogPause)
		// Half of it, so that a reader which had to wait once does not wait for every packet.
		if b.room(from, backlogLimit/2, n) {
			return
		}
		b.mu.Lock()
		if l := b.of[from]; l != nil {
			if done := l.done(); done != last {
				last, since = done, time.Now()
			} else if time.Since(since) > stalled {
				l.given = done
			}
		}
		b.mu.Unlock()
	}
}

// room counts n bytes if no more than limit are to do, and reports whether it has.
func (b *backlogs) room(from netip.AddrPort, limit, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.of[from]
	if l == nil {
		return true
	}
	done := l.done()
	if l.given < done { // it has other sources
		l.given = done
	}
	if l.given-done > uint64(limit) {
		return false
	}
	l.given += uint64(n)
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
