package collective_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/p2p"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/tcp"
)

// joinOver forms a group of two ranks whose only transport is what over makes.
func joinOver(t *testing.T, over func(id transport.Identity) (transport.Transport, error)) []*collective.Comm {
	t.Helper()
	peers, comms := [2]*p2p.Host{newPeer(t), newPeer(t)}, make([]*collective.Comm, 2)
	invitation, err := collective.Invite(peers[0], len(comms))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(ranksDo(len(comms), func(r int) error {
		tr, err := over(peers[r].Identity())
		if err != nil {
			return err
		}
		comms[r], err = collective.Join(ctx, collective.Config{
			Rank: r, Peer: peers[r], Invitation: invitation, Transports: []transport.Transport{tr}, Host: fmt.Sprint("h", r),
		})
		return err
	})...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(t, comms) })
	return comms
}

// What an all-reduce between two ranks on a network allocates is bounded, in calls and in bytes: over tcp nothing that depends on its size, over quic
// what quic-go needs for its packets. -v prints the figures, which are those of both ranks together.
func TestNetworkAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, over := range []struct {
		name      string
		transport func(id transport.Identity) (transport.Transport, error)
		// Bounds of the allocations and bytes of a call, fixed and for each MiB, several times what is measured. Payload memory is kept, and grows with
		// the most frames that have ever waited at once, up to 32 MiB.
		allocs, perMiB, bytes, bytesPerMiB float64
	}{
		{"tcp with TLS", func(id transport.Identity) (transport.Transport, error) {
			return tcp.New(id, tcp.ListenOn("127.0.0.1:0"), tcp.SilentTimeout(patience))
		}, 200, 20, 8 << 20, 0},
		{"tcp, plain data", func(id transport.Identity) (transport.Transport, error) {
			return tcp.New(id, tcp.ListenOn("127.0.0.1:0"), tcp.SilentTimeout(patience), tcp.PlainData())
		}, 200, 20, 8 << 20, 0},
		{"quic", func(id transport.Identity) (transport.Transport, error) {
			return quic.New(id, quic.ListenOn("127.0.0.1:0"), quic.SilentTimeout(patience))
		}, 1000, 30000, 8 << 20, 8 << 20},
	} {
		comms := joinOver(t, over.transport)
		for _, size := range []struct{ bytes, calls int }{{4 << 10, 200}, {1 << 20, 20}, {16 << 20, 4}} {
			if size.bytes > 1<<20 && testing.Short() {
				continue
			}
			data := [2][]float32{make([]float32, size.bytes/4), make([]float32, size.bytes/4)}
			// The hosts of libp2p have something of their own to do when they begin: the lesser of two counts.
			allocs, bytes := math.Inf(1), math.Inf(1)
			for range 2 {
				a, b, err := allocsPerCall(t, comms, size.calls, func(ctx context.Context, c *collective.Comm) error {
					return collective.AllReduce(ctx, c, data[c.Rank()], buffer.Sum)
				})
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", over.name, size.bytes, err)
				}
				allocs, bytes = min(allocs, a), min(bytes, b)
			}
			t.Logf("%s, %d bytes: %.1f allocations, %.0f bytes a call", over.name, size.bytes, allocs, bytes)
			mib := float64(size.bytes) / (1 << 20)
			if most, mostBytes := over.allocs+mib*over.perMiB, over.bytes+mib*over.bytesPerMiB; allocs > most || bytes > mostBytes {
				t.Errorf("%s, %d bytes: %.1f allocations of %.0f bytes, want at most %.0f and %.0f", over.name, size.bytes, allocs, bytes, most, mostBytes)
			}
		}
	}
}
