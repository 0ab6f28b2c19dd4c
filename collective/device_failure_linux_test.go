//go:build linux && cgo && (amd64 || arm64)

package collective_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

// deviceBlocks joins and returns two blocks of so many float32 on the rank's device.
func deviceBlocks(ctx context.Context, d *deviceRank, cfg collective.Config, n int) (dst, src buffer.Block, err error) {
	cfg.Memory = d.memory
	if d.comm, err = collective.Join(ctx, cfg); err != nil {
		return dst, src, err
	}
	if dst, err = d.comm.AllocDevice(buffer.Float32, n); err != nil {
		return dst, src, err
	}
	if src, err = d.comm.AllocDevice(buffer.Float32, n); err != nil {
		return dst, src, err
	}
	return dst, src, errors.Join(d.stream.Fill(src.Data, 0), d.stream.Fill(dst.Data, 0), d.stream.Synchronize())
}

// TestDeviceEnds ends an operation on devices while it waits for a rank that does not come: by cancellation, by a deadline, by
// that rank's Close and by its blocks in another place than the others'. Each gets the error that ranks of the host get, the
// stream behind a started operation goes on, and the blocks can be freed at once: nothing of the operation is still in flight.
func TestDeviceEnds(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	type ender struct {
		name string
		late func(ctx context.Context, d *deviceRank) error                           // what rank 1 does instead
		opts func(ctx context.Context) (context.Context, []collective.Option, func()) // of the others; the last is called when the operation has been started
		is   []error                                                                  // what one of the others has
	}
	nothing := func(context.Context, *deviceRank) error { return nil }
	for _, e := range []ender{
		{"cancelled", nothing, func(ctx context.Context) (context.Context, []collective.Option, func()) {
			ctx, cancel := context.WithCancel(ctx)
			return ctx, nil, cancel
		}, []error{context.Canceled, collective.ErrAborted}},
		{"deadline", nothing, func(ctx context.Context) (context.Context, []collective.Option, func()) {
			return ctx, []collective.Option{collective.WithTimeout(20 * time.Millisecond)}, func() {}
		}, []error{context.DeadlineExceeded, collective.ErrAborted}},
		{"closed", func(_ context.Context, d *deviceRank) error { return d.comm.Close() }, func(ctx context.Context) (context.Context, []collective.Option, func()) {
			return ctx, nil, func() {}
		}, []error{transport.ErrPeerClosed, collective.ErrPeerLost, collective.ErrAborted}},
	} {
		for _, staged := range []bool{false, true} {
			for _, started := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, staged %t, started %t", e.name, staged, started), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					ts := []transport.Transport{mem.New()}
					group := groupName()
					over := make(chan struct{}, 2)
					for rank, err := range ranksDo(3, func(rank int) (err error) {
						d, err := openDevice(library, rank%2, staged)
						if err != nil {
							return err
						}
						defer func() { err = errors.Join(err, d.close()) }()
						dst, src, err := deviceBlocks(ctx, d, collective.Config{Rank: rank, Size: 3, Group: group, Transports: ts, Algorithm: plan.Direct}, 50_000)
						if err != nil {
							return err
						}
						if rank == 1 {
							err := e.late(ctx, d)
							for range 2 { // the others' operation is over before this rank goes
								select {
								case <-over:
								case <-ctx.Done():
									return ctx.Err()
								}
							}
							return err
						}
						defer func() { over <- struct{}{} }()
						opCtx, opts, end := e.opts(ctx)
						defer end()
						opts = append(opts, collective.OnStream(d.stream))
						if started {
							work, err := d.comm.StartAllReduceBlock(opCtx, dst, src, buffer.Sum, opts...)
							if err != nil {
								return err
							}
							end()
							err = work.Wait(ctx)
							return ended(d, err, e.is, dst, src)
						}
						go end()
						return ended(d, d.comm.AllReduceBlock(opCtx, dst, src, buffer.Sum, opts...), e.is, dst, src)
					}) {
						if err != nil {
							t.Errorf("rank %d: %v", rank, err)
						}
					}
					noted(t)
				})
			}
		}
	}
}

// ended checks the error of an operation, and that its stream and its blocks are free.
func ended(d *deviceRank, err error, is []error, blocks ...buffer.Block) error {
	fits := false
	for _, want := range is {
		fits = fits || errors.Is(err, want)
	}
	if _, ok := named(err); !fits || !ok {
		return fmt.Errorf("got %w, want one of %v that names a rank", err, is)
	}
	errs := []error{d.stream.Synchronize()}
	for _, b := range blocks {
		errs = append(errs, d.comm.FreeBlock(b))
	}
	return errors.Join(errs...)
}

