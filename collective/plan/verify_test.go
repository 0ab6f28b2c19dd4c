package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// graphs returns topologies of n ranks: one host, one rank a host, and hosts of different sizes with ranks dealt at
// random.
func graphs(t testing.TB, n int, rng *rand.Rand) []*topology.Graph {
	gs := []*topology.Graph{hostsOf(t, nil, n)}
	if n > 1 {
		gs = append(gs, hostsOf(t, nil, ones(n)...), hostsOf(t, rng, uneven(n, 8, rng)...))
	}
	return gs
}

// A print is a hash of all operations of a schedule and of what Verify expects of them.
type print [sha256.Size]byte

func printOf(s schedule.Schedule, want schedule.Contract) print {
	if want.Collective == schedule.Barrier {
		want.Collective = schedule.AllReduce // which is the same contract
	}
	var b []byte
	u32 := func(xs ...int) {
		for _, x := range xs {
			b = binary.LittleEndian.AppendUint32(b, uint32(x))
		}
	}
	l := s.Layout()
	u32(int(want.Collective), int(want.Root), s.Ranks(), s.Channels(), l.Blocks, l.Pieces)
	for r := range topology.Rank(s.Ranks()) {
		for lane := range schedule.Lane(2 * s.Channels()) {
			for i := 0; ; i++ {
				op, ok := s.At(r, lane, i)
				if !ok {
					break
				}
				al, ai, after := op.After.Get()
				flags := 0
				for bit, on := range []bool{op.Final, op.Eager, after} {
					if on {
						flags |= 1 << bit
					}
				}
				u32(int(op.Kind)|flags<<8, int(op.Peer), int(op.Src), int(op.Dst), int(op.N), int(op.Match), int(al), ai)
			}
			b = append(b, 0xff)
		}
	}
	return sha256.Sum256(b)
}

// TestVerifyEverySchedule proves all collectives and variants on all numbers of ranks up to 64. Schedules that come out
// the same operation by operation, as those of flat algorithms do on most graphs, are run once.
func TestVerifyEverySchedule(t *testing.T) {
	const seed = 1
	most := 64
	if testing.Short() {
		most = 20
	}
	var built, verified atomic.Int64
	t.Run("ranks", func(t *testing.T) {
		for n := most; n >= 1; n-- { // the long ones first
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(seed, uint64(n)))
				seen := make(map[print]bool)
				for _, g := range graphs(t, n, rng) {
					p := New(g)
					for _, c := range schedule.Collectives() {
						for _, root := range rootsOf(c, n, rng) {
							for _, v := range p.Variants(c) {
								s, err := p.Build(v, Request{Collective: c, Root: root})
								if err != nil {
									t.Fatal(err)
								}
								built.Add(1)
								want := schedule.Contract{Collective: c, Root: root}
								id := printOf(s, want)
								if seen[id] {
									continue
								}
								seen[id] = true
								verified.Add(1)
								if err := schedule.Verify(s, want); err != nil {
									t.Fatalf("seed %d: %d ranks on %d hosts, %v root %d, %v: got %v, want a schedule that verifies", seed, n, g.Hosts(), c, root, v, err)
								}
							}
						}
					}
				}
			})
		}
	})
	t.Logf("%d schedules, %d of them different", built.Load(), verified.Load())
}

// Schedules that say how they look the same from many ranks say so of hosts of one size, whose ranks are in order, and Verify holds them
// to it.
func TestTurns(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, tc := range []struct {
		g             *topology.Graph
		between, flat int // what hierarchies and direct turn by
	}{
		{hostsOf(t, nil, 4, 4, 4), 4, 1}, {hostsOf(t, nil, 3, 3, 3, 3), 3, 1}, {hostsOf(t, nil, 2, 2), 2, 1}, {hostsOf(t, nil, ones(6)...), 1, 1},
		{hostsOf(t, nil, 4, 4, 3), 0, 1}, {hostsOf(t, rng, 4, 4, 4), 0, 1}, {hostsOf(t, nil, 6), 0, 1}, {hostsOf(t, nil, 1), 0, 0},
	} {
		p := New(tc.g)
		for _, c := range schedule.Collectives() {
			for _, v := range p.Variants(c) {
				s, err := p.Build(v, Request{Collective: c})
				if err != nil {
					t.Fatal(err)
				}
				want := 0
				switch reduces := c == schedule.AllReduce || c == schedule.Barrier; {
				case v.Algorithm == Direct && !c.Rooted():
					want = tc.flat
				case v.Algorithm == Hierarchical && (c.ByRank() || reduces && (v.Between == Ring || v.Between == Direct)):
					want = tc.between
				}
				got := 0
				if s, ok := s.(schedule.Turner); ok {
					got = s.Turn()
				}
				if got != want {
					t.Errorf("%v by %v over %d ranks of %d hosts: turns by %d, want %d", c, v, tc.g.Size(), tc.g.Hosts(), got, want)
				}
				if got > 0 {
					if err := schedule.Verify(s, schedule.Contract{Collective: c}); err != nil {
						t.Errorf("%v by %v over %d ranks of %d hosts: %v", c, v, tc.g.Size(), tc.g.Hosts(), err)
					}
				}
			}
		}
	}
}
