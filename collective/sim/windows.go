package sim

import (
	"math"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
)

// ByWindows is the [Result.Method] of runs of every message whose ranks are taken window by window of time, at the level [Classes].
const ByWindows = "messages, by windows"

// windows runs a fleet that nothing disturbs, to the tick as a [stepper] does, with a tenth of the bookkeeping. No message is at its receiver
// sooner than the quickest takes. So what happens to ranks within a window of that length happens to each on its own: a window's
// arrivals need no order but that at each rank, and a rank goes through its part of the window at once (conservative
// synchronisation: K. Chandy and J. Misra, IEEE TSE 1979; B. Lubachevsky, CACM 1989). Where operations of a rank stand, and what
// messages cost, is worked out before.
type windows struct {
	f       *schedule.Fleet
	m       *model
	cfg     *config
	class   []uint8
	size    *sizes
	lanes   int
	progs   []program
	entries []line
	at      []position // by rank and lane
	ranks   []standing
	kinds   []kind
	known   map[kindKey]uint16
	// A group is a range of ranks; quickest is what the quickest message takes, and ahead the quickest between groups.
	group           []uint32 // by rank
	base            []uint32 // by group: its first entry
	inbox           []int32  // by group: its latest arrival of the batch, or -1
	quickest, ahead Time

	q          *calendar
	begin, end Time // of the window
	batch      []arrival
	next       []int32
	touched    []uint32
	fetched    uint64
	// mine are the arrivals of a group in the window, in order: each the time from its begin (32 bits), slot (16) and kind (16).
	mine  []uint64
	stack []schedule.Lane
	steps int64 // done
}

// A program is what ranks that do the same do.
type program struct{ lanes []strand }

// A strand is the operations of a lane.
type strand struct {
	ops   []operation
	wakes []schedule.Lane
	first uint32 // of its entries among the rank's
	ticks int64
}

// An operation is a schedule.Code with what it waits for: that lane wait has done need + perOp·k + perSlice·s steps, for operation k of
// a run and its slice s.
type operation struct {
	kind                  schedule.Kind
	joint                 bool
	eager                 bool
	wait                  int8 // or -1
	width                 int32
	slices                int32
	count                 int32
	need, perOp, perSlice uint32
}

// A line is an entry of the fleet.
type line struct {
	rank    uint32
	arrived uint32
	group   uint32 // of the peer
	slot    uint16 // of the peer's entry in it
	kind    uint16
	lane    uint8
	near    bool // the peer is of the same group
	parted  bool // the operations of the run are received by more than one entry
}

// A position is where a lane is: at a slice of an operation of a run, or of a member of a unit; of a joint reduction, op members
// have been seen to be there.
type position struct {
	code, slice uint16
	op, done    uint32
}

// A standing is what the clock knows of a rank.
type standing struct {
	cpu, end Time
	out, in  [2]Time
	first    uint32 // entry
	prog     uint32 // its program
}

// A kind is what messages are like that have as many elements, in as many slices, on links of one class.
type kind struct {
	wire     [2]Time // of a slice, of a longer slice
	reduce   [2]Time // of two operands
	gap      Time
	latency  Time
	overhead Time
	long     uint32 // how many slices are longer
	port     uint8
}

type kindKey struct {
	elements int64
	slices   int32
	class    uint8
	copies   bool
}

const (
	maxKinds  = 1 << 14
	varies    = math.MaxUint16 // kind of a run whose operations differ in length
	maxWindow = 31             // digits of a window's length
)

// run runs to the end, and reports whether every lane came to its own.
func (x *windows) run() bool {
	x.end = 1 << x.q.shift
	for r, g := range x.group {
		for l := range schedule.Lane(x.lanes) {
			x.wake(uint32(r), l)
		}
		if r+1 == len(x.group) || x.group[r+1] != g {
			x.live(g)
		}
	}
	for told := int64(0); ; {
		window, b, ok := x.q.take(x.batch[:0])
		if !ok {
			break
		}
		x.batch = b
		x.begin = Time(window) << x.q.shift
		x.end = x.begin + 1<<x.q.shift
		if len(x.next) < len(x.batch) {
			x.next = make([]int32, 2*len(x.batch))
		}
		x.touched = x.touched[:0]
		for i := range x.batch {
			g := x.batch[i].group
			if x.inbox[g] < 0 {
				x.touched = append(x.touched, g)
			}
			x.next[i], x.inbox[g] = x.inbox[g], int32(i)
		}
		for k, g := range x.touched {
			x.fetch(k)
			i := x.inbox[g]
			x.inbox[g] = -1
			for ; i >= 0; i = x.next[i] {
				x.mine = append(x.mine, x.key(&x.batch[i]))
			}
			if len(x.mine) > 1 {
				slices.Sort(x.mine)
			}
			x.live(g)
		}
		if x.cfg.progress != nil && x.steps-told > 1<<18 {
			told = x.steps
			x.cfg.progress(float64(x.steps) / float64(x.f.Steps()))
		}
	}
	return x.steps == x.f.Steps()
}

