package quic

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// groBuffer holds the largest datagram that receive offload makes.
	groBuffer = 1 << 16
	// maxDirect is how many packets of a datagram the kernel may write to where quic-go wants them, which reads eight at a time.
	maxDirect = 8
)

// An offloadConn is a socket that quic-go reads by the ReadBatch of this package instead of its own. Packets that the
// kernel has joined (UDP_GRO) are cut apart here, at a fraction of the cost of as many calls, and the reader polls
// for a short time before it sleeps. It has one reader.
type offloadConn struct {
	*sizedConn
	raw   syscall.RawConn
	out   *sender
	gro   bool
	spin  spinner
	start time.Time
	logs  *backlogs
	fix   *repairer // nil: losses are QUIC's
	hold  holdTimer

	poll  func(fd uintptr) bool // tryRead, once made
	began time.Duration
	allow time.Duration
	spun  time.Duration
	slept bool
	once  bool
	err   error
	buf   []byte
	oob   [128]byte
	said  []byte        // of oob
	moved atomic.Uint64 // bytes in both directions
	name  unix.RawSockaddrAny
	iov   [maxDirect + 1]unix.Iovec
	hdr   unix.Msghdr
	// The packets of a datagram whose size has been guessed are in direct, the others in rest.
	direct []ipv4.Message
	guess  int // size of packets; 0: everything goes to buf
	placed int // in direct, in the right places
	rest   segments
	ready  []readyPacket  // that come before rest
	at     netip.AddrPort // of the sender
	addr   *net.UDPAddr
	addrs  map[netip.AddrPort]*net.UDPAddr
}

// newOffloadConn returns the reader of u, and whether the kernel joins packets for it.
func newOffloadConn(u *sizedConn, gro, spin bool, logs *backlogs) (*offloadConn, bool, error) {
	raw, err := u.UDPConn.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	out, err := newSender(raw)
	if err != nil {
		return nil, false, err
	}
	c := &offloadConn{
		sizedConn: u, raw: raw, out: out, gro: gro, spin: spinner{off: !spin}, start: time.Now(), logs: logs,
		buf: make([]byte, groBuffer), addrs: make(map[netip.AddrPort]*net.UDPAddr),
	}
	c.poll = c.tryRead
	c.hold.set = u.UDPConn.SetReadDeadline
	c.hdr.Name, c.hdr.Iov, c.hdr.Control = (*byte)(unsafe.Pointer(&c.name)), &c.iov[0], &c.oob[0]
	if gro {
		var setErr error
		err := raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) })
		c.gro = err == nil && setErr == nil
	}
	return c, c.gro, nil
}

// ReadBatch reads at least one packet into ms. quic-go gives each message one buffer and room for control data.
func (c *offloadConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	n, bytes := 0, 0
	for n < len(ms) {
		p, ok := c.next()
		if !ok {
			if n > 0 {
				break
			}
			c.aim(ms)
			if err := c.receive(); err != nil {
				return 0, err
			}
			for ; n < c.placed; n++ {
				m := &ms[n]
				m.NN, m.Addr = copy(m.OOB, c.said), c.addr
				bytes += m.N
			}
			continue
		}
		m := &ms[n]
		m.N = copy(m.Buffers[0], p.packet)
		m.NN = copy(m.OOB, p.oob)
		m.Addr = c.addr
		bytes += m.N
		n++
	}
	c.logs.admit(c.at, n, bytes)
	return n, nil
}

// aim lets the kernel write the first packets of the next datagram into ms, if the size of its packets can be guessed.
func (c *offloadConn) aim(ms []ipv4.Message) {
	c.direct, c.placed = ms[:0], 0
	for len(c.direct) < min(len(ms), maxDirect) && c.guess > 0 && len(ms[len(c.direct)].Buffers[0]) >= c.guess {
		n := len(c.direct)
		c.direct = ms[:n+1]
		c.iov[n].Base = &ms[n].Buffers[0][0]
		c.iov[n].SetLen(c.guess)
	}
	n := len(c.direct)
	tail := c.buf[n*c.guess:]
	c.iov[n].Base = &tail[0]
	c.iov[n].SetLen(len(tail))
	c.hdr.SetIovlen(n + 1)
}

