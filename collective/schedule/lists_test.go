package schedule_test

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A list is a schedule written out by hand: operations by rank and lane.
type list struct {
	layout   schedule.Layout
	channels int
	ops      [][][]schedule.Op
}

func (s *list) Ranks() int              { return len(s.ops) }
func (s *list) Channels() int           { return s.channels }
func (s *list) Layout() schedule.Layout { return s.layout }

func (s *list) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if int(l) < len(s.ops[r]) {
		if ops := s.ops[r][l]; uint(i) < uint(len(ops)) {
			return ops[i], true
		}
	}
	return schedule.Op{}, false
}

func (s *list) clone() *list {
	c := &list{layout: s.layout, channels: s.channels}
	for _, lanes := range s.ops {
		var copied [][]schedule.Op
		for _, ops := range lanes {
			copied = append(copied, append([]schedule.Op(nil), ops...))
		}
		c.ops = append(c.ops, copied)
	}
	return c
}

var in, out = schedule.Input, schedule.Output

func send(src schedule.Chunk, n int, to topology.Rank, match int) schedule.Op {
	return schedule.Op{Kind: schedule.Send, Src: src, N: uint32(n), Peer: to, Match: int32(match)}
}

func recv(dst schedule.Chunk, n int, from topology.Rank, match int) schedule.Op {
	return schedule.Op{Kind: schedule.Recv, Dst: dst, N: uint32(n), Peer: from, Match: int32(match)}
}

func reduce(src, dst schedule.Chunk, n int, from topology.Rank, match int) schedule.Op {
	return schedule.Op{Kind: schedule.RecvReduce, Src: src, Dst: dst, N: uint32(n), Peer: from, Match: int32(match)}
}

func after(op schedule.Op, l schedule.Lane, i int) schedule.Op {
	op.After = schedule.At(l, i)
	return op
}

func final(op schedule.Op) schedule.Op {
	op.Final = true
	return op
}

// pair is an all-reduce of two ranks: each gives the other its half, and then gives back the reduced one.
func pair() *list {
	rank := func(me int) [][]schedule.Op {
		peer := topology.Rank(1 - me)
		return [][]schedule.Op{
			{send(in(1-me), 1, peer, 0), after(send(out(me), 1, peer, 1), 1, 0)},
			{final(reduce(in(me), out(me), 1, peer, 0)), recv(out(1-me), 1, peer, 1)},
		}
	}
	return &list{layout: schedule.Layout{Blocks: 2, Pieces: 1}, channels: 1, ops: [][][]schedule.Op{rank(0), rank(1)}}
}

// star is a reduce to rank 0 of n ranks at once.
func star(n int) *list {
	s := &list{layout: schedule.Layout{Blocks: 1, Pieces: 1}, channels: 1, ops: [][][]schedule.Op{{nil, nil}}}
	for r := 1; r < n; r++ {
		s.ops[0][1] = append(s.ops[0][1], final(reduce(in(0), out(0), 1, topology.Rank(r), 0)))
		s.ops = append(s.ops, [][]schedule.Op{{send(in(0), 1, 0, r-1)}, nil})
	}
	return s
}

// line is a broadcast from rank 0 over 1 to 2.
func line() *list {
	return &list{layout: schedule.Layout{Blocks: 1, Pieces: 1}, channels: 1, ops: [][][]schedule.Op{
		{{send(in(0), 1, 1, 0), {Kind: schedule.Copy, Src: in(0), Dst: out(0), N: 1}}, nil},
		{{after(send(out(0), 1, 2, 0), 1, 0)}, {recv(out(0), 1, 0, 0)}},
		{nil, {recv(out(0), 1, 1, 0)}},
	}}
}
