package schedule_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

var (
	allReduce = schedule.Contract{Collective: schedule.AllReduce}
	broadcast = schedule.Contract{Collective: schedule.Broadcast}
	toZero    = schedule.Contract{Collective: schedule.Reduce}
)

func TestVerifyAccepts(t *testing.T) {
	for name, c := range map[string]struct {
		s    schedule.Schedule
		want schedule.Contract
	}{
		"pair": {pair(), allReduce}, "pair as a barrier": {pair(), schedule.Contract{Collective: schedule.Barrier}},
		"star": {star(5), toZero}, "line": {line(), broadcast},
	} {
		if err := schedule.Verify(c.s, c.want); err != nil {
			t.Errorf("%s: Verify: got %v, want no error", name, err)
		}
		if err := schedule.VerifySample(c.s, c.want, rand.New(rand.NewPCG(1, 0)), 20); err != nil {
			t.Errorf("%s: VerifySample: got %v, want no error", name, err)
		}
	}
}

// TestVerifyRejects damages a right schedule in one place and looks for the reason given.
func TestVerifyRejects(t *testing.T) {
	const beyond = 1<<31 - 1
	type edit = func(s *list)
	op := func(r, l, i int, f func(op *schedule.Op)) edit { return func(s *list) { f(&s.ops[r][l][i]) } }
	for _, c := range []struct {
		name   string
		s      *list
		want   schedule.Contract
		edit   edit
		reason string
		sample bool // VerifySample sees it too, perhaps from the other end
	}{
		{"unknown kind", pair(), allReduce, op(1, 1, 1, func(o *schedule.Op) { o.Kind = 9 }), "Kind(9)", true},
		{"no kind", pair(), allReduce, op(1, 0, 1, func(o *schedule.Op) { o.Kind = 0 }), "Kind(0)", true},
		{"source beyond", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Src = in(2) }), "chunks beyond the 2", true},
		{"destination beyond", pair(), allReduce, op(0, 1, 1, func(o *schedule.Op) { o.N = 2 }), "chunks beyond the 2", true},
		{"far beyond", pair(), allReduce, op(0, 1, 1, func(o *schedule.Op) { o.Dst, o.N = out(beyond), 1<<32-1 }), "chunks beyond the 2", true},
		{"writes input", pair(), allReduce, op(0, 1, 1, func(o *schedule.Op) { o.Dst = in(1) }), "writes to the input", true},
		{"moves a chunk", pair(), allReduce, op(0, 1, 0, func(o *schedule.Op) { o.Src = in(1) }), "recvreduce of chunk 1 into chunk 0", true},
		{"copy moves a chunk", line(), broadcast, func(s *list) {
			s.layout.Blocks = 2
			s.ops[0][0][1].Dst = out(1)
		}, "copy of chunk 0 into chunk 1", true},
		{"Final receive", pair(), allReduce, op(0, 1, 1, func(o *schedule.Op) { o.Final = true }), "recv is Final", true},
		{"eager receive", pair(), allReduce, op(0, 1, 1, func(o *schedule.Op) { o.Eager = true }), "recv is Eager", true},
		{"After a channel", pair(), allReduce, op(0, 0, 1, func(o *schedule.Op) { o.After = schedule.At(7, 0) }), "waits for channel 3 of 1", true},
		{"After nothing", pair(), allReduce, op(0, 0, 1, func(o *schedule.Op) { o.After = schedule.At(1, 2) }), "waits for in0 op 2, which does not exist", true},
		{"wrong lane", pair(), allReduce, func(s *list) {
			s.ops[0][0][1], s.ops[0][1][1] = s.ops[0][1][1], s.ops[0][0][1]
		}, "recv in the wrong lane", true},
		{"itself", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Peer = 0 }), "peer 0", true},
		{"no such peer", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Peer = 2 }), "peer 2", true},
		{"peer -1", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Peer = -1 }), "peer -1", true},
		{"match -1", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Match = -1 }), "matches op -1", true},
		{"no partner", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Match = 5 }), "send rank 1, which has no in0 op 5", true},
		{"partner of another", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Match = 1 }), "meets in0 op 1 of rank 1, which is for rank 0 op 1", true},
		{"meets a copy", line(), broadcast, func(s *list) {
			s.ops[1][1][0].Match = 1
			s.ops[0][0] = s.ops[0][0][1:]
			s.ops[0][0] = append(s.ops[0][0], s.ops[0][0][0])
		}, "recv meets copy of rank 0", true},
		{"other chunk", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.Src = in(0) }), "1 chunks from 0 meet 1 chunks from 1 of rank 1", true},
		{"overtaking", pair(), allReduce, func(s *list) {
			for r := range 2 {
				for l := range 2 {
					s.ops[r][l][0].Match, s.ops[r][l][1].Match = 1, 0
				}
			}
			for r := range 2 {
				s.ops[r][0][0], s.ops[r][0][1] = s.ops[r][0][1], s.ops[r][0][0]
				s.ops[r][0][0].Match, s.ops[r][0][1].Match = 1, 0
			}
		}, "on the same link", true},
		{"deadlock", pair(), allReduce, op(0, 0, 0, func(o *schedule.Op) { o.After = schedule.At(1, 1) }), "deadlock", false},
		{"waits for itself", pair(), allReduce, op(0, 0, 1, func(o *schedule.Op) { o.After = schedule.At(0, 1) }), "deadlock", true},
		{"reads too early", pair(), allReduce, op(0, 0, 1, func(o *schedule.Op) { o.After = schedule.Ref{} }), "reads chunk 0", true},
		{"no input there", line(), broadcast, op(1, 0, 0, func(o *schedule.Op) { o.Src = in(0) }), "reads chunk 0", true},
		{"lost write", pair(), allReduce, func(s *list) {
			for r := range 2 {
				s.ops[r][0] = append(s.ops[r][0], schedule.Op{Kind: schedule.Copy, Src: in(r), Dst: out(r), N: 1, After: schedule.At(1, 0)})
			}
		}, "", false},
		{"not Final", pair(), allReduce, op(0, 1, 0, func(o *schedule.Op) { o.Final = false }), "chunk 0 has 2 of 2 contributions, Final is false", true},
		{"twice", star(3), toZero, func(s *list) {
			s.ops[0][1] = append(s.ops[0][1], final(reduce(in(0), out(0), 1, 1, 1)))
			s.ops[1][0] = append(s.ops[1][0], send(in(0), 1, 0, 2))
		}, "", true},
		{"missing", star(3), toZero, func(s *list) {
			s.ops[0][1], s.ops[2][0] = s.ops[0][1][:1], nil
		}, "chunk 0 has 2 of 3 contributions, Final is true", true},
		{"not copied", line(), broadcast, func(s *list) { s.ops[0][0] = s.ops[0][0][:1] }, "contract: chunk 0", true},
		{"wrong collective", pair(), broadcast, func(s *list) {}, "not an input", false},
	} {
		s := c.s.clone()
		c.edit(s)
		err := schedule.Verify(s, c.want)
		var ve *schedule.VerifyError
		if !errors.As(err, &ve) {
			t.Errorf("%s: got %v, want a *VerifyError", c.name, err)
			continue
		}
		if c.name != "wrong collective" && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: got %q, want it to say %q", c.name, err, c.reason)
		}
		err = schedule.VerifySample(s, c.want, rand.New(rand.NewPCG(2, 0)), 40)
		if c.sample && !errors.As(err, &ve) {
			t.Errorf("%s: VerifySample: got %v, want a *VerifyError", c.name, err)
		}
	}
}

