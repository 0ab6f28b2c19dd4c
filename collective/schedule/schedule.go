// Package schedule is the language in which collective operations are written down: who sends which
// chunk to whom and when, as pure data.
//
// A [Schedule] is a function from (rank, lane, index) to an [Op]. It is never a list: a ring over 65,536
// ranks has 8.6 thousand million operations and each is computed when somebody asks for it. A [Machine]
// decides which operations of one rank may run next; the engine that moves bytes and the simulator that moves
// a clock both drive it, so what is simulated is what ships. [Verify] runs a schedule on symbols and proves it
// right. The package has no clock, goroutine, lock or I/O.
//
// # Chunks
//
// A schedule speaks of chunks, not bytes. [Layout] cuts the vector of an operation into blocks and each block
// into pieces; chunk c is piece c mod Pieces of block c div Pieces. So one schedule serves every length,
// including lengths below the number of chunks. Each chunk lives in two spaces: the caller's input, which is only
// read, and the output. In an operation in place they are the same memory wherever the caller owns both.
//
// # Lanes
//
// A channel is an independent pipeline with links of its own. It has an out lane ([Send], [Copy]) and an in lane
// ([Recv], [RecvReduce], [Copy]), each in strict order. Order between lanes is explicit: Op.After names one
// operation of the same rank that must be complete first. Every message is named from both ends: Op.Match is the
// index of the partner operation in the peer's opposite lane of the same channel.
//
// # Slices and units
//
// Chunks are moved in slices. Neighbouring operations of a lane that [Fuse] joins into a unit advance slice by
// slice together: a send to several peers, a receive from several peers, or an n-ary reduction, whose operands are
// combined in the order of the ranks that they come from, the rank's own one included, so that the bits do not depend on
// who arrives first. An operation whose After covers the very same chunks follows it slice by slice; any other waits for
// the whole of it.
package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// Collective names an operation of a group.
type Collective uint8

// The collectives. A barrier is an all-reduce of nothing.
const (
	AllReduce Collective = iota + 1
	ReduceScatter
	AllGather
	Broadcast
	Reduce
	Barrier
)

var collectiveNames = [...]string{"", "all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce", "barrier"}

// String returns the name as nccl-tests writes it: "all_reduce".
func (c Collective) String() string {
	if c.Valid() {
		return collectiveNames[c]
	}
	return fmt.Sprintf("Collective(%d)", uint8(c))
}

// Valid reports whether c is one of the constants.
func (c Collective) Valid() bool { return c >= AllReduce && c <= Barrier }

// Rooted reports whether the collective has a root.
func (c Collective) Rooted() bool { return c == Broadcast || c == Reduce }

// Reduces reports whether the collective combines values.
func (c Collective) Reduces() bool { return c == AllReduce || c == ReduceScatter || c == Reduce }

// ByRank reports whether the blocks of the vector belong to ranks, so that a layout must have one block a rank.
func (c Collective) ByRank() bool { return c == ReduceScatter || c == AllGather }

// Collectives returns all collectives.
func Collectives() []Collective {
	return []Collective{AllReduce, ReduceScatter, AllGather, Broadcast, Reduce, Barrier}
}

// Kind is what an operation does.
type Kind uint8

// The kinds of operation.
const (
	// Send gives chunks Src..Src+N-1 to Peer.
	Send Kind = iota + 1
	// Recv stores what Peer sent into the chunks from Dst.
	Recv
	// RecvReduce stores Src ⊕ what Peer sent into Dst.
	RecvReduce
	// Copy stores Src into Dst. It does nothing where both are the same memory.
	Copy
)

var kindNames = [...]string{"", "send", "recv", "recvreduce", "copy"}

