package tcp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// setSilentTimeout bounds how long sent data may stay unacknowledged.
func setSilentTimeout(c *net.TCPConn, d time.Duration) error {
	return setSocket(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(d.Milliseconds(), 1<<31-1)))
	})
}

// setCongestion chooses the congestion control.
func setCongestion(c *net.TCPConn, name string) error {
	return setSocket(c, func(fd int) error { return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) })
}

// congestionOf returns the congestion control of a socket, "" if that is not known.
func congestionOf(c *net.TCPConn) (name string) {
	setSocket(c, func(fd int) (err error) {
		name, err = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		return err
	})
	return name
}

// roundTrip returns the shortest round trip that a socket has seen, 0 if that is not known.
func roundTrip(c *net.TCPConn) (rtt time.Duration) {
	setSocket(c, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Min_rtt != 1<<32-1 { // which means none
			rtt = time.Duration(info.Min_rtt) * time.Microsecond
		}
		return err
	})
	return rtt
}

func setSocket(c *net.TCPConn, set func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = set(int(fd)) }); err != nil {
		return err
	}
	return setErr
}
