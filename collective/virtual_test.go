package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/simnet"
)

// inProcess is a simulated network whose ranks form their group in memory, as a bubble needs it: the clock of a bubble
// stands still while anybody waits for a socket.
type inProcess struct{ *simnet.Network }

func (n inProcess) Caps() transport.Caps {
	c := n.Network.Caps()
	c.Scope = transport.ScopeProcess
	return c
}

// A world is a group on a simulated network, in a bubble.
type world struct {
	net   *simnet.Network
	comms []*collective.Comm
	began time.Time
}

// bubble runs f in a bubble in which time is virtual and costs nothing.
func bubble(t *testing.T, n int, a plan.Algorithm, path simnet.Path, f func(t *testing.T, w world)) {
	t.Helper()
	bubbleOver(t, layout{ranks: n, algorithm: a}, path, func(n *simnet.Network) transport.Transport { return inProcess{n} }, f)
}

// bubbleOver is bubble for any layout, and a network as wrap has it.
func bubbleOver(t *testing.T, l layout, path simnet.Path, wrap func(*simnet.Network) transport.Transport, f func(t *testing.T, w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(func(int, int) simnet.Path { return path })
		comms, err := form(t.Context(), l, groupName(), []transport.Transport{wrap(net)})
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, comms)
		f(t, world{net, comms, time.Now()})
	})
}

// The time of a ring on links that nothing else uses is what the formula of the pipeline says, to the nanosecond: m steps
// of a chunk c in slices of s take m-1 times the longer of c/B and s/B + D, and then c/B + D.
func TestRingTakesItsTime(t *testing.T) {
	const slice = 128 << 10 // of a ring's chunks
	for _, tc := range []struct {
		n, slices int
		path      simnet.Path
	}{
		{2, 1, simnet.Path{Delay: time.Millisecond}},
		{3, 1, simnet.Path{BytesPerSecond: 1e9}},
		{4, 1, simnet.Path{Delay: 50 * time.Microsecond, BytesPerSecond: 1e9}},
		{4, 4, simnet.Path{Delay: 50 * time.Microsecond, BytesPerSecond: 1e9}},    // bandwidth counts
		{5, 3, simnet.Path{Delay: 10 * time.Millisecond, BytesPerSecond: 1e9}},    // latency counts
		{8, 2, simnet.Path{Delay: 131072 * time.Nanosecond, BytesPerSecond: 1e9}}, // both alike
	} {
		chunk := tc.slices * slice
		wire := func(bytes int) time.Duration {
			if tc.path.BytesPerSecond == 0 {
				return 0
			}
			return time.Duration(bytes) // at a byte a nanosecond
		}
		want := func(steps int) time.Duration {
			return time.Duration(steps-1)*max(wire(chunk), wire(slice)+tc.path.Delay) + wire(chunk) + tc.path.Delay
		}
		operations := []struct {
			name  string
			steps int
			call  func(ctx context.Context, c *collective.Comm) error
		}{
			{"all-reduce", 2 * (tc.n - 1), func(ctx context.Context, c *collective.Comm) error {
				return collective.AllReduce(ctx, c, make([]float32, tc.n*chunk/4), buffer.Sum)
			}},
			{"reduce-scatter", tc.n - 1, func(ctx context.Context, c *collective.Comm) error {
				return collective.ReduceScatter(ctx, c, make([]float32, chunk/4), make([]float32, tc.n*chunk/4), buffer.Sum)
			}},
			{"all-gather", tc.n - 1, func(ctx context.Context, c *collective.Comm) error {
				return collective.AllGather(ctx, c, make([]float32, tc.n*chunk/4), make([]float32, chunk/4))
			}},
		}
		bubble(t, tc.n, plan.Ring, tc.path, func(t *testing.T, w world) {
			for _, o := range operations {
				for round := range 2 {
					for r, err := range ranksDo(tc.n, func(r int) error {
						began := time.Now()
						if err := o.call(t.Context(), w.comms[r]); err != nil {
							return err
						}
						if got := time.Since(began); got != want(o.steps) {
							return fmt.Errorf("took %v, want %v", got, want(o.steps))
						}
						return nil
					}) {
						if err != nil {
							t.Errorf("%s of %d slices over %d ranks, %v, round %d: rank %d: %v", o.name, tc.slices, tc.n, tc.path, round, r, err)
						}
					}
				}
			}
		})
	}
}

