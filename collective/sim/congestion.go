package sim

import (
	"math"

	"github.com/ringtree/ringtree/collective/schedule"
)

// A traffic is the messages of a run that share the wires of a network.
//
// Messages of one lane from one rank to another go one after the other, as on an engine's link; all others at once. Rates
// are worked out anew for all when enough transfers have begun or ended since (see [Refresh]); one that begins in between has what is
// left of its wires until then.
type traffic struct {
	*fabric
	conn    []int32 // by entry of a receive: its connection
	busy    []int32 // by connection: the transfer at its end, or -1
	fresh   []int32 // transfers that have begun at this time
	changes int     // since the latest solution
	every   float64 // part of the active transfers; below 0: by their number
}

func newTraffic(f *fabric, fleet *schedule.Fleet, every float64) *traffic {
	t := &traffic{fabric: f, conn: make([]int32, fleet.Entries()), every: every}
	// Entries of a lane with the same peer are one connection.
	seen, of := make([]int64, fleet.Ranks()), make([]int32, fleet.Ranks())
	stamp, conns := int64(0), int32(0)
	for r := range int32(fleet.Ranks()) {
		for l := schedule.Lane(1); int(l) < fleet.Lanes(); l += 2 {
			stamp++
			lc, base := fleet.Lane(r, l)
			for i := range lc.Codes {
				e := base + uint32(i)
				p := fleet.Peer(e)
				if seen[p] != stamp {
					seen[p], of[p] = stamp, conns
					conns++
				}
				t.conn[e] = of[p]
			}
		}
	}
	t.busy = make([]int32, conns)
	for c := range t.busy {
		t.busy[c] = -1
	}
	return t
}

// Rates are worked out anew when changes·perChange reaches the square of the number of active flows: so at every change for up to
// 181 of them, then ever more rarely, so that the work for each stays the same, but never less often than after two changes for each
// of them.
const (
	perChange = 1 << 15
	atMost    = 2
)

// stale reports whether rates are to be worked out anew.
func (t *traffic) stale() bool {
	n := float64(len(t.active))
	every := t.every
	if every < 0 {
		every = min(n*float64(t.k*t.k)/perChange, atMost)
	}
	return float64(t.changes) >= every*n
}

// enter puts a message on its way at a time that has come or will.
func (x *stepper) enter(from int32, bytes int64, e *event, op, slice int32, leaves Time) {
	t := x.traffic
	slot := t.slot()
	m := &t.transfers[slot]
	if x.rounds == nil {
		if !t.route(slot, x.f.Of(from), x.f.Of(e.rank)) {
			t.free = append(t.free, slot)
			x.lost++
			return
		}
		m.most = x.bounded(m, from, x.m.classes[e.class].most(x.cfg))
	}
	m.at, m.next = -1, -1
	m.from, m.bytes, m.op, m.slice, m.began = from, bytes, op, slice, leaves
	m.e.set(e)
	c := t.conn[e.entry]
	before := t.busy[c]
	t.busy[c] = slot
	switch {
	case before >= 0:
		t.transfers[before].next = slot
	case x.rounds != nil:
		x.rounds.starts = append(x.rounds.starts, slot)
	default:
		x.depart(slot, leaves)
	}
}

// most returns what a transfer over a link of the class can have, whatever the wires have, in bytes a picosecond: what its cost says, if
// that is not the graph's.
func (c *class) most(cfg *config) float64 {
	if cfg.override == nil || c.cost.PerByte == 0 {
		return math.Inf(1)
	}
	return (1 << 20) / float64(c.cost.PerByte)
}

// bounded returns what a transfer can have at most: what its cost says, if anything, and a part of its narrowest wire where the
// sender is slow.
func (x *stepper) bounded(m *transfer, from int32, most float64) float64 {
	if x.cfg.slow == nil {
		return most
	}
	f, ok := x.cfg.slow[x.f.Of(from)]
	if !ok {
		return most
	}
	for _, w := range m.wires {
		most = min(most, x.traffic.wires[max(w, ^w)].rate)
	}
	return most * (1 << 16) / float64(f)
}

