package sim

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// The kinds of event.
const (
	arrives   uint8 = iota // the last byte of a slice is at the receiver's port
	delivered              // and through it
	begins                 // a rank enters the operation
	taken                  // a receiver is done with a slice, and tells the sender
	asks                   // a sender wants to know whether the receive is posted
	goes                   // and hears that it is
	departs                // a transfer begins
	drained                // a transfer may have ended
)

// An actor is what the clock knows of a rank.
type actor struct {
	cpu Time    // when the rank has done what it has begun
	out [2]Time // when a port can send again, by network and near
	in  [2]Time // when a port can receive again
	end Time    // when its last step was complete
	// busy is how long the ports that send were occupied.
	busy  [2]Time
	inbox int32 // its latest event of the batch, or -1
	begun bool  // it has entered the operation
}

// A stepper runs a fleet message by message.
//
// A rank does one thing at a time. It goes on with what its last step made possible, lane by lane, and then takes what
// came, in the order of arrival; so one event a message is enough.
type stepper struct {
	f       *schedule.Fleet
	m       *model
	cfg     *config
	class   []uint8 // by entry
	actors  []actor
	arrived []uint32 // by entry: slices that came; of a send that others wait for: slices taken
	joint   []int32  // by rank and lane: members of the joint reduction that have been seen to be there
	asked   []uint32 // by entry: slices that were asked for; nil when nothing is
	granted []uint32
	pairs   map[pair]Time // when a wire is free, where wires are a pair's
	traffic *traffic      // at Congestion
	rounds  *rounds       // where it goes by rounds
	q       *queue
	stack   []schedule.Lane
	batch   []event // of one time
	next    []int32 // of the same rank, by event of the batch
	touched []int32
	mine    []event
	lanes   int
	size    sizes
	left    int64 // steps
	log     *log
	binding []int32 // by rank: the record of the message that it waited for last
	noise   *noise
	tiers   [levels]Traffic
	weight  []int64 // by rank: how many it stands for; nil: one
	lost    int64   // messages
	err     error
}

type pair struct{ from, to int32 }

const levels = int(topology.World) + 1

// sizes turns chunks into bytes.
type sizes struct {
	s      schedule.Schedule
	layout schedule.Layout
	length int // elements
	elem   int64
	chunk  int64 // elements of a chunk, where all are equal; else -1
}

func newSizes(s schedule.Schedule, length int, elem int64) sizes {
	z := sizes{s: s, layout: s.Layout(), length: length, elem: elem, chunk: -1}
	if n := z.layout.Chunks(); length%n == 0 {
		z.chunk = int64(length / n)
	}
	return z
}

// of returns the bytes of a slice of operation k of a run.
func (z *sizes) of(f *schedule.Fleet, r int32, l schedule.Lane, c *schedule.Code, entry uint32, k, slice int32) int64 {
	n := z.elements(f, r, l, c, entry, k)
	if c.Slices > 1 {
		q := n / int64(c.Slices)
		if int64(slice) < n-q*int64(c.Slices) {
			q++
		}
		n = q
	}
	return n * z.elem
}

// elements returns how many elements operation k of a run covers.
func (z *sizes) elements(f *schedule.Fleet, r int32, l schedule.Lane, c *schedule.Code, entry uint32, k int32) int64 {
	var n int64
	switch {
	case z.chunk >= 0:
		n = int64(c.N) * z.chunk
	case c.N > 0:
		first := f.Chunk(entry)
		if k > 0 {
			op, _ := z.s.At(f.Of(r), l, int(c.Index+k))
			if first = op.Dst.Index(); op.Kind == schedule.Send {
				first = op.Src.Index()
			}
		}
		lo, hi := z.layout.Range(z.length, first, int(c.N))
		n = int64(hi - lo)
	}
	return n
}

