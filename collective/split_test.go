package collective_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// members returns the ranks of parent whose numbers in c are 0, 1, …, each as rank said it of itself.
func members(ctx context.Context, c *collective.Comm, rank int) ([]int32, error) {
	all := make([]int32, c.Size())
	return all, collective.AllGather(ctx, c, all, []int32{int32(rank)})
}

func TestSplit(t *testing.T) {
	cases := []struct {
		name       string
		color, key func(r int) int
		want       [][]int32 // by parent's rank; nil: no part
	}{
		{"all in one, same order", func(int) int { return 7 }, func(int) int { return 0 },
			[][]int32{{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}}},
		{"all in one, backwards", func(int) int { return 0 }, func(r int) int { return -r },
			[][]int32{{4, 3, 2, 1, 0}, {4, 3, 2, 1, 0}, {4, 3, 2, 1, 0}, {4, 3, 2, 1, 0}, {4, 3, 2, 1, 0}}},
		{"odd and even", func(r int) int { return r % 2 }, func(r int) int { return r },
			[][]int32{{0, 2, 4}, {1, 3}, {0, 2, 4}, {1, 3}, {0, 2, 4}}},
		{"keys of one color in groups", func(r int) int { return r / 3 }, func(r int) int { return (r + 1) % 2 },
			[][]int32{{1, 0, 2}, {1, 0, 2}, {1, 0, 2}, {3, 4}, {3, 4}}},
		{"some stay out", func(r int) int { return r%2*5 - 1 }, func(r int) int { return 9 - r },
			[][]int32{nil, {3, 1}, nil, {3, 1}, nil}},
		{"everybody alone", func(r int) int { return 1000 + r }, func(int) int { return math.MaxInt },
			[][]int32{{0}, {1}, {2}, {3}, {4}}},
		{"nobody", func(int) int { return -1 }, func(int) int { return 0 }, make([][]int32, 5)},
	}
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 5, links: links, hosts: 2})
		for _, tc := range cases {
			each(t, comms, func(ctx context.Context, c *collective.Comm) error {
				part, err := c.Split(ctx, tc.color(c.Rank()), tc.key(c.Rank()))
				if err != nil {
					return err
				}
				want := tc.want[c.Rank()]
				if part == nil {
					if want != nil {
						return fmt.Errorf("%s: no communicator, want one of %v", tc.name, want)
					}
					return collective.Barrier(ctx, c)
				}
				got, err := members(ctx, part, c.Rank())
				if err != nil {
					return err
				}
				if fmt.Sprint(got) != fmt.Sprint(want) || int(got[part.Rank()]) != c.Rank() {
					return fmt.Errorf("%s: rank %d is number %d of %v, want of %v", tc.name, c.Rank(), part.Rank(), got, want)
				}
				if part.Topology().Size() != len(want) {
					return fmt.Errorf("%s: the topology has %d ranks, want %d", tc.name, part.Topology().Size(), len(want))
				}
				if err := part.Close(); err != nil {
					return err
				}
				return collective.Barrier(ctx, c) // the parent does not mind
			})
		}
	}
}

// Parts of parts, down to single ranks, each checked by what its members gather.
func TestSplitNested(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 8, links: links, hosts: 3})
		each(t, comms, func(ctx context.Context, c *collective.Comm) error {
			level := []*collective.Comm{c}
			for c := c; c.Size() > 1; {
				half, err := c.Split(ctx, c.Rank()*2/c.Size(), -c.Rank())
				if err != nil {
					return err
				}
				level, c = append(level, half), half
			}
			// All levels work at once, each rank's from its own goroutine.
			errs := ranksDo(len(level), func(i int) error {
				for range 20 {
					if err := gather(ctx, level[i]); err != nil {
						return fmt.Errorf("level %d: %w", i, err)
					}
				}
				return nil
			})
			for _, part := range level[1:] {
				errs = append(errs, part.Close())
			}
			return errors.Join(errs...)
		})
	}
}

// Two splits of one communicator at once are two operations in the order of calls.
func TestSplitWhileOthersRun(t *testing.T) {
	comms := join(t, layout{ranks: 3, links: overMem})
	each(t, comms, func(ctx context.Context, c *collective.Comm) error {
		work, err := collective.StartAllReduce(ctx, c, make([]float64, 50_000), buffer.Sum)
		if err != nil {
			return err
		}
		part, err := c.Split(ctx, 0, 0)
		if err != nil {
			return err
		}
		return errors.Join(gather(ctx, part), work.Wait(ctx), part.Close())
	})
}

// A part's end is not its parent's, nor the other way round.
func TestSplitIndependence(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 4, links: links})
		parts := make([]*collective.Comm, 4)
		each(t, comms, func(ctx context.Context, c *collective.Comm) (err error) {
			parts[c.Rank()], err = c.Split(ctx, c.Rank()/2, 0)
			return err
		})
		parts[0].Abort(io.ErrNoProgress)
		if err := gather(t.Context(), parts[1]); !errors.Is(err, collective.ErrAborted) {
			t.Errorf("%s: the aborted part: got %v, want %v", links, err, collective.ErrAborted)
		}
		each(t, parts[2:], gather)
		each(t, comms, gather)
		closeAll(t, comms)
		each(t, parts[2:], gather)
		closeAll(t, parts)
	}
}

// What goes wrong in a part is told in its own numbers.
func TestSplitNumbersInErrors(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 4, links: links})
		parts := make([]*collective.Comm, 4)
		each(t, comms, func(ctx context.Context, c *collective.Comm) (err error) {
			parts[c.Rank()], err = c.Split(ctx, c.Rank()%2, -c.Rank())
			return err
		})
		// Rank 3 is number 0 of the odd ones, rank 1 is number 1.
		if err := parts[3].Close(); err != nil {
			t.Fatal(err)
		}
		var peer *collective.PeerError
		if err := gather(t.Context(), parts[1]); !errors.As(err, &peer) || peer.Rank != 0 {
			t.Errorf("%s: got %v, want a PeerError that names rank 0 of the part", links, chain(err))
		}
		closeAll(t, parts)
	}
}

// A split that a rank does not join ends with its context, and leaves nothing.
func TestSplitFails(t *testing.T) {
	for _, links := range linkKinds() {
		comms := join(t, layout{ranks: 3, links: links})
		for r, err := range ranksDo(3, func(r int) error {
			switch r {
			case 0:
				ctx, cancel := context.WithTimeout(t.Context(), shortTime)
				defer cancel()
				_, err := comms[0].Split(ctx, 0, 0)
				return err
			case 1:
				_, err := comms[1].Split(t.Context(), 0, 0)
				return err
			}
			return comms[0].Err() // it never joins
		}) {
			switch {
			case r == 0 && !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("%s: rank 0: got %v, want %v", links, err, context.DeadlineExceeded)
			case r == 1 && !errors.Is(err, collective.ErrAborted):
				t.Errorf("%s: rank 1: got %v, want %v", links, err, collective.ErrAborted)
			}
		}
		// Something else than a split on one rank.
		comms = join(t, layout{ranks: 3, links: links})
		for r, err := range ranksDo(3, func(r int) error {
			if r == 2 {
				return gather(t.Context(), comms[2])
			}
			_, err := comms[r].Split(t.Context(), 0, 0)
			return err
		}) {
			if !errors.Is(err, collective.ErrMismatch) {
				t.Errorf("%s: rank %d: got %v, want %v", links, r, err, collective.ErrMismatch)
			}
		}
	}
}