// sort takes a datagram of n bytes that has been received: its packets are in the right places, or all of it goes to buf.
func (c *offloadConn) sort(n int) {
	var size int
	size, c.said = joined(c.oob[:c.hdr.Controllen])
	head := len(c.direct) * c.guess
	c.placed = 0
	right := size == c.guess || size == 0 && n <= c.guess
	for at := 0; at < min(n, head); at += c.guess {
		m := &c.direct[c.placed]
		m.N = min(n-at, c.guess)
		right = right && (c.fix == nil || m.Buffers[0][0] >= minQUIC)
		c.placed++
	}
	if right {
		c.rest = segments{c.buf[head:max(head, n)], size}
		return
	}
	for i := range c.placed {
		copy(c.buf[i*c.guess:], c.direct[i].Buffers[0][:c.direct[i].N])
	}
	c.placed, c.guess = 0, 0
	c.rest = segments{c.buf[:n], size}
	if size > 0 && (c.fix == nil || c.buf[0] >= minQUIC) {
		c.guess = size
	}
}

// next returns the next packet of what has been received.
func (c *offloadConn) next() (p readyPacket, ok bool) {
	for {
		if len(c.ready) > 0 {
			p, c.ready = c.ready[0], c.ready[1:]
			if len(p.oob) == 0 { // a packet that did not come itself
				p.oob = c.said
			}
			return p, true
		}
		if len(c.rest.data) == 0 {
			return p, false
		}
		p = readyPacket{c.rest.next(), c.said}
		if c.fix == nil || p.packet[0] >= minQUIC {
			return p, true
		}
		c.ready = c.fix.receive(c.at, p.packet, p.oob, time.Since(c.start))
	}
}

// SetReadDeadline sets QUIC's deadline.
func (c *offloadConn) SetReadDeadline(t time.Time) error { return c.hold.outside(t) }

// WriteMsgUDP sends packets of one size.
func (c *offloadConn) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	c.moved.Add(uint64(len(b)))
	if c.fix != nil {
		if at, ok := addrPort(to); ok {
			if f := c.fix.flow(at); f != nil && f.send(b, sentSize(oob), oob) {
				return len(b), len(oob), nil
			}
		}
	}
	return c.write(b, oob, to)
}

// write sends packets of one size as they are.
func (c *offloadConn) write(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	if !c.out.reaches(to) {
		return c.sizedConn.WriteMsgUDP(b, oob, to)
	}
	if c.tap != nil {
		c.tap(b)
	}
	if err := c.out.send(b, oob, to); err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// repairs lets r repair the losses of the socket.
func (c *offloadConn) repairs(r *repairer) {
	c.fix, r.strip = r, stripSize
	r.write = func(b []byte, size int, oob []byte, to net.Addr) error {
		if len(b) > size {
			oob = appendSize(oob, uint16(size))
		}
		_, _, err := c.write(b, oob, to.(*net.UDPAddr))
		return err
	}
}

// receive waits for the next datagram.
func (c *offloadConn) receive() error {
	c.began = time.Since(c.start)
	c.allow, c.spun, c.slept, c.once = c.spin.allowance(c.began, c.moved.Load()), 0, false, false
	if c.fix != nil {
		at, _ := c.fix.due()
		c.hold.wake(c.start, at)
	}
	err := c.raw.Read(c.poll)
	if c.hold.woken(err) {
		// What came in the meantime may close the gap.
		c.hold.wake(c.start, 0)
		c.once = true
		if err = c.raw.Read(c.poll); err == nil && c.err == unix.EAGAIN {
			return c.giveUp()
		}
	}
	if err != nil {
		return err
	}
	if c.err != nil {
		return &net.OpError{Op: "read", Net: "udp", Source: c.LocalAddr(), Err: os.NewSyscallError("recvmsg", c.err)}
	}
	now := time.Since(c.start)
	c.spin.caught(now, now-c.began, c.spun, c.slept)
	return nil
}

// giveUp makes ready what is behind a gap that has been open for too long.
func (c *offloadConn) giveUp() error {
	to, ready := c.fix.expired(time.Since(c.start))
	if len(ready) > 0 {
		c.addr, c.ready = to.(*net.UDPAddr), ready
		c.at, _ = addrPort(to)
	}
	return nil
}

// tryRead reads one datagram, and reports false when the reader should sleep.
func (c *offloadConn) tryRead(fd uintptr) bool {
	for {
		c.hdr.Namelen = unix.SizeofSockaddrAny
		c.hdr.SetControllen(len(c.oob))
		// Without a word to the scheduler, as in sendCall.try.
		n, _, err := unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.hdr)), unix.MSG_DONTWAIT)
		switch err {
		case 0:
			c.err = nil
			c.sort(int(n))
			c.moved.Add(uint64(n))
			c.addr = c.lookup()
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			if c.once {
				c.err = err
				return true
			}
			if c.slept || c.allow == 0 {
				c.slept = true
				return false
			}
			spun := time.Since(c.start) - c.began
			if spun-c.spun > disturbance {
				c.spin.disturbed(c.began + spun)
			}
			c.spun = spun
			if c.spun >= c.allow {
				c.slept = true
				return false
			}
			runtime.Gosched()
		default:
			c.err = err
			return true
		}
	}
}