func newStepper(f *schedule.Fleet, m *model, cfg *config, class []uint8, size sizes) *stepper {
	n := f.Ranks()
	x := &stepper{
		f: f, m: m, cfg: cfg, class: class, lanes: f.Lanes(), size: size, left: f.Steps(), q: newQueue(),
		actors: make([]actor, n), arrived: make([]uint32, f.Entries()), joint: make([]int32, n*f.Lanes()),
		noise: newNoise(cfg),
	}
	for _, c := range m.classes {
		if c.cost.Eager > 0 && x.asked == nil {
			x.asked, x.granted = make([]uint32, f.Entries()), make([]uint32, f.Entries())
		}
	}
	if cfg.wires == PairWires {
		x.pairs = make(map[pair]Time)
	}
	if cfg.records > 0 {
		x.log = &log{}
		x.binding = make([]int32, n)
		for r := range x.binding {
			x.binding[r] = -1
		}
	}
	return x
}

// run runs to the end.
func (x *stepper) run() error {
	x.f.Reset()
	for r := range x.actors {
		x.actors[r].inbox = -1
		x.push(event{at: x.cfg.late[x.f.Of(int32(r))], rank: int32(r), kind: begins, rec: -1})
	}
	if x.rounds != nil {
		x.byRounds()
	}
	for n := 0; x.err == nil && x.q.n > 0; {
		x.batch = x.q.take(x.batch[:0])
		if n += len(x.batch); n > 1<<16 && x.cfg.progress != nil {
			n = 0
			x.cfg.progress(1 - float64(x.left)/float64(x.f.Steps()))
		}
		x.together()
		if x.traffic != nil && x.err == nil {
			x.share()
		}
	}
	if x.err == nil && x.left > 0 {
		x.err = x.stuck()
	}
	return x.err
}

// push puts an event into the queue, or into the next round.
func (x *stepper) push(e event) {
	if x.rounds != nil {
		x.rounds.events = append(x.rounds.events, e)
		return
	}
	x.q.push(e)
}

// together handles the events of one time, or of one round. Those of one rank go in the order of what they are about, so that the outcome
// does not depend on how ranks are numbered, and classes of ranks come out as their members do.
func (x *stepper) together() {
	batch := x.batch
	if len(batch) == 1 {
		x.handle(batch[0])
		return
	}
	if len(x.next) < len(batch) {
		x.next = make([]int32, 2*len(batch))
	}
	x.touched = x.touched[:0]
	for i := range batch {
		a := &x.actors[batch[i].rank]
		if a.inbox < 0 {
			x.touched = append(x.touched, batch[i].rank)
		}
		x.next[i], a.inbox = a.inbox, int32(i)
	}
	for _, r := range x.touched {
		a := &x.actors[r]
		i := a.inbox
		a.inbox = -1
		if x.next[i] < 0 {
			x.handle(batch[i])
		} else {
			x.mine = x.mine[:0]
			for ; i >= 0; i = x.next[i] {
				x.mine = append(x.mine, batch[i])
			}
			slices.SortFunc(x.mine, func(a, b event) int {
				if a.at != b.at { // of a round
					return cmp.Compare(a.at, b.at)
				}
				if a.entry != b.entry {
					return cmp.Compare(a.entry, b.entry)
				}
				return cmp.Compare(a.kind, b.kind)
			})
			for _, e := range x.mine {
				x.handle(e)
			}
		}
		if x.err != nil {
			return
		}
	}
}

func (x *stepper) handle(e event) {
	switch e.kind {
	case departs:
		x.begin(int32(e.entry))
		return
	case drained:
		x.ended(int32(e.entry))
		return
	}
	a := &x.actors[e.rank]
	if x.cfg.dead != nil {
		if at, dies := x.cfg.dead[x.f.Of(e.rank)]; dies && e.at >= at {
			return
		}
	}
	switch e.kind {
	case arrives:
		if x.pairs == nil {
			k := &x.m.classes[e.class].cost
			in := &a.in[k.port()]
			at := max(e.at, *in+e.wire)
			*in = at + k.Gap
			if at > e.at {
				e.at, e.kind = at, delivered
				x.q.push(e)
				return
			}
		}
		x.arrived[e.entry]++
	case delivered:
		x.arrived[e.entry]++
	case taken:
		x.settle(e.rank, schedule.Lane(e.lane), e.entry)
		a.end = max(a.end, e.at)
	case asks:
		x.asked[e.entry]++
	case goes:
		x.leave(e)
		return
	}
	if a.begun = a.begun || e.kind == begins; !a.begun {
		return
	}
	if e.at > a.cpu {
		a.cpu = e.at
		if x.log != nil {
			x.binding[e.rank] = e.rec
		}
	}
	switch e.kind {
	case begins:
		for l := range schedule.Lane(x.lanes) {
			x.wake(e.rank, l)
		}
	case taken:
		lc, _ := x.f.Lane(e.rank, schedule.Lane(e.lane))
		for _, l := range lc.Wakes {
			x.wake(e.rank, l)
		}
	default:
		x.wake(e.rank, schedule.Lane(e.lane))
	}
}

