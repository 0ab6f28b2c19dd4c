package quic

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// testPackets are packets of all lengths that QUIC makes, the first byte of which is QUIC's.
func testPackets(rng *rand.Rand, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		p := make([]byte, 1+rng.IntN(maxRepaired))
		for j := range p {
			p[j] = byte(rng.Uint32())
		}
		p[0] |= minQUIC
		all[i] = p
	}
	return all
}

// A path numbers packets, loses some, and puts the rest in order again.
type path struct {
	numberer
	orderer
	now  time.Duration
	lose func(p []byte) bool
	got  [][]byte
	buf  []byte
}

func (p *path) send(packet []byte) {
	p.buf = p.add(p.buf[:0], packet)
	p.pass(p.buf)
	if p.full() {
		p.end()
	}
}

func (p *path) end() {
	all, size := p.close(nil)
	for rest := (segments{data: all, size: size}); len(rest.data) > 0; {
		p.pass(rest.next())
	}
}

func (p *path) pass(b []byte) {
	p.now += 10 * time.Microsecond
	if p.lose(b) {
		return
	}
	if b[0] == kindNumbered {
		p.numbered(be.Uint32(b[5:]), b[numberedSize:], []byte("tos"), p.now)
	} else {
		var h parityHead
		shard, err := h.parse(b)
		if err != nil {
			panic(err)
		}
		p.parity(h, shard, p.now)
	}
	p.take()
}

func (p *path) take() {
	for _, r := range p.ready {
		p.got = append(p.got, bytes.Clone(r.packet))
	}
}

// Random losses are repaired at every rate, with the parity that the rate asks for; the packets come out in order and unchanged,
// and no more are missing than were lost.
func TestRepair(t *testing.T) {
	const packets = 20000
	for _, rate := range []float64{0, 0.001, 0.01, 0.03} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			p := &path{orderer: orderer{hold: shortHold}}
			p.numberer.number = ^uint32(0) - 1000 // numbers wrap around
			p.parities = redundancy(rate)
			lost := 0
			p.lose = func(b []byte) bool {
				if rng.Float64() >= rate || len(p.got) == 0 {
					return false
				}
				if b[0] == kindNumbered {
					lost++
				}
				return true
			}
			sent := testPackets(rng, packets)
			for _, b := range sent {
				p.send(b)
			}
			p.end()
			p.now += shortHold
			for p.open {
				p.expired(p.now)
				p.take()
				p.now += shortHold
			}
			i := 0
			for _, b := range p.got {
				for i < len(sent) && !bytes.Equal(sent[i], b) {
					i++
				}
				if i == len(sent) {
					t.Fatal("a packet that was not sent, or out of order")
				}
				i++
			}
			missing := packets - len(p.got)
			if int(p.lost) != missing || int(p.repaired) != lost-missing {
				t.Errorf("%d lost on the way, %d missing: counted %+v", lost, missing, p.report)
			}
			if missing > packets/1000 || rate > 0 && p.repaired == 0 {
				t.Errorf("%d of %d lost packets are missing, with %d parities", missing, lost, p.parities)
			}
		})
	}
}

// Parity of any index repairs, whatever else was made: senders change their mind.
func TestRepairAnyParity(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for parities := 1; parities <= maxParity; parities++ {
		for _, count := range []int{1, 5, 31, groupData} {
			p := &path{orderer: orderer{hold: shortHold}}
			p.parities = parities
			sent := testPackets(rng, 1+count)
			kept := rng.IntN(min(parities, count))
			gone := uint32(1 + rng.IntN(count))
			p.lose = func(b []byte) bool {
				if b[0] == kindNumbered {
					return be.Uint32(b[5:]) == gone
				}
				return int(b[9]>>5) != kept
			}
			p.send(sent[0])
			p.end()
			for _, b := range sent[1:] {
				p.send(b)
			}
			p.end()
			if len(p.got) != len(sent) || !bytes.Equal(p.got[gone], sent[gone]) || p.repaired != 1 {
				t.Errorf("parity %d of %d for %d packets: %d packets of %d came, %+v", kept, parities, count, len(p.got), len(sent), p.report)
			}
		}
	}
}

