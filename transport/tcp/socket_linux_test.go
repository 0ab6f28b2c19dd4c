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

// What the kernel keeps for a peer of the same host is bounded, and for one elsewhere it decides itself.
func TestOnHost(t *testing.T) {
	c, _ := sockets(t)
	buffer := func() (n int) {
		if err := setSocket(c, func(fd int) (err error) {
			n, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	tr, err := New(transport.Identity{}, Plain())
	if err != nil {
		t.Fatal(err)
	}
	before := buffer()
	if err := tr.tune(c); err != nil {
		t.Fatal(err)
	}
	if got := buffer(); got == before || got > 2*onHost { // the kernel doubles it for its own needs, up to a limit of the system's
		t.Errorf("a send buffer of %d bytes, before of %d, want at most %d", got, before, 2*onHost)
	}
	at := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	for _, tt := range []struct {
		a, b net.Addr
		want bool
	}{
		{at("127.0.0.1", 1), at("127.0.0.1", 2), true},
		{at("192.0.2.1", 1), at("192.0.2.1", 2), true},
		{at("::ffff:192.0.2.1", 1), at("192.0.2.1", 2), true},
		{at("192.0.2.1", 1), at("192.0.2.2", 1), false},
		{at("::1", 1), at("127.0.0.1", 1), false},
		{&net.UnixAddr{}, &net.UnixAddr{}, false},
	} {
		if near(tt.a, tt.b) != tt.want {
			t.Errorf("%v and %v: on one host %v, want %v", tt.a, tt.b, !tt.want, tt.want)
		}
	}
}
