package quic

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

const (
	reportEvery = 256                     // numbered packets
	reportPause = 30 * time.Millisecond   // but at least as often, while they come
	flushAfter  = 1500 * time.Microsecond // a group ends when nothing has been added for so long
	lookEvery   = 32                      // packets sent before the losses of connections are looked at again
	// A connection also loses packets that have arrived, because it is too busy for them. When numbers show that, its losses are
	// not looked at for firstRest packets, and twice as many after each vain try.
	firstRest = 1 << 16
	lastRest  = 1 << 22
	// A sender that has numbered packets in deafAfter periods of a row without a report concludes that they do not arrive, being
	// longer than others and of an unknown kind.
	deafAfter = 5
	period    = 200 * time.Millisecond
	// enough is how many packets tell whether most do not arrive.
	enough = 64
	// longPath is the round trip from which packets are numbered from the beginning: after a loss, a connection grows by a packet a
	// round trip, so on a long path it never comes back.
	longPath = 2 * time.Millisecond
)

// RepairStats counts what the repair of losses has done (see [LossRepair]).
type RepairStats = stripe.Repairs

// A repairCounters counts for a flow, and for all of them.
type repairCounters struct {
	numbered, parity, repaired, lost atomic.Uint64
	all                              *repairCounters
}

func (c *repairCounters) add(numbered, parity int, repaired, lost uint32) {
	for ; c != nil; c = c.all {
		c.numbered.Add(uint64(numbered))
		c.parity.Add(uint64(parity))
		c.repaired.Add(uint64(repaired))
		c.lost.Add(uint64(lost))
	}
}

func (c *repairCounters) read() RepairStats {
	return RepairStats{Numbered: c.numbered.Load(), Parity: c.parity.Load(), Repaired: c.repaired.Load(), Lost: c.lost.Load()}
}

// repairTags returns the secrets of a connection's two directions, of what the client and of what the server sends.
func repairTags(state tls.ConnectionState) (client, server uint32, err error) {
	b, err := state.ExportKeyingMaterial("EXPORTER-ringtree-repair", nil, 8)
	if err != nil {
		return 0, 0, err
	}
	return be.Uint32(b), be.Uint32(b[4:]), nil
}

// A packetWriter sends packets of one size, the last of which may be shorter, with control data to which it may append.
type packetWriter func(b []byte, size int, oob []byte, to net.Addr) error

// A lossWorker tells how many packets a connection believes to be lost.
type lossWorker interface{ losses() uint64 }

func (w connWorker) losses() uint64 { return w.conn.ConnectionStats().PacketsLost }

// A repairMember is a connection whose packets are repaired.
type repairMember struct {
	out, in uint32 // tags
	work    lossWorker
}

// A repairFlow is what one socket exchanges with one address: the packets of one connection, or of several.
type repairFlow struct {
	owner *repairer
	to    net.Addr
	count repairCounters

	mu       sync.Mutex
	on       bool
	broken   bool            // numbered packets do not arrive
	members  []*repairMember // none: it is over; under owner.mu, too
	hold     time.Duration   // see orderer; under owner.mu, too
	numbers  *numberer       // nil until it was on
	meter    lossMeter
	buf      []byte
	oob      []byte
	parity   []byte
	paritied int    // size of the packets in parity
	wait     int    // packets to be sent before the losses are looked at
	rest     int    // the next time that nothing was lost on the way
	lost     uint64 // by members
	long     bool   // begin as soon as the peer is met
	met      bool   // the peer takes what is numbered, with
	tag      uint32
	unheard  int       // periods with numbered packets since the last report
	since    time.Time // of the last of them
	timer    *time.Timer

	// The reader's.
	order      *orderer // nil until the peer numbers its packets
	reportedAt time.Duration
	reported   report
	counted    report
}

// A repairer is the repair of one socket.
type repairer struct {
	write packetWriter
	strip func(dst, oob []byte) []byte // appends control data that any write may have; nil: there is none
	count *repairCounters

	mu   sync.RWMutex
	at   map[netip.AddrPort]*repairFlow
	open []*repairFlow // with a gap; the reader's
}