// What a full queue drops, a row of packets, is left to QUIC; a gap without parity is given up in time, or when too much waits.
func TestRepairGivesUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	p := &path{orderer: orderer{hold: shortHold}}
	p.parities = maxParity
	sent := testPackets(rng, 2*groupData)
	p.lose = func(b []byte) bool {
		n := be.Uint32(b[5:])
		return b[0] == kindNumbered && n >= 8 && n < 8+longRun
	}
	for _, b := range sent {
		p.send(b)
	}
	if p.repaired != 0 || len(p.got) != 8 || !p.open {
		t.Fatalf("after a row of losses: %d came, %+v, waiting %v", len(p.got), p.report, p.open)
	}
	p.expired(p.gap + shortHold - 1)
	if !p.open {
		t.Error("given up before its time")
	}
	p.expired(p.gap + shortHold)
	p.take()
	if p.open || p.lost != longRun || len(p.got) != len(sent)-longRun {
		t.Errorf("given up: %d came, %+v", len(p.got), p.report)
	}
	p.parities = 0
	p.lose = func(b []byte) bool { return be.Uint32(b[5:]) == 70 }
	for _, b := range testPackets(rng, holdPackets+20) {
		p.send(b)
	}
	if p.open || p.lost != longRun+1 {
		t.Errorf("%d packets behind a gap: %+v, waiting %v", holdPackets, p.report, p.open)
	}
	p.numberer.number += 10 * orderWindow // the peer was silent to us
	p.got = nil
	p.send(sent[0])
	if len(p.got) != 1 {
		t.Errorf("after a jump: %d packets came, want 1", len(p.got))
	}
}

func TestRedundancy(t *testing.T) {
	last := 0
	for _, rate := range []float64{0, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.05, 1} {
		r := redundancy(rate)
		if r < last || r > maxParity {
			t.Errorf("rate %g: %d parities after %d", rate, r, last)
		}
		if rate > cleanLoss && rate < 0.03 && broken(rate, r) >= residual {
			t.Errorf("rate %g: %d parities leave %g of the groups broken", rate, r, broken(rate, r))
		}
		last = r
	}
	if redundancy(0) != 0 || redundancy(0.001) > 2 || last != maxParity {
		t.Errorf("no loss: %d, one in a thousand: %d, all: %d parities", redundancy(0), redundancy(0.001), last)
	}
}

func TestLossMeter(t *testing.T) {
	var m lossMeter
	var r report
	say := func(times int, isolated, runs uint32) {
		for range times {
			r.top += 1000
			r.isolated += isolated
			r.runs += runs
			m.take(r)
		}
	}
	say(200, 10, 0)
	if m.rate < 0.009 || m.rate > 0.011 || m.clean != 0 {
		t.Errorf("ten of a thousand: rate %g, clean %d", m.rate, m.clean)
	}
	before := m.rate
	say(50, 30, 300) // an overflowing queue
	if m.rate > before {
		t.Errorf("full queues raise the rate from %g to %g", before, m.rate)
	}
	say(300, 0, 0)
	if m.rate > cleanLoss || m.clean != 300_000 {
		t.Errorf("a clean path: rate %g, clean %d", m.rate, m.clean)
	}
	old := m
	m.take(report{top: r.top - 5000}) // overtaken
	if m.rate != old.rate || m.last != old.last {
		t.Error("an old report counts")
	}
}

// FuzzRepair holds that nothing that comes from a network brings a flow down, whatever of it is true.
func FuzzRepair(f *testing.F) {
	var n numberer
	n.parities = 2
	var seed []byte
	for i := range 3 {
		seed = append(seed, 0, 14)
		seed = n.add(seed, []byte{0x40, byte(i), 1, 2, 3})
	}
	f.Add(seed)
	f.Add([]byte("\x00\x19\x03\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &repairer{count: &repairCounters{}, write: func([]byte, int, []byte, net.Addr) error { return nil }}
		at := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}
		source, _ := addrPort(at)
		defer r.add(at, 0, 0, &fakeWorker{}, longPath)()
		now := time.Duration(0)
		for len(data) >= 2 {
			size := min(int(be.Uint16(data)), len(data)-2)
			p := data[2 : 2+size]
			data = data[2+size:]
			now += time.Millisecond
			ready := r.receive(source, p, nil, now)
			_, more := r.expired(now)
			for _, q := range append(ready[:len(ready):len(ready)], more...) {
				if len(q.packet) == 0 || len(q.packet) > maxRepaired {
					t.Fatalf("a packet of %d bytes", len(q.packet))
				}
			}
		}
	})
}

