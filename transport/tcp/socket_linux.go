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
