package tcp

import (
	"net"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// Connections between hosts have BBR where the system has it, or what they are told; within a host they have what does not pace, on both ends.
func TestCongestionControl(t *testing.T) {
	fresh := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return congestionOf(c.(*net.TCPConn))
	}
	system := fresh()
	between := DefaultCongestion
	one, _ := sockets(t)
	if err := setCongestion(one, DefaultCongestion); err != nil {
		between = system
	}
	const here, away = "127.0.0.1:0", "127.0.0.2:0" // the kernel connects from 127.0.0.1
	for _, tt := range []struct {
		listen  string
		options []Option
		want    string
	}{
		{here, nil, unpaced},
		{here, []Option{Congestion("reno")}, "reno"},
		{here, []Option{Congestion("")}, system},
		{here, []Option{Congestion("no-such")}, system},
		{away, nil, between},
		{away, []Option{Congestion("reno")}, "reno"},
		{away, []Option{Congestion("")}, system},
		{away, []Option{Congestion("no-such")}, system},
	} {
		tr, err := New(transport.Identity{}, append(tt.options, Plain(), ListenOn(tt.listen))...)
		if err != nil {
			t.Fatal(err)
		}
		carrier, free, err := tr.Carrier(t.Context(), "", stripe.Nonce{})
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan stripe.Conn, 1)
		carrier.Start(func(c stripe.Conn) { accepted <- c })
		dialled, err := tr.dial(t.Context(), carrier.Places[0], "", stripe.Nonce{})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range []stripe.Conn{dialled, <-accepted} {
			if got := congestionOf(c.(*conn).TCPConn); got != tt.want {
				t.Errorf("at %s, end %d: %q, want %q", tt.listen, i, got, tt.want)
			}
			c.Close()
		}
		carrier.Stop()
		free()
	}
}

func TestNear(t *testing.T) {
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
