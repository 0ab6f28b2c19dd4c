package quic

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// groBuffer holds the largest datagram that receive offload makes.
const groBuffer = 1 << 16

// An offloadConn is a socket that quic-go reads by the ReadBatch of this package instead of its own. Packets that the
// kernel has joined (UDP_GRO) are cut apart here, at a fraction of the cost of as many calls, and the reader polls
// for a short time before it sleeps. It has one reader.
type offloadConn struct {
	*sizedConn
	raw   syscall.RawConn
	gro   bool
	spin  spinner
	start time.Time
	logs  *backlogs

	poll  func(fd uintptr) bool // tryRead, once made
	began time.Duration
	allow time.Duration
	spun  time.Duration
	slept bool
	err   error
	buf   []byte
	oob   [128]byte
	oobn  int
	name  unix.RawSockaddrAny
	iov   unix.Iovec
	hdr   unix.Msghdr
	rest  segments
	at    netip.AddrPort // of the sender
	addr  *net.UDPAddr
	addrs map[netip.AddrPort]*net.UDPAddr
}

// newOffloadConn returns the reader of u, and whether the kernel joins packets for it.
func newOffloadConn(u *sizedConn, gro, spin bool, logs *backlogs) (*offloadConn, bool, error) {
	raw, err := u.UDPConn.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	c := &offloadConn{
		sizedConn: u, raw: raw, gro: gro, spin: spinner{off: !spin}, start: time.Now(), logs: logs,
		buf: make([]byte, groBuffer), addrs: make(map[netip.AddrPort]*net.UDPAddr),
	}
	c.poll = c.tryRead
	c.iov.Base = &c.buf[0]
	c.iov.SetLen(len(c.buf))
	c.hdr.Name, c.hdr.Iov, c.hdr.Control = (*byte)(unsafe.Pointer(&c.name)), &c.iov, &c.oob[0]
	c.hdr.SetIovlen(1)
	if gro {
		var setErr error
		err := raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) })
		c.gro = err == nil && setErr == nil
	}
	return c, c.gro, nil
}

// ReadBatch reads at least one packet into ms. quic-go gives each message one buffer and room for control data.
func (c *offloadConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	if len(c.rest.data) == 0 {
		if err := c.receive(); err != nil {
			return 0, err
		}
	}
	n, bytes := 0, 0
	for n < len(ms) && len(c.rest.data) > 0 {
		m := &ms[n]
		m.N = copy(m.Buffers[0], c.rest.next())
		m.NN = copy(m.OOB, c.oob[:c.oobn])
		m.Addr = c.addr
		bytes += m.N
		n++
	}
	c.logs.admit(c.at, bytes)
	return n, nil
}

// receive waits for the next datagram.
func (c *offloadConn) receive() error {
	c.began = time.Since(c.start)
	c.allow, c.spun, c.slept = c.spin.allowance(c.began), 0, false
	if err := c.raw.Read(c.poll); err != nil {
		return err
	}
	if c.err != nil {
		return &net.OpError{Op: "read", Net: "udp", Source: c.LocalAddr(), Err: os.NewSyscallError("recvmsg", c.err)}
	}
	now := time.Since(c.start)
	c.spin.caught(now, now-c.began, c.spun, c.slept)
	return nil
}

// tryRead reads one datagram, and reports false when the reader should sleep.
func (c *offloadConn) tryRead(fd uintptr) bool {
	for {
		c.hdr.Namelen = unix.SizeofSockaddrAny
		c.hdr.SetControllen(len(c.oob))
		n, _, err := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.hdr)), unix.MSG_DONTWAIT)
		switch err {
		case 0:
			c.err, c.oobn = nil, int(c.hdr.Controllen)
			c.rest = segments{data: c.buf[:n], size: segmentSize(c.oob[:c.oobn])}
			c.addr = c.lookup()
			return true
		case unix.EINTR:
		case unix.EAGAIN:
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

// segmentSize returns the size of the packets that the kernel has joined, 0 if it has not.
func segmentSize(oob []byte) int {
	for len(oob) > 0 {
		h, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(body) >= 4 {
			return int(binary.NativeEndian.Uint32(body))
		}
		oob = rest
	}
	return 0
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
