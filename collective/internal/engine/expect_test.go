package engine

import (
	"reflect"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// oneLane is a schedule in which rank 0 takes these operations, and nobody does anything else.
type oneLane []schedule.Op

func (s oneLane) Ranks() int              { return 3 }
func (s oneLane) Channels() int           { return 1 }
func (s oneLane) Layout() schedule.Layout { return schedule.Layout{Blocks: 6, Pieces: 1} }
func (s oneLane) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if r != 0 || !l.In() || i >= len(s) {
		return schedule.Op{}, false
	}
	return s[i], true
}

type expectingLink struct{ transport.Link }

func (expectingLink) Expecting() int                             { return 8 }
func (expectingLink) Expect(int, *transport.Header, []byte) bool { return true }

// A receive gets its place when all that its lane has before it and that may still use the memory is over, and no sooner.
func TestAwaited(t *testing.T) {
	in, out := schedule.Input, schedule.Output
	waits := schedule.At(schedule.OutLane(0), 0)
	ops := oneLane{
		{Kind: schedule.RecvReduce, Peer: 1, Src: in(0), Dst: out(0), N: 1},
		{Kind: schedule.Recv, Peer: 2, Dst: out(1), N: 1},
		{Kind: schedule.Recv, Peer: 1, Dst: out(0), N: 2},
		{Kind: schedule.Recv, Peer: 1, Dst: out(2), N: 1},
		{Kind: schedule.Recv, Peer: 2, Dst: out(3), N: 1, After: waits},
		{Kind: schedule.Recv, Peer: 1, Dst: out(4), N: 1},
		{Kind: schedule.Recv, Peer: 1, N: 0},
		{Kind: schedule.RecvReduce, Peer: 1, Src: in(5), Dst: out(5), N: 1},
		{Kind: schedule.Recv, Peer: 2, Dst: out(5), N: 1},
	}
	e := New(Config{Rank: 0, Size: 3})
	p := schedule.Compile(ops, 0, 0)
	sc := &Script{slicing: schedule.Slicing{Chunk: 2 * minExpected, Slice: minExpected}, conns: make([][]*conn, 2)}
	conns := []*conn{nil, {peer: 1, expecting: expectingLink{}}, {peer: 2, expecting: expectingLink{}}}
	for _, op := range ops {
		sc.conns[schedule.InLane(0)] = append(sc.conns[schedule.InLane(0)], conns[op.Peer])
	}
	got := make(map[int][]awaitedOp)
	for _, a := range e.awaitedOf(sc, p, false) {
		got[a.c.peer] = a.list
	}
	want := map[int][]awaitedOp{
		1: {{op: 2, over: 2, at: 2}, {op: 3, over: 0, at: 6}, {op: 5, over: 5, at: 8}},
		2: {{op: 1, over: 0, at: 0}, {op: 8, over: 8, at: 4}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	// Away, what is to be reduced lands where nothing else is; and from a peer that sends references nothing comes.
	clear(got)
	e.cfg.Reads = func(peer int) bool { return peer == 2 }
	for _, a := range e.awaitedOf(sc, p, true) {
		got[a.c.peer] = a.list
	}
	delete(want, 2)
	want[1] = []awaitedOp{{op: 0, at: 0, land: true}, want[1][0], want[1][1], want[1][2], {op: 7, at: 11, land: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("away: got  %v\nwant %v", got, want)
	}
	conns[1].expecting, conns[2].expecting = nil, nil
	if all := e.awaitedOf(sc, p, false); len(all) > 0 {
		t.Errorf("links that take no places: got %d", len(all))
	}
	conns[1].expecting = expectingLink{}
	sc.slicing.Slice = minExpected - 1
	if all := e.awaitedOf(sc, p, false); len(all) > 0 {
		t.Errorf("short slices: got %d", len(all))
	}
}