// settle takes note that a slice of a send was taken, and completes what is complete, in order.
func (x *stepper) settle(r int32, l schedule.Lane, entry uint32) {
	x.arrived[entry]++
	_, base := x.f.Lane(r, l)
	for {
		st, ok := x.f.Oldest(r, l)
		if !ok {
			return
		}
		lc, _ := x.f.Lane(r, l)
		c := &lc.Codes[st.Code]
		if !(c.Eager || c.Kind == schedule.Copy || x.arrived[base+uint32(st.Code)] > uint32(st.Op*c.Slices+st.Slice)) {
			return
		}
		x.f.Complete(r, l)
		x.left--
	}
}

// wake runs a lane as far as it goes, and those that wait for it.
func (x *stepper) wake(r int32, l schedule.Lane) {
	x.stack = append(x.stack[:0], l)
	for len(x.stack) > 0 {
		l := x.stack[len(x.stack)-1]
		x.stack = x.stack[:len(x.stack)-1]
		x.advance(r, l)
	}
}

// advance runs a lane as far as it goes.
func (x *stepper) advance(r int32, l schedule.Lane) {
	lc, base := x.f.Lane(r, l)
	if len(lc.Codes) == 0 {
		return
	}
	moved := false
	for {
		st, c, ok := x.f.Ready(r, l)
		if !ok {
			break
		}
		entry := base + uint32(st.Code)
		if c.Kind == schedule.Send {
			x.send(r, l, st, c, entry, len(lc.Wakes) > 0)
		} else if c.Kind == schedule.Copy {
			bytes := x.size.of(x.f, r, l, c, entry, st.Op, st.Slice)
			a := &x.actors[r]
			a.cpu += x.slowed(r, x.m.copying.Latency+x.m.copying.PerByte.Of(bytes))
			a.end = max(a.end, a.cpu)
			x.f.Start(r, l)
			x.complete(r, l, lc)
		} else if !x.receive(r, l, st, c, entry) {
			break
		} else if len(lc.Wakes) > 0 { // first what this makes possible
			x.stack = append(x.stack, l)
			moved = true
			break
		}
		moved = true
		if x.err != nil {
			return
		}
	}
	if moved {
		for i := len(lc.Wakes) - 1; i >= 0; i-- {
			if lc.Wakes[i] != l {
				x.stack = append(x.stack, lc.Wakes[i])
			}
		}
	}
}

// complete completes a step of a lane that is over as soon as it has started.
func (x *stepper) complete(r int32, l schedule.Lane, lc *schedule.LaneCode) {
	if !l.In() && len(lc.Wakes) > 0 { // behind sends that may not be over
		for {
			st, ok := x.f.Oldest(r, l)
			if !ok {
				return
			}
			c := &lc.Codes[st.Code]
			_, base := x.f.Lane(r, l)
			if !(c.Eager || c.Kind == schedule.Copy || x.arrived[base+uint32(st.Code)] > uint32(st.Op*c.Slices+st.Slice)) {
				return
			}
			x.f.Complete(r, l)
			x.left--
		}
	}
	x.f.Complete(r, l)
	x.left--
}

// slowed returns what takes machine r so long as t takes others.
func (x *stepper) slowed(r int32, t Time) Time {
	if x.cfg.slow == nil {
		return t
	}
	return x.cfg.slower(x.f.Of(r), t)
}

