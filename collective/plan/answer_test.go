package plan

import (
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Every block that a two-shot all-reduce gives away for reduction comes back to where it was, and both ends know it.
func TestAnswersOfDirect(t *testing.T) {
	for n := 2; n <= 9; n++ {
		for _, apart := range []bool{false, true} {
			s := newDirect(schedule.AllReduce, 0, n, false, apart)
			for r := range topology.Rank(n) {
				answers := schedule.Answers(s, r)
				if len(answers) != n-1 {
					t.Errorf("%d ranks: rank %d has %d answers, want %d", n, r, len(answers), n-1)
				}
				for _, a := range answers {
					out, in, send, recv := answerOps(s, r, a)
					if send.Peer != recv.Peer || send.Src.Index() != recv.Dst.Index() {
						t.Errorf("%d ranks: rank %d: send %v of chunk %d to %d is answered by receive %v of chunk %d from %d",
							n, r, a.Send, send.Src.Index(), send.Peer, a.Recv, recv.Dst.Index(), recv.Peer)
					}
					if k := schedule.Reply(s, send.Peer, out.Opposite(), int(send.Match)); k != schedule.At(in.Opposite(), int(recv.Match)) {
						t.Errorf("%d ranks: rank %d replies by send %v, rank %d receives send %d of %v", n, send.Peer, k, r, recv.Match, in.Opposite())
					}
				}
			}
		}
	}
}

// Whatever the schedule, an answered chunk is touched by its send and its receive alone, so storing the answer early harms
// nothing; the reply sends what the reduction made, and follows nothing else.
func TestAnswersAreSafe(t *testing.T) {
	total := 0
	for n := 2; n <= 9; n++ {
		for _, g := range graphs(t, n, rand.New(rand.NewPCG(1, uint64(n)))) {
			p := New(g)
			for _, coll := range schedule.Collectives() {
				for _, v := range p.Variants(coll) {
					s, err := p.Build(v, Request{Collective: coll, Root: topology.Rank(n - 1)})
					if err != nil {
						t.Fatal(err)
					}
					for r := range topology.Rank(n) {
						for _, a := range schedule.Answers(s, r) {
							total++
							_, _, _, recv := answerOps(s, r, a)
							if k := touching(s, r, recv.Dst.Index()); k != 2 {
								t.Errorf("%v %v of %d ranks: rank %d: %d operations touch chunk %d, which has an answer", v, coll, n, r, k, recv.Dst.Index())
							}
						}
					}
				}
			}
		}
	}
	if total == 0 {
		t.Error("no schedule has answers")
	}
}

// answerOps returns the lanes and the operations of an answer.
func answerOps(s schedule.Schedule, r topology.Rank, a schedule.Answer) (out, in schedule.Lane, send, recv schedule.Op) {
	out, i, _ := a.Send.Get()
	in, k, _ := a.Recv.Get()
	send, _ = s.At(r, out, i)
	recv, _ = s.At(r, in, k)
	return out, in, send, recv
}

func touching(s schedule.Schedule, r topology.Rank, chunk int) (count int) {
	for l := range schedule.Lane(2 * s.Channels()) {
		for i := 0; ; i++ {
			op, ok := s.At(r, l, i)
			if !ok {
				break
			}
			for _, c := range []struct {
				chunk schedule.Chunk
				used  bool
			}{{op.Src, op.Kind != schedule.Recv}, {op.Dst, op.Kind != schedule.Send}} {
				if c.used && c.chunk.Index() <= chunk && chunk < c.chunk.Index()+int(op.N) {
					count++
					break
				}
			}
		}
	}
	return count
}

// An operation more on the chunk takes the answer away.
func TestAnswerNeedsTheChunkAlone(t *testing.T) {
	s := newDirect(schedule.AllReduce, 0, 3, false, false)
	more := &meddling{Schedule: s, extra: schedule.Op{Kind: schedule.Copy, Src: schedule.Input(1), Dst: schedule.Output(0), N: 1}}
	if got := len(schedule.Answers(more, 0)); got != 1 {
		t.Errorf("%d answers on rank 0 with a copy from chunk 1, want that of chunk 2 alone", got)
	}
}

// meddling is a schedule with an operation more at the end of every out lane.
type meddling struct {
	schedule.Schedule
	extra schedule.Op
}

func (s *meddling) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	op, ok := s.Schedule.At(r, l, i)
	if ok || l.In() {
		return op, ok
	}
	if i > 0 {
		if _, before := s.Schedule.At(r, l, i-1); before {
			return s.extra, true
		}
	}
	return op, false
}

// What is reduced goes out slice by slice, before the rest has been sent to be reduced.
func TestDirectGathersWhatIsReduced(t *testing.T) {
	const n = 3
	s, err := New(topology.Local(n)).Build(Variant{Algorithm: Direct}, Request{Collective: schedule.AllReduce})
	if err != nil {
		t.Fatal(err)
	}
	scatter, reduce, gather := schedule.OutLane(0), schedule.InLane(0), schedule.OutLane(1)
	m := schedule.NewMachine(s, 0, schedule.Slicing{Chunk: 4, Slice: 1})
	step := func(l schedule.Lane) {
		t.Helper()
		if _, ok := m.Ready(l); !ok {
			t.Fatalf("%v has to wait", l)
		}
		m.Start(l)
		m.Complete(l)
	}
	for slice := range 2 {
		for range n - 1 {
			step(scatter)
		}
		if st, ok := m.Ready(gather); ok {
			t.Errorf("slice %d goes out as %+v and is not reduced", slice, st)
		}
		step(reduce)
		for range n - 1 {
			step(gather)
		}
	}
	if m.Finished(scatter) {
		t.Error("everything was sent to be reduced")
	}
}
