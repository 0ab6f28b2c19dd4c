package wan

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	udp = 17
	tcp = 6
)

var macs = [][6]byte{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}}

// newFrame makes what a host sends: payload bytes of a protocol in packets of size bytes; size 0: in a packet.
func newFrame(from, to, protocol int, payload []byte, size int) []byte {
	length := 8
	if protocol == tcp {
		length = 20
	}
	b := make([]byte, vnetHeader+etherHeader+20+length, vnetHeader+etherHeader+20+length+len(payload))
	b[0] = needsChecksum
	if size > 0 {
		b[1] = gsoUDP
		if protocol == tcp {
			b[1] = gsoTCP4
		}
		binary.NativeEndian.PutUint16(b[4:], uint16(size))
	}
	e := b[vnetHeader:]
	copy(e, macs[to][:])
	copy(e[6:], macs[from][:])
	e[12] = 8
	ip := e[etherHeader:]
	ip[0], ip[9] = 0x45, byte(protocol)
	binary.BigEndian.PutUint16(ip[2:], uint16(20+length+len(payload)))
	binary.BigEndian.PutUint16(ip[4:], 1000)
	a, c := address(from).As4(), address(to).As4()
	copy(ip[12:], a[:])
	copy(ip[16:], c[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum16(0, ip[:20]))
	l4 := ip[20:]
	if protocol == tcp {
		binary.BigEndian.PutUint32(l4[4:], 0xfffffff0) // wraps around within the payload
		l4[12], l4[13] = 5<<4, 0x01|0x08|0x10|0x80     // FIN, PSH, ACK, CWR
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
	}
	return append(b, payload...)
}

func newTestFabric(t testing.TB, c Config) *fabric {
	t.Helper()
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	f := newFabric(c)
	for i := range c.Hosts {
		f.byMAC[macs[i]] = i
	}
	return f
}

// An arrival is a frame that has left the fabric.
type arrival struct {
	at   int64
	to   int
	data []byte
}

// drain moves the time on until nothing is under way.
func drain(f *fabric) (all []arrival) {
	for {
		due, any := f.next()
		if !any {
			return all
		}
		f.advance(due, func(to int, data []byte) bool {
			all = append(all, arrival{due, to, bytes.Clone(data)})
			return true
		})
	}
}

// A packet of 1,000 bytes at 1 Mbit/s takes 8.192 ms with its gap, then the delay; the line down adds nothing to one that
// comes alone, and makes those of two hosts wait for each other.
func TestTimes(t *testing.T) {
	f := newTestFabric(t, Config{Hosts: 3, Rate: 1e6, Delay: 3 * time.Millisecond})
	frame := func(from int) []byte { return newFrame(from, 2, udp, make([]byte, 1000-28-14), 0) }
	f.enter(0, 0, frame(0))
	f.enter(0, 0, frame(0))
	f.enter(1e6, 1, frame(1))
	const takes = 1024 * 8 * 1000
	want := []int64{takes + 3e6, 2*takes + 3e6, 3*takes + 3e6}
	got := drain(f)
	if len(got) != len(want) {
		t.Fatalf("got %d frames, want %d", len(got), len(want))
	}
	for i, a := range got {
		if a.at != want[i] || a.to != 2 {
			t.Errorf("frame %d: got host %d at %d ns, want host 2 at %d", i, a.to, a.at, want[i])
		}
	}
	if s := f.ports[0].stats.read(); s.Packets != 2 || s.Bytes != 2*1024 || s.Frames != 2 {
		t.Errorf("got %+v, want 2 packets of 1024 bytes", s)
	}
}

// Frames of many packets lose packets one by one; what arrives is what a card would have made of the others.
func TestLossOfPackets(t *testing.T) {
	for _, protocol := range []int{tcp, udp} {
		f := newTestFabric(t, Config{Hosts: 2, Loss: 0.05, Queue: 1 << 30, Seed: uint64(protocol)})
		rng := rand.New(rand.NewPCG(1, uint64(protocol)))
		const size, packets, frames = 1400, 40, 500
		payload := make([]byte, packets*size-100)
		for i := range payload {
			payload[i] = byte(rng.Uint32())
		}
		for i := range frames {
			f.enter(int64(i), 0, newFrame(0, 1, protocol, payload, size))
		}
		arrived := 0
		for _, a := range drain(f) {
			p, ok := parseFrame(a.data)
			if !ok {
				t.Fatal("a frame that cannot be read has arrived")
			}
			arrived += p.packets
			checkPart(t, a.data, payload, size)
		}
		s := f.ports[0].stats.read()
		if s.Packets != packets*frames || int(s.Lost)+arrived != packets*frames || f.ports[1].stats.read().Delivered != uint64(arrived) {
			t.Errorf("protocol %d: %v, %d arrived, want %d in all", protocol, s, arrived, packets*frames)
		}
		if p, sigma := float64(s.Lost)/(packets*frames), math.Sqrt(0.05*0.95/(packets*frames)); math.Abs(p-0.05) > 5*sigma {
			t.Errorf("protocol %d: lost %.2f %%, want 5", protocol, 100*p)
		}
		if s.Dropped != 0 {
			t.Errorf("protocol %d: %v, want nothing dropped", protocol, s)
		}
	}
}

// checkPart holds that a frame carries whole packets of payload and headers that fit.
func checkPart(t *testing.T, data, payload []byte, size int) {
	t.Helper()
	ip := data[vnetHeader+etherHeader:]
	if sum16(0, ip[:20]) != 0xffff {
		t.Fatal("wrong checksum of IP's header")
	}
	l4 := ip[20:]
	if int(binary.BigEndian.Uint16(ip[2:])) != len(ip) {
		t.Fatalf("IP says %d bytes of %d", binary.BigEndian.Uint16(ip[2:]), len(ip))
	}
	id := int(binary.BigEndian.Uint16(ip[4:]) - 1000)
	length, at := 8, 6
	if ip[9] == tcp {
		length, at = 20, 16
		lo := int(binary.BigEndian.Uint32(l4[4:]) - 0xfffffff0)
		if lo != id*size {
			t.Fatalf("packet %d begins at %d", id, lo)
		}
		last := lo+len(l4)-length == len(payload)
		if got := l4[13]&0x09 != 0; got != last {
			t.Fatalf("at %d: FIN and PSH: %v, want %v", lo, got, last)
		}
		if got := l4[13]&0x80 != 0; got != (lo == 0) {
			t.Fatalf("at %d: CWR: %v", lo, got)
		}
	} else if int(binary.BigEndian.Uint16(l4[4:])) != len(l4) {
		t.Fatalf("UDP says %d bytes of %d", binary.BigEndian.Uint16(l4[4:]), len(l4))
	}
	body := l4[length:]
	if id*size+len(body) > len(payload) || !bytes.Equal(body, payload[id*size:id*size+len(body)]) {
		t.Fatalf("packet %d and those after it carry something else", id)
	}
	if packets := (len(body) + size - 1) / size; len(payload) > len(body) { // cut: the header is the fabric's
		if want := sum16(uint32(ip[9])+uint32(len(l4)), ip[12:20]); binary.BigEndian.Uint16(l4[at:]) != want {
			t.Fatal("the partial checksum is not the pseudo header's")
		}
		if (data[1] == gsoNone) != (packets == 1) || data[0] != needsChecksum {
			t.Fatalf("%d packets with segmentation %d", packets, data[1])
		}
	}
}

// A queue takes what it holds, in packets, and the rest of a frame is dropped.
func TestQueue(t *testing.T) {
	f := newTestFabric(t, Config{Hosts: 3, Rate: 1e6, Queue: 10_000})
	payload := make([]byte, 40*1000)
	f.enter(0, 0, newFrame(0, 2, udp, payload, 1000))
	f.enter(0, 1, newFrame(1, 2, udp, payload, 1000))
	got := drain(f)
	// 1,066 bytes a packet: 9 fit before the line up. The first 9 pass the line down while the other 9 wait before it.
	for i := range 2 {
		if s := f.ports[i].stats.read(); s.Dropped != 31 || s.Packets != 40 {
			t.Errorf("host %d: %v, want 31 of 40 packets dropped", i, s)
		}
	}
	s := f.ports[2].stats.read()
	if s.Delivered+s.Refused != 18 || len(got) != 2 {
		t.Errorf("%d frames, %v, want 18 packets in 2 frames", len(got), s)
	}
	for range 3 { // at once, as no line up could bring them
		f.arrive(transit{due: 1e12, data: newFrame(0, 2, udp, payload, 1000), to: 2, packets: 40, wire: 40 * 1066})
	}
	if s := f.ports[2].stats.read(); s.Refused != 31+31+40 {
		t.Errorf("%v, want 102 packets refused before the line down", s)
	}
	got = drain(f)
	if len(got) != 2 {
		t.Fatalf("got %d frames, want 2: the first on the idle line, the second behind it", len(got))
	}
	checkPart(t, got[0].data, payload, 1000)
}

func TestBlocks(t *testing.T) {
	f := newTestFabric(t, Config{Hosts: 3})
	send := func(from, to, protocol int) bool {
		f.enter(0, from, newFrame(from, to, protocol, []byte("x"), 0))
		return len(drain(f)) == 1
	}
	f.ports[1].noUDP.Store(true)
	for _, tt := range []struct {
		from, to, protocol int
		want               bool
	}{{0, 1, udp, false}, {1, 0, udp, false}, {1, 0, tcp, true}, {0, 1, tcp, true}, {0, 2, udp, true}} {
		if got := send(tt.from, tt.to, tt.protocol); got != tt.want {
			t.Errorf("without UDP at host 1, protocol %d from %d to %d: got %v, want %v", tt.protocol, tt.from, tt.to, got, tt.want)
		}
	}
	f.ports[1].noUDP.Store(false)
	f.ports[0].cut.Store(true)
	if send(0, 1, tcp) || send(1, 0, tcp) || !send(1, 2, udp) {
		t.Error("host 0 is cut off: want nothing from or to it, and the others as ever")
	}
	if got := f.ports[1].stats.read().Blocked; got != 2 {
		t.Errorf("host 1: %d blocked, want 2", got)
	}
	f.ports[0].cut.Store(false)
	all := newFrame(0, 1, udp, []byte("x"), 0)
	copy(all[vnetHeader:], []byte{255, 255, 255, 255, 255, 255})
	f.enter(0, 0, all)
	if got := drain(f); len(got) != 2 {
		t.Errorf("a broadcast: %d frames, want 2", len(got))
	}
	f.enter(0, 0, newFrame(0, 0, udp, []byte("x"), 0))
	f.enter(0, 0, make([]byte, 5))
	if got := f.ports[0].stats.read().Strange; got != 2 {
		t.Errorf("%d strange frames, want 2", got)
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no hosts": {}, "many": {Hosts: 65}, "rate": {Hosts: 1, Rate: -1}, "delay": {Hosts: 1, Delay: -1},
		"loss": {Hosts: 1, Loss: 1.5}, "not a number": {Hosts: 1, Loss: math.NaN()}, "queue": {Hosts: 1, Queue: 100},
	} {
		if _, err := c.withDefaults(); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	c, err := Config{Hosts: 2, Delay: 50 * time.Millisecond}.withDefaults()
	if err != nil || c.Rate != 1e9 || c.Queue != 25_000_000 {
		t.Errorf("got %+v, %v, want 1e9 bit/s and a queue of two products of bandwidth and delay", c, err)
	}
}

// FuzzFrame holds that no frame brings the fabric down, and that what comes out can be read.
func FuzzFrame(f *testing.F) {
	f.Add(newFrame(0, 1, tcp, make([]byte, 5000), 1400), uint8(30))
	f.Add(newFrame(0, 1, udp, make([]byte, 500), 1), uint8(50))
	f.Add(newFrame(0, 1, udp, nil, 0), uint8(0))
	f.Add([]byte{}, uint8(10))
	var buffers pool // of all executions: making them takes longer than everything else
	f.Fuzz(func(t *testing.T, data []byte, loss uint8) {
		const longest = 8 << 10 // long enough for thousands of packets
		if len(data) > longest {
			return
		}
		s := newTestFabric(t, Config{Hosts: 2, Loss: float64(loss) / 255})
		s.pool = buffers
		frame := append(s.pool.get(len(data))[:0], data...)
		if len(frame) >= vnetHeader+6 {
			copy(frame[vnetHeader:], macs[1][:])
		}
		s.enter(0, 0, frame)
		for due, any := s.next(); any; due, any = s.next() {
			s.advance(due, func(_ int, data []byte) bool {
				if _, ok := parseFrame(data); !ok {
					t.Fatalf("what arrives cannot be read: %x", data)
				}
				return true
			})
		}
		buffers = s.pool
	})
}
