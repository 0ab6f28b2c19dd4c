package wan

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
)

// A fabric is the switch without its devices: frames enter at a time, and leave at a time. It has no clock of its own and
// belongs to one goroutine, but for the switches and counters of its ports.
type fabric struct {
	perByte float64 // nanoseconds
	delay   int64
	queue   int64
	loss    float64
	rng     *rand.Rand
	ports   []port
	byMAC   map[[6]byte]int
	pool    pool
}

// A port is where a host is plugged in.
type port struct {
	up, down line
	noUDP    atomic.Bool
	cut      atomic.Bool
	stats    counters
}

type counters struct {
	frames, packets, bytes, delivered, lost, dropped, refused, blocked, strange, overrun atomic.Uint64
}

func (c *counters) read() Stats {
	return Stats{
		Frames: c.frames.Load(), Packets: c.packets.Load(), Bytes: c.bytes.Load(), Delivered: c.delivered.Load(),
		Lost: c.lost.Load(), Dropped: c.dropped.Load(), Refused: c.refused.Load(), Blocked: c.blocked.Load(),
		Strange: c.strange.Load(), Overrun: c.overrun.Load(),
	}
}

// A line carries one frame after the other.
type line struct {
	free  int64 // when the last one will have left
	queue fifo
}

// A transit is a frame on its way.
type transit struct {
	due     int64
	data    []byte
	to      int
	packets int
	wire    int
}

func newFabric(c Config) *fabric {
	return &fabric{
		perByte: 8e9 / c.Rate, delay: int64(c.Delay), queue: int64(c.Queue), loss: c.Loss,
		rng: rand.New(rand.NewPCG(c.Seed, 0x77616e)), ports: make([]port, c.Hosts), byMAC: make(map[[6]byte]int),
	}
}

// waiting returns the bytes that wait before a line.
func (s *fabric) waiting(l *line, now int64) int64 {
	if l.free <= now {
		return 0
	}
	return int64(float64(l.free-now) / s.perByte)
}

func (s *fabric) takes(wire int) int64 { return int64(math.Round(float64(wire) * s.perByte)) }

// enter takes a frame that a host has sent. data is of the pool and belongs to the fabric from here on.
func (s *fabric) enter(now int64, from int, data []byte) {
	p := &s.ports[from]
	p.stats.frames.Add(1)
	f, ok := parseFrame(data)
	if !ok {
		p.stats.strange.Add(1)
		s.pool.put(data)
		return
	}
	if f.ip {
		p.stats.packets.Add(uint64(f.packets))
	}
	mac, group := destination(data)
	if group {
		for to := range s.ports {
			if to != from {
				c := f
				c.data = append(s.pool.get(len(data))[:0], data...)
				s.send(now, from, to, c)
			}
		}
		s.pool.put(data)
		return
	}
	to, ok := s.byMAC[mac]
	if !ok || to == from {
		p.stats.strange.Add(1)
		s.pool.put(data)
		return
	}
	s.send(now, from, to, f)
}

// send puts what survives of a frame on the line of its sender.
func (s *fabric) send(now int64, from, to int, f packetFrame) {
	p, q := &s.ports[from], &s.ports[to]
	for _, end := range []*port{p, q} {
		if end.cut.Load() || f.udp && end.noUDP.Load() {
			end.stats.blocked.Add(uint64(f.packets))
			s.pool.put(f.data)
			return
		}
	}
	for first := 0; first < f.packets; {
		room := s.queue - s.waiting(&p.up, now)
		last := first // the run of packets that survive
		for last < f.packets && !s.loses(&f) {
			if int64(f.wire(first, last+1)) > room {
				break
			}
			last++
		}
		if last > first {
			s.onto(&p.up, now, from, to, f, first, last)
			if first == 0 && last == f.packets {
				return // as it came
			}
		}
		if last < f.packets {
			if int64(f.wire(first, last+1)) > room {
				p.stats.dropped.Add(uint64(f.packets - last)) // no room for this one, nor for those behind it
				break
			}
			p.stats.lost.Add(1)
		}
		first = last + 1
	}
	s.pool.put(f.data)
}

// loses rolls the dice for one packet. What is not IPv4, such as ARP, is the network's own and not lost.
func (s *fabric) loses(f *packetFrame) bool { return f.ip && s.loss > 0 && s.rng.Float64() < s.loss }

