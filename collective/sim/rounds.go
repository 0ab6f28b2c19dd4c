package sim

import (
	"math"
	"slices"

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
	inStep bool      // it was a lockstep

	routes routes
	// What the wires carried in a round.
	wires []topology.WireID
	bytes []float64
}

// routes are those of the transfers of a round.
type routes struct {
	wires [][]topology.WireID // by part
	ends  []int32             // by transfer, in wires of its part
	flows []float64           // rates
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
	if l := newLockstep(x); l != nil && l.run() {
		r.events, r.inStep = nil, true
	}
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
	x.routeAll(t.fabric, &r.routes, r.starts, partsOf(len(r.starts), routePart))
	t.together(r.starts)
	r.wires, r.bytes = t.unload(r.wires[:0], r.bytes[:0])
	for i, w := range r.wires {
		r.load[w] += r.bytes[i]
	}
	r.keep(x, key)
}

// together gives transfers the rates that they have when all of them are under way at once, and takes them off again with all that they carry;
// the rate of one that takes no time is infinite.
func (f *fabric) together(slots []int32) {
	for _, slot := range slots {
		m := &f.transfers[slot]
		if m.at == gone {
			continue
		}
		if m.rate = math.Inf(1); m.bytes > 0 && (len(m.wires) > 0 || !math.IsInf(m.most, 1)) {
			f.add(slot)
		}
	}
	if len(f.active) > 0 {
		f.solve()
	}
	for _, slot := range f.active {
		m := &f.transfers[slot]
		f.leave(m)
		m.at = -1
	}
	f.active = f.active[:0]
}

// unload appends which wires have carried something, and how many bytes, and takes that from them.
func (f *fabric) unload(wires []topology.WireID, bytes []float64) ([]topology.WireID, []float64) {
	used := 0
	for w := range f.wires {
		if f.wires[w].load != 0 {
			used++
		}
	}
	wires, bytes = slices.Grow(wires, used), slices.Grow(bytes, used)
	for w := range f.wires {
		if x := &f.wires[w]; x.load != 0 {
			wires, bytes = append(wires, topology.WireID(w)), append(bytes, x.load)
			x.load = 0
		}
	}
	return wires, bytes
}

// another returns a fabric of the same wires without transfers.
func (f *fabric) another() *fabric {
	return &fabric{net: f.net, choice: f.choice, k: f.k, wires: slices.Clone(f.wires), layer: f.layer, capacity: f.capacity}
}

// routePart is how many transfers are worth a goroutine of their own, while they are routed.
const routePart = 1 << 10

// routeAll finds the wires of transfers, in so many parts at once.
func (x *stepper) routeAll(f *fabric, r *routes, slots []int32, parts int) {
	n := len(slots)
	for len(r.wires) < parts {
		r.wires = append(r.wires, nil)
	}
	r.ends, r.flows = grown(r.ends, n), grown(r.flows, n*f.k)
	inParts(parts, func(part int) {
		wires := r.wires[part][:0]
		lo, hi := part*n/parts, (part+1)*n/parts
		for i := lo; i < hi; i++ {
			m := &f.transfers[slots[i]]
			var ok bool
			if wires, ok = f.trace(wires, x.f.Of(m.from), x.f.Of(m.e.rank)); !ok {
				m.at = gone
			}
			r.ends[i] = int32(len(wires))
		}
		r.wires[part] = wires
		begin := int32(0)
		for i := lo; i < hi; i++ {
			m, end := &f.transfers[slots[i]], r.ends[i]
			m.wires, m.flows = wires[begin:end:end], r.flows[i*f.k:(i+1)*f.k:(i+1)*f.k]
			m.most = x.bounded(m, m.from, x.m.classes[m.e.class].most(x.cfg))
			begin = end
		}
	})
}

// keep keeps the outcome of a round, unless there is no room, a rank has two transfers, or one has no way or may have less than its
// wires.
func (r *rounds) keep(x *stepper, key uint64) {
	t, n, ranks := x.traffic, len(r.starts), x.f.Ranks()
	size := 4*ranks + 20*n + 12*len(r.wires)
	if x.cfg.slow != nil || r.known[key] != nil || r.kept+size > keepOutcomes {
		return
	}
	o := &outcome{at: make([]int32, ranks), to: make([]int32, n), bytes: make([]int64, n), rate: make([]float64, n)}
	for i := range o.at {
		o.at[i] = -1
	}
	for i, slot := range r.starts {
		m := &t.transfers[slot]
		if m.at == gone || o.at[m.from] >= 0 {
			return
		}
		o.at[m.from], o.to[i], o.bytes[i], o.rate[i] = int32(i), m.e.rank, m.bytes, m.rate
	}
	if r.known == nil {
		r.known = make(map[uint64]*outcome)
	}
	r.known[key] = o
	r.kept += size
	o.wires, o.load = slices.Clone(r.wires), slices.Clone(r.bytes)
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
