package quic

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"golang.org/x/net/ipv4"
)

// The size of packets in control data is read, taken out and put back.
func TestSegmentSize(t *testing.T) {
	other := appendSize(nil, 7)
	other[8] = 0 // a message of another level
	oob := append(appendSize(nil, 1449), other...)
	if n := sentSize(oob); n != 1449 {
		t.Errorf("size: got %d, want 1449", n)
	}
	rest := stripSize(nil, oob)
	if n := sentSize(rest); n != 0 || string(rest) != string(other) {
		t.Errorf("without the size: %x, want %x", rest, other)
	}
	if n := sentSize(oob[:5]); n != 0 || len(stripSize(nil, oob[:5])) != 0 {
		t.Error("a cut message has a size")
	}
}

// However datagrams follow each other, the reader gives out the packets that were sent, whether the kernel has put them where quic-go
// wants them or not, and nothing that is not QUIC's.
func TestReadBatch(t *testing.T) {
	for _, repair := range []bool{false, true} {
		t.Run(fmt.Sprintf("repair=%t", repair), func(t *testing.T) {
			listen := func() *net.UDPConn {
				u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { u.Close() })
				return u
			}
			in, out := listen(), listen()
			c, joins, err := newOffloadConn(&sizedConn{UDPConn: in}, true, false, &backlogs{})
			if err != nil {
				t.Fatal(err)
			}
			if !joins {
				t.Skip("no UDP_GRO here")
			}
			if repair {
				c.repairs(&repairer{})
			}
			to := in.LocalAddr().(*net.UDPAddr)
			send := func(b []byte, size int) {
				if _, _, err := out.WriteMsgUDP(b, appendSize(nil, uint16(size)), to); err != nil {
					t.Fatal(err)
				}
			}
			ms := make([]ipv4.Message, maxDirect)
			direct := 0
			for i, d := range []struct{ packets, size, last int }{
				{14, 1000, 1000}, {14, 1000, 1000}, {20, 1000, 1}, {1, 1000, 7}, {1, 1000, 1000}, {3, 1000, 500}, {8, 1000, 1000}, {9, 1000, 1000},
				{1, 1200, 1200}, {10, 800, 800}, {10, 800, 800}, {2, 1452, 1452}, {2, 1452, 30}, {30, 1300, 1300}, {30, 1300, 1299},
			} {
				want := make([]byte, (d.packets-1)*d.size+d.last)
				for j := range want {
					want[j] = 0x40 | byte(i+j/d.size*7+j)&0x3f // QUIC's
				}
				if repair && i%3 == 1 {
					send(bytes.Repeat([]byte{kindNumbered}, 4*d.size), d.size) // of nobody
				}
				send(want, d.size)
				for rest := want; len(rest) > 0; {
					for k := range ms {
						ms[k] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, 128)}
					}
					n, err := c.ReadBatch(ms, 0)
					if err != nil {
						t.Fatal(err)
					}
					direct += c.placed
					for _, m := range ms[:n] {
						if size := min(d.size, len(rest)); m.N != size || !bytes.Equal(m.Buffers[0][:m.N], rest[:size]) {
							t.Fatalf("datagram %d: got a packet of %d bytes, want %d, or other bytes", i, m.N, size)
						}
						if m.Addr.String() != out.LocalAddr().String() {
							t.Fatalf("datagram %d: from %v, want %v", i, m.Addr, out.LocalAddr())
						}
						rest = rest[m.N:]
					}
				}
			}
			if direct == 0 {
				t.Error("no packet went straight to its place")
			}
		})
	}
}