// A deadline ends the operation when it passes and not later, on the other ranks as soon as the news can be there.
func TestDeadlineIsOnTime(t *testing.T) {
	path := simnet.Path{Delay: 7 * time.Millisecond, BytesPerSecond: 1e9}
	bubble(t, 4, plan.Direct, path, func(t *testing.T, w world) {
		times := make([]time.Duration, 4)
		errs := ranksDo(4, func(r int) error {
			if r == 0 { // it comes too late
				<-time.After(time.Minute)
			}
			ctx := t.Context()
			if r == 2 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
			}
			err := gather(ctx, w.comms[r])
			times[r] = time.Since(w.began)
			return err
		})
		var peer *collective.PeerError
		if err := errs[2]; !errors.As(err, &peer) || peer.Rank != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rank 2: got %v, want a deadline that names rank 0", chain(err))
		}
		for r, want := range []time.Duration{time.Minute, 3*time.Second + path.Delay, 3 * time.Second, 3*time.Second + path.Delay} {
			if times[r] != want {
				t.Errorf("rank %d: its call ended at %v, want %v", r, times[r], want)
			}
			if r != 2 && !errors.Is(errs[r], collective.ErrAborted) {
				t.Errorf("rank %d: got %v, want %v", r, chain(errs[r]), collective.ErrAborted)
			}
		}
	})
}

// When the network loses a rank in the middle of an operation, all others name it within moments, and it gets an error.
func TestCutRank(t *testing.T) {
	for _, a := range plan.Algorithms() {
		bubble(t, 5, a, simnet.Path{Delay: time.Millisecond, BytesPerSecond: 1e8}, func(t *testing.T, w world) {
			// Ranks that have waited for a late one have links to their neighbours.
			each(t, w.comms, func(ctx context.Context, c *collective.Comm) error {
				if c.Rank() == 0 {
					<-time.After(time.Second)
				}
				return collective.Barrier(ctx, c)
			})
			began := time.Now()
			// Long enough for the cut to come in the middle, by any algorithm.
			time.AfterFunc(20*time.Millisecond, func() { w.net.CutRank(3) })
			for r, err := range ranksDo(5, func(r int) error {
				return collective.AllReduce(t.Context(), w.comms[r], make([]float64, 1<<20), buffer.Sum)
			}) {
				var peer *collective.PeerError
				switch {
				case !errors.Is(err, collective.ErrPeerLost) || !errors.As(err, &peer):
					t.Errorf("%v: rank %d: got %v, want a PeerError by a loss", a, r, chain(err))
				case r != 3 && peer.Rank != 3:
					t.Errorf("%v: rank %d: names rank %d, want 3: %v", a, r, peer.Rank, err)
				}
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("%v: the last rank knew after %v", a, took)
			}
		})
	}
}

// Ranks that call different things know it within a second, whoever waits for whom.
func TestMismatchIsOnTime(t *testing.T) {
	for _, a := range algorithms() {
		bubble(t, 6, a, simnet.Path{Delay: 100 * time.Microsecond, BytesPerSecond: 1e9}, func(t *testing.T, w world) {
			for r, err := range ranksDo(6, func(r int) error {
				var err error
				if r == 4 {
					err = collective.AllReduce(t.Context(), w.comms[r], make([]float32, 500_000), buffer.Sum)
				} else {
					err = collective.Broadcast(t.Context(), w.comms[r], make([]float32, 10_000), 2)
				}
				if err == nil { // its own part was over before it could know
					err = collective.Barrier(t.Context(), w.comms[r])
				}
				return err
			}) {
				if !errors.Is(err, collective.ErrMismatch) {
					t.Errorf("%v: rank %d: got %v, want %v", a, r, chain(err), collective.ErrMismatch)
				}
			}
			if took := time.Since(w.began); took > time.Second {
				t.Errorf("%v: the last rank knew after %v", a, took)
			}
		})
	}
}

// Ranks that come at random times, from at once to much later than a rank waits before it asks its neighbours, get the
// right results, and the same times in every run.
func TestRandomDelays(t *testing.T) {
	const n, rounds = 5, 30
	for _, a := range algorithms() {
		seed := rand.Uint64()
		run := func() (times []time.Duration) {
			var mu sync.Mutex
			bubble(t, n, a, simnet.Path{Delay: time.Millisecond, BytesPerSecond: 1e9}, func(t *testing.T, w world) {
				each(t, w.comms, func(ctx context.Context, c *collective.Comm) error {
					rng := rand.New(rand.NewPCG(seed, uint64(c.Rank())))
					for i := range rounds {
						<-time.After(time.Duration(rng.ExpFloat64() * float64(100*time.Millisecond)))
						data := []int32{int32(c.Rank() + i)}
						if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
							return fmt.Errorf("round %d: %w", i, err)
						}
						if want := int32(n*(n-1)/2 + n*i); data[0] != want {
							return fmt.Errorf("round %d: got %d, want %d", i, data[0], want)
						}
					}
					mu.Lock()
					defer mu.Unlock()
					times = append(times, time.Since(w.began))
					return nil
				})
			})
			slices.Sort(times)
			return times
		}
		if one, two := run(), run(); !slices.Equal(one, two) {
			t.Errorf("%v, seed %d: the ranks ended at %v, and in the next run at %v", a, seed, one, two)
		}
	}
}
