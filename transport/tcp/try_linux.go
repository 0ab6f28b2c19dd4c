package tcp

import (
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tried says that connections can be tried without waiting.
const tried = true

// vectors is how many segments go to the kernel at once.
const vectors = 64

// A try is a system call on the socket that does not wait. Its fields are arguments and results, so that it allocates nothing.
type try struct {
	raw  syscall.RawConn
	call uintptr
	do   func(fd uintptr)
	iov  [vectors]unix.Iovec
	used int
	n    int
	err  error
}

// tries are those of the two directions.
type tries struct{ read, write try }

func (y *try) init(c *conn, call uintptr) error {
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return err
	}
	y.raw, y.call = raw, call
	y.do = func(fd uintptr) {
		for {
			// It does not wait, so the scheduler need not hear of it. A call that takes long to copy would lose its processor to another
			// goroutine's thread, and have to get one back.
			n, _, errno := unix.RawSyscall(y.call, fd, uintptr(unsafe.Pointer(&y.iov[0])), uintptr(y.used))
			switch errno {
			case 0:
				y.n, y.err = int(n), nil
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				y.n, y.err = -1, nil
			default:
				y.n, y.err = 0, os.NewSyscallError("tcp", errno)
			}
			return
		}
	}
	return nil
}

// add puts memory behind what is there, if there is room.
func (y *try) add(b []byte) bool {
	if y.used == len(y.iov) {
		return false
	}
	if len(b) > 0 {
		y.iov[y.used].Base = &b[0]
		y.iov[y.used].SetLen(len(b))
		y.used++
	}
	return true
}

// now makes the call. It returns -1 when it would have to wait. Nothing else can close the socket meanwhile.
func (y *try) now() (int, error) {
	err := y.raw.Control(y.do)
	clear(y.iov[:y.used])
	y.used = 0
	if err != nil {
		return 0, err
	}
	return y.n, y.err
}

// TryRead reads what has come into a, and in clear also into b when a is full; 0: nothing has come. It may use the capacity of a
// behind its length.
func (c *conn) TryRead(a, b []byte) (int, error) {
	if c.tries.read.raw == nil {
		if err := c.tries.read.init(c, unix.SYS_READV); err != nil {
			return 0, err
		}
	}
	y := &c.tries.read
	for {
		if n, err := c.deliver(a); n > 0 || err != nil {
			return n, err
		}
		if c.clear {
			y.add(a)
			y.add(b)
		} else {
			y.add(c.space())
		}
		n, err := y.now()
		switch {
		case err != nil:
			return 0, c.cut(err)
		case n < 0:
			return 0, nil
		case n == 0:
			return 0, c.cut(io.EOF)
		case c.clear:
			return n, nil
		}
		c.w += n
	}
}

// TryWrite writes the segments, behind what earlier calls have left, as far as the kernel takes them at once. It returns the rest of
// them, and whether everything is written: what is encrypted is kept here, and no rest any more. It uses the segments up.
func (c *conn) TryWrite(segments [][]byte) (rest [][]byte, done bool, err error) {
	if c.tries.write.raw == nil {
		if err := c.tries.write.init(c, unix.SYS_WRITEV); err != nil {
			return segments, false, err
		}
	}
	y := &c.tries.write
	for {
		if c.clear {
			for _, s := range segments {
				if !y.add(s) {
					break
				}
			}
		} else {
			if c.sent == len(c.tx) {
				if segments, err = c.encrypt(segments); err != nil {
					return segments, false, err
				}
			}
			y.add(c.tx[c.sent:])
		}
		if y.used == 0 {
			return nil, true, nil
		}
		n, err := y.now()
		switch {
		case err != nil:
			return segments, false, err
		case n < 0:
			return segments, false, nil
		case c.clear:
			segments = consume(segments, n)
		default:
			c.sent += n
		}
	}
}

// consume drops n bytes.
func consume(segments [][]byte, n int) [][]byte {
	for len(segments) > 0 && n >= len(segments[0]) {
		n -= len(segments[0])
		segments = segments[1:]
	}
	if n > 0 {
		segments[0] = segments[0][n:]
	}
	return segments
}
