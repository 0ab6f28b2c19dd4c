package quic

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// Refused reports whether the peer's host says that nobody is at the peer's address (ICMP port unreachable, RFC 1122,
// section 4.1.3.1): the kernel closes the socket of a process that ends, however it ends, and keeps that of one which is
// stopped or starved. Only a connected socket hears of it, so this one is not QUIC's. The packet is none of QUIC's either:
// whoever is there drops it. A host or a firewall need not answer, and then ctx ends the wait.
func (c *conn) Refused(ctx context.Context) bool {
	var d net.Dialer
	u, err := d.DialContext(ctx, "udp", c.quic.RemoteAddr().String())
	if err != nil {
		return false
	}
	defer u.Close()
	stop := context.AfterFunc(ctx, func() { u.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = u.Write([]byte{0})
	for err == nil {
		_, err = u.Read(make([]byte, 1))
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
