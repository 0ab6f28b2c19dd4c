package sim

import (
	"fmt"
	"math"
	"strings"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A Level is how closely a run looks.
type Level uint8

// The levels.
const (
	// Auto is Classes where that is exact, else Messages; and Congestion where [Routed] or [Wired] asks for it.
	Auto Level = iota
	// Classes runs ranks that the schedule and the topology make interchangeable as one, and rings as a recurrence. It is exact:
	// the result is that of Messages to the tick.
	Classes
	// Messages runs every message of every rank.
	Messages
	// Congestion runs every message as a transfer along the wires of the graph's [topology.Network]. Transfers that are under way
	// at once share wires max-min fairly.
	Congestion
)

var levelNames = [...]string{"auto", "classes", "messages", "congestion"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// ParseLevel returns the level of that name.
func ParseLevel(name string) (Level, error) {
	for i, s := range levelNames {
		if s == name {
			return Level(i), nil
		}
	}
	return 0, &OptionError{fmt.Sprintf("level %q: want one of %s", name, strings.Join(levelNames[:], ", "))}
}

// An OptionError is an option that cannot be.
type OptionError struct{ Reason string }

func (e *OptionError) Error() string { return "sim: " + e.Reason }

// Wires says what messages queue for.
type Wires uint8

// The wires.
const (
	// PortWires are the ports of each rank: one to the network and one inside the host, each way.
	PortWires Wires = iota
	// PairWires are one for each ordered pair of ranks, as in transport/simnet: ranks send to many peers at once at full speed.
	PairWires
)

type link struct{ from, to topology.Rank }

type config struct {
	level     Level
	contract  schedule.Contract
	elem      int64
	slice     int64 // bytes; 0: whole operations, -1: by default
	override  func(topology.Link) Cost
	wires     Wires
	jitter    uint64 // 2⁻¹⁶
	seed      uint64
	late      map[topology.Rank]Time
	slow      map[topology.Rank]uint64 // 2⁻¹⁶
	dead      map[topology.Rank]Time
	lostLinks map[link]bool
	records   int
	verify    bool
	stepped   bool
	events    bool // run messages by events, where windows would do too
	crew      int  // goroutines of a run by windows; 0: as many as are worth it
	fewAlike  bool // groups alike are run as one however few they are
	limit     int64
	progress  func(done float64)
	net       *topology.Network
	routed    bool
	flows     int
	choice    topology.Choice
	refresh   float64
	rounds    bool
	bad       error
}

// An Option changes how a schedule is run.
type Option func(*config)

func newConfig(opts []Option) (*config, error) {
	c := &config{contract: schedule.Contract{Collective: schedule.AllReduce}, elem: 4, slice: -1, verify: true, flows: 1, refresh: -1}
	for _, o := range opts {
		o(c)
	}
	if c.routed || c.net != nil {
		switch c.level {
		case Auto:
			c.level = Congestion
		case Congestion:
		default:
			c.refuse("routes at the level of %v, which has none", c.level)
		}
	}
	if c.level == Congestion && c.wires != PortWires {
		c.refuse("messages queue for wires of their own or share those of the network, not both")
	}
	return c, c.bad
}

func (c *config) refuse(format string, args ...any) {
	if c.bad == nil {
		c.bad = &OptionError{fmt.Sprintf(format, args...)}
	}
}

// disturbed reports whether ranks that look alike may behave differently.
func (c *config) disturbed() bool {
	return c.jitter > 0 || c.late != nil || c.slow != nil || c.dead != nil || c.lostLinks != nil
}

// At sets the level. The default is Auto.
func At(l Level) Option {
	return func(c *config) {
		if int(l) >= len(levelNames) {
			c.refuse("unknown level %d", l)
		}
		c.level = l
	}
}

// For says what the schedule is for: what its result is checked against, and how bandwidths are counted. The default is an
// all-reduce.
func For(want schedule.Contract) Option { return func(c *config) { c.contract = want } }

// Elements sets the bytes of an element, which no chunk splits. The default is 4.
func Elements(bytes int) Option {
	return func(c *config) {
		if bytes < 1 {
			c.refuse("elements of %d bytes", bytes)
		}
		c.elem = int64(bytes)
	}
}

// Slices cuts operations into slices of at most so many bytes, as plan.Plan.SliceBytes says for the engine; 0 leaves them
// whole. The default cuts the longest operation into at most 64, of at least 128 KiB.
func Slices(bytes int64) Option {
	return func(c *config) {
		if bytes < 0 {
			c.refuse("slices of %d bytes", bytes)
		}
		c.slice = bytes
	}
}

// Costs replaces the cost of links. f is called once for each distinct link of the graph. At the level [Congestion] their PerByte, if
// not 0, is the least that a message takes, whatever room the wires have; by default only wires hold it up.
func Costs(f func(topology.Link) Cost) Option { return func(c *config) { c.override = f } }

// Queue says what messages queue for. The default is PortWires.
func Queue(w Wires) Option {
	return func(c *config) {
		if w > PairWires {
			c.refuse("unknown wires %d", w)
		}
		c.wires = w
	}
}

// Jitter makes every message take up to most times longer than it would, by a random part of it. Equal seeds give equal
// runs.
func Jitter(most float64, seed uint64) Option {
	return func(c *config) {
		if !(most >= 0 && most <= 1000) {
			c.refuse("a jitter of %g", most)
			return
		}
		c.jitter, c.seed = uint64(math.Round(most*(1<<16))), seed
	}
}

// Late lets a rank enter the operation after the others.
func Late(r topology.Rank, by Time) Option {
	return func(c *config) {
		if by < 0 {
			c.refuse("rank %d late by %v", r, by)
		}
		if c.late == nil {
			c.late = make(map[topology.Rank]Time)
		}
		c.late[r] = by
	}
}

// Slow makes what a rank does and sends take factor times as long.
func Slow(r topology.Rank, factor float64) Option {
	return func(c *config) {
		if !(factor >= 1 && factor <= 1e9) {
			c.refuse("rank %d slower by %g", r, factor)
			return
		}
		if c.slow == nil {
			c.slow = make(map[topology.Rank]uint64)
		}
		c.slow[r] = uint64(math.Round(factor * (1 << 16)))
	}
}

// Dead stops a rank at a time. The run ends with a [*StuckError], unless nobody needed it any more.
func Dead(r topology.Rank, at Time) Option {
	return func(c *config) {
		if c.dead == nil {
			c.dead = make(map[topology.Rank]Time)
		}
		c.dead[r] = at
	}
}

// DeadLink loses every message from one rank to another.
func DeadLink(from, to topology.Rank) Option {
	return func(c *config) {
		if c.lostLinks == nil {
			c.lostLinks = make(map[link]bool)
		}
		c.lostLinks[link{from, to}] = true
	}
}

// Record keeps up to limit messages for [Result.Path] and [Result.WriteTrace].
func Record(limit int) Option {
	return func(c *config) {
		if limit < 0 {
			c.refuse("%d records", limit)
		}
		c.records = limit
	}
}

// Unverified leaves out the symbolic check of the schedule, for callers that have made it.
func Unverified() Option { return func(c *config) { c.verify = false } }

// Stepped runs rings as recurrences even where they are short enough for events, and so at every level. Results are the same.
func Stepped() Option { return func(c *config) { c.stepped = true } }

// Limit refuses schedules of more than so many operations, runs of like ones counted once. The default is 2³².
func Limit(operations int64) Option { return func(c *config) { c.limit = operations } }

// Progress is told now and then which part of a run by messages is done. That falls once where messages of two salvos turn out to meet at a port: then
// a run in volleys begins anew in another way.
func Progress(f func(done float64)) Option { return func(c *config) { c.progress = f } }

// Routed says how messages find their way at the level [Congestion]: each is so many flows, at least 1, which are routed as c says, by
// hash (ECMP) or dealt over all switches (spraying), and which together carry it, each as fast as it can. The default is one
// flow by hash.
func Routed(flows int, c topology.Choice) Option {
	return func(o *config) {
		if flows < 1 || flows > maxFlows {
			o.refuse("%d flows a pair", flows)
		}
		o.routed, o.flows, o.choice = true, flows, c
	}
}

// Wired replaces the network of the level [Congestion], which is the graph's, by one of as many ranks: by the graph's with faults, say.
func Wired(n *topology.Network) Option { return func(c *config) { c.net = n } }

// Refresh says how often the level [Congestion] works out rates: when as many transfers have begun or ended since as this part
// of those under way; at 0 whenever one has. The default is that for up to 181 flows at a time, and rises with their number, to 2.
func Refresh(part float64) Option {
	return func(c *config) {
		if !(part >= 0 && part <= 1000) {
			c.refuse("a refresh of %g", part)
			return
		}
		c.refresh = part
	}
}

// Rounds makes the level [Congestion] go by rounds, as it does where it has more than 2¹⁸ flows to run and [Refresh] does not say otherwise: the
// messages that nothing stops at first, those that these make possible, and so on. The messages of a round share the wires
// as if all of them began and ended together; when each of them does is worked out as ever. So a wire whose rounds overlap in time can come
// out a little busier than it can be. Over 128 to 1,024 ranks the time of a run is within 16 % of what it is without.
func Rounds() Option { return func(c *config) { c.rounds = true } }
