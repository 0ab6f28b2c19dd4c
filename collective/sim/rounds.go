package sim

import "math"

// rounds are what a run by rounds has instead of a queue: the messages of a round share the wires of a network as if all of them began
// and ended together, so rates are worked out once a round and not once for every change. Times are not rounded to rounds: a message
// leaves when its sender is ready and its connection is free.
type rounds struct {
	events []event // of the next round
	spare  []event
	starts []int32 // transfers of this round
	held   []int32 // of the next one: their connections are busy until then
	known  map[uint64]*outcome
	kept   int // bytes in known
}

// An outcome is the rates of a round, kept because later rounds often have the same transfers: halving-doubling goes back the way that it
// came.
type outcome struct {
	at   []int32 // by sender: which transfer is its, or -1
	to   []int32 // by transfer
	most []float64
	rate []float64
	part []float32 // by transfer and flow: its part of the rate
}

// keepOutcomes bounds the bytes of the outcomes that are kept.
const keepOutcomes = 96 << 20

func (x *stepper) byRounds() {
	r := x.rounds
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
}

// round runs the transfers of a round.
func (x *stepper) round() {
	r, t := x.rounds, x.traffic
	for _, slot := range r.starts {
		if m := &t.transfers[slot]; m.bytes > 0 && (len(m.wires) > 0 || !math.IsInf(m.most, 1)) {
			m.at = int32(len(t.active))
			t.active = append(t.active, slot)
		}
	}
	one := r.share(t, x.f.Ranks())
	for _, slot := range r.starts {
		m := &t.transfers[slot]
		end := m.began
		if m.at >= 0 {
			m.left, m.since = float64(m.bytes), m.began
			end = m.ends()
			t.leave(m, one)
			m.at = -1
		}
		x.q.now = max(x.q.now, end)
		if next := x.deliver(slot, end); next >= 0 {
			after := &t.transfers[next]
			after.began = max(after.began, end+x.m.classes[m.e.class].cost.Gap)
			r.held = append(r.held, next)
		}
		t.free = append(t.free, slot)
	}
	t.active = t.active[:0]
}

// share gives the active transfers their rates, those of a known outcome if there is one. It returns how often each of them counts on its
// wires.
func (r *rounds) share(t *traffic, ranks int) int32 {
	if len(t.active) == 0 {
		return 0
	}
	// The same for the same transfers in any order.
	key := uint64(len(t.active))
	for _, slot := range t.active {
		m := &t.transfers[slot]
		key += mix(uint64(uint32(m.from))<<32 | uint64(uint32(m.e.rank)))
	}
	if o := r.known[key]; o != nil && o.repeat(t) {
		return 0
	}
	for _, slot := range t.active {
		t.enlist(slot)
	}
	t.solve()
	size := 4*ranks + len(t.active)*(20+4*t.k)
	if r.kept+size > keepOutcomes {
		return 1
	}
	if o := newOutcome(t, ranks); o != nil {
		if r.known == nil {
			r.known = make(map[uint64]*outcome)
		}
		r.known[key] = o
		r.kept += size
	}
	return 1
}

// newOutcome keeps the rates of the active transfers, or returns nil where a rank has two of them.
func newOutcome(t *traffic, ranks int) *outcome {
	n := len(t.active)
	o := &outcome{at: make([]int32, ranks), to: make([]int32, n), most: make([]float64, n), rate: make([]float64, n), part: make([]float32, 0, n*t.k)}
	for i := range o.at {
		o.at[i] = -1
	}
	for i, slot := range t.active {
		m := &t.transfers[slot]
		if o.at[m.from] >= 0 {
			return nil
		}
		o.at[m.from], o.to[i], o.most[i], o.rate[i] = int32(i), m.e.rank, m.most, m.rate
		for _, f := range m.flows {
			o.part = append(o.part, float32(f/m.rate))
		}
	}
	return o
}

// repeat gives the active transfers the rates that they had, if they are those of the outcome.
func (o *outcome) repeat(t *traffic) bool {
	if len(t.active) != len(o.to) {
		return false
	}
	for _, slot := range t.active {
		m := &t.transfers[slot]
		if i := o.at[m.from]; i < 0 || o.to[i] != m.e.rank || o.most[i] != m.most {
			return false
		}
	}
	for _, slot := range t.active {
		m := &t.transfers[slot]
		i := int(o.at[m.from])
		m.rate = o.rate[i]
		for k := range m.flows {
			m.flows[k] = float64(o.part[i*t.k+k]) * m.rate
		}
	}
	return true
}