// fetchAhead is how many groups before its turn what a group needs is asked for.
const fetchAhead = 16

// fetch reads what the groups need whose turn comes soon, so that it is on its way from memory while others are run: of one whose turn
// is far off the entries, and of one that is nearer what they lead to.
func (x *windows) fetch(k int) {
	sum := x.fetched
	if far := k + 2*fetchAhead; far < len(x.touched) {
		g := x.touched[far]
		base := x.base[g]
		for i := x.inbox[g]; i >= 0; i = x.next[i] {
			sum += uint64(x.entries[base+uint32(x.batch[i].slot)].rank)
		}
	}
	if near := k + fetchAhead; near < len(x.touched) {
		g := x.touched[near]
		base := x.base[g]
		for i := x.inbox[g]; i >= 0; i = x.next[i] {
			r := x.entries[base+uint32(x.batch[i].slot)].rank
			lanes := x.at[int(r)*x.lanes:][:x.lanes]
			sum += uint64(x.ranks[r].cpu) + uint64(lanes[0].done) + uint64(lanes[len(lanes)-1].done)
		}
	}
	x.fetched = sum
}

func (x *windows) key(e *arrival) uint64 {
	return uint64(e.at-x.begin)<<32 | uint64(e.slot)<<16 | uint64(e.kind)
}

// push puts an arrival in its place: at a group that is being run in its window, or in the calendar.
func (x *windows) push(e arrival, near bool) {
	if !near || e.at >= x.end {
		x.q.push(e)
		return
	}
	key := x.key(&e)
	x.mine = append(x.mine, key)
	i := len(x.mine) - 1
	for ; i > 0 && key < x.mine[i-1]; i-- {
		x.mine[i] = x.mine[i-1]
	}
	x.mine[i] = key
}

// live runs a group through its arrivals in the window.
func (x *windows) live(g uint32) {
	base := x.base[g]
	for i := 0; i < len(x.mine); i++ { // what is added comes later
		key := x.mine[i]
		at, slot, kind := x.begin+Time(key>>32), uint16(key>>16), uint16(key)
		y := &x.entries[base+uint32(slot)]
		s := &x.ranks[y.rank]
		if kind&through == 0 {
			m := &x.kinds[kind>>1]
			in := &s.in[m.port&1]
			done := max(at, *in+m.wire[kind&1])
			*in = done + m.gap
			if done > at {
				x.push(arrival{at: done, group: g, slot: slot, kind: kind | through}, true)
				continue
			}
		}
		y.arrived++
		s.cpu = max(s.cpu, at)
		x.wake(y.rank, schedule.Lane(y.lane))
	}
	x.mine = x.mine[:0]
}

// wake runs a lane as far as it goes, and those that wait for it.
func (x *windows) wake(r uint32, l schedule.Lane) {
	x.stack = append(x.stack[:0], l)
	for len(x.stack) > 0 {
		l := x.stack[len(x.stack)-1]
		x.stack = x.stack[:len(x.stack)-1]
		x.advance(r, l)
	}
}

