package schedule

import (
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// checkLinks checks the form of every operation of rank r and that its partner names it back, in the order in which
// the link carries messages.
func checkLinks(s Schedule, r topology.Rank) error {
	last := make(map[topology.Rank]int32) // by peer: the partner of the lane's latest message
	for l := range Lane(2 * s.Channels()) {
		clear(last)
		for i := 0; ; i++ {
			op, ok := s.At(r, l, i)
			if !ok {
				break
			}
			reason := checkForm(s, r, l, &op)
			if reason == "" && op.Kind != Copy {
				reason = checkPartner(s, r, l, i, &op)
				if before, ok := last[op.Peer]; ok && reason == "" && op.Match <= before {
					reason = fmt.Sprintf("rank %d's op %d comes after its op %d on the same link", op.Peer, op.Match, before)
				}
				last[op.Peer] = op.Match
			}
			if reason == "" {
				reason = checkRepeat(s, r, l, i, &op)
			}
			if reason == "" {
				reason = checkTurn(s, r, l, i, &op)
			}
			if reason != "" {
				return &VerifyError{Rank: r, Lane: l, Index: i, Reason: reason}
			}
		}
	}
	return nil
}

// checkForm returns what is wrong with an operation by itself, or "".
func checkForm(s Schedule, r topology.Rank, l Lane, op *Op) string {
	n, chunks := s.Ranks(), uint64(s.Layout().Chunks())
	beyond := func(c Chunk) bool { return uint64(c.Index())+uint64(op.N) > chunks }
	if op.Kind < Send || op.Kind > Copy {
		return op.Kind.String()
	}
	if op.reads() && beyond(op.Src) || op.writes() && beyond(op.Dst) {
		return fmt.Sprintf("chunks beyond the %d of the layout", chunks)
	}
	if op.writes() && !op.Dst.IsOutput() {
		return "writes to the input"
	}
	if op.reads() && op.writes() && op.Src.Index() != op.Dst.Index() {
		return fmt.Sprintf("%v of chunk %d into chunk %d", op.Kind, op.Src.Index(), op.Dst.Index())
	}
	if op.Final && op.Kind != RecvReduce {
		return fmt.Sprintf("%v is Final", op.Kind)
	}
	if op.Eager && op.Kind != Send {
		return fmt.Sprintf("%v is Eager", op.Kind)
	}
	if dl, di, ok := op.After.Get(); ok {
		if int(dl) >= 2*s.Channels() {
			return fmt.Sprintf("waits for channel %d of %d", dl.Channel(), s.Channels())
		}
		if _, ok := s.At(r, dl, di); !ok {
			return fmt.Sprintf("waits for %v op %d, which does not exist", dl, di)
		}
	}
	if op.Kind == Copy {
		return ""
	}
	if l.In() == (op.Kind == Send) {
		return fmt.Sprintf("%v in the wrong lane", op.Kind)
	}
	if op.Peer < 0 || int(op.Peer) >= n || op.Peer == r {
		return fmt.Sprintf("peer %d", op.Peer)
	}
	return ""
}

// checkPartner returns why operation i of a lane and the one that it names do not make a message, or "".
func checkPartner(s Schedule, r topology.Rank, l Lane, i int, op *Op) string {
	if op.Match < 0 {
		return fmt.Sprintf("matches op %d", op.Match)
	}
	peer, ok := s.At(op.Peer, l.Opposite(), int(op.Match))
	if !ok {
		return fmt.Sprintf("%v rank %d, which has no %v op %d", op.Kind, op.Peer, l.Opposite(), op.Match)
	}
	mine, theirs := op.Src, peer.Dst
	if l.In() {
		mine, theirs = op.Dst, peer.Src
	}
	switch {
	case peer.Kind == Copy || (peer.Kind == Send) == (op.Kind == Send):
		return fmt.Sprintf("%v meets %v of rank %d", op.Kind, peer.Kind, op.Peer)
	case peer.Peer != r || int(peer.Match) != i:
		return fmt.Sprintf("meets %v op %d of rank %d, which is for rank %d op %d", l.Opposite(), op.Match, op.Peer, peer.Peer, peer.Match)
	case op.N != peer.N || op.N > 0 && mine.Index() != theirs.Index():
		return fmt.Sprintf("%d chunks from %d meet %d chunks from %d of rank %d", op.N, mine.Index(), peer.N, theirs.Index(), op.Peer)
	}
	return ""
}

// checkRepeat returns what is wrong with what a [Repeater] says of operation i of a lane, or "".
func checkRepeat(s Schedule, r topology.Rank, l Lane, i int, op *Op) string {
	count := repeat(s, r, l, i)
	if count == 1 {
		return ""
	}
	next, ok := s.At(r, l, i+1)
	if !ok {
		return fmt.Sprintf("is said to be the first of %d, and is the last of the lane", count)
	}
	if further := repeat(s, r, l, i+1); further != count-1 {
		return fmt.Sprintf("is said to be the first of %d alike, and the next of %d", count, further)
	}
	same := op.Kind == next.Kind && op.Peer == next.Peer && op.N == next.N && op.Eager == next.Eager && op.Final == next.Final &&
		op.Src.IsOutput() == next.Src.IsOutput() && op.Dst.IsOutput() == next.Dst.IsOutput() && op.Match+1 == next.Match
	if op.After != next.After {
		al, ai, waits := op.After.Get()
		bl, bi, waitsToo := next.After.Get()
		same = same && waits && waitsToo && al == bl && ai+1 == bi
	}
	a, b := *op, next
	a.streams, b.streams = 0, 0
	resolve(&a, s, r)
	resolve(&b, s, r)
	if !same || a.streams != b.streams {
		return "is said to be like the next"
	}
	return ""
}
