package tcp

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setSilentTimeout bounds how long sent data may stay unacknowledged.
func setSilentTimeout(c *net.TCPConn, d time.Duration) error {
	return setSocket(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(d.Milliseconds(), 1<<31-1)))
	})
}

// unpaced is a congestion control that every Linux has, and that sends what it may at once.
const unpaced = "reno"

// unpace makes a socket that is not connected begin unpaced, and those that a listener accepts, if it can have the congestion control name later. BBR
// spaces packets out by a timer, and to arm one costs more than to hand a packet over to a peer on the same host; a socket that has begun so
// goes on with it under any other control.
func unpace(raw syscall.RawConn, name string) error {
	return control(raw, func(fd int) error {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name); err != nil {
			return err
		}
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, unpaced)
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
	return control(raw, set)
}

func control(raw syscall.RawConn, set func(fd int) error) error {
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = set(int(fd)) }); err != nil {
		return err
	}
	return setErr
}
