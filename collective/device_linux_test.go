//go:build linux && cgo && (amd64 || arm64)

package collective_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/cudabridge"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

// A deviceRole is one rank of a group with devices.
type deviceRole struct {
	Rank, Size int
	Group      string
	Library    string
	Device     int // -1: a rank without one
	Staged     bool
	Algorithm  plan.Algorithm
	Counts     []int
}

// standIn is how the tests here start the stand-in.
var standIn = cudatest.Options{Devices: 2, Delay: 30, Seed: 5, Memory: 1 << 28}

// A deviceRank is a rank's memory: on its device, or the host's.
type deviceRank struct {
	device *cudabridge.Device // nil: a rank without one
	memory *cudabridge.Memory
	stream *cudabridge.Stream
	comm   *collective.Comm
}

func openDevice(library string, index int, staged bool) (*deviceRank, error) {
	d := &deviceRank{}
	if index < 0 {
		return d, nil
	}
	driver, err := cudabridge.Open(cudabridge.Config{Library: library})
	if err != nil {
		return nil, err
	}
	if d.device, err = driver.Device(index); err != nil {
		return nil, err
	}
	d.memory = d.device.Memory(cudabridge.MemoryConfig{Staged: staged})
	d.stream, err = d.device.NewStream()
	return d, err
}

// close ends the communicator and what it worked on.
func (d *deviceRank) close() error {
	var errs []error
	if d.comm != nil {
		errs = append(errs, d.comm.Close())
	}
	if d.device != nil {
		errs = append(errs, d.stream.Close(), d.device.Close())
	}
	return errors.Join(errs...)
}

// put returns a block with data in it; on a device the copy is on the stream and not over.
func (d *deviceRank) put(t buffer.DType, data []byte) (b buffer.Block, done func() error, err error) {
	if d.device == nil {
		return buffer.Block{Data: bytes.Clone(data), Type: t}, func() error { return nil }, nil
	}
	if b, err = d.comm.AllocDevice(t, len(data)/t.Size()); err != nil || len(data) == 0 {
		return b, func() error { return nil }, err
	}
	host, err := d.device.AllocHost(len(data))
	if err != nil {
		return b, nil, err
	}
	copy(host.Bytes(), data)
	return b, func() error { return errors.Join(d.stream.Synchronize(), host.Close(), d.comm.FreeBlock(b)) }, d.stream.CopyIn(b.Data, host.Bytes())
}

// get returns what a block holds once the stream has come so far.
func (d *deviceRank) get(b buffer.Block) ([]byte, error) {
	if d.device == nil || len(b.Data) == 0 {
		return b.Data, nil
	}
	host, err := d.device.AllocHost(len(b.Data))
	if err != nil {
		return nil, err
	}
	err = d.stream.CopyOut(host.Bytes(), b.Data)
	err = errors.Join(err, d.stream.Synchronize())
	out := bytes.Clone(host.Bytes())
	return out, errors.Join(err, host.Close())
}

// deviceInput is what a rank brings: small whole numbers, so that any order of reduction gives the same.
func deviceInput(t buffer.DType, rank, n, salt int) []byte {
	out := make([]byte, n*t.Size())
	for i := range n {
		v := (rank*7 + i*3 + i>>8 + salt) % 11
		switch b := (buffer.Block{Data: out[i*t.Size() : (i+1)*t.Size()], Type: t}); t {
		case buffer.Float32:
			setOne(b, float32(v))
		case buffer.Float64:
			setOne(b, float64(v))
		case buffer.BFloat16:
			setOne(b, buffer.ToBF16(float32(v)))
		case buffer.Float16:
			setOne(b, buffer.ToF16(float32(v)))
		case buffer.Int32:
			setOne(b, int32(v)-5)
		default:
			setOne(b, uint8(v))
		}
	}
	return out
}

func setOne[T buffer.Elem](b buffer.Block, v T) { copy(b.Data, buffer.Of([]T{v}).Data) }

// playDevice joins and runs every collective, blocking and started, on the rank's memory. It returns how many results it compared.
func playDevice(ctx context.Context, r deviceRole, ts []transport.Transport) (checked int, err error) {
	d, err := openDevice(r.Library, r.Device, r.Staged)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	cfg := collective.Config{Rank: r.Rank, Size: r.Size, Group: r.Group, Transports: ts, Algorithm: r.Algorithm}
	if d.memory != nil {
		cfg.Memory = d.memory
	}
	if d.comm, err = collective.Join(ctx, cfg); err != nil {
		return 0, err
	}
	types := []buffer.DType{buffer.Float32, buffer.BFloat16, buffer.Int32, buffer.Uint8}
	salt := 0
	for _, n := range r.Counts {
		for i, coll := range schedule.Collectives() {
			dtype, op := types[(i+n)%len(types)], buffer.Ops()[[]int{0, 2, 3, 4}[(i+n/3)%4]]
			for _, started := range []bool{false, true} {
				salt++
				if err := d.once(ctx, r, coll, dtype, op, n, salt, started); err != nil {
					d.comm.Abort(err)
					return checked, fmt.Errorf("%v of %d %v by %v, started %t: %w", coll, n, dtype, op, started, err)
				}
				checked++
			}
		}
	}
	return checked, nil
}