// TestDeviceMixed has one rank give blocks of the host while another gives blocks of its device, which the rule of Config.Memory
// forbids: an error, and no wrong result.
func TestDeviceMixed(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ts := []transport.Transport{mem.New()}
	group := groupName()
	errs := ranksDo(2, func(rank int) (err error) {
		d, err := openDevice(library, 0, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		dst, src, err := deviceBlocks(ctx, d, collective.Config{Rank: rank, Size: 2, Group: group, Transports: ts, Algorithm: plan.Ring}, 50_000)
		if err != nil {
			return err
		}
		if rank == 1 {
			dst, src = buffer.Of(make([]float32, 50_000)), buffer.Of(make([]float32, 50_000))
		}
		if err := d.comm.AllReduceBlock(ctx, dst, src, buffer.Sum); err == nil {
			return errors.New("no error")
		} else if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("nobody noticed: %w", err)
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	noted(t)
}

// floodVariable makes this test binary a rank of TestDeviceKilled.
const floodVariable = "RINGTREE_COLLECTIVE_TEST_DEVICE_FLOOD"

// TestDeviceKilled kills one of three processes in the middle of an operation on devices, whose memory the others have mapped: they
// get an error that names it, and end in good order.
func TestDeviceKilled(t *testing.T) {
	if text := os.Getenv(floodVariable); text != "" {
		flood(t, text)
		return
	}
	needShm(t)
	library := cudatest.Build(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, staged := range short(1, false, true) {
		group := groupName()
		const n, victim = 3, 1
		cmds := make([]*exec.Cmd, n)
		lines := make([]*bufio.Scanner, n)
		for r := range n {
			text, err := json.Marshal(deviceRole{Rank: r, Size: n, Group: group, Library: library, Device: r % 2, Staged: staged, Algorithm: plan.Direct})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), exe, "-test.run", "^TestDeviceKilled$", "-test.v")
			cmd.Env = append(os.Environ(), floodVariable+"="+string(text))
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			cmds[r], lines[r] = cmd, bufio.NewScanner(out)
		}
		until := func(r int, prefix string) string {
			for lines[r].Scan() {
				if text := lines[r].Text(); strings.HasPrefix(text, prefix) {
					return text
				}
			}
			return ""
		}
		for r := range n {
			if until(r, "so far") == "" {
				t.Errorf("staged %t: rank %d has not come so far", staged, r)
			}
		}
		if err := cmds[victim].Process.Signal(unix.SIGKILL); err != nil {
			t.Error(err)
		}
		for r := range n {
			if text := until(r, "lost"); r != victim && text != fmt.Sprintf("lost rank %d", victim) {
				t.Errorf("staged %t: rank %d says %q, want the loss of rank %d", staged, r, text, victim)
			}
		}
		for r := range n {
			for lines[r].Scan() {
			}
			if err := cmds[r].Wait(); (err != nil) != (r == victim) {
				t.Errorf("staged %t: rank %d ends with %v", staged, r, err)
			}
		}
	}
}

// flood is a rank of TestDeviceKilled: it reduces again and again, and says so, and what ends it.
func flood(t *testing.T, text string) {
	var r deviceRole
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	if err := cudatest.Start(r.Library, standIn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := openDevice(r.Library, r.Device, r.Staged)
	if err != nil {
		t.Fatal(err)
	}
	dst, src, err := deviceBlocks(ctx, d, collective.Config{Rank: r.Rank, Size: r.Size, Group: r.Group, Transports: []transport.Transport{shm.New()}, Algorithm: r.Algorithm}, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err = d.comm.AllReduceBlock(ctx, dst, src, buffer.Sum, collective.OnStream(d.stream)); err != nil {
			break
		}
		if i == 0 {
			fmt.Println("so far")
		}
	}
	peer, _ := named(err)
	if !errors.Is(err, collective.ErrPeerLost) {
		t.Errorf("got %v, want the loss of a peer", err)
	}
	fmt.Println("lost rank", peer)
	if err := errors.Join(d.comm.FreeBlock(dst), d.comm.FreeBlock(src), d.close()); err != nil {
		t.Error(err)
	}
	noted(t)
}