// advance runs a lane as far as it goes.
func (x *windows) advance(r uint32, l schedule.Lane) {
	s := &x.ranks[r]
	strand := &x.progs[s.prog].lanes[l]
	lanes := x.at[int(r)*x.lanes:][:x.lanes]
	p := &lanes[l]
	base := s.first + strand.first
	moved := false
	for int(p.code) < len(strand.ops) {
		o := &strand.ops[p.code]
		k := p.op
		e := base + uint32(p.code)
		of := o // the member's
		if o.width > 1 {
			k = 0
			if !o.joint {
				e += p.op
				of = &strand.ops[uint32(p.code)+p.op]
			}
		}
		if of.wait >= 0 && lanes[of.wait].done < of.need+k*of.perOp+uint32(p.slice)*of.perSlice {
			break
		}
		if o.kind == schedule.Send || o.kind == schedule.Copy {
			x.send(r, s, o, e, k, uint32(p.slice))
		} else if !x.receive(r, s, o, p, e, k) {
			break
		}
		x.steps++
		p.done++
		p.step(o)
		moved = true
		if l.In() && len(strand.wakes) > 0 && o.kind != schedule.Copy { // first what this makes possible
			x.stack = append(x.stack, l)
			break
		}
	}
	if moved {
		for i := len(strand.wakes) - 1; i >= 0; i-- {
			if w := strand.wakes[i]; w != l {
				x.stack = append(x.stack, w)
			}
		}
	}
}

// step goes on by one.
func (p *position) step(o *operation) {
	if o.width > 1 && !o.joint {
		if p.op++; p.op < uint32(o.width) {
			return
		}
		p.op = 0
	}
	if p.slice++; int32(p.slice) < o.slices {
		return
	}
	p.slice = 0
	if o.width > 1 {
		p.code += uint16(o.width)
	} else if p.op++; int32(p.op) == o.count {
		p.op = 0
		p.code++
	}
}

// like returns the kind of operation k of an entry, and 1 for a longer slice.
func (x *windows) like(r uint32, y *line, e, k, slice uint32) (kind uint16, long int) {
	if kind = y.kind; kind == varies {
		lc, base := x.f.Lane(int32(r), schedule.Lane(y.lane))
		kind, _ = x.kindOf(int32(r), schedule.Lane(y.lane), &lc.Codes[e-base], e, int32(k))
	}
	if slice < x.kinds[kind].long {
		long = 1
	}
	return kind, long
}

// send sends a slice, or copies it.
func (x *windows) send(r uint32, s *standing, o *operation, e, k, slice uint32) {
	y := &x.entries[e]
	i, long := x.like(r, y, e, k, slice)
	m := &x.kinds[i]
	if o.kind == schedule.Copy {
		s.cpu += m.wire[long]
		s.end = max(s.end, s.cpu)
		return
	}
	s.cpu += m.overhead
	if o.eager {
		s.end = max(s.end, s.cpu)
	}
	slot := y.slot
	if y.parted {
		lc, base := x.f.Lane(int32(r), schedule.Lane(y.lane))
		slot, _, _ = x.partner(int32(r), e, &lc.Codes[e-base], int32(k))
	}
	out := &s.out[m.port&1]
	leaves := max(s.cpu, *out)
	free := leaves + m.wire[long]
	*out = free + m.gap
	x.push(arrival{at: free + m.latency, group: y.group, slot: slot, kind: i<<1 | uint16(long)}, y.near)
}

// receive tries to take a slice, of one peer or of all of a joint reduction.
func (x *windows) receive(r uint32, s *standing, o *operation, p *position, e, k uint32) bool {
	y := &x.entries[e]
	slice := uint32(p.slice)
	tick := k*uint32(o.slices) + slice
	cost := Time(0)
	if o.joint {
		for ; p.op < uint32(o.width); p.op++ {
			if x.entries[e+p.op].arrived <= tick {
				return false
			}
		}
		p.op = 0
		for i := uint32(1); i < uint32(o.width); i++ {
			z := &x.entries[e+i]
			kind, _ := x.like(r, z, e+i, k, slice)
			cost += x.kinds[kind].overhead
		}
	} else if y.arrived <= tick {
		return false
	}
	i, long := x.like(r, y, e, k, slice)
	m := &x.kinds[i]
	cost += m.overhead
	if o.kind == schedule.RecvReduce {
		width := int32(1)
		if o.joint {
			width = o.width
		}
		cost += joint(m.reduce[long], width)
	}
	s.cpu += cost
	s.end = max(s.end, s.cpu)
	if tick+1 == uint32(o.slices)*uint32(o.count) { // a send is over when it has been taken
		width := uint32(1)
		if o.joint {
			width = uint32(o.width)
		}
		for i := range width {
			peer := &x.ranks[x.f.Peer(e+i)]
			peer.end = max(peer.end, s.cpu)
		}
	}
	return true
}
