package shm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// network is Go's name of Unix sockets that keep the borders of messages.
const network = "unixpacket"

// listenRandom listens on a random abstract name, which ends with the process that holds it.
func listenRandom() (*net.UnixListener, string, error) {
	var random [16]byte
	rand.Read(random[:])
	addr := fmt.Sprintf("%s%x", addrPrefix, random)
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: addr, Net: network})
	return l, addr, err
}

// dial connects to a peer, and repeats it while the peer's queue of connections is full.
func dial(ctx context.Context, addr string) (*net.UnixConn, error) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-retry.C:
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		if errors.Is(err, unix.EAGAIN) {
			retry.Reset(5 * time.Millisecond)
			continue
		}
		if err != nil {
			return nil, err
		}
		u := c.(*net.UnixConn)
		if err := checkUser(u); err != nil {
			u.Close()
			return nil, err
		}
		return u, nil
	}
}

// checkUser makes sure that the other end is a process of the same user. Whoever is not could neither be
// trusted with our memory nor would we map theirs.
func checkUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("shm: peer is of user %d, not %d", cred.Uid, os.Geteuid())
	}
	return nil
}

// write sends one message and, with fd of 0 or more, a file descriptor, which stays the caller's.
func write(c *net.UnixConn, m message, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err := c.WriteMsgUnix(m.append(make([]byte, 0, maxMessage)), rights, nil)
	return err
}

// read receives one message. Its file descriptor, if its kind has one, is the caller's; else fd is -1. The
// end of the connection is io.EOF.
func read(c *net.UnixConn) (m message, fd int, err error) {
	buf := make([]byte, maxMessage+1)
	// Room for more rights than are allowed, so that too many are seen and closed.
	rights := make([]byte, unix.CmsgSpace(4*4))
	n, nr, flags, _, err := c.ReadMsgUnix(buf, rights)
	if errors.Is(err, unix.ECONNRESET) {
		// The peer closed with messages of ours unread. What it wrote before is still there.
		n, nr, flags, _, err = c.ReadMsgUnix(buf, rights)
	}
	if err != nil {
		return m, -1, err
	}
	fds := parseRights(rights[:nr])
	defer func() {
		for _, f := range fds {
			unix.Close(f)
		}
	}()
	if n == 0 {
		return m, -1, io.EOF
	}
	if flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		return m, -1, &transport.FrameError{Reason: "control message too long"}
	}
	if m, err = parseMessage(buf[:n]); err != nil {
		return m, -1, err
	}
	want := 0
	if m.wantsFD() {
		want = 1
	}
	if len(fds) != want {
		return m, -1, &transport.FrameError{Reason: fmt.Sprintf("control message of kind %d with %d file descriptors, want %d", m.kind, len(fds), want)}
	}
	if want == 0 {
		return m, -1, nil
	}
	fd, fds = fds[0], nil
	return m, fd, nil
}

// parseRights returns all file descriptors of a control message.
func parseRights(b []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return nil
	}
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}