// once runs one operation on n elements a rank and compares its result.
func (d *deviceRank) once(ctx context.Context, r deviceRole, coll schedule.Collective, dtype buffer.DType, op buffer.Op, n, salt int, started bool) error {
	root := salt % r.Size
	all := make([][]byte, r.Size)
	long := n
	if coll == schedule.ReduceScatter {
		long = n * r.Size
	}
	for i := range all {
		all[i] = deviceInput(dtype, i, long, salt)
	}
	kernel, err := buffer.KernelFor(dtype, op)
	if err != nil {
		return err
	}
	reduced := make([]byte, long*dtype.Size())
	kernel.Reduce(reduced, all)
	kernel.Finish(reduced, r.Size)
	want := reduced
	out := n
	switch coll {
	case schedule.ReduceScatter:
		want = reduced[r.Rank*n*dtype.Size():][:n*dtype.Size()]
	case schedule.AllGather:
		want, out = bytes.Join(all, nil), n*r.Size
	case schedule.Broadcast:
		want = all[root]
	}
	src, freeSrc, err := d.put(dtype, all[r.Rank])
	if err != nil {
		return err
	}
	dst, freeDst, err := d.put(dtype, make([]byte, out*dtype.Size()))
	if err != nil {
		return err
	}
	var opts []collective.Option
	if d.device != nil {
		opts = append(opts, collective.OnStream(d.stream))
	}
	c := d.comm
	var work *collective.Work
	switch {
	case coll == schedule.Barrier:
		err = collective.Barrier(ctx, c)
	case coll == schedule.AllReduce && started:
		work, err = c.StartAllReduceBlock(ctx, dst, src, op, opts...)
	case coll == schedule.AllReduce:
		err = c.AllReduceBlock(ctx, dst, src, op, opts...)
	case coll == schedule.ReduceScatter && started:
		work, err = c.StartReduceScatterBlock(ctx, dst, src, op, opts...)
	case coll == schedule.ReduceScatter:
		err = c.ReduceScatterBlock(ctx, dst, src, op, opts...)
	case coll == schedule.AllGather && started:
		work, err = c.StartAllGatherBlock(ctx, dst, src, opts...)
	case coll == schedule.AllGather:
		err = c.AllGatherBlock(ctx, dst, src, opts...)
	case coll == schedule.Broadcast && started:
		work, err = c.StartBroadcastBlock(ctx, dst, src, root, opts...)
	case coll == schedule.Broadcast:
		err = c.BroadcastBlock(ctx, dst, src, root, opts...)
	case started:
		work, err = c.StartReduceBlock(ctx, dst, src, op, root, opts...)
	default:
		err = c.ReduceBlock(ctx, dst, src, op, root, opts...)
	}
	if err != nil {
		return err
	}
	if work != nil && d.device == nil {
		if err := work.Wait(ctx); err != nil {
			return err
		}
	}
	// On a device nobody waits for a started operation: what is given to the stream now comes after it.
	got, err := d.get(dst)
	if err != nil {
		return err
	}
	if work != nil {
		if err := work.Wait(ctx); err != nil {
			return err
		}
	}
	if coll != schedule.Barrier && (coll != schedule.Reduce || r.Rank == root) && !bytes.Equal(got, want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		return fmt.Errorf("byte %d of %d: got %d, want %d", at, len(want), got[at], want[at])
	}
	return errors.Join(freeSrc(), freeDst())
}

// A deviceLayout says which ranks a group has.
type deviceLayout struct {
	name      string
	devices   []int // by rank
	staged    bool
	algorithm plan.Algorithm
	links     string
	counts    []int
}

func (l deviceLayout) role(rank int, group, library string) deviceRole {
	return deviceRole{
		Rank: rank, Size: len(l.devices), Group: group, Library: library, Device: l.devices[rank], Staged: l.staged, Algorithm: l.algorithm, Counts: l.counts,
	}
}

// noted fails the test if the stand-in noted anything.
func noted(t *testing.T) {
	t.Helper()
	if n, text := cudatest.Violations(); n > 0 {
		t.Errorf("the stand-in noted %d violations:\n%s", n, text)
	}
	if n := cudatest.Live(); n > 0 {
		t.Errorf("%d bytes of device memory are left", n)
	}
}

