package schedule

import "github.com/ringtree/ringtree/topology"

// Verify proves a schedule right, or returns a [*VerifyError] that says where it is not. It checks, for in
// place and out of place, and with more than one slice a chunk:
//
//   - every send meets its receive: Op.Match names each from the other, with equal chunks, in the order of the link;
//   - no deadlock: all ranks come to their end even if a link holds a single slice and a send is complete only
//     when the peer has taken it. Progress is monotonic (an operation that may run stays allowed), so one
//     run to the end stands for every interleaving;
//   - no hazard: accesses to the same chunk, one of them a write, are ordered by lanes, by After and by
//     messages alone, in every interleaving. A send by reference reads until the peer has taken it;
//   - nothing undefined is read, and nothing is written that nobody reads;
//   - every contribution is in the result exactly once, and Final stands on exactly the reductions that
//     complete one;
//   - the contract holds on every rank.
//
// It drives one [Machine] a rank. Time and memory grow with ranks² and more, and a lane may have 32,767 slices at most;
// above some hundred ranks use [VerifySample].
func Verify(s Schedule, want Contract) error {
	if err := want.check(s); err != nil {
		return err
	}
	t := tabulate(s)
	for r := range topology.Rank(s.Ranks()) {
		if err := checkLinks(t, r); err != nil {
			return err
		}
	}
	return newRun(t, want, 2).run()
}
