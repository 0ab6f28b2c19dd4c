package quic

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sender sends by a UDP socket. It is safe for concurrent use.
type sender struct {
	raw   syscall.RawConn
	v6    bool // the family of the socket
	calls sync.Pool
}

func newSender(raw syscall.RawConn) (*sender, error) {
	s := &sender{raw: raw}
	s.calls.New = newSendCall
	var domain int
	var getErr error
	if err := raw.Control(func(fd uintptr) { domain, getErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN) }); err != nil {
		return nil, err
	}
	s.v6 = domain == unix.AF_INET6
	return s, getErr
}

// reaches reports whether to is an address that send knows how to write down.
func (s *sender) reaches(to *net.UDPAddr) bool {
	return to.Zone == "" && (s.v6 && to.IP.To16() != nil || to.IP.To4() != nil)
}

// send sends b, with oob, to an address that it reaches.
func (s *sender) send(b, oob []byte, to *net.UDPAddr) error {
	c := s.calls.Get().(*sendCall)
	defer s.calls.Put(c)
	if s.v6 {
		copy(c.v6.Addr[:], to.IP.To16())
		setPort(&c.v6.Port, to.Port)
		c.hdr.Name, c.hdr.Namelen = (*byte)(unsafe.Pointer(&c.v6)), unix.SizeofSockaddrInet6
	} else {
		copy(c.v4.Addr[:], to.IP.To4())
		setPort(&c.v4.Port, to.Port)
		c.hdr.Name, c.hdr.Namelen = (*byte)(unsafe.Pointer(&c.v4)), unix.SizeofSockaddrInet4
	}
	c.iov.Base, c.hdr.Control = unsafe.SliceData(b), unsafe.SliceData(oob)
	c.iov.SetLen(len(b))
	c.hdr.SetControllen(len(oob))
	err := s.raw.Write(c.do)
	c.iov.Base, c.hdr.Control = nil, nil
	if err == nil && c.errno != 0 {
		err = &net.OpError{Op: "write", Net: "udp", Addr: to, Err: os.NewSyscallError("sendmsg", c.errno)}
	}
	return err
}

// A sendCall is a call of sendmsg, kept because the kernel and the poller are given pointers to it.
type sendCall struct {
	hdr   unix.Msghdr
	iov   unix.Iovec
	v4    unix.RawSockaddrInet4
	v6    unix.RawSockaddrInet6
	errno syscall.Errno
	do    func(fd uintptr) bool // try, once made
}

func newSendCall() any {
	c := &sendCall{v4: unix.RawSockaddrInet4{Family: unix.AF_INET}, v6: unix.RawSockaddrInet6{Family: unix.AF_INET6}}
	c.hdr.Iov = &c.iov
	c.hdr.SetIovlen(1)
	c.do = c.try
	return c
}

// try reports false when the socket's buffer is full.
func (c *sendCall) try(fd uintptr) bool {
	for {
		// It does not wait, so the scheduler need not hear of it. A call that takes long, as one that hands 14 packets to a socket of this
		// host does, would lose its processor to another goroutine's thread, and have to get one back.
		_, _, c.errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&c.hdr)), unix.MSG_DONTWAIT)
		switch c.errno {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// setPort puts a port into memory in network order.
func setPort(p *uint16, port int) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], uint16(port))
}