func TestVerifyContracts(t *testing.T) {
	none := pair()
	none.layout.Pieces = 0
	empty := pair()
	empty.channels = 0
	for _, c := range []struct {
		name   string
		s      schedule.Schedule
		want   schedule.Contract
		reason string
	}{
		{"unknown collective", pair(), schedule.Contract{Collective: 7}, "unknown collective 7"},
		{"no ranks", &list{layout: schedule.Layout{Blocks: 1, Pieces: 1}, channels: 1}, allReduce, "0 ranks"},
		{"no channels", empty, allReduce, "0 channels"},
		{"no chunks", none, allReduce, "2 × 0 chunks"},
		{"blocks", star(3), schedule.Contract{Collective: schedule.AllGather}, "all_gather over 3 ranks with 1 blocks"},
		{"root", line(), schedule.Contract{Collective: schedule.Broadcast, Root: 3}, "root 3 of 3 ranks"},
		{"negative root", line(), schedule.Contract{Collective: schedule.Broadcast, Root: -1}, "root -1 of 3 ranks"},
	} {
		for name, err := range map[string]error{
			"Verify":       schedule.Verify(c.s, c.want),
			"VerifySample": schedule.VerifySample(c.s, c.want, rand.New(rand.NewPCG(1, 0)), 1),
		} {
			var ve *schedule.VerifyError
			if !errors.As(err, &ve) || ve.Rank != -1 || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%s: %s: got %v, want it to say %q of no one rank", c.name, name, err, c.reason)
			}
		}
	}
}

