package plan

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// stars is a hierarchical all-reduce on a single host of n ranks: every rank owns a block, which it reduces from all others and gives back to them
// on a channel of its own.
type stars struct{ n int }

func (s stars) Ranks() int              { return s.n }
func (s stars) Channels() int           { return s.n }
func (s stars) Layout() schedule.Layout { return schedule.Layout{Blocks: s.n, Pieces: 1} }

func (s stars) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	owner := int(l.Channel())
	in, out := schedule.Input(owner), schedule.Output(owner)
	if q := mod(int(r)-owner, s.n); q > 0 {
		op := schedule.Op{Kind: schedule.Send, Peer: topology.Rank(owner), Src: in, N: 1, Match: int32(q - 1)}
		if l.In() {
			op.Kind, op.Src, op.Dst = schedule.Recv, 0, out
		}
		return op, i == 0
	}
	op := schedule.Op{Kind: schedule.RecvReduce, Peer: topology.Rank(mod(owner+1+i, s.n)), Src: in, Dst: out, N: 1, Final: true}
	if !l.In() {
		op.Kind, op.Src, op.Dst, op.Final, op.After = schedule.Send, out, 0, false, schedule.At(l.Opposite(), s.n-2)
	}
	return op, i < s.n-1
}