// TestDeviceGoroutines runs groups of ranks of this process, on one device, on two, staged, and with ranks that have none.
func TestDeviceGoroutines(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	counts := short(4, 0, 1, 5, 3001, 100_000)
	for _, l := range []deviceLayout{
		{name: "one rank", devices: []int{0}, links: overMem},
		{name: "two on one device, ring", devices: []int{0, 0}, algorithm: plan.Ring, links: overMem},
		{name: "two devices, direct", devices: []int{0, 1}, algorithm: plan.Direct, links: overMem},
		{name: "three, staged, ring", devices: []int{0, 1, 0}, staged: true, algorithm: plan.Ring, links: overMem},
		{name: "three, one without, direct", devices: []int{0, -1, 1}, algorithm: plan.Direct, links: overMem},
		{name: "four, two without, ring", devices: []int{0, -1, 1, -1}, algorithm: plan.Ring, links: overMem},
		{name: "four, tree", devices: []int{0, 1, 0, 1}, algorithm: plan.Tree, links: overMem},
		{name: "five, halving-doubling", devices: []int{0, 1, 0, 1, -1}, algorithm: plan.HalvingDoubling, links: overMem},
		{name: "ten on one device, direct", devices: make([]int, 10), algorithm: plan.Direct, links: overMem},
		{name: "three, over shm", devices: []int{0, 1, -1}, links: overShm},
	} {
		t.Run(l.name, func(t *testing.T) {
			if l.links == overShm && shm.Available() != nil {
				t.Skip("no shared memory here")
			}
			if l.counts = counts; len(l.devices) > 4 {
				l.counts = counts[:4]
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ts := []transport.Transport{mem.New()}
			if l.links == overShm {
				ts = []transport.Transport{shm.New()}
			}
			group := groupName()
			for r, err := range ranksDo(len(l.devices), func(r int) error {
				_, err := playDevice(ctx, l.role(r, group, library), ts)
				return err
			}) {
				if err != nil {
					t.Errorf("rank %d: %v", r, err)
				}
			}
			noted(t)
		})
	}
}

// deviceVariable makes this test binary a rank of TestDeviceProcesses.
const deviceVariable = "RINGTREE_COLLECTIVE_TEST_DEVICE"

// TestDeviceProcesses runs every rank in a process of its own: memory is shared by handles, or staged.
func TestDeviceProcesses(t *testing.T) {
	if text := os.Getenv(deviceVariable); text != "" {
		var r deviceRole
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		real := r.Library == cudabridge.DefaultLibrary
		if !real {
			if err := cudatest.Start(r.Library, standIn); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		checked, err := playDevice(ctx, r, []transport.Transport{shm.New()})
		if err != nil {
			t.Fatal(err)
		}
		if !real {
			noted(t)
		}
		fmt.Printf("checked %d\n", checked)
		return
	}
	if shm.Available() != nil {
		t.Skip("no shared memory here")
	}
	library := cudatest.Build(t)
	counts := short(2, 1, 70_001, 150_000)
	for _, l := range short(5, []deviceLayout{
		{name: "4 by handles, ring", devices: []int{0, 1, 0, 1}, algorithm: plan.Ring},
		{name: "4, one without, direct", devices: []int{0, 1, -1, 1}, algorithm: plan.Direct},
		{name: "2 staged, ring", devices: []int{0, 1}, staged: true, algorithm: plan.Ring},
		{name: "2 by handles, ring", devices: []int{0, 0}, algorithm: plan.Ring},
		{name: "2 by handles, direct", devices: []int{0, 1}, algorithm: plan.Direct},
		{name: "2 staged, direct", devices: []int{0, 0}, staged: true, algorithm: plan.Direct},
		{name: "2, one without, ring", devices: []int{0, -1}, algorithm: plan.Ring},
		{name: "4 by handles, direct", devices: []int{0, 1, 0, 1}, algorithm: plan.Direct},
		{name: "4 staged, ring", devices: []int{0, 0, 1, 1}, staged: true, algorithm: plan.Ring},
		{name: "4 staged, direct", devices: []int{0, 0, 1, 1}, staged: true, algorithm: plan.Direct},
		{name: "4, one without, ring", devices: []int{0, 1, -1, 1}, algorithm: plan.Ring},
	}...) {
		t.Run(l.name, func(t *testing.T) {
			l.counts = counts
			l.processes(t, library)
		})
	}
}

// processes runs a layout's ranks in processes of their own.
func (l deviceLayout) processes(t *testing.T, library string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	group := groupName()
	for r, err := range ranksDo(len(l.devices), func(r int) error {
		text, err := json.Marshal(l.role(r, group, library))
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestDeviceProcesses$", "-test.v")
		cmd.Env = append(os.Environ(), deviceVariable+"="+string(text))
		out, err := cmd.CombinedOutput()
		if want := fmt.Sprintf("checked %d\n", 2*len(schedule.Collectives())*len(l.counts)); err == nil && !strings.Contains(string(out), want) {
			err = errors.New("it did not say " + want)
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}