// add begins repair for a connection with an address and a round trip of rtt, until stop is called. Packets are numbered at once if that
// is long, else after the first loss.
func (r *repairer) add(addr net.Addr, out, in uint32, w lossWorker, rtt time.Duration) (stop func()) {
	at, ok := addrPort(addr)
	if !ok {
		return func() {}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.at[at]
	if f == nil {
		if r.at == nil {
			r.at = make(map[netip.AddrPort]*repairFlow)
		}
		f = &repairFlow{owner: r, to: addr, rest: firstRest, count: repairCounters{all: r.count}}
		f.timer = time.AfterFunc(time.Hour, f.flush)
		f.timer.Stop()
		r.at[at] = f
	}
	m := &repairMember{out, in, w}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = append(f.members, m)
	f.long = f.long || rtt >= longPath
	f.hold = max(f.hold, holdOf(rtt))
	f.greet(0)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.members = slices.DeleteFunc(f.members, func(o *repairMember) bool { return o == m })
		f.lost = f.losses()
		if f.met && !slices.ContainsFunc(f.members, func(o *repairMember) bool { return o.out == f.tag }) {
			f.met, f.on = false, false // until another member is met
		}
		if len(f.members) == 0 {
			f.timer.Stop()
			if r.at[at] == f {
				delete(r.at, at)
			}
		}
	}
}

// flow returns what is exchanged with an address, or nil.
func (r *repairer) flow(at netip.AddrPort) *repairFlow {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.at[at]
}

// send writes packets of one size, the last of which may be shorter, with numbers if that is on. It reports false if they are to be
// written as they are.
func (f *repairFlow) send(b []byte, size int, oob []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size <= 0 {
		size = len(b)
	}
	f.look((len(b) + size - 1) / max(size, 1))
	if !f.on || len(f.members) == 0 || size > maxRepaired || len(b) == 0 {
		return false
	}
	f.oob = f.oob[:0]
	if f.owner.strip != nil {
		f.oob = f.owner.strip(f.oob, oob)
	}
	packets := 0
	f.buf = f.buf[:0]
	for rest := (segments{data: b, size: size}); len(rest.data) > 0; packets++ {
		f.buf = f.numbers.add(f.buf, rest.next())
		if f.numbers.full() {
			f.endGroup()
		}
	}
	if now := time.Now(); now.Sub(f.since) > period {
		f.since = now
		f.unheard++
	}
	if f.owner.write(f.buf, numberedSize+size, f.oob, f.to) != nil || f.unheard > deafAfter {
		f.broken, f.on = true, false
		return false
	}
	f.count.add(packets, 0, 0, 0)
	f.sendParity()
	if f.numbers.count > 0 {
		f.timer.Reset(flushAfter)
	}
	return true
}

// endGroup makes the parity of a group, which goes out behind the packets that are being written.
func (f *repairFlow) endGroup() {
	f.sendParity() // of another group
	f.parity, f.paritied = f.numbers.close(f.parity[:0])
}

func (f *repairFlow) sendParity() {
	if len(f.parity) == 0 {
		return
	}
	f.count.add(0, len(f.parity)/f.paritied, 0, 0)
	f.owner.write(f.parity, f.paritied, f.oob, f.to) // a loss like any other
	f.parity = f.parity[:0]
}

// flush ends a group to which nothing has been added for a while.
func (f *repairFlow) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.members) > 0 && f.on && f.numbers.count > 0 {
		f.endGroup()
		f.sendParity()
	}
}

// look begins to number packets where the connections lose some.
func (f *repairFlow) look(packets int) {
	if f.on || f.broken || len(f.members) == 0 {
		return
	}
	if f.wait -= packets; f.wait > 0 {
		return
	}
	f.wait = lookEvery
	if !f.met {
		f.greet(0)
		return
	}
	before := f.lost
	if f.lost = f.losses(); f.lost > before {
		f.begin()
	}
}

// greet tells the peer that its numbered packets are known here, by a report of nothing. Its field lost is 0 when this side wants to
// hear the same. Nothing is numbered before: until the handshake is over on both sides, nobody would take it.
func (f *repairFlow) greet(answer uint32) {
	r := report{lost: answer}
	f.owner.write(r.append(make([]byte, 0, reportSize), f.members[0].in), reportSize, nil, f.to) // a loss like any other
}

// begin begins to number packets.
func (f *repairFlow) begin() {
	f.on, f.unheard = true, 0
	if f.numbers == nil {
		f.numbers = &numberer{}
	}
	f.numbers.tag = f.tag
	f.meter.rate, f.meter.clean = max(f.meter.rate, firstLoss), 0
	f.numbers.parities = redundancy(f.meter.rate)
}

// losses returns those of all members. mu is held.
func (f *repairFlow) losses() (sum uint64) {
	for _, m := range f.members {
		sum += m.work.losses()
	}
	return sum
}

