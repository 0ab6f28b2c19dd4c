package engine

import (
	"hash/crc32"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// A Signature is what all ranks must agree on before their frames may meet.
type Signature struct {
	Collective schedule.Collective
	Type       buffer.DType
	Op         buffer.Op
	Root       topology.Rank
	Count      uint64 // as the caller gave it
	Algorithm  uint16 // which schedule: plan.Variant.Code
}

// A Script is a schedule made ready for one rank and one shape of call: which operations it runs and on which
// links. It is reused by every call of the same signature.
type Script struct {
	Signature
	length  int // elements of the whole vector
	size    int // bytes an element
	layout  schedule.Layout
	slicing schedule.Slicing
	sched   schedule.Schedule // a *schedule.Program unless the rank has very many operations
	conns   [][]*conn         // by lane and operation, when sched is a Program
	kernel  buffer.Kernel
	wide    bool       // some operation spans several chunks
	large   bool       // more than the caches hold
	turns   bool       // a lane gives the others their turn after every step
	eager   bool       // some send is eager
	shot    *oneShot   // what the program is, if it is one
	placing *placing   // what may be stored by the peers, if anything
	awaits  []*awaited // what may be stored by the peers' devices, by link
	lands   []*awaited // the same of operations on Config.Memory, what is to be reduced included
	head    transport.Header
	sum     uint32 // of the signature
}

// compileLimit is how many operations of a rank are computed ahead; longer programs are asked for as they run.
const compileLimit = 1 << 15

// turnsFrom is from how many bytes on, about what the caches of a core's own hold, lanes take turns: who sends all that there is first, has to fetch from
// farther away what came meanwhile, and so has the peer. The peer of a shorter operation is better kept busy, and ranks that outnumber the cores are switched
// more often by turns.
const turnsFrom = 16 << 20

// NewScript prepares the call of a signature by schedule s. The vector has length elements, in slices of up to
// sliceBytes.
func (e *Engine) NewScript(sig Signature, s schedule.Schedule, length, sliceBytes int) (*Script, error) {
	sc := &Script{
		Signature: sig, length: length, size: sig.Type.Size(), layout: s.Layout(), sched: s,
		head: transport.Header{
			Epoch: e.epoch, Count: sig.Count, Kind: transport.Data, Coll: uint8(sig.Collective), DType: uint8(sig.Type), Op: uint8(sig.Op),
			Algo: sig.Algorithm, Root: int32(sig.Root),
		},
	}
	text, err := sc.head.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	sc.sum = crc32.ChecksumIEEE(text)
	sliceBytes = min(max(sliceBytes, sc.size), transport.MaxPayload) / sc.size * sc.size
	// Chunks next to each other may differ by one element a piece, so a span of n chunks is at most n times the longest.
	sc.slicing = schedule.Slicing{Chunk: int64(sc.layout.Longest(length)) * int64(sc.size), Slice: int64(sliceBytes)}
	sc.turns = length*sc.size >= turnsFrom && !e.cfg.Crowded
	sc.large = 2*e.cfg.Size*length*sc.size > largeOperation
	if sig.Collective.Reduces() {
		k, err := buffer.KernelFor(sig.Type, sig.Op)
		if err != nil {
			return nil, err
		}
		sc.kernel = k
	}
	if p := schedule.Compile(s, e.rank, compileLimit); p != nil {
		sc.sched = p
		sc.conns = make([][]*conn, 2*s.Channels())
		for l := range sc.conns {
			lane := schedule.Lane(l)
			sc.conns[l] = make([]*conn, p.Len(lane))
			for i := range sc.conns[l] {
				op, _ := p.At(e.rank, lane, i)
				sc.wide = sc.wide || op.N > 1
				sc.eager = sc.eager || op.Eager
				if op.Kind == schedule.Copy {
					continue
				}
				c, err := e.conn(int(op.Peer), lane.Channel())
				if err != nil {
					return nil, err
				}
				sc.conns[l][i] = c
			}
		}
		sc.shot = e.oneShotOf(sc, p)
		sc.placing = e.placingOf(sc, p)
		sc.awaits = e.awaitedOf(sc, p, false)
		if e.cfg.Memory != nil {
			sc.lands = e.awaitedOf(sc, p, true)
		}
	} else {
		sc.wide, sc.eager = true, true
	}
	return sc, nil
}

// NeedsScratch reports whether the call wants an output as long as the vector although the caller keeps only a part
// of it, and whether every rank's own block must then be copied from there.
func (sc *Script) NeedsScratch(rank topology.Rank) (scratch, copyOut bool) {
	switch sc.Collective {
	case schedule.ReduceScatter:
		return true, sc.wide
	case schedule.Reduce:
		return rank != sc.Root, false
	}
	return false, false
}

// Operands is the memory of one call. In and Out are windows into the vector of the operation, from element offsets
// InAt and 0 on; Own, if not nil, takes the place of Out for elements [OwnLo, OwnHi).
type Operands struct {
	In     []byte
	InAt   int
	Out    []byte
	Own    []byte
	OwnLo  int
	OwnHi  int
	Finish bool // divide final results: an average over more than one rank
	// Away says that all of them lie in the engine's Memory; Gate is what the operation then comes after, nil: nothing.
	Away bool
	Gate buffer.Gate
}

// span returns the memory of elements [lo, hi) of the space of c.
func (m *Operands) span(c schedule.Chunk, lo, hi, size int) []byte {
	if lo == hi {
		return nil
	}
	if !c.IsOutput() {
		lo, hi = (lo-m.InAt)*size, (hi-m.InAt)*size
		return m.In[lo:hi:hi]
	}
	if m.Own != nil && lo >= m.OwnLo && hi <= m.OwnHi {
		lo, hi = (lo-m.OwnLo)*size, (hi-m.OwnLo)*size
		return m.Own[lo:hi:hi]
	}
	lo, hi = lo*size, hi*size
	return m.Out[lo:hi:hi]
}

// slice returns the elements of slice k of count of chunks c..c+n-1.
func (sc *Script) slice(c schedule.Chunk, n uint32, k, count int) (lo, hi int) {
	if n == 0 || sc.length == 0 {
		return 0, 0
	}
	lo, hi = sc.layout.Range(sc.length, c.Index(), int(n))
	if count > 1 {
		a, b := schedule.Split(hi-lo, count, k)
		lo, hi = lo+a, lo+b
	}
	return lo, hi
}
