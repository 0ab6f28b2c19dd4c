package quic

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// What is sent arrives with its control data, from a socket of either family, and what cannot be sent fails as quic-go expects.
func TestSender(t *testing.T) {
	for _, test := range []struct{ from, network, to string }{
		{"127.0.0.1:0", "udp4", "127.0.0.1:0"}, {"[::]:0", "udp4", "127.0.0.1:0"}, {"[::]:0", "udp6", "[::1]:0"}, {"[::1]:0", "udp6", "[::1]:0"},
	} {
		t.Run(fmt.Sprint(test.from, " ", test.to), func(t *testing.T) {
			listen := func(network, at string) *net.UDPConn {
				pc, err := net.ListenPacket(network, at)
				if err != nil {
					t.Skip(err)
				}
				t.Cleanup(func() { pc.Close() })
				return pc.(*net.UDPConn)
			}
			out, in := listen("udp", test.from), listen(test.network, test.to)
			c, _, err := newOffloadConn(&sizedConn{UDPConn: out}, false, false, &backlogs{})
			if err != nil {
				t.Fatal(err)
			}
			to := in.LocalAddr().(*net.UDPAddr)
			if !c.out.reaches(to) {
				t.Fatalf("%v is not reached", to)
			}
			const packets = "aaabbbcc"
			if n, oobn, err := c.WriteMsgUDP([]byte(packets), appendSize(nil, 3), to); n != len(packets) || oobn == 0 || err != nil {
				t.Fatalf("sent %d bytes with %d, %v", n, oobn, err)
			}
			for rest := (segments{[]byte(packets), 3}); len(rest.data) > 0; {
				var b [9]byte
				want := rest.next()
				n, from, err := in.ReadFromUDP(b[:])
				if err != nil || string(b[:n]) != string(want) {
					t.Fatalf("got %q, %v, want %q", b[:n], err, want)
				}
				if port := out.LocalAddr().(*net.UDPAddr).Port; from.Port != port {
					t.Errorf("from port %d, want %d", from.Port, port)
				}
			}
			if _, _, err := c.WriteMsgUDP(make([]byte, 1<<16), nil, to); !errors.Is(err, unix.EMSGSIZE) {
				t.Errorf("more than a datagram: %v, want %v", err, unix.EMSGSIZE)
			}
			if allocs := testing.AllocsPerRun(100, func() { c.WriteMsgUDP([]byte(packets), nil, to) }); allocs > 1 {
				t.Errorf("%v allocations to send", allocs)
			}
			out.Close()
			if _, _, err := c.WriteMsgUDP([]byte(packets), nil, to); !errors.Is(err, net.ErrClosed) {
				t.Errorf("by a closed socket: %v, want %v", err, net.ErrClosed)
			}
		})
	}
	s := &sender{}
	for _, to := range []*net.UDPAddr{{IP: net.IPv6loopback}, {}, {IP: net.IPv4(127, 0, 0, 1), Zone: "lo"}} {
		if s.reaches(to) {
			t.Errorf("a socket of IPv4 reaches %v", to)
		}
	}
}
