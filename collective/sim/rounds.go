package sim

import (
	"math"

	"github.com/ringtree/ringtree/topology"
)

// rounds are what a run by rounds has instead of a queue: the messages of a round share the wires of a network as if all of them began
// and ended together, so rates are worked out once a round and not once for every change. Times are not rounded to rounds: a message
// leaves when its sender is ready and its connection is free.
type rounds struct {
	events []event // of the next round
	spare  []event
	starts []int32 // transfers of this round
	held   []int32 // of the next one: their connections are busy until then
	known  map[uint64]*outcome
	kept   int       // bytes in known
	load   []float64 // by wire: bytes of the rounds that are over

	// Of the transfers of a round: their wires, by part, and the rates of their flows.
	wires [][]topology.WireID
	ends  []int32 // by transfer, in wires of its part
	flows []float64
}

// An outcome is the rates of a round, kept because later rounds often have the same transfers: halving-doubling goes back the way that it
// came.
type outcome struct {
	at    []int32 // by sender: which transfer is its, or -1
	to    []int32 // by transfer
	bytes []int64
	rate  []float64
	wires []topology.WireID // those that carried something,
	load  []float64         // and how many bytes
}

// keepOutcomes bounds the bytes of the outcomes that are kept.
const keepOutcomes = 128 << 20

func (x *stepper) byRounds() {
	r := x.rounds
	r.load = make([]float64, len(x.traffic.wires))
	done := 0
	for x.err == nil && (len(r.events) > 0 || len(r.held) > 0) {
		x.batch = r.events
		r.events = r.spare[:0]
		r.starts, r.held = append(r.starts[:0], r.held...), r.held[:0]
		if len(x.batch) > 0 {
			x.together()
		}
		r.spare = x.batch
		x.round()
		if done += len(x.batch); done > 1<<16 && x.cfg.progress != nil {
			done = 0
			x.cfg.progress(1 - float64(x.left)/float64(x.f.Steps()))
		}
	}
	for w, bytes := range r.load {
		x.traffic.wires[w].load = bytes
	}
}

// gone is the place of a transfer that has no way.
const gone = -2

// round runs the transfers of a round.
func (x *stepper) round() {
	r, t := x.rounds, x.traffic
	if len(r.starts) == 0 {
		return
	}
	key := r.key(t)
	if o := r.known[key]; o != nil && o.repeat(t, r.starts) {
		for i, w := range o.wires {
			r.load[w] += o.load[i]
		}
	} else {
		x.solveRound(key)
	}
	for _, slot := range r.starts {
		m := &t.transfers[slot]
		var next int32
		end := m.began
		if m.at == gone {
			x.lost++
			next = t.follows(m)
		} else {
			m.left, m.since = float64(m.bytes), m.began
			end = m.ends()
			x.q.now = max(x.q.now, end)
			next = x.deliver(slot, end)
		}
		if next >= 0 {
			after := &t.transfers[next]
			after.began = max(after.began, end+x.costs[m.e.class].Gap)
			r.held = append(r.held, next)
		}
		t.free = append(t.free, slot)
	}
}

// key returns a hash of a round: the same for the same transfers in any order.
func (r *rounds) key(t *traffic) uint64 {
	key := uint64(len(r.starts))
	for _, slot := range r.starts {
		m := &t.transfers[slot]
		key += mix(uint64(uint32(m.from))<<32 | uint64(uint32(m.e.rank)))
	}
	return key
}

// solveRound routes the transfers of a round, and gives them their rates; that of one that takes no time is infinite.
func (x *stepper) solveRound(key uint64) {
	r, t := x.rounds, x.traffic
	x.routeRound()
	for _, slot := range r.starts {
		m := &t.transfers[slot]
		if m.at == gone {
			continue
		}
		if m.rate = math.Inf(1); m.bytes > 0 && (len(m.wires) > 0 || !math.IsInf(m.most, 1)) {
			t.add(slot)
		}
	}
	if len(t.active) > 0 {
		t.solve()
	}
	for _, slot := range t.active {
		m := &t.transfers[slot]
		t.leave(m)
		m.at = -1
	}
	t.active = t.active[:0]
	used := 0
	for w := range t.wires {
		if t.wires[w].load != 0 {
			used++
		}
	}
	o := r.keep(x, key, used)
	for w := range t.wires {
		if bytes := t.wires[w].load; bytes != 0 {
			r.load[w] += bytes
			if o != nil {
				o.wires, o.load = append(o.wires, topology.WireID(w)), append(o.load, bytes)
			}
			t.wires[w].load = 0
		}
	}
}

// routePart is how many transfers are worth a goroutine of their own, while they are routed.
const routePart = 1 << 10

// routeRound finds the wires of the transfers of a round, all processors at once.
func (x *stepper) routeRound() {
	r, t := x.rounds, x.traffic
	n := len(r.starts)
	parts := partsOf(n, routePart)
	for len(r.wires) < parts {
		r.wires = append(r.wires, nil)
	}
	r.ends, r.flows = grown(r.ends, n), grown(r.flows, n*t.k)
	inParts(parts, func(part int) {
		wires := r.wires[part][:0]
		lo, hi := part*n/parts, (part+1)*n/parts
		for i := lo; i < hi; i++ {
			m := &t.transfers[r.starts[i]]
			var ok bool
			if wires, ok = t.trace(wires, x.f.Of(m.from), x.f.Of(m.e.rank)); !ok {
				m.at = gone
			}
			r.ends[i] = int32(len(wires))
		}
		r.wires[part] = wires
		begin := int32(0)
		for i := lo; i < hi; i++ {
			m, end := &t.transfers[r.starts[i]], r.ends[i]
			m.wires, m.flows = wires[begin:end:end], r.flows[i*t.k:(i+1)*t.k:(i+1)*t.k]
			m.most = x.bounded(m, m.from, x.m.classes[m.e.class].most(x.cfg))
			begin = end
		}
	})
}

// keep keeps the outcome of a round, with room for so many wires, or returns nil where there is no room, a rank has two transfers, or one
// has no way or may have less than its wires.
func (r *rounds) keep(x *stepper, key uint64, used int) *outcome {
	t, n, ranks := x.traffic, len(r.starts), x.f.Ranks()
	size := 4*ranks + 20*n + 12*used
	if x.cfg.slow != nil || r.known[key] != nil || r.kept+size > keepOutcomes {
		return nil
	}
	o := &outcome{at: make([]int32, ranks), to: make([]int32, n), bytes: make([]int64, n), rate: make([]float64, n)}
	for i := range o.at {
		o.at[i] = -1
	}
	for i, slot := range r.starts {
		m := &t.transfers[slot]
		if m.at == gone || o.at[m.from] >= 0 {
			return nil
		}
		o.at[m.from], o.to[i], o.bytes[i], o.rate[i] = int32(i), m.e.rank, m.bytes, m.rate
	}
	if r.known == nil {
		r.known = make(map[uint64]*outcome)
	}
	r.known[key] = o
	r.kept += size
	o.wires, o.load = make([]topology.WireID, 0, used), make([]float64, 0, used)
	return o
}

// repeat gives transfers the rates that they had, if they are those of the outcome. What they may have at most is then what it was: it is
// that of the link between their ranks.
func (o *outcome) repeat(t *traffic, starts []int32) bool {
	if len(starts) != len(o.to) {
		return false
	}
	for _, slot := range starts {
		m := &t.transfers[slot]
		i := o.at[m.from]
		if i < 0 || o.to[i] != m.e.rank || o.bytes[i] != m.bytes {
			return false
		}
		m.rate = o.rate[i]
	}
	return true
}
