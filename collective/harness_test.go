package collective_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

// patience only ends a test that hangs.
const patience = 60 * time.Second

// shortTime is a deadline that is meant to pass.
const shortTime = 300 * time.Millisecond

// A layout says how the ranks of a test's group are linked and placed.
type layout struct {
	ranks     int
	links     string // of linkKinds
	hosts     int    // that they count as; 0: one
	algorithm plan.Algorithm
}

func (l layout) String() string {
	return fmt.Sprintf("%d ranks on %d hosts over %s by %v", l.ranks, max(l.hosts, 1), l.links, l.algorithm)
}

// The ways to link goroutine ranks of this process: by reference, through shared memory as if they were processes, and
// both in one group, where pairs of ranks (0 and 1, 2 and 3, …) are linked by reference and the rest are not.
const (
	overMem   = "mem"
	overShm   = "shm"
	overPairs = "pairs"
)

// linkKinds returns the kinds that this machine has.
func linkKinds() []string {
	if shm.Available() != nil {
		return []string{overMem}
	}
	if raceEnabled {
		// A message through shared memory orders what its two ends do, but the race detector does not see that. Links by
		// reference rely on it where both kinds meet in one schedule; Verify proves their order.
		return []string{overMem, overShm}
	}
	return []string{overMem, overShm, overPairs}
}

// pairwise is a mem network that reaches the other rank of a pair only.
type pairwise struct{ *mem.Network }

func (p pairwise) Reaches(self, peer transport.Peer) bool {
	return self.Rank/2 == peer.Rank/2 && p.Network.Reaches(self, peer)
}

// transports returns what all ranks of one group use.
func transports(links string) []transport.Transport {
	switch links {
	case overMem:
		return []transport.Transport{mem.New()}
	case overShm:
		return []transport.Transport{shm.New()}
	}
	return []transport.Transport{pairwise{mem.New()}, shm.New()}
}

// host returns the host as which a rank counts: uneven blocks, 1, 2, 3 … ranks long where the ranks suffice.
func (l layout) host(rank int) string {
	h := 0
	for size := 1; h+1 < l.hosts && rank >= size; size++ {
		rank -= size
		h++
	}
	return fmt.Sprint("h", h)
}

// groupName returns a name that no other test on this machine uses.
func groupName() string { return "t-" + rand.Text()[:12] }

// join forms a group and closes it when the test ends.
func join(t testing.TB, l layout) []*collective.Comm {
	t.Helper()
	comms, err := form(t.Context(), l, groupName(), transports(l.links))
	if err != nil {
		t.Fatalf("%v: %v", l, err)
	}
	t.Cleanup(func() { closeAll(t, comms) })
	return comms
}

// form joins all ranks of a group.
func form(ctx context.Context, l layout, name string, ts []transport.Transport) ([]*collective.Comm, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	comms := make([]*collective.Comm, l.ranks)
	errs := ranksDo(l.ranks, func(r int) (err error) {
		comms[r], err = collective.Join(ctx, collective.Config{
			Rank: r, Size: l.ranks, Group: name, Transports: ts, Algorithm: l.algorithm, Host: l.host(r),
		})
		return err
	})
	return comms, errors.Join(errs...)
}

func closeAll(t testing.TB, comms []*collective.Comm) {
	t.Helper()
	for r, err := range ranksDo(len(comms), func(r int) error { return comms[r].Close() }) {
		if err != nil {
			t.Errorf("rank %d: Close: %v", r, err)
		}
	}
}

// ranksDo calls f for every rank at once and returns their errors.
func ranksDo(n int, f func(r int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() { errs[r] = f(r) })
	}
	wg.Wait()
	return errs
}

// each runs f on every rank. A rank that fails aborts, so that none waits for it.
func each(t testing.TB, comms []*collective.Comm, f func(ctx context.Context, c *collective.Comm) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for r, err := range ranksDo(len(comms), func(r int) error {
		err := f(ctx, comms[r])
		if err != nil {
			comms[r].Abort(err)
		}
		return err
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

// short returns the first few of all under -short.
func short[T any](few int, all ...T) []T {
	if testing.Short() {
		return all[:min(few, len(all))]
	}
	return all
}

func algorithms() []plan.Algorithm { return append(plan.Algorithms(), plan.Auto) }

// chain returns err with every error below it, for the text of a failure.
func chain(err error) string {
	var b strings.Builder
	for depth := 0; err != nil && depth < 8; depth++ {
		fmt.Fprintf(&b, "%T(%v) ", err, err)
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			err = slices.Concat(many.Unwrap(), []error{nil})[0]
		} else {
			err = errors.Unwrap(err)
		}
	}
	return b.String()
}