// done returns what has been done for an address, if w is its first member.
func (r *repairer) done(at netip.AddrPort, w lossWorker) (s RepairStats) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if f := r.at[at]; f != nil && len(f.members) > 0 && f.members[0].work == w {
		s = f.count.read()
	}
	return s
}

// source returns the flow with an address, or nil, and whether the peer of one of its members sends with that tag, in which case it has an
// orderer.
func (r *repairer) source(at netip.AddrPort, tag uint32) (f *repairFlow, known bool) {
	r.mu.RLock() // a sender may hold the flow's for as long as a write takes
	defer r.mu.RUnlock()
	if f = r.at[at]; f != nil {
		known = slices.ContainsFunc(f.members, func(m *repairMember) bool { return m.in == tag })
		if known && f.order == nil {
			f.order = &orderer{hold: f.hold}
		}
	}
	return f, known
}

// receive takes a packet with a kind of this file, and returns what QUIC is to see, which is valid until the next call.
func (r *repairer) receive(at netip.AddrPort, p, oob []byte, now time.Duration) []readyPacket {
	if len(p) <= numberedSize {
		return nil
	}
	tag := be.Uint32(p[1:])
	f, known := r.source(at, tag)
	switch {
	case f != nil && p[0] == kindReport:
		f.heard(tag, p)
		return nil
	case !known:
		return nil
	}
	switch p[0] {
	case kindNumbered:
		f.order.numbered(be.Uint32(p[5:]), p[numberedSize:], oob, now)
	case kindParity:
		var h parityHead
		shard, err := h.parse(p)
		if err != nil {
			return nil
		}
		f.order.parity(h, shard, now)
	}
	f.tell(tag, now)
	return f.given()
}

// given counts what the orderer has done, notes whether it waits, and returns what it gives out.
func (f *repairFlow) given() []readyPacket {
	o, r := f.order, f.owner
	if o.repaired != f.counted.repaired || o.lost != f.counted.lost {
		f.count.add(0, 0, o.repaired-f.counted.repaired, o.lost-f.counted.lost)
		f.counted = o.report
	}
	at := -1
	for i, g := range r.open {
		if g == f {
			at = i
		}
	}
	switch {
	case o.open && at < 0:
		r.open = append(r.open, f)
	case !o.open && at >= 0:
		r.open = append(r.open[:at], r.open[at+1:]...)
	}
	return o.ready
}

// due returns when the first gap is to be given up, and whether there is any.
func (r *repairer) due() (at time.Duration, any bool) {
	for _, f := range r.open {
		if end := f.order.gap + f.order.hold; !any || end < at {
			at, any = end, true
		}
	}
	return at, any
}

// expired gives up one gap that has been open for too long, and returns what is behind it and from where that came.
func (r *repairer) expired(now time.Duration) (net.Addr, []readyPacket) {
	for _, f := range r.open {
		if now-f.order.gap >= f.order.hold {
			f.order.expired(now)
			return f.to, f.given()
		}
	}
	return nil, nil
}

// tell reports to the sender of packets with that tag from time to time.
func (f *repairFlow) tell(tag uint32, now time.Duration) {
	o := f.order
	if o.top-f.reported.top < reportEvery && now-f.reportedAt < reportPause {
		return
	}
	f.reported, f.reportedAt = o.report, now
	f.owner.write(o.append(make([]byte, 0, reportSize), tag), reportSize, nil, f.to) // a loss like any other
}

// heard takes a report of the peer.
func (f *repairFlow) heard(tag uint32, b []byte) {
	var r report
	if r.parse(b) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.members, func(m *repairMember) bool { return m.out == tag }) {
		return
	}
	if !f.met {
		f.met, f.tag = true, tag
		if f.long {
			f.begin()
		}
	}
	if r.top == 0 && r.isolated == 0 && r.runs == 0 {
		if r.lost == 0 {
			f.greet(1)
		}
		return
	}
	if f.numbers == nil || f.numbers.tag != tag {
		return // nothing was numbered like that
	}
	f.unheard = 0
	f.meter.take(r)
	if f.meter.seen >= enough && 2*f.meter.missed > f.meter.seen {
		f.broken, f.on = true, false // most of them, the long ones
		return
	}
	f.numbers.parities = redundancy(f.meter.rate)
	if f.meter.clean == 0 {
		f.rest = firstRest
	} else if f.meter.clean >= cleanPackets && f.on {
		f.on, f.meter.clean = false, 0
		f.lost, f.wait = f.losses(), f.rest
		f.rest = min(2*f.rest, lastRest)
	}
}
