package sim

import (
	"cmp"
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

// An actor is what the clock knows of a rank: a line of a cache.
type actor struct {
	cpu Time    // when the rank has done what it has begun; below 0 until it enters the operation
	out [2]Time // when a port can send again, by network and near
	in  [2]Time // when a port can receive again
	end Time    // when its last step was complete
	// busy is how long the ports that send were occupied.
	busy [2]Time
}

// A stepper runs a fleet message by message.
//
// A rank does one thing at a time. It goes on with what its last step made possible, lane by lane, and then takes what
// came, in the order of arrival; so one event a message is enough.
type stepper struct {
	f       *schedule.Fleet
	m       *model
	cfg     *config
	class   []uint8   // by entry
	costs   []Cost    // by class
	sent    []Traffic // by class
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
	inbox   []int32 // by rank: its latest event of the batch, or -1
	next    []int32 // by event of the batch: the one before of its rank, or -1
	mine    []event
	lanes   int
	size    sizes
	left    int64 // steps
	log     *log
	binding []int32 // by rank: the record of the message that it waited for last
	noise   *noise
	weight  []int64 // by rank: how many it stands for; nil: one
	lost    int64   // messages
	err     error
}

type pair struct{ from, to int32 }

const levels = int(topology.World) + 1

func newStepper(f *schedule.Fleet, m *model, cfg *config, class []uint8, size sizes) *stepper {
	n := f.Ranks()
	x := &stepper{
		f: f, m: m, cfg: cfg, class: class, lanes: f.Lanes(), size: size, left: f.Steps(), q: newQueue(),
		costs: make([]Cost, len(m.classes)), sent: make([]Traffic, len(m.classes)),
		actors: make([]actor, n), inbox: make([]int32, n), arrived: make([]uint32, f.Entries()), joint: make([]int32, n*f.Lanes()),
		noise: newNoise(cfg),
	}
	for i := range m.classes {
		x.costs[i] = m.classes[i].cost
		if x.costs[i].Eager > 0 && x.asked == nil {
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
		x.actors[r].cpu, x.inbox[r] = -1, -1
		x.push(&event{at: x.cfg.late[x.f.Of(int32(r))], rank: int32(r), kind: begins, rec: -1})
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

// tiers returns what was sent, by level.
func (x *stepper) tiers() (tiers [levels]Traffic) {
	for i, t := range x.sent {
		to := &tiers[x.m.classes[i].link.Level]
		to.Messages += t.Messages
		to.Bytes += t.Bytes
	}
	return tiers
}

// push puts an event into the queue, or into the next round.
func (x *stepper) push(e *event) {
	if x.rounds != nil {
		x.rounds.events = append(x.rounds.events, *e)
		return
	}
	x.q.room(e.at).set(e)
}

// together handles the events of one time, or of one round. Those of one rank go in the order of what they are about, so that the outcome
// does not depend on how ranks are numbered, and classes of ranks come out as their members do.
func (x *stepper) together() {
	batch := x.batch
	if len(x.next) < len(batch) {
		x.next = make([]int32, 2*len(batch))
	}
	next, several := x.next[:len(batch)], false
	for i := range batch {
		last := &x.inbox[batch[i].rank]
		several = several || *last >= 0
		next[i], *last = *last, int32(i)
	}
	for i := range batch {
		r := batch[i].rank
		last := x.inbox[r]
		if last < 0 { // its events have been handled
			continue
		}
		x.inbox[r] = -1
		if several && next[last] >= 0 {
			x.inOrder(last)
		} else {
			x.handle(&batch[i])
		}
		if x.err != nil {
			return
		}
	}
}

// inOrder handles the events of one rank of a batch, of which i is the latest.
func (x *stepper) inOrder(i int32) {
	x.mine = x.mine[:0]
	for ; i >= 0; i = x.next[i] {
		x.mine = append(x.mine, x.batch[i])
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
	for i := range x.mine {
		x.handle(&x.mine[i])
	}
}

func (x *stepper) handle(e *event) {
	if e.kind == departs {
		x.begin(int32(e.entry))
		return
	}
	if e.kind == drained {
		x.ended(int32(e.entry))
		return
	}
	if x.cfg.dead != nil {
		if at, dies := x.cfg.dead[x.f.Of(e.rank)]; dies && e.at >= at {
			return
		}
	}
	a := &x.actors[e.rank]
	switch e.kind {
	case arrives:
		if x.pairs == nil {
			k := &x.costs[e.class]
			in := &a.in[k.port()]
			at := max(e.at, *in+e.wire)
			*in = at + k.Gap
			if at > e.at {
				e.at, e.kind = at, delivered
				x.q.room(at).set(e)
				return
			}
		}
		x.arrived[e.entry]++
	case delivered:
		x.arrived[e.entry]++
	case taken:
		x.arrived[e.entry]++
		m := x.f.Machine(e.rank)
		x.complete(&m, schedule.Lane(e.lane))
		a.end = max(a.end, e.at)
	case asks:
		x.asked[e.entry]++
	case goes:
		x.leave(e)
		return
	}
	if a.cpu < 0 && e.kind != begins {
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