func (k Kind) String() string {
	if k >= Send && k <= Copy {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Chunk is a chunk's index together with the space it lives in.
type Chunk uint32

const outputBit Chunk = 1 << 31

// Input returns chunk i of the caller's input.
func Input(i int) Chunk { return Chunk(i) }

// Output returns chunk i of the output.
func Output(i int) Chunk { return Chunk(i) | outputBit }

// IsOutput reports whether c lies in the output.
func (c Chunk) IsOutput() bool { return c&outputBit != 0 }

// Index returns the chunk's index.
func (c Chunk) Index() int { return int(c &^ outputBit) }

func (c Chunk) String() string {
	if c.IsOutput() {
		return fmt.Sprintf("out[%d]", c.Index())
	}
	return fmt.Sprintf("in[%d]", c.Index())
}

// A Channel is the index of an independent pipeline of a schedule.
type Channel uint16

// A Lane is one direction of a channel.
type Lane uint16

// OutLane returns the lane in which channel c sends.
func OutLane(c Channel) Lane { return Lane(c) << 1 }

// InLane returns the lane in which channel c receives.
func InLane(c Channel) Lane { return Lane(c)<<1 | 1 }

// Channel returns the lane's channel.
func (l Lane) Channel() Channel { return Channel(l >> 1) }

// In reports whether it is the receiving lane.
func (l Lane) In() bool { return l&1 == 1 }

// Opposite returns the other lane of the channel.
func (l Lane) Opposite() Lane { return l ^ 1 }

func (l Lane) String() string {
	if l.In() {
		return fmt.Sprintf("in%d", l.Channel())
	}
	return fmt.Sprintf("out%d", l.Channel())
}

// A Ref names an operation of the same rank. The zero Ref names none.
type Ref struct {
	lane Lane
	next int32 // index + 1
}

// At returns the Ref of operation i of lane l.
func At(l Lane, i int) Ref { return Ref{l, int32(i) + 1} }

// Get returns what r names; ok is false for none.
func (r Ref) Get() (l Lane, i int, ok bool) { return r.lane, int(r.next) - 1, r.next > 0 }

// An Op is one operation of one rank.
type Op struct {
	Kind Kind
	// Final marks the reduction whose result holds every rank's contribution: an average is divided there.
	Final bool
	// Eager marks a Send whose data is copied aside before it counts as started, so that Src may be
	// overwritten although the peer has not read it yet. For small messages only.
	Eager bool

	streams int8 // whether After is followed by the slice: 0 not yet computed, 1 yes, -1 no

	Peer  topology.Rank
	Src   Chunk
	Dst   Chunk
	N     uint32 // chunks; 0 is an empty message
	Match int32  // index of the partner operation in Peer's opposite lane of the same channel
	After Ref
}

// reads reports whether the operation reads Src.
func (o *Op) reads() bool { return o.Kind != Recv }

// writes reports whether the operation writes Dst.
func (o *Op) writes() bool { return o.Kind != Send }

// A Layout cuts a vector into Blocks × Pieces chunks.
type Layout struct{ Blocks, Pieces int }

// Chunks returns how many chunks there are.
func (l Layout) Chunks() int { return l.Blocks * l.Pieces }

// Range returns the elements [lo, hi) that chunks c..c+n-1 hold of a vector of length elements.
func (l Layout) Range(length, c, n int) (lo, hi int) {
	if n == 0 {
		return 0, 0
	}
	return l.start(length, c), l.start(length, c+n)
}

func (l Layout) start(length, c int) int {
	block, piece := c, 0
	if l.Pieces > 1 {
		block, piece = c/l.Pieces, c%l.Pieces
	}
	lo, hi := Split(length, l.Blocks, block)
	if piece == 0 {
		return lo
	}
	p, _ := Split(hi-lo, l.Pieces, piece)
	return lo + p
}

// Longest returns the length in elements of the longest chunk.
func (l Layout) Longest(length int) int {
	b := (length + l.Blocks - 1) / l.Blocks
	return (b + l.Pieces - 1) / l.Pieces
}

// Split cuts length elements into parts and returns part i as the range lo to hi (exclusive). The parts follow each
// other without gap; the first length mod parts of them are one longer than the others. Part number parts is the
// empty one at the end. parts must be positive, i in [0, parts] and length at least 0.
func Split(length, parts, i int) (lo, hi int) {
	q := length / parts
	r := length - q*parts
	return i*q + min(i, r), min((i+1)*q+min(i+1, r), length)
}

// A Schedule is one collective for one group: a pure function, safe for concurrent use.
type Schedule interface {
	// Ranks returns the size of the group.
	Ranks() int
	// Channels returns how many channels it uses.
	Channels() int
	// Layout returns how it cuts the vector.
	Layout() Layout
	// At returns operation i of a lane of a rank, or false when the lane is not that long.
	At(r topology.Rank, l Lane, i int) (Op, bool)
}
