package tcp

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// Connections have BBR where the system has it, and what they are told otherwise.
func TestDefaultCongestion(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{DefaultCongestion, "reno"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conn := c.(*net.TCPConn)
		if err := setCongestion(conn, name); err != nil {
			t.Skipf("this system does not offer %s: %v", name, err)
		}
		c2, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c2.Close()
		options := []Option{Plain()}
		if name != DefaultCongestion {
			options = append(options, Congestion(name))
		}
		tr, err := New(transport.Identity{}, options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.tune(c2.(*net.TCPConn)); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := setSocket(c2.(*net.TCPConn), func(fd int) error {
			got, err = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
			return err
		}); err != nil || got != name {
			t.Errorf("got %q, %v, want %q", got, err, name)
		}
	}
}