// joined returns the size of the packets that the kernel has joined, 0 if it has not, and what else oob says, with the size if that
// is not the first.
func joined(oob []byte) (size int, others []byte) {
	for rest := oob; len(rest) > 0; {
		h, body, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(body) >= 4 {
			if len(rest) == len(oob) {
				oob = next
			}
			return int(binary.NativeEndian.Uint32(body)), oob
		}
		rest = next
	}
	return 0, oob
}

// sentSize returns the size of the packets of a write (UDP_SEGMENT), 0 if it is one packet.
func sentSize(oob []byte) int {
	for len(oob) > 0 {
		h, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_SEGMENT && len(body) >= 2 {
			return int(binary.NativeEndian.Uint16(body))
		}
		oob = rest
	}
	return 0
}

// stripSize appends to dst what oob says but for the size of packets.
func stripSize(dst, oob []byte) []byte {
	for len(oob) > 0 {
		h, _, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_SEGMENT {
			dst = append(dst, oob[:len(oob)-len(rest)]...)
		}
		oob = rest
	}
	return dst
}

// appendSize appends the size of packets.
func appendSize(oob []byte, size uint16) []byte {
	at := len(oob)
	oob = append(oob, make([]byte, unix.CmsgSpace(2))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[at]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[at+unix.CmsgLen(0):], size)
	return oob
}

// maxAddrs bounds the addresses that are kept.
const maxAddrs = 1024

// lookup returns the address of the sender, which nobody may change.
func (c *offloadConn) lookup() *net.UDPAddr {
	var at netip.AddrPort
	switch c.name.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&c.name))
		at = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), portOf(&sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&c.name))
		ip := netip.AddrFrom16(sa.Addr)
		if sa.Scope_id != 0 {
			ip = ip.WithZone(strconv.Itoa(int(sa.Scope_id)))
		}
		at = netip.AddrPortFrom(ip, portOf(&sa.Port))
	}
	c.at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	a := c.addrs[at]
	if a == nil {
		if len(c.addrs) >= maxAddrs {
			clear(c.addrs)
		}
		a = net.UDPAddrFromAddrPort(at)
		c.addrs[at] = a
	}
	return a
}

// portOf returns a port that lies in memory in network order.
func portOf(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

var warnOffload sync.Once // in a process

// offload returns what quic-go is to read: u itself, where it can do nothing better.
func offload(u *sizedConn, cfg *config, logs *backlogs) net.PacketConn {
	if !cfg.gro && !cfg.poll {
		return u
	}
	c, joined, err := newOffloadConn(u, cfg.gro, cfg.poll, logs)
	if err != nil {
		return u
	}
	if cfg.gro && !joined {
		warnOffload.Do(func() { cfg.Settings.Logger.Warn("the kernel has no receive offload for UDP (UDP_GRO)") })
		if !cfg.poll {
			return u
		}
	}
	return c
}