// slower returns what takes a rank so long as t takes others.
func (c *config) slower(r topology.Rank, t Time) Time {
	if f, ok := c.slow[r]; ok {
		hi, lo := bits.Mul64(uint64(t), uint64(f))
		return Time(hi<<48 | lo>>16)
	}
	return t
}

// send starts a send.
func (x *stepper) send(r int32, l schedule.Lane, st schedule.FleetStep, c *schedule.Code, entry uint32, awaited bool) {
	a := &x.actors[r]
	peer := x.f.Peer(entry)
	k := &x.m.classes[x.class[entry]]
	bytes := x.size.of(x.f, r, l, c, entry, st.Op, st.Slice)
	dst, ok := x.partner(r, l, c, entry, st.Op, peer)
	if !ok {
		return
	}
	a.cpu += x.slowed(r, k.cost.Overhead)
	t := &x.tiers[k.link.Level]
	many := int64(1)
	if x.weight != nil {
		many = x.weight[r]
	}
	t.Messages += many
	t.Bytes += many * bytes
	x.f.Start(r, l)
	if !awaited {
		x.f.Complete(r, l)
		x.left--
	} else if c.Eager {
		lc, _ := x.f.Lane(r, l)
		x.complete(r, l, lc)
	}
	if c.Eager {
		a.end = max(a.end, a.cpu)
	}
	rec := int32(-1)
	if x.log != nil {
		rec = x.log.add(record{
			From: x.f.Of(r), To: x.f.Of(peer), Lane: l, Index: c.Index + st.Op, Slice: st.Slice, Bytes: bytes, Start: a.cpu - k.cost.Overhead,
			Level: k.link.Level, prev: x.binding[r],
		}, x.cfg.records)
	}
	e := event{at: a.cpu, rank: peer, entry: dst, rec: rec, lane: uint16(l.Opposite())}
	if x.cfg.lostLinks != nil && x.cfg.lostLinks[link{x.f.Of(r), x.f.Of(peer)}] {
		x.lost++
		return
	}
	if k.cost.Eager > 0 && bytes > k.cost.Eager {
		e.at, e.kind = a.cpu+k.cost.Latency, asks
		x.push(e)
		return
	}
	x.transmit(r, x.class[entry], bytes, e, c.Match+st.Op, st.Slice)
}

// transmit puts a message for a slice of operation op of its receiver on its way; it may leave at e.at.
func (x *stepper) transmit(from int32, class uint8, bytes int64, e event, op, slice int32) {
	k := &x.m.classes[class].cost
	e.kind, e.class = arrives, class
	if x.traffic != nil {
		a, port, most := &x.actors[from], k.port(), x.m.classes[class].most(x.cfg)
		leaves := max(e.at, a.out[port])
		a.out[port] = leaves + k.Gap
		x.enter(from, most, bytes, e, op, slice, leaves)
		return
	}
	e.wire = x.slowed(from, k.PerByte.Of(bytes))
	if x.noise != nil {
		e.wire += x.noise.of(x.f.Of(e.rank), schedule.Lane(e.lane), op, slice, k.Latency+e.wire)
	}
	leaves := e.at
	if x.pairs != nil {
		p := pair{from, e.rank}
		leaves = max(leaves, x.pairs[p])
		x.pairs[p] = leaves + e.wire + k.Gap
	} else {
		a, port := &x.actors[from], k.port()
		leaves = max(leaves, a.out[port])
		a.out[port] = leaves + e.wire + k.Gap
		a.busy[port] += e.wire + k.Gap
	}
	e.at = leaves + e.wire + k.Latency
	if e.rec >= 0 {
		r := &x.log.records[e.rec]
		r.Leave, r.Arrive = leaves, e.at
	}
	x.q.push(e)
}

