package sim

import (
	"math"
	"sync/atomic"

	"github.com/ringtree/ringtree/collective/schedule"
)

// ByWindows is the [Result.Method] of runs of every message whose ranks are taken window by window of time.
const ByWindows = "messages, by windows"

// windows runs a fleet that nothing disturbs, to the tick as a [stepper] does, with a tenth of the bookkeeping. No message is at its receiver
// sooner than the quickest takes. So what happens to ranks within a window of that length happens to each on its own: a window's
// arrivals need no order but that at each rank, a rank goes through its part of the window at once, and processors share the ranks
// (conservative synchronisation: K. Chandy and J. Misra, IEEE TSE 1979; B. Lubachevsky, CACM 1989). Where operations of a rank stand, and
// what messages cost, is worked out before.
type windows struct {
	f       *schedule.Fleet
	m       *model
	cfg     *config
	class   []uint8
	size    *sizes
	lanes   int
	strands []strand    // by program and lane
	ops     []operation // of all strands
	entries []line
	at      []position // by rank and lane
	ranks   []standing
	ends    []atomic.Int64 // by rank: when its last send that has been taken was
	shapes  []shape        // of messages, where chunks are of one length
	kinds   []kind
	totals  []total // by kind
	uses    []uint8 // by kind
	known   map[kindKey]uint16
	readers []int32 // by program: a rank of it
	// A group is a range of ranks.
	group       []uint32 // by rank
	base, start []uint32 // by group: its first entry, its first rank

	// Shard s is the groups from s·2^shard on.
	shard   uint
	crew    []*crewman
	shift   uint    // a window is 2^shift ps
	of      []uint8 // by shard: in crew
	barrier barrier

	asOne bool // groups alike are run as one
	far   bool // the ranks' state is more than a processor keeps near
}

// A strand is the operations of a lane, for all ranks of a program.
type strand struct {
	op, ops uint32  // its first one, and how many
	first   uint32  // of its entries among the rank's
	wakes   []uint8 // lanes that wait for it, itself not among them, the first last
	// pauses says that what a receive makes possible comes before the next one.
	pauses bool
	known  bool
	ticks  int64
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
	chunks                uint32
	size                  int32 // number of the message's length, where all chunks have one length
}

// A line is an entry of the fleet.
type line struct {
	who   uint32 // of a send the peer's group; of a receive its rank
	count uint32 // of a send the peer's entry, counted from the first of the group; of a receive the slices that came
	kind  uint16
	lane  uint8
	flags uint8
}

const (
	near   = 1 << iota // the peer is of the same group
	parted             // the operations of the run are received by more than one entry
	posts              // it sends
	enters             // what it sends enters the group's cascade
)

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
	strand   uint32 // the first of its program
	busy     Time   // when it was done with its last reduction or copy; with it, a line of a cache
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
	level    uint8 // of the link
}

// A total is a message in all its slices.
type total struct {
	bytes, slices int64
	busy          Time // of the port that sends it
}

// A shape is a message's in chunks.
type shape struct {
	chunks uint32
	slices int32
	copies bool
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
