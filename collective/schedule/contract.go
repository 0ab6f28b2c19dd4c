package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// A Contract says what must be true when a schedule has run.
//
//	AllReduce      Out of every rank is the reduction of all inputs
//	ReduceScatter  Out block r of rank r is the reduction of all inputs' block r
//	AllGather      Out block b of every rank is input block b of rank b; a rank's input is its own block only
//	Broadcast      Out of every rank is Root's input, the only input
//	Reduce         Out of Root is the reduction of all inputs
//	Barrier        as AllReduce
//
// Where a rank's output is not the caller's it is scratch. Inputs are never written, except that in place a
// rank's input and its output are the same memory wherever both are the caller's.
type Contract struct {
	Collective Collective
	Root       topology.Rank // of Broadcast and Reduce
}

func (c Contract) String() string {
	if c.Collective.Rooted() {
		return fmt.Sprintf("%v root %d", c.Collective, c.Root)
	}
	return c.Collective.String()
}

// HasInput reports whether rank r has block b of n as input.
func (c Contract) HasInput(r topology.Rank, b int) bool {
	switch c.Collective {
	case AllGather:
		return b == int(r)
	case Broadcast:
		return r == c.Root
	}
	return true
}

// HasOutput reports whether block b of the output is rank r's to keep.
func (c Contract) HasOutput(r topology.Rank, b int) bool {
	switch c.Collective {
	case ReduceScatter:
		return b == int(r)
	case Reduce:
		return r == c.Root
	}
	return true
}

func (c Contract) check(s Schedule) error {
	n := s.Ranks()
	l := s.Layout()
	switch {
	case !c.Collective.Valid():
		return &VerifyError{Rank: -1, Reason: fmt.Sprintf("unknown collective %d", c.Collective)}
	case n < 1 || s.Channels() < 1 || l.Blocks < 1 || l.Pieces < 1:
		return &VerifyError{Rank: -1, Reason: fmt.Sprintf("%d ranks, %d channels, %d × %d chunks", n, s.Channels(), l.Blocks, l.Pieces)}
	case c.Collective.ByRank() && l.Blocks != n:
		return &VerifyError{Rank: -1, Reason: fmt.Sprintf("%v over %d ranks with %d blocks", c.Collective, n, l.Blocks)}
	case c.Collective.Rooted() && (c.Root < 0 || int(c.Root) >= n):
		return &VerifyError{Rank: -1, Reason: fmt.Sprintf("root %d of %d ranks", c.Root, n)}
	}
	return nil
}

// A VerifyError says where a schedule is wrong.
type VerifyError struct {
	Rank   topology.Rank // -1: no one rank
	Lane   Lane
	Index  int
	Reason string
}

func (e *VerifyError) Error() string {
	if e.Rank < 0 {
		return "schedule: " + e.Reason
	}
	return fmt.Sprintf("schedule: rank %d %v op %d: %s", e.Rank, e.Lane, e.Index, e.Reason)
}