// depart begins a transfer, now or later.
func (x *stepper) depart(slot int32, at Time) {
	m := &x.traffic.transfers[slot]
	m.began = max(m.began, at)
	if m.began > x.q.now {
		*x.q.room(m.began) = event{at: m.began, rank: m.from, entry: uint32(slot), kind: departs, rec: -1}
		return
	}
	x.begin(slot)
}

// begin begins a transfer now.
func (x *stepper) begin(slot int32) {
	t := x.traffic
	m := &t.transfers[slot]
	m.left, m.since, m.due, m.rate = float64(m.bytes), x.q.now, -1, 0
	if m.bytes == 0 || len(m.wires) == 0 && math.IsInf(m.most, 1) {
		x.arrive(slot)
		return
	}
	t.add(slot)
	t.fresh = append(t.fresh, slot)
	t.changes++
}

// share gives those that have begun at this time their rates, and everybody anew where that is due, or nothing else goes on.
func (x *stepper) share() {
	t := x.traffic
	if len(t.active) == 0 {
		t.fresh, t.changes = t.fresh[:0], 0
		return
	}
	if t.changes > 0 && t.stale() || x.q.n == 0 {
		for _, slot := range t.active {
			t.transfers[slot].move(x.q.now)
		}
		t.solve()
		t.alone()
		t.changes = 0
		t.fresh = t.fresh[:0]
		for _, slot := range t.active {
			x.schedule(slot)
		}
		return
	}
	for _, slot := range t.fresh {
		t.join(slot)
		x.schedule(slot)
	}
	t.fresh = t.fresh[:0]
	if x.q.n == 0 {
		t.changes = max(t.changes, 1)
		x.share()
	}
}

// move takes away what has been sent by now.
func (m *transfer) move(now Time) {
	m.left -= float64(m.rate * float64(now-m.since))
	m.since = now
}

// ends returns when a transfer ends at its rate of now.
func (m *transfer) ends() Time {
	return m.since + max(Time(math.Round(m.left/m.rate)), 0)
}

// schedule puts the end of a transfer into the queue, unless it will be asked for no later anyway.
func (x *stepper) schedule(slot int32) {
	m := &x.traffic.transfers[slot]
	if m.rate == 0 {
		return
	}
	if at := m.ends(); m.due < 0 || at < m.due {
		m.due = at
		*x.q.room(at) = event{at: at, rank: m.from, entry: uint32(slot), kind: drained, rec: -1}
	}
}

// ended is asked at the time when a transfer may have ended.
func (x *stepper) ended(slot int32) {
	t := x.traffic
	m := &t.transfers[slot]
	if m.at < 0 || m.due != x.q.now {
		return
	}
	if m.ends() > x.q.now { // it has become slower
		m.due = -1
		x.schedule(slot)
		return
	}
	t.remove(slot)
	t.changes++
	x.arrive(slot)
}

// arrive is the end of a transfer, whose last byte left now. The next one on its connection follows.
func (x *stepper) arrive(slot int32) {
	t := x.traffic
	next := x.deliver(slot, x.q.now)
	if m := &t.transfers[slot]; next >= 0 {
		x.depart(next, x.q.now+x.m.classes[m.e.class].cost.Gap)
	}
	t.free = append(t.free, slot)
}

// deliver takes a transfer whose last byte left at a time to its receiver, and returns the one that follows on its connection,
// or -1.
func (x *stepper) deliver(slot int32, end Time) (next int32) {
	t := x.traffic
	m := &t.transfers[slot]
	k := &x.m.classes[m.e.class].cost
	e := m.e
	took := end - m.began
	e.at = end + k.Latency
	if x.noise != nil {
		e.at += x.noise.of(x.f.Of(e.rank), schedule.Lane(e.lane), m.op, m.slice, k.Latency+took)
	}
	e.kind = delivered
	x.actors[m.from].busy[k.port()] += took
	if e.rec >= 0 {
		r := &x.log.records[e.rec]
		r.Leave, r.Arrive = m.began, e.at
	}
	x.push(&e)
	return t.follows(m)
}

// follows returns the transfer that follows another, which is over, on its connection, or -1.
func (t *traffic) follows(m *transfer) int32 {
	if m.next < 0 {
		t.busy[t.conn[m.e.entry]] = -1
	}
	return m.next
}
