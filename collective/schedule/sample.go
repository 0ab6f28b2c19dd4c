package schedule

import (
	"math/rand/v2"

	"github.com/ringtree/ringtree/topology"
)

// VerifySample checks a schedule that is too large for [Verify]: as many ranks as asked for, picked by rng, in full, and on each of them
// two chunks with everything that flows into them from the whole group. It returns a [*VerifyError] for what is wrong.
// The root of a rooted collective is always among the ranks. Of every picked rank it checks
//
//   - that every operation has its form and its partner, as Verify does;
//   - that lanes and Afters do not wait in a circle;
//   - chunk by chunk, that nothing undefined is read, that an input is not read once it is overwritten in place, and
//     that nothing is written that nobody reads;
//
// and of every picked chunk of it
//
//   - that accesses are ordered, one by one, by lanes and Afters of the rank or by the messages that carry the chunk;
//   - that the chunk ends as the contract says, every contribution in it exactly once: its value is followed backwards
//     through every rank that had a part in it, down to the inputs;
//   - that Final stands where it should on all the reductions on that way.
//
// What an operation reads is the chunk's latest write that its After, or else its own lane, puts before it. On the picked
// ranks this is checked, and a schedule where only messages by way of other ranks put a write before its reader is
// refused, unlike by Verify. On the other ranks it is taken for granted, and so is the absence of deadlock: it takes Verify
// on a small group to show that a family of schedules is right, and VerifySample to show that it stays so when it grows.
//
// Time and memory grow with what the picked ranks do and what the picked chunks touch: about ranks × the longest lane.
func VerifySample(s Schedule, want Contract, rng *rand.Rand, ranks int) error {
	if err := want.check(s); err != nil {
		return err
	}
	layout := s.Layout()
	for _, r := range pick(s.Ranks(), ranks, want, rng) {
		p := Compile(s, r, 0)
		if err := checkLinks(p, r); err != nil {
			return err
		}
		v, err := newView(p, r, want)
		if err != nil {
			return err
		}
		for c := range layout.Chunks() {
			if err := v.checkChunk(c); err != nil {
				return err
			}
		}
		own := rng.IntN(layout.Chunks())
		if want.Collective.ByRank() {
			own = int(r)*layout.Pieces + rng.IntN(layout.Pieces)
		}
		for _, c := range []int{own, rng.IntN(layout.Chunks())} {
			if err := newFlow(s, want, c).check(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// pick returns up to count different ranks of n, the root of a rooted collective first.
func pick(n, count int, want Contract, rng *rand.Rand) []topology.Rank {
	var ranks []topology.Rank
	seen := make(map[topology.Rank]bool)
	add := func(r topology.Rank) {
		if !seen[r] && len(ranks) < count {
			seen[r] = true
			ranks = append(ranks, r)
		}
	}
	if want.Collective.Rooted() {
		add(want.Root)
	}
	if 2*count >= n {
		for _, r := range rng.Perm(n) {
			add(topology.Rank(r))
		}
	}
	for len(ranks) < min(count, n) {
		add(topology.Rank(rng.IntN(n)))
	}
	return ranks
}