// A send by reference reads until it is taken: without the wait for the other side, an in-place result may overtake it.
func TestVerifyInPlaceHazard(t *testing.T) {
	// Rank 0 sends its input to rank 1 and gets, on another channel and waiting for nothing, rank 1's.
	s := &list{layout: schedule.Layout{Blocks: 1, Pieces: 1}, channels: 2, ops: [][][]schedule.Op{
		{{send(in(0), 1, 1, 0)}, nil, nil, {final(reduce(in(0), out(0), 1, 1, 0))}},
		{nil, {final(reduce(in(0), out(0), 1, 0, 0))}, {send(in(0), 1, 0, 0)}, nil},
	}}
	err := schedule.Verify(s, allReduce)
	if err == nil || !strings.Contains(err.Error(), "(in place)") {
		t.Errorf("got %v, want a hazard in place", err)
	}
	if err := schedule.VerifySample(s, allReduce, rand.New(rand.NewPCG(1, 0)), 4); err == nil {
		t.Error("VerifySample: got no error, want a hazard in place")
	}
	// Sent aside, the input may be overwritten at once.
	for r, l := range []int{0, 2} {
		s.ops[r][l][0].Eager = true
		s.ops[r][3-l][0] = after(s.ops[r][3-l][0], schedule.Lane(l), 0)
	}
	if err := schedule.Verify(s, allReduce); err != nil {
		t.Errorf("eager: got %v, want no error", err)
	}
	if err := schedule.VerifySample(s, allReduce, rand.New(rand.NewPCG(1, 0)), 4); err != nil {
		t.Errorf("eager: VerifySample: got %v, want no error", err)
	}
}

// A lane with more slices than clocks can count is an error, not a wrong answer.
func TestVerifyTooLong(t *testing.T) {
	const n = 1 << 14 // two slices each
	s := &list{layout: schedule.Layout{Blocks: n, Pieces: 1}, channels: 1, ops: [][][]schedule.Op{{{}, {}}, {{}, {}}}}
	for i := range n {
		s.ops[0][0] = append(s.ops[0][0], send(in(i), 1, 1, i))
		s.ops[1][1] = append(s.ops[1][1], final(reduce(in(i), out(i), 1, 0, i)))
	}
	err := schedule.Verify(s, schedule.Contract{Collective: schedule.Reduce, Root: 1})
	if err == nil || !strings.Contains(err.Error(), "too large for Verify") {
		t.Errorf("got %v, want an error that it is too large", err)
	}
	if err := schedule.VerifySample(s, schedule.Contract{Collective: schedule.Reduce, Root: 1}, rand.New(rand.NewPCG(1, 0)), 2); err != nil {
		t.Errorf("VerifySample: got %v, want no error", err)
	}
}

func TestVerifyErrorText(t *testing.T) {
	e := &schedule.VerifyError{Rank: 3, Lane: schedule.InLane(1), Index: 4, Reason: "why"}
	if got, want := e.Error(), "schedule: rank 3 in1 op 4: why"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Rank = -1
	if got, want := e.Error(), "schedule: why"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzVerify runs both checks on nonsense: they must answer, and what Verify proves must not fail in a sample.
func FuzzVerify(f *testing.F) {
	f.Add([]byte{2, 1, 1, 0x10, 0, 0, 1})
	f.Add([]byte{3, 2, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b)
		}
		s := &list{layout: schedule.Layout{Blocks: 1 + next()%4, Pieces: 1 + next()%2}, channels: 1 + next()%2}
		n := 1 + next()%4
		want := schedule.Contract{Collective: schedule.Collective(1 + next()%6), Root: topology.Rank(next() % n)}
		for range n {
			s.ops = append(s.ops, make([][]schedule.Op, 2*s.channels))
		}
		for len(data) > 0 {
			r, l := next()%n, next()%(2*s.channels)
			flags := next()
			o := schedule.Op{
				Kind: schedule.Kind(next() % 6), Final: flags&1 > 0, Eager: flags&2 > 0, Peer: topology.Rank(next()%6 - 1),
				Src: in(next() % 9), Dst: out(next() % 9), N: uint32(next() % 4), Match: int32(next()%5 - 1),
			}
			if flags&4 > 0 {
				o.Src = out(o.Src.Index())
			}
			if flags&8 > 0 {
				o.Dst = in(o.Dst.Index())
			}
			if flags&16 > 0 {
				o.After = schedule.At(schedule.Lane(next()%6), next()%4)
			}
			s.ops[r][l] = append(s.ops[r][l], o)
		}
		err := schedule.Verify(s, want)
		sampled := schedule.VerifySample(s, want, rand.New(rand.NewPCG(1, 0)), n)
		var ve *schedule.VerifyError
		if err != nil && !errors.As(err, &ve) || sampled != nil && !errors.As(sampled, &ve) {
			t.Errorf("got %T and %T, want *VerifyError", err, sampled)
		}
	})
}
