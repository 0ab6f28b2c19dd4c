//go:build linux && cgo && (amd64 || arm64)

package collective_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/rdma"
	"github.com/ringtree/ringtree/transport/tcp"
)

// counted is a device's memory that counts how often what cards have stored in it was flushed.
type counted struct {
	alone
	flushes *atomic.Int64
}

func (m counted) Stored() (ordered bool, flush func() error) {
	ordered, real := m.alone.Stored()
	if real == nil {
		return ordered, nil
	}
	return ordered, func() error {
		m.flushes.Add(1)
		return real()
	}
}

// TestVerbsDevice runs every collective on memory of the stand-in's devices over verbs: by its address, where a network card reaches that,
// both ways and with both ways to see what it has stored; and staged.
func TestVerbsDevice(t *testing.T) {
	if err := rdma.Available(); err != nil {
		if os.Getenv("TESTVM") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	defer cudatest.Addressable(false)
	defer cudatest.Direct(0, 0)
	for _, tt := range []struct {
		ranks       int
		algorithm   plan.Algorithm
		addressable bool
		flush       int
		way         string
	}{
		{2, plan.Ring, true, 0, "peer memory for rdma, both ways (flushed by a read)"},
		{3, plan.Ring, true, 1, "peer memory for rdma, both ways (flushed by the driver)"},
		{4, plan.Direct, true, 0, "peer memory for rdma, both ways (flushed by a read)"},
		{3, plan.Ring, false, 0, "staged for rdma ("},
	} {
		way, _, _ := strings.Cut(tt.way, " ")
		t.Run(fmt.Sprintf("%d ranks, %v, %s, flush %d", tt.ranks, tt.algorithm, way, tt.flush), func(t *testing.T) {
			cudatest.Addressable(tt.addressable)
			cudatest.Direct(tt.flush, 0)
			var flushes atomic.Int64
			devices := make([]*deviceRank, tt.ranks)
			comms, errs := invited(t, tt.ranks, func(int) string { return "here" }, func(r int, c *collective.Config) {
				d, err := openDevice(library, r%2, false)
				if err != nil {
					t.Fatal(err)
				}
				devices[r] = d
				c.Memory, c.Algorithm, c.Transports = counted{alone{d.memory}, &flushes}, tt.algorithm, []transport.Transport{overVerbs(t, c.Peer.Identity())}
			})
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			checked := 0
			ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
			defer cancel()
			for r, err := range ranksDo(tt.ranks, func(r int) (err error) {
				d := devices[r]
				d.comm = comms[r]
				defer func() { err = errors.Join(err, d.close()) }()
				for salt, n := range []int{1, 20_000} {
					for i, coll := range schedule.Collectives() {
						if err := d.once(ctx, deviceRole{Rank: r, Size: tt.ranks}, coll, buffer.Float32, buffer.Sum, n, salt, (i+salt)%2 == 0); err != nil {
							d.comm.Abort(err)
							return fmt.Errorf("%v of %d: %w", coll, n, err)
						}
						if r == 0 {
							checked++
						}
					}
				}
				if got := d.comm.MemoryWay(); !strings.HasPrefix(got, tt.way) {
					return fmt.Errorf("the way is %q, want %q", got, tt.way)
				}
				for _, route := range d.comm.Routes() {
					if route.Transport != "rdma" {
						return fmt.Errorf("a link to rank %d goes over %s: %s", route.Peer, route.Transport, route.Why)
					}
				}
				return nil
			}) {
				if err != nil {
					t.Errorf("rank %d: %v", r, err)
				}
			}
			if n := flushes.Load(); (n > 0) != (tt.flush > 0) {
				t.Errorf("what was stored in memory of devices was flushed %d times", n)
			}
			t.Logf("%d operations on %d ranks in %v, %d flushes", checked, tt.ranks, time.Since(begin).Round(time.Millisecond), flushes.Load())
			noted(t)
		})
	}
}

// overVerbs returns RDMA with short windows: an emulated machine registers some tens of megabytes a second.
func overVerbs(t *testing.T, id transport.Identity) transport.Transport {
	t.Helper()
	control, err := tcp.New(id, tcp.ListenOn("127.0.0.1:0"), tcp.Conns(1), tcp.DialTimeout(time.Minute), tcp.SilentTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := rdma.New(control, rdma.Window(4), rdma.AckTimeout(14), rdma.Retries(3), rdma.SetupTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
