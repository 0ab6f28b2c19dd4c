package schedule_test

import (
	"errors"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// What a Turner's ranks do, turned from those that are read, is what they do when all are read.
func TestTurnedFleet(t *testing.T) {
	g, err := topology.Preset("rail", 48, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.New(g)
	turners := 0
	for _, c := range schedule.Collectives() {
		for _, v := range p.Variants(c) {
			s, err := p.Build(v, plan.Request{Collective: c})
			if err != nil {
				t.Fatal(err)
			}
			turner, ok := s.(schedule.Turner)
			if !ok || turner.Turn() == 0 {
				continue
			}
			turners++
			step := turner.Turn()
			all, err := schedule.NewFleet(s, schedule.Slicing{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			base, err := schedule.NewTurnedFleet(turner, schedule.Slicing{}, int64(all.Entries()), 48/step-1)
			if err != nil {
				t.Fatalf("%v by %v: %v", c, v, err)
			}
			var over *schedule.LimitError
			if _, err := schedule.NewTurnedFleet(turner, schedule.Slicing{}, int64(all.Entries())-1, 1); !errors.As(err, &over) {
				t.Errorf("%v by %v: got %v, want a LimitError", c, v, err)
			}
			if base.Rotates() == v.Leaders { // a leader does what its neighbours do not
				t.Errorf("%v by %v rotates: %t", c, v, v.Leaders)
			}
			if v.Algorithm == plan.Direct { // rank 1 begins with rank 2, and not with rank 0
				if two, err := schedule.NewTurnedFleet(turns{s, 2}, schedule.Slicing{}, 0, 1); err != nil || two.Rotates() {
					t.Errorf("%v by %v rotates among two ranks, %v", c, v, err)
				}
			}
			switch one := base.Turned(24, step); {
			case v.Leaders:
			case one.Ranks() != 24/step || one.Steps() != all.Steps()/int64(2*step):
				t.Errorf("%v by %v: %d ranks of %d steps are one of each turn", c, v, one.Ranks(), one.Steps())
			default:
				one.Wrap(step)
				for r := range int32(one.Ranks()) {
					for l := range schedule.Lane(one.Lanes()) {
						lc, first := one.Lane(r, l)
						_, from := all.Lane(r*int32(step), l)
						for e := range uint32(len(lc.Codes)) {
							if got, want := one.Peer(first+e), all.Peer(from+e)%24/int32(step); got != want || one.Of(r) != topology.Rank(int(r)*step) {
								t.Fatalf("%v by %v, rank %d, %v, entry %d: peer %d, want %d", c, v, one.Of(r), l, e, got, want)
							}
						}
					}
				}
			}
			for _, ranks := range []int{24, 48} {
				f := base.Turned(ranks, 1)
				if f.Ranks() != ranks || f.Steps() != all.Steps()*int64(ranks)/48 || f.Entries() != all.Entries()*ranks/48 {
					t.Fatalf("%v by %v: %d ranks of %d entries and %d steps", c, v, f.Ranks(), f.Entries(), f.Steps())
				}
				for e := range uint32(f.Entries()) {
					if f.Peer(e) != all.Peer(e) {
						t.Fatalf("%v by %v, entry %d: peer %d, want %d", c, v, e, f.Peer(e), all.Peer(e))
					}
				}
				for r := range int32(ranks) {
					for l := range schedule.Lane(f.Lanes()) {
						lc, first := f.Lane(r, l)
						want, from := all.Lane(r, l)
						same := len(lc.Codes) == len(want.Codes) && first == from
						for i := range lc.Codes {
							same = same && lc.Codes[i] == want.Codes[i]
						}
						if !same {
							t.Fatalf("%v by %v: rank %d, %v: %+v from %d, want %+v from %d", c, v, r, l, lc.Codes, first, want.Codes, from)
						}
					}
				}
				f.Wrap(1)
				for e := range uint32(f.Entries()) {
					if f.Peer(e) != all.Peer(e)%int32(ranks) {
						t.Fatalf("%v by %v, entry %d: peer %d of %d", c, v, e, f.Peer(e), ranks)
					}
				}
			}
		}
	}
	if turners < 7 {
		t.Errorf("%d schedules that turn", turners)
	}
}

// A Turner that is not what it says is found out, and one that turns by what does not divide the group is none.
func TestVerifyChecksTurn(t *testing.T) {
	g, err := topology.Preset("rail", 24, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.New(g)
	want := schedule.Contract{Collective: schedule.AllReduce}
	for _, tc := range []struct {
		v  plan.Variant
		by int
		ok bool
	}{
		{plan.Variant{Algorithm: plan.Direct}, 1, true}, {plan.Variant{Algorithm: plan.Direct}, 3, true}, {plan.Variant{Algorithm: plan.Tree}, 5, true},
		{plan.Variant{Algorithm: plan.Tree}, 1, false}, {plan.Variant{Algorithm: plan.Tree}, 8, false},
		{plan.Variant{Algorithm: plan.HalvingDoubling}, 1, false},
		{plan.Variant{Algorithm: plan.Hierarchical, Between: plan.Ring}, 8, true}, {plan.Variant{Algorithm: plan.Hierarchical, Between: plan.Ring}, 4, false},
	} {
		s, err := p.Build(tc.v, plan.Request{Collective: schedule.AllReduce})
		if err != nil {
			t.Fatal(err)
		}
		s = turns{s, tc.by}
		var bad *schedule.VerifyError
		if err := schedule.Verify(s, want); (err == nil) != tc.ok || !tc.ok && !errors.As(err, &bad) {
			t.Errorf("%v turned by %d: %v", tc.v, tc.by, err)
		}
		if _, err := schedule.NewTurnedFleet(s.(schedule.Turner), schedule.Slicing{}, 0, 1); (err == nil) != (tc.ok && 24%tc.by == 0) || err != nil && !errors.As(err, &bad) {
			t.Errorf("%v turned by %d: a fleet: %v", tc.v, tc.by, err)
		}
	}
}

// turns says that it is the same from so many ranks on.
type turns struct {
	schedule.Schedule
	by int
}

func (s turns) Turn() int { return s.by }