func (w *fakeWorker) losses() uint64 { return w.n.Load() }

// A lossy packet connection loses packets that it sends.
type lossy struct {
	net.PacketConn
	lose func(b []byte) bool
}

func (c *lossy) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.lose(b) {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// exercise sends frames both ways between two ranks whose packets get lost, and returns what the repair has done.
func exercise(t *testing.T, lose func(b []byte) bool, options ...Option) (s RepairStats, note string) {
	t.Helper()
	id := newIdentity(t)
	tr, err := New(id, append([]Option{onLoopback, patient, Through(func(pc net.PacketConn) net.PacketConn {
		return &lossy{pc, lose}
	})}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	done := make(chan error, 1)
	go func() { done <- transporttest.Exercise(t.Context(), a, g.Bells[0], 3, 150) }()
	if err := errors.Join(transporttest.Exercise(t.Context(), b, g.Bells[1], 3, 150), <-done); err != nil {
		t.Fatal(err)
	}
	return tr.Repair(), a.Caps().Note
}

// Losses on the way of a real connection are repaired, if that is wanted, and frames arrive whatever is lost.
func TestLossRepair(t *testing.T) {
	every := func(n uint64) func([]byte) bool {
		var sent atomic.Uint64
		return func([]byte) bool { return sent.Add(1)%n == 0 }
	}
	s, note := exercise(t, every(40))
	if s.Numbered == 0 || s.Repaired == 0 || s.Parity == 0 || s.Parity > s.Numbered || !strings.Contains(note, "losses repaired") {
		t.Errorf("one packet of 40 lost: %+v, %q", s, note)
	}
	if s, note := exercise(t, every(40), LossRepair(false)); s != (RepairStats{}) || note != "" {
		t.Errorf("switched off: %+v, %q", s, note)
	}
	if s, _ := exercise(t, func([]byte) bool { return false }); s.Repaired != 0 {
		t.Errorf("nothing lost: %+v", s)
	}
}

// A path that carries QUIC's packets but not those of the repair is found out.
func TestLossRepairDeaf(t *testing.T) {
	var writes atomic.Int64
	r := &repairer{count: &repairCounters{}, write: func([]byte, int, []byte, net.Addr) error {
		writes.Add(1)
		return nil
	}}
	at := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}
	source, _ := addrPort(at)
	w := &fakeWorker{}
	stop := r.add(at, 1, 2, w, longPath-1)
	f := r.flow(source)
	packet := bytes.Repeat([]byte{0x40}, 100)
	greet := func() {
		said := report{lost: 1}
		r.receive(source, said.append(nil, 1), nil, 0)
	}
	if f.send(packet, 0, nil) {
		t.Error("a path without losses: packets are numbered")
	}
	w.n.Store(1)
	for range 2 * lookEvery {
		if f.send(packet, 0, nil) {
			t.Fatal("packets are numbered for a peer that has not been met")
		}
	}
	greet()
	for range 2 * lookEvery {
		f.send(packet, 0, nil)
	}
	if !f.on {
		t.Fatal("a loss: packets are not numbered")
	}
	f.unheard, f.since = deafAfter, time.Now().Add(-2*period)
	if f.send(packet, 0, nil) || !f.broken {
		t.Error("no reports: packets are numbered on")
	}
	stop()
	stop = r.add(at, 1, 2, w, 100*time.Millisecond)
	f = r.flow(source)
	before := writes.Load()
	r.receive(source, new(report).append(nil, 1), nil, 0)
	if writes.Load() != before+1 {
		t.Error("a greeting is not answered")
	}
	if !f.send(packet, 0, nil) {
		t.Error("a long path: packets are not numbered at once")
	}
	r.receive(source, (&numberer{tag: 2}).add(nil, packet), nil, 0)
	if f.order == nil || f.order.hold != 25*time.Millisecond {
		t.Error("a gap is not open for a quarter of a round trip")
	}
	for i := range uint32(8) {
		said := report{top: 20 * i, runs: 12 * i}
		r.receive(source, said.append(nil, 1), nil, 0)
	}
	if f.send(packet, 0, nil) || !f.broken {
		t.Error("most do not arrive: packets are numbered on")
	}
	stop()
	if len(r.at) != 0 {
		t.Error("a connection that has ended is remembered")
	}
}
