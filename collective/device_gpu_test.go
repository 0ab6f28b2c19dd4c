//go:build gpu && linux && cgo && (amd64 || arm64)

package collective_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/cudabridge"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// gpus returns how many devices the real driver has.
func gpus(t testing.TB) int {
	t.Helper()
	driver, err := cudabridge.Open(cudabridge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return driver.Devices()
}

// TestGPU runs what the stand-in runs on real devices: goroutine ranks on one device and on all, in place and staged.
func TestGPU(t *testing.T) {
	devices := min(gpus(t), 8)
	each := make([]int, devices)
	for i := range each {
		each[i] = i
	}
	for _, l := range []deviceLayout{
		{name: "two on one device, ring", devices: []int{0, 0}, algorithm: plan.Ring},
		{name: "two on one device, direct", devices: []int{0, 0}, algorithm: plan.Direct},
		{name: "two staged", devices: []int{0, 0}, staged: true, algorithm: plan.Ring},
		{name: "one without", devices: []int{0, -1, 0}, algorithm: plan.Direct},
		{name: "each device, ring", devices: each, algorithm: plan.Ring},
		{name: "each device, direct", devices: each, algorithm: plan.Direct},
	} {
		t.Run(l.name, func(t *testing.T) {
			l.counts = []int{0, 1, 5, 3001, 1_000_000}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ts := []transport.Transport{mem.New()}
			group := groupName()
			for r, err := range ranksDo(len(l.devices), func(r int) error {
				_, err := playDevice(ctx, l.role(r, group, cudabridge.DefaultLibrary), ts)
				return err
			}) {
				if err != nil {
					t.Errorf("rank %d: %v", r, err)
				}
			}
		})
	}
}

// TestGPUProcesses runs every rank in a process of its own: they read each other's memory by IPC handles, or stage it.
func TestGPUProcesses(t *testing.T) {
	devices := min(gpus(t), 8)
	each := make([]int, devices)
	for i := range each {
		each[i] = i
	}
	for _, l := range []deviceLayout{
		{name: "two on one device, ring", devices: []int{0, 0}, algorithm: plan.Ring},
		{name: "two on one device, direct", devices: []int{0, 0}, algorithm: plan.Direct},
		{name: "two staged", devices: []int{0, 0}, staged: true, algorithm: plan.Ring},
		{name: "one without", devices: []int{0, -1, 0}, algorithm: plan.Direct},
		{name: "each device", devices: each, algorithm: plan.Ring},
	} {
		t.Run(l.name, func(t *testing.T) {
			l.counts = []int{1, 3001, 1_000_000}
			l.processes(t, cudabridge.DefaultLibrary)
		})
	}
}

// BenchmarkGPUAllReduce reports the bus bandwidth of all-reduces of 64 MiB of float32 between two ranks on one device and
// between one rank on each, and what part of a copy within a device that is.
func BenchmarkGPUAllReduce(b *testing.B) {
	devices := min(gpus(b), 8)
	each := make([]int, devices)
	for i := range each {
		each[i] = i
	}
	layouts := map[string][]int{"two-on-one": {0, 0}}
	if devices > 1 {
		layouts["each"] = each
	}
	for name, list := range layouts {
		b.Run(name, func(b *testing.B) { benchmarkDevices(b, list) })
	}
}

func benchmarkDevices(b *testing.B, devices []int) {
	const bytes = 64 << 20
	n := len(devices)
	ranks, blocks := make([]*deviceRank, n), make([]buffer.Block, n)
	ts := []transport.Transport{mem.New()}
	group := groupName()
	check := func(errs []error) {
		b.Helper()
		if err := errors.Join(errs...); err != nil {
			b.Fatal(err)
		}
	}
	check(ranksDo(n, func(r int) (err error) {
		if ranks[r], err = openDevice(cudabridge.DefaultLibrary, devices[r], false); err != nil {
			return err
		}
		if ranks[r].comm, err = collective.Join(b.Context(), collective.Config{Rank: r, Size: n, Group: group, Transports: ts, Memory: ranks[r].memory}); err != nil {
			return err
		}
		blocks[r], err = ranks[r].comm.AllocDevice(buffer.Float32, bytes/4)
		return err
	}))
	b.SetBytes(bytes)
	for b.Loop() {
		check(ranksDo(n, func(r int) error {
			return ranks[r].comm.AllReduceBlock(b.Context(), blocks[r], blocks[r], buffer.Sum, collective.OnStream(ranks[r].stream))
		}))
	}
	perOp := b.Elapsed().Seconds() / float64(b.N)
	bus := bytes / perOp * 2 * float64(n-1) / float64(n)
	half := bytes / 2
	s := ranks[0].stream
	begin := time.Now()
	const copies = 20
	for range copies {
		check([]error{s.Copy(blocks[0].Data[:half], blocks[0].Data[half:])})
	}
	check([]error{s.Synchronize()})
	copied := float64(copies*half) / time.Since(begin).Seconds()
	b.ReportMetric(bus/1e9, "busbw-GB/s")
	b.ReportMetric(bus/copied, "busbw/copy")
	check(ranksDo(n, func(r int) error { return ranks[r].close() }))
}
