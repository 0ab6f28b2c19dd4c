package schedule_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// shift sends every rank's block once around a ring of n ranks: an all-gather.
type shift struct{ n int }

func (s shift) Ranks() int              { return s.n }
func (s shift) Channels() int           { return 1 }
func (s shift) Layout() schedule.Layout { return schedule.Layout{Blocks: s.n, Pieces: 1} }

func (s shift) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	wrap := func(x int) int { return (x%s.n + s.n) % s.n }
	me := int(r)
	switch {
	case i < 0 || i >= s.n:
		return schedule.Op{}, false
	case l.In():
		op := schedule.Op{Kind: schedule.Recv, Dst: schedule.Output(wrap(me - 1 - i)), N: 1, Peer: topology.Rank(wrap(me - 1)), Match: int32(i)}
		return op, i < s.n-1
	case i == s.n-1:
		return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(me), Dst: schedule.Output(me), N: 1}, true
	}
	op := schedule.Op{Kind: schedule.Send, Src: schedule.Input(me), N: 1, Peer: topology.Rank(wrap(me + 1)), Match: int32(i)}
	if i > 0 { // pass on what came last
		op.Src, op.After = schedule.Output(wrap(me-i)), schedule.At(l.Opposite(), i-1)
	}
	return op, true
}

func ExampleVerify() {
	fmt.Println(schedule.Verify(shift{8}, schedule.Contract{Collective: schedule.AllGather}))

	err := schedule.Verify(shift{8}, schedule.Contract{Collective: schedule.AllReduce})
	var ve *schedule.VerifyError
	fmt.Println(errors.As(err, &ve))
	fmt.Println(err)
	// Output:
	// <nil>
	// true
	// schedule: rank 0 out0 op 0: contract: chunk 0 ends with 1 contributions, want 8: all_reduce (in place)
}

// A ring of 20,000 ranks has 800 million operations; a sample looks at a few of its ranks and at all that reaches them.
func ExampleVerifySample() {
	rng := rand.New(rand.NewPCG(1, 2))
	fmt.Println(schedule.VerifySample(shift{20000}, schedule.Contract{Collective: schedule.AllGather}, rng, 2))
	// Output: <nil>
}

func ExampleFormat() {
	if err := schedule.Format(os.Stdout, shift{2}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// schedule ranks 2 channels 1 blocks 2 pieces 1
	// rank 0 out0
	//   0 send in[0] x1 to 1:0
	//   1 copy in[0] x1 to out[0]
	// rank 0 in0
	//   0 recv out[1] x1 from 1:0
	// rank 1 out0
	//   0 send in[1] x1 to 0:0
	//   1 copy in[1] x1 to out[1]
	// rank 1 in0
	//   0 recv out[0] x1 from 0:0
}

// A driver asks every lane what it may do next, does it, and says so. This one moves strings between the ranks of one
// process and is done with each step at once.
func ExampleMachine() {
	s := shift{3}
	inputs := []string{"a", "b", "c"}
	outputs := make([][]string, s.n)
	links := make(map[[2]topology.Rank][]string)
	machines := make([]*schedule.Machine, s.n)
	for r := range machines {
		machines[r] = schedule.NewMachine(s, topology.Rank(r), schedule.Slicing{})
		outputs[r] = make([]string, s.n)
	}
	load := func(r topology.Rank, c schedule.Chunk) string {
		if c.IsOutput() {
			return outputs[r][c.Index()]
		}
		return inputs[c.Index()]
	}
	for open := s.n; open > 0; {
		open = 0
		for i, m := range machines {
			r := topology.Rank(i)
			for l := range schedule.Lane(m.Lanes()) {
				st, ok := m.Ready(l)
				if !ok {
					continue
				}
				op := m.Op(l, st.First)
				switch op.Kind {
				case schedule.Send:
					to := [2]topology.Rank{r, op.Peer}
					links[to] = append(links[to], load(r, op.Src))
				case schedule.Copy:
					outputs[r][op.Dst.Index()] = load(r, op.Src)
				case schedule.Recv:
					from := [2]topology.Rank{op.Peer, r}
					if len(links[from]) == 0 {
						continue // not yet
					}
					outputs[r][op.Dst.Index()] = links[from][0]
					links[from] = links[from][1:]
				}
				m.Start(l)
				m.Complete(l)
			}
			if !m.Done() {
				open++
			}
		}
	}
	fmt.Println(outputs)
	// Output: [[a b c] [a b c] [a b c]]
}

// Compiled, the operations of one rank are computed once and then looked up.
func ExampleCompile() {
	p := schedule.Compile(shift{4}, 2, 0)
	for i := range p.Len(schedule.InLane(0)) {
		op, _ := p.At(2, schedule.InLane(0), i)
		fmt.Println(op)
	}
	// Output:
	// recv out[1] x1 from 1:0
	// recv out[0] x1 from 1:1
	// recv out[3] x1 from 1:2
}
