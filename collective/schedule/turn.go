package schedule

import (
	"fmt"
	"slices"

	"github.com/ringtree/ringtree/topology"
)

// A Turner is a Schedule that looks the same from many ranks, so that few have to be read to know what all do.
type Turner interface {
	Schedule
	// Turn returns a number of ranks t that divides Ranks, or 0 for none: with whom rank r speaks in an operation, rank r+t does with the
	// rank t further on, both modulo Ranks. But for Peer and the chunks' indices, of which there are as many, equal and different ones in
	// the same places, operations are equal, lane by lane. [Verify] and [VerifySample] hold it to what At says.
	Turn() int
}

// turnOf returns what the schedule says of itself, or 0.
func turnOf(s Schedule) int {
	if s, ok := s.(Turner); ok {
		if t := s.Turn(); t > 0 && s.Ranks()%t == 0 {
			return t
		}
	}
	return 0
}

// checkTurn returns what is wrong with what a [Turner] says of operation i of a lane, or "".
func checkTurn(s Schedule, r topology.Rank, l Lane, i int, op *Op) string {
	t := turnOf(s)
	if t == 0 {
		return ""
	}
	n := topology.Rank(s.Ranks())
	further := func(r topology.Rank) topology.Rank { return (r + topology.Rank(t)) % n }
	q := further(r)
	other, ok := s.At(q, l, i)
	_, more := s.At(r, l, i+1)
	if _, others := s.At(q, l, i+1); !ok || more != others {
		return fmt.Sprintf("is said to be rank %d's, whose lane is of another length", q)
	}
	same := op.Kind == other.Kind && op.N == other.N && op.Eager == other.Eager && op.Final == other.Final && op.After == other.After &&
		op.Src.IsOutput() == other.Src.IsOutput() && op.Dst.IsOutput() == other.Dst.IsOutput()
	if op.Kind != Copy {
		same = same && op.Match == other.Match && further(op.Peer) == other.Peer
	}
	a, b := *op, other
	a.streams, b.streams = 0, 0
	resolve(&a, s, r)
	resolve(&b, s, q)
	if i > 0 && op.Kind == RecvReduce { // the operands of one reduction at one rank are at both
		x, _ := s.At(r, l, i-1)
		y, _ := s.At(q, l, i-1)
		joins := func(a, b *Op) bool { return fusable(a, b) && a.Src == b.Src && a.Dst == b.Dst }
		same = same && joins(&x, op) == joins(&y, &other)
	}
	if !same || a.streams != b.streams {
		return fmt.Sprintf("is said to be rank %d's", q)
	}
	return ""
}

// NewTurnedFleet reads the first Turn ranks of a schedule and returns a fleet of them alone. Their peers are of the whole group: it cannot
// be run before [Fleet.Wrap]. It reads the same ranks once more, so many turns further on, 1 to Ranks/Turn-1, and fails as [NewFleet]
// does, counting the operations of all ranks, and with a [*VerifyError] where those are others.
func NewTurnedFleet(s Turner, z Slicing, limit int64, further int) (*Fleet, error) {
	t := turnOf(s)
	if t == 0 {
		return nil, &VerifyError{Rank: -1, Reason: "no turn"}
	}
	part := func(lo int) (*fleetPart, error) {
		r := NewFleetReader(s, z, limit, 1)
		limit = r.limit
		p := &r.parts[0]
		p.lo, p.hi = lo, lo+t
		r.Read(0)
		return p, p.err
	}
	p, err := part(0)
	if err == nil && int64(len(p.peers)) > limit/int64(s.Ranks()/t) {
		err = &LimitError{}
	}
	if over, ok := err.(*LimitError); ok {
		over.Entries, over.Limit = limit, limit
	}
	if err != nil {
		return nil, err
	}
	f := &Fleet{s: s, slicing: z, lanes: 2 * s.Channels(), programs: p.programs, peers: p.peers, chunks: p.chunks, first: make([]uint32, 1, t+1)}
	for j, k := range p.which {
		f.which, f.first = append(f.which, k), append(f.first, p.ends[j])
		f.ticks += p.programs[k].ticks
	}
	f.at = make([]laneAt, t*f.lanes)
	q, err := part(further * t)
	if err != nil {
		return nil, err
	}
	for j, k := range q.which {
		if !q.programs[k].same(&f.programs[f.which[j]]) || q.ends[j] != f.first[j+1] {
			return nil, &VerifyError{Rank: topology.Rank(q.lo + j), Reason: fmt.Sprintf("is said to do what rank %d does", j)}
		}
	}
	n := int32(s.Ranks())
	for e, peer := range q.peers {
		if (peer-f.peers[e]-int32(q.lo))%n != 0 {
			return nil, &VerifyError{Rank: topology.Rank(q.lo + f.owner(uint32(e))), Reason: fmt.Sprintf("has rank %d for a peer, one turned has %d", peer, f.peers[e])}
		}
	}
	return f, nil
}

// owner returns the machine of an entry.
func (f *Fleet) owner(e uint32) int {
	i, found := slices.BinarySearch(f.first, e)
	if !found {
		i--
	}
	return i
}

// Rotates reports whether the ranks of a fleet that [NewTurnedFleet] returned do the same themselves: with whom rank 0 speaks in an operation,
// rank r does with the one that is r further on around the same turn.
func (f *Fleet) Rotates() bool {
	t := int32(f.Ranks())
	entries := f.peers[:f.first[1]]
	for r := range t {
		if f.which[r] != f.which[0] {
			return false
		}
		of := f.peers[f.first[r]:f.first[r+1]]
		for e, peer := range entries { // ranks of one program have as many
			own := peer % t
			if of[e] != peer-own+(own+r)%t {
				return false
			}
		}
	}
	return true
}

// Turned returns the fleet of ranks 0, each, 2·each and so on of ranks, out of one that [NewTurnedFleet] returned: ranks is a multiple of its own,
// which are a multiple of each, and divides those of the schedule. It knows no chunks: [Fleet.Chunk] is not for it.
func (f *Fleet) Turned(ranks, each int) *Fleet {
	t, n := f.Ranks(), int32(f.s.Ranks())
	machines := ranks / each
	g := &Fleet{
		s: f.s, slicing: f.slicing, lanes: f.lanes, programs: f.programs, which: make([]int32, 0, machines), first: make([]uint32, 1, machines+1),
		whose: make([]topology.Rank, 0, machines), at: make([]laneAt, machines*f.lanes), peers: make([]int32, 0, len(f.peers)/t*machines),
	}
	for r := 0; r < ranks; r += each {
		turned := int32(r / t * t)
		own := r % t
		g.which, g.whose = append(g.which, f.which[own]), append(g.whose, topology.Rank(r))
		g.ticks += f.programs[f.which[own]].ticks
		for _, peer := range f.peers[f.first[own]:f.first[own+1]] {
			if peer += turned; peer >= n {
				peer -= n
			}
			g.peers = append(g.peers, peer)
		}
		g.first = append(g.first, uint32(len(g.peers)))
	}
	return g
}

// Wrap lets every machine of a fleet that [Fleet.Turned] returned stand for each ranks from its own on, and for all that are so many further
// on as it was turned to, for its peers, too. A machine may then have itself for a peer.
func (f *Fleet) Wrap(each int) {
	ranks := int32(f.Ranks() * each)
	for e := range f.peers {
		f.peers[e] = f.peers[e] % ranks / int32(each)
	}
}
