package sim

import (
	"fmt"

	"github.com/ringtree/ringtree/collective/schedule"
)

// send starts a send.
func (x *stepper) send(m *schedule.FleetMachine, r int32, l schedule.Lane, st schedule.FleetStep, c *schedule.Code, entry uint32) {
	peer := x.f.Peer(entry)
	lc, base := x.f.Lane(peer, l.Opposite())
	code, _, ok := lc.Find(c.Match + st.Op)
	dst := base + uint32(code)
	if ok {
		o := &lc.Codes[code]
		ok = x.f.Peer(dst) == r && o.Kind != schedule.Send && o.Slices == c.Slices && o.N == c.N
	}
	if !ok {
		x.err = &ScheduleError{
			Rank: x.f.Of(r), Lane: l, Index: int(c.Index + st.Op),
			Reason: fmt.Sprintf("sends to rank %d, whose %v op %d is not its receive", x.f.Of(peer), l.Opposite(), c.Match+st.Op),
		}
		return
	}
	class := x.class[entry]
	k := &x.costs[class]
	bytes := x.size.of(x.f, r, l, c, entry, st.Op, st.Slice)
	a := &x.actors[r]
	if x.cfg.slow == nil {
		a.cpu += k.Overhead
	} else {
		a.cpu += x.slowed(r, k.Overhead)
	}
	many := int64(1)
	if x.weight != nil {
		many = x.weight[r]
	}
	t := &x.sent[class]
	t.Messages += many
	t.Bytes += many * bytes
	if own, _ := m.Lane(l); len(own.Wakes) == 0 {
		m.Pass(l)
		x.left--
	} else if m.Start(l); c.Eager {
		x.complete(m, l)
	}
	if c.Eager {
		a.end = max(a.end, a.cpu)
	}
	e := event{at: a.cpu, rank: peer, entry: dst, rec: -1, lane: uint16(l.Opposite())}
	if x.log != nil {
		level := x.m.classes[class].link.Level
		e.rec = x.log.add(record{
			From: x.f.Of(r), To: x.f.Of(peer), Lane: l, Index: c.Index + st.Op, Slice: st.Slice, Bytes: bytes, Start: a.cpu - k.Overhead,
			Level: level, prev: x.binding[r],
		}, x.cfg.records)
	}
	if x.cfg.lostLinks != nil && x.cfg.lostLinks[link{x.f.Of(r), x.f.Of(peer)}] {
		x.lost++
		return
	}
	if x.size.asks(k, c) {
		e.at, e.kind = a.cpu+k.Latency, asks
		x.push(&e)
		return
	}
	x.transmit(r, class, bytes, &e, c.Match+st.Op, st.Slice)
}

// transmit puts a message for a slice of operation op of its receiver on its way; it may leave at e.at.
func (x *stepper) transmit(from int32, class uint8, bytes int64, e *event, op, slice int32) {
	k := &x.costs[class]
	a, port := &x.actors[from], k.port()
	e.kind, e.class = arrives, class
	if x.traffic != nil {
		leaves := max(e.at, a.out[port])
		a.out[port] = leaves + k.Gap
		x.enter(from, bytes, e, op, slice, leaves)
		return
	}
	e.wire = k.PerByte.Of(bytes)
	if x.cfg.slow != nil {
		e.wire = x.slowed(from, e.wire)
	}
	if x.noise != nil {
		e.wire += x.noise.of(x.f.Of(e.rank), schedule.Lane(e.lane), op, slice, k.Latency+e.wire)
	}
	leaves := e.at
	if x.pairs != nil {
		p := pair{from, e.rank}
		leaves = max(leaves, x.pairs[p])
		x.pairs[p] = leaves + e.wire + k.Gap
	} else {
		leaves = max(leaves, a.out[port])
		a.out[port] = leaves + e.wire + k.Gap
		a.busy[port] += e.wire + k.Gap
	}
	e.at = leaves + e.wire + k.Latency
	if e.rec >= 0 {
		r := &x.log.records[e.rec]
		r.Leave, r.Arrive = leaves, e.at
	}
	x.q.room(e.at).set(e)
}
