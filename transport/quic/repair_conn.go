package quic

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A holdTimer wakes the reader of a socket when a gap is to be given up, by the socket's read deadline, which belongs to QUIC as
// well: what QUIC sets goes before.
type holdTimer struct {
	set   func(time.Time) error
	mu    sync.Mutex
	outer bool          // QUIC has set one
	at    time.Duration // of the one that is set; the reader's
}

func (h *holdTimer) outside(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outer = !t.IsZero()
	return h.set(t)
}

// wake sets the deadline to at, counted from start, unless it is set to that; the zero at means none.
func (h *holdTimer) wake(start time.Time, at time.Duration) {
	if at == h.at {
		return
	}
	h.at = at
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.outer {
		return
	}
	var t time.Time
	if at != 0 {
		t = start.Add(at)
	}
	h.set(t)
}

// woken reports whether err is the end of a wait for a gap.
func (h *holdTimer) woken(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.outer
}

// A repairConn repairs the losses of a PacketConn that knows nothing of offloads. It has one reader.
type repairConn struct {
	net.PacketConn
	repair *repairer
	start  time.Time
	hold   holdTimer
	buf    [2048]byte
	ready  []readyPacket
	from   net.Addr
}

func newRepairConn(pc net.PacketConn, r *repairer) *repairConn {
	c := &repairConn{PacketConn: pc, repair: r, start: time.Now(), hold: holdTimer{set: pc.SetReadDeadline}}
	r.write = func(b []byte, size int, _ []byte, to net.Addr) error {
		for rest := (segments{data: b, size: size}); len(rest.data) > 0; {
			if _, err := pc.WriteTo(rest.next(), to); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

// SetReadDeadline sets QUIC's deadline.
func (c *repairConn) SetReadDeadline(t time.Time) error { return c.hold.outside(t) }

// WriteTo sends a packet.
func (c *repairConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if at, ok := addrPort(to); ok {
		if f := c.repair.flow(at); f != nil && f.send(b, len(b), nil) {
			return len(b), nil
		}
	}
	return c.PacketConn.WriteTo(b, to)
}

// ReadFrom returns the next packet of QUIC's.
func (c *repairConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if len(c.ready) > 0 {
			n := copy(b, c.ready[0].packet)
			c.ready = c.ready[1:]
			return n, c.from, nil
		}
		at, _ := c.repair.due()
		c.hold.wake(c.start, at)
		n, from, err := c.PacketConn.ReadFrom(c.buf[:])
		if c.hold.woken(err) {
			c.hold.wake(c.start, 0)
			c.from, c.ready = c.repair.expired(time.Since(c.start))
			continue
		}
		if err != nil || n == 0 || c.buf[0] >= minQUIC {
			return copy(b, c.buf[:n]), from, err
		}
		var source netip.AddrPort
		source, _ = addrPort(from)
		c.from, c.ready = from, c.repair.receive(source, c.buf[:n], nil, time.Since(c.start))
	}
}