// onto puts packets of a frame on a sender's line: the frame itself when they are all of it.
func (s *fabric) onto(l *line, now int64, from, to int, f packetFrame, first, last int) {
	data := f.data
	if first > 0 || last < f.packets {
		data = f.cut(s.pool.get(f.span(first, last)), first, last)
	}
	wire, packets := f.wire(first, last), last-first
	if !f.ip {
		packets = 0 // of those that count
	}
	s.ports[from].stats.bytes.Add(uint64(wire))
	l.free = max(l.free, now) + s.takes(wire)
	l.queue.push(transit{due: l.free + s.delay, data: data, to: to, packets: packets, wire: wire})
}

// advance moves everything that is due, in the order of time, and hands what arrives to deliver, which does not keep it.
func (s *fabric) advance(now int64, deliver func(to int, data []byte) bool) {
	for {
		src := -1
		for i := range s.ports {
			if q := &s.ports[i].up.queue; q.len() > 0 && q.first().due <= now && (src < 0 || q.first().due < s.ports[src].up.queue.first().due) {
				src = i
			}
		}
		if src < 0 {
			break
		}
		s.arrive(s.ports[src].up.queue.pop())
	}
	for i := range s.ports {
		p := &s.ports[i]
		for p.down.queue.len() > 0 && p.down.queue.first().due <= now {
			t := p.down.queue.pop()
			if deliver(i, t.data) {
				p.stats.delivered.Add(uint64(t.packets))
			} else {
				p.stats.overrun.Add(1)
			}
			s.pool.put(t.data)
		}
	}
}

// arrive puts a frame before the line down of its receiver. On a line that is idle it takes no time that it has not
// taken on the way up: bits leave the switch as they come in.
func (s *fabric) arrive(t transit) {
	p := &s.ports[t.to]
	room := s.queue - s.waiting(&p.down, t.due)
	if int64(t.wire) > room {
		fit := 0
		f, _ := parseFrame(t.data) // it was good when it entered
		for fit < t.packets && int64(f.wire(0, fit+1)) <= room {
			fit++
		}
		p.stats.refused.Add(uint64(t.packets - fit))
		if fit == 0 {
			s.pool.put(t.data)
			return
		}
		part := f.cut(s.pool.get(f.span(0, fit)), 0, fit)
		s.pool.put(t.data)
		t.data, t.packets, t.wire = part, fit, f.wire(0, fit)
	}
	p.down.free = max(p.down.free+s.takes(t.wire), t.due)
	t.due = p.down.free
	p.down.queue.push(t)
}

// next returns when something is due, and whether anything is.
func (s *fabric) next() (due int64, any bool) {
	due = math.MaxInt64
	for i := range s.ports {
		for _, q := range []*fifo{&s.ports[i].up.queue, &s.ports[i].down.queue} {
			if q.len() > 0 {
				due, any = min(due, q.first().due), true
			}
		}
	}
	return due, any
}

// A fifo is a ring of transits.
type fifo struct {
	ring []transit
	head int
	n    int
}

func (q *fifo) len() int        { return q.n }
func (q *fifo) first() *transit { return &q.ring[q.head] }

func (q *fifo) push(t transit) {
	if q.n == len(q.ring) {
		larger := make([]transit, max(64, 2*q.n))
		for i := range q.n {
			larger[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = larger, 0
	}
	q.ring[(q.head+q.n)%len(q.ring)] = t
	q.n++
}

func (q *fifo) pop() transit {
	t := q.ring[q.head]
	q.ring[q.head] = transit{}
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return t
}

// A pool keeps buffers of two sizes: of a packet, and of the largest frame.
type pool struct{ small, large [][]byte }

const (
	smallFrame = 2048
	largeFrame = 68 << 10 // 64 KiB of IP, and headers
	keep       = 1024     // buffers of a size
)

// get returns a buffer for n bytes.
func (p *pool) get(n int) []byte {
	list, size := &p.large, max(largeFrame, n)
	if n <= smallFrame {
		list, size = &p.small, smallFrame
	}
	if k := len(*list); k > 0 {
		b := (*list)[k-1]
		*list = (*list)[:k-1]
		return b
	}
	return make([]byte, size)
}

func (p *pool) put(b []byte) {
	list := &p.large
	switch cap(b) {
	case smallFrame:
		list = &p.small
	case largeFrame:
	default:
		return
	}
	if len(*list) < keep {
		*list = append(*list, b[:cap(b)])
	}
}
