package sim

import (
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// InStep is the [Result.Method] of runs by rounds whose ranks all do the same in every round.
const InStep = "transfers, by rounds in step"

// A lockstep is a run by rounds of ranks that all do the same, if with other peers: in a round each hears from one rank and sends to one, at
// most. Then it is known before any time is which messages go together. So what the rates of all rounds are is worked out first, on several
// processors, and after that when each rank does what, in a few sums a rank and round. Results are those of any other run by rounds.
type lockstep struct {
	x     *stepper
	each  uint32 // entries of a rank
	beats []beat
	order [][]int32 // by beat: ranks as they send; nil for beats that are like others
	done  []*solved // by beat, likewise
}

// A beat is what every rank does in a round.
type beat struct {
	takes, sends deed
	like         int // the first beat that has the same transfers
}

// A deed is a step of every rank, if there is one.
type deed struct {
	there   bool
	eager   bool
	lane    schedule.Lane
	entry   uint32 // counted from the rank's first
	to      uint32 // of a send: the receiver's
	bytes   int64
	reduces Time // of a receive
}

// A solved is the rates of the transfers of a beat, by sender, and what wires carried.
type solved struct {
	rate  []float64
	wires []topology.WireID
	load  []float64
}

// maxBeats bounds the rounds of a lockstep.
const maxBeats = 1 << 10

// newLockstep returns nil for what has to be run rank by rank.
func newLockstep(x *stepper) *lockstep {
	f := x.f
	if x.cfg.disturbed() || x.cfg.records > 0 || x.asked != nil || x.size.chunk < 0 || f.Programs() != 1 {
		return nil
	}
	l := &lockstep{x: x, each: uint32(f.Entries() / f.Ranks())}
	known := l.rehearse()
	f.Reset()
	if !known || !l.match() {
		return nil
	}
	return l
}

// rehearse goes through the rounds of one rank without times, as every rank does.
func (l *lockstep) rehearse() bool {
	f := l.x.f
	m := f.Machine(0)
	for lane := range schedule.Lane(f.Lanes()) {
		if lc, _ := m.Lane(lane); !lane.In() && len(lc.Wakes) > 0 {
			return false // it matters when sends are over
		}
	}
	came := make([]uint32, l.each)
	var b beat
	steps := int64(0)
	for lane := range schedule.Lane(f.Lanes()) {
		if !l.wake(&m, &b, lane, came, &steps) {
			return false
		}
	}
	for l.beats = append(l.beats, b); b.sends.there; l.beats = append(l.beats, b) {
		came[b.sends.to]++
		lane := b.sends.lane.Opposite()
		b = beat{}
		if !l.wake(&m, &b, lane, came, &steps) || len(l.beats) == maxBeats {
			return false
		}
	}
	return steps*int64(f.Ranks()) == f.Steps()
}

// wake runs a lane, and those that wait for it, in the order in which a [stepper] does.
func (l *lockstep) wake(m *schedule.FleetMachine, b *beat, lane schedule.Lane, came []uint32, steps *int64) bool {
	stack := []schedule.Lane{lane}
	for len(stack) > 0 {
		lane := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		lc, base := m.Lane(lane)
		moved, more := false, false
		for !more {
			st, c, ok := m.Ready(lane)
			if !ok {
				break
			}
			d := deed{there: true, eager: c.Eager, lane: lane, entry: base + uint32(st.Code)}
			d.bytes = l.x.size.of(l.x.f, 0, lane, c, d.entry, st.Op, st.Slice)
			switch {
			case c.Kind == schedule.Copy || st.Width != 1:
				return false
			case c.Kind == schedule.Send:
				to, first := m.Lane(lane.Opposite())
				code, _, found := to.Find(c.Match + st.Op)
				if !found || b.sends.there {
					return false
				}
				if o := &to.Codes[code]; o.Kind == schedule.Send || o.Slices != c.Slices || o.N != c.N {
					return false
				}
				d.to = first + uint32(code)
				b.sends = d
			default:
				if came[d.entry] <= uint32(st.Op*c.Slices+st.Slice) {
					ok = false
					break
				}
				if b.takes.there || b.sends.there {
					return false
				}
				if c.Kind == schedule.RecvReduce {
					d.reduces = l.x.m.reduction(d.bytes, 1)
				}
				b.takes = d
				more = len(lc.Wakes) > 0 // first what this makes possible
			}
			if !ok {
				break
			}
			m.Pass(lane)
			*steps++
			moved = true
		}
		if more {
			stack = append(stack, lane)
		}
		for i := len(lc.Wakes) - 1; moved && i >= 0; i-- {
			if lc.Wakes[i] != lane {
				stack = append(stack, lc.Wakes[i])
			}
		}
	}
	return true
}

// peer returns whom a rank sends to in a beat.
func (l *lockstep) peer(b *beat, r int32) int32 { return l.x.f.Peer(uint32(r)*l.each + b.sends.entry) }

// match finds the beats that have the same transfers, and the order of ranks in the others. It reports false where a receiver expects somebody
// else: then no rank is sent to twice in a beat.
func (l *lockstep) match() bool {
	f, n := l.x.f, l.x.f.Ranks()
	keys := make([]uint64, len(l.beats))
	var bad atomic.Bool
	parts := min(partsOf(n, partRanks), len(l.beats))
	inParts(parts, func(part int) {
		for k := part; k < len(l.beats); k += parts {
			b := &l.beats[k]
			keys[k] = uint64(b.sends.bytes)
			for r := int32(0); int(r) < n && b.sends.there; r++ {
				p := l.peer(b, r)
				if f.Peer(uint32(p)*l.each+b.sends.to) != r {
					bad.Store(true)
					return
				}
				keys[k] += mix(uint64(r)<<32 | uint64(uint32(p)))
			}
		}
	})
	if bad.Load() {
		return false
	}
	now := make([]int32, n)
	for i := range now {
		now[i] = int32(i)
	}
	l.order, l.done = make([][]int32, len(l.beats)), make([]*solved, len(l.beats))
	for k := range l.beats {
		b := &l.beats[k]
		if b.like = k; !b.sends.there {
			continue
		}
		if j := slices.Index(keys[:k], keys[k]); j >= 0 && l.same(b, &l.beats[j]) {
			b.like = j
		} else {
			l.order[k] = slices.Clone(now)
		}
		for i, r := range now { // what comes is handled in the order in which it was sent
			now[i] = l.peer(b, r)
		}
	}
	return true
}

// same reports whether two beats have the same transfers.
func (l *lockstep) same(a, b *beat) bool {
	if !b.sends.there || a.sends.bytes != b.sends.bytes {
		return false
	}
	for r := range int32(l.x.f.Ranks()) {
		if l.peer(a, r) != l.peer(b, r) {
			return false
		}
	}
	return true
}

// stepFlows is how many flows of a beat are worth a second beat beside it: each takes memory of its own.
const stepFlows = 1 << 18

// run runs to the end. It reports false, and has run nothing, where ranks have no way to each other.
func (l *lockstep) run() bool {
	if !l.solve() {
		return false
	}
	l.times()
	x := l.x
	for k := range l.beats {
		if s := l.done[l.beats[k].like]; s != nil {
			for i, w := range s.wires {
				x.rounds.load[w] += s.load[i]
			}
		}
	}
	x.left = 0
	return true
}

// solve works out the rates of all beats.
func (l *lockstep) solve() bool {
	var todo []int
	for k, o := range l.order {
		if o != nil {
			todo = append(todo, k)
		}
	}
	procs := runtime.GOMAXPROCS(0)
	at := max(min(procs, len(todo), 2*stepFlows/(l.x.f.Ranks()*l.x.traffic.k)), 1) // beats at a time
	fabrics := []*fabric{l.x.traffic.fabric}
	for len(fabrics) < at {
		fabrics = append(fabrics, fabrics[0].another())
	}
	var next atomic.Int32
	var gone atomic.Bool
	inParts(at, func(part int) {
		var routes routes
		for !gone.Load() {
			i := int(next.Add(1)) - 1
			if i >= len(todo) {
				return
			}
			s := l.rates(fabrics[part], &routes, todo[i], max(procs/at, 1))
			if s == nil {
				gone.Store(true)
				return
			}
			l.done[todo[i]] = s
			if part == 0 && l.x.cfg.progress != nil {
				l.x.cfg.progress(float64(i+1) / float64(len(todo)))
			}
		}
	})
	return !gone.Load()
}

// rates works out those of a beat, or returns nil where a rank has no way to another.
func (l *lockstep) rates(f *fabric, routes *routes, k, parts int) *solved {
	x, b, order := l.x, &l.beats[k], l.order[k]
	if more := len(order) - len(f.transfers); more > 0 {
		f.transfers = append(f.transfers, make([]transfer, more)...)
	}
	slots := make([]int32, len(order))
	for i, r := range order {
		slots[i] = int32(i)
		m := &f.transfers[i]
		m.at, m.next, m.from, m.bytes = -1, -1, r, b.sends.bytes
		m.e.rank, m.e.class = l.peer(b, r), x.class[uint32(r)*l.each+b.sends.entry]
	}
	x.routeAll(f, routes, slots, parts)
	for _, slot := range slots {
		if f.transfers[slot].at == gone {
			return nil
		}
	}
	f.together(slots)
	s := &solved{rate: make([]float64, len(order))}
	for i, r := range order {
		s.rate[r] = f.transfers[i].rate
	}
	s.wires, s.load = f.unload(nil, nil)
	return s
}

// times works out when each rank does what.
func (l *lockstep) times() {
	x, n := l.x, l.x.f.Ranks()
	at, then := make([]Time, n), make([]Time, n) // by rank: when what it hears of in this round, and in the next one, is there
	taken := make([]Time, n)                     // by rank: when its last message was taken
	parts := partsOf(n, partRanks)
	sent := make([][maxClasses]int64, parts)
	for k := range l.beats {
		b := &l.beats[k]
		var rate []float64
		if b.sends.there {
			rate = l.done[b.like].rate
		}
		inParts(parts, func(part int) {
			for r := int32(part * n / parts); int(r) < (part+1)*n/parts; r++ {
				a := &x.actors[r]
				a.cpu = max(a.cpu, at[r])
				if d := &b.takes; d.there {
					e := uint32(r)*l.each + d.entry
					a.cpu += x.costs[x.class[e]].Overhead + d.reduces
					a.end = max(a.end, a.cpu)
					from := x.f.Peer(e)
					taken[from] = max(taken[from], a.cpu)
				}
				d := &b.sends
				if !d.there {
					continue
				}
				class := x.class[uint32(r)*l.each+d.entry]
				sent[part][class]++
				c := &x.costs[class]
				a.cpu += c.Overhead
				if d.eager {
					a.end = max(a.end, a.cpu)
				}
				port := c.port()
				leaves := max(a.cpu, a.out[port])
				a.out[port] = leaves + c.Gap
				took := max(Time(math.Round(float64(d.bytes)/rate[r])), 0)
				a.busy[port] += took
				then[l.peer(b, r)] = leaves + took + c.Latency
			}
		})
		for part := range sent {
			for class := range x.sent {
				x.sent[class].Messages += sent[part][class]
				x.sent[class].Bytes += sent[part][class] * b.sends.bytes
			}
			clear(sent[part][:])
		}
		at, then = then, at
	}
	for r := range x.actors {
		x.actors[r].end = max(x.actors[r].end, taken[r])
	}
}