// partner returns the entry that receives what operation k of an entry sends.
func (x *stepper) partner(r int32, l schedule.Lane, c *schedule.Code, entry uint32, k, peer int32) (uint32, bool) {
	lc, base := x.f.Lane(peer, l.Opposite())
	code, _, ok := lc.Find(c.Match + k)
	if ok {
		dst := base + uint32(code)
		if o := &lc.Codes[code]; x.f.Peer(dst) == r && o.Kind != schedule.Send && o.Slices == c.Slices && o.N == c.N {
			return dst, true
		}
	}
	x.err = &ScheduleError{
		Rank: x.f.Of(r), Lane: l, Index: int(c.Index + k),
		Reason: fmt.Sprintf("sends to rank %d, whose %v op %d is not its receive", x.f.Of(peer), l.Opposite(), c.Match+k),
	}
	return 0, false
}

// receive tries to take a slice, of one peer or of all of a joint reduction.
func (x *stepper) receive(r int32, l schedule.Lane, st schedule.FleetStep, c *schedule.Code, entry uint32) bool {
	tick := uint32(st.Op*c.Slices + st.Slice)
	if st.Width == 1 {
		if x.arrived[entry] <= tick {
			x.grant(r, l, c, entry, st, tick)
			return false
		}
	} else {
		seen := &x.joint[int(r)*x.lanes+int(l)]
		for ; *seen < st.Width; *seen++ {
			e := entry + uint32(*seen)
			if x.arrived[e] <= tick {
				for i := *seen; x.asked != nil && i < st.Width; i++ {
					x.grant(r, l, c, entry+uint32(i), st, tick)
				}
				return false
			}
		}
		*seen = 0
	}
	a := &x.actors[r]
	cost := Time(0)
	for i := range st.Width {
		cost += x.m.classes[x.class[entry+uint32(i)]].cost.Overhead
	}
	if c.Kind == schedule.RecvReduce {
		cost += x.m.reduction(x.size.of(x.f, r, l, c, entry, st.Op, st.Slice), st.Width)
	}
	a.cpu += x.slowed(r, cost)
	a.end = max(a.end, a.cpu)
	x.f.Start(r, l)
	x.f.Complete(r, l)
	x.left--
	for i := range st.Width {
		x.release(r, l, entry+uint32(i), st.Op, a.cpu)
	}
	return true
}

// release tells the sender of a slice that it has been taken.
func (x *stepper) release(r int32, l schedule.Lane, entry uint32, k int32, at Time) {
	peer := x.f.Peer(entry)
	lc, base := x.f.Lane(peer, l.Opposite())
	if len(lc.Wakes) > 0 {
		own, first := x.f.Lane(r, l)
		if code, _, ok := lc.Find(own.Codes[entry-first].Match + k); ok && !lc.Codes[code].Eager {
			x.push(event{at: at, rank: peer, entry: base + uint32(code), lane: uint16(l.Opposite()), kind: taken, rec: -1})
		}
		return
	}
	s := &x.actors[peer]
	s.end = max(s.end, at)
}

// grant lets the sender of a slice that asked go ahead, if the lane is at its receive.
func (x *stepper) grant(r int32, l schedule.Lane, c *schedule.Code, entry uint32, st schedule.FleetStep, tick uint32) {
	if x.asked == nil || x.asked[entry] <= tick || x.granted[entry] > tick {
		return
	}
	x.granted[entry] = tick + 1
	k := &x.m.classes[x.class[entry]].cost
	x.push(event{
		at: x.actors[r].cpu + k.Overhead + k.Latency, rank: x.f.Peer(entry), entry: entry, rec: int32(tick), lane: uint16(l), kind: goes,
	})
}

// leave sends what the receiver at e.entry has asked for.
func (x *stepper) leave(e event) {
	from := e.rank
	entry := e.entry
	to := x.owner(entry)
	l := schedule.Lane(e.lane)
	lc, base := x.f.Lane(to, l)
	c := &lc.Codes[entry-base]
	op, slice := e.rec/c.Slices, e.rec%c.Slices
	bytes := x.size.of(x.f, to, l, c, entry, op, slice)
	x.transmit(from, x.class[entry], bytes, event{at: e.at, rank: to, entry: entry, rec: -1, lane: e.lane}, c.Index+op, slice)
}

// owner returns the rank that an entry is of.
func (x *stepper) owner(entry uint32) int32 {
	lo, hi := int32(0), int32(len(x.actors))
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if _, first := x.f.Lane(mid, 0); first <= entry {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
