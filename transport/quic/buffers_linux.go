package quic

import (
	"net"

	"golang.org/x/sys/unix"
)

// forceBuffers sets the buffers beyond the system's limit, where this process may, and returns their sizes.
func forceBuffers(u *net.UDPConn) (read, write int, known bool) {
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	err = raw.Control(func(fd uintptr) {
		size := func(option, force, wanted int) int {
			n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option)
			if err == nil && n < 2*wanted { // Linux counts its own bookkeeping as half
				if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, wanted) == nil {
					n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, option)
				}
			}
			known = err == nil
			return n / 2
		}
		read = size(unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, wantedRead)
		write = size(unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, wantedWrite)
	})
	return read, write, known && err == nil
}
