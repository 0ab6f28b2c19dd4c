//go:build linux && cgo && (amd64 || arm64)

package collective_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/cudabridge"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// A carded transport has a network card of a kind: its links send out of dma-bufs that its endpoints know.
type carded struct {
	transport.Transport
	takes bool         // dma-bufs
	sent  atomic.Int64 // bytes out of them
	asked atomic.Int64 // places that links were asked to take, and did not
	known atomic.Int64 // registrations
}

func (c *carded) Caps() transport.Caps {
	caps := c.Transport.Caps()
	caps.Device = true
	return caps
}

func (c *carded) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := c.Transport.Listen(ctx, group, rank, bell)
	return &cardedEndpoint{Endpoint: ep, t: c}, err
}

type cardedEndpoint struct {
	transport.Endpoint
	t    *carded
	mu   sync.Mutex
	list []cardedMemory
}

type cardedMemory struct {
	base uintptr
	mem  []byte // the dma-buf's
}

var errNoDMABuf = errors.New("the card takes no dma-bufs")

func (e *cardedEndpoint) RegisterDevice(m transport.DeviceMemory) (transport.DeviceWay, error) {
	fd, offset, err := m.DMABuf()
	if err != nil {
		return transport.DeviceWay{}, err
	}
	file, err := syscall.Mmap(fd, 0, int(offset)+m.Length, syscall.PROT_READ, syscall.MAP_SHARED)
	if err = errors.Join(err, m.CloseFD(fd)); err != nil {
		return transport.DeviceWay{}, err
	}
	if !e.t.takes {
		return transport.DeviceWay{}, errors.Join(errNoDMABuf, syscall.Munmap(file))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.t.known.Add(1)
	e.list = append(e.list, cardedMemory{m.Addr, file[offset:]})
	return transport.DeviceWay{How: "dma-buf", Settles: "it only sends", Forget: func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.t.known.Add(-1)
		for i, k := range e.list {
			if k.base == m.Addr {
				e.list = append(e.list[:i], e.list[i+1:]...)
				break
			}
		}
		return syscall.Munmap(file)
	}}, nil
}

func (e *cardedEndpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	l, err := e.Endpoint.Open(peer, id)
	return &cardedLink{l, e}, err
}

type cardedLink struct {
	transport.Link
	e *cardedEndpoint
}

func (l *cardedLink) Caps() transport.Caps {
	caps := l.Link.Caps()
	caps.Device = true
	return caps
}

// A link that says that it takes places is asked to.
func (l *cardedLink) Expecting() int { return 8 }

func (l *cardedLink) Expect(int, *transport.Header, []byte) bool {
	l.e.t.asked.Add(1)
	return false
}

func (l *cardedLink) Post(h *transport.Header, payload []byte) (bool, error) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(payload)))
	l.e.mu.Lock()
	real, known := payload, false
	for _, k := range l.e.list {
		if at >= k.base && at < k.base+uintptr(len(k.mem)) {
			real, known = k.mem[at-k.base:][:len(payload)], true
		}
	}
	l.e.mu.Unlock()
	ok, err := l.Link.Post(h, real)
	if ok && known {
		l.e.t.sent.Add(int64(len(payload)))
	}
	return ok, err
}

// alone is a device's memory that no peer reads in place; closed is one that no card reads either.
type alone struct{ *cudabridge.Memory }

func (alone) Reads(string) bool { return false }

type closed struct{ buffer.Memory }

// TestDirect reduces memory of devices over links that send out of it by themselves: every byte of an operation goes that way, but
// for eager messages; where they cannot, it is staged, and MemoryWay says why.
func TestDirect(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name           string
		takes          bool
		staged, closed bool
		way            string
	}{
		{name: "direct", takes: true, way: "dma-buf for mem"},
		{name: "no dma-buf", way: "staged for mem (the card takes no dma-bufs)"},
		{name: "staged", takes: true, staged: true, way: "staged for mem (cudabridge: memory of cuda:0 is staged by choice: cudabridge: not supported by this driver or device)"},
		{name: "closed", takes: true, closed: true, way: "staged for mem (cuda:0 cannot be read by network cards)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			card := &carded{Transport: mem.New(), takes: tt.takes}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			group := groupName()
			for rank, err := range ranksDo(3, func(rank int) (err error) {
				d, err := openDevice(library, 0, tt.staged)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, d.close()) }()
				var memory buffer.Memory = alone{d.memory}
				if tt.closed {
					memory = closed{memory}
				}
				d.comm, err = collective.Join(ctx, collective.Config{
					Rank: rank, Size: 3, Group: group, Transports: []transport.Transport{card}, Algorithm: plan.Ring, Memory: memory,
				})
				if err != nil {
					return err
				}
				return directRounds(ctx, d, rank, tt.way)
			}) {
				if err != nil {
					t.Errorf("rank %d: %v", rank, err)
				}
			}
			if sent := card.sent.Load(); (sent > 0) != (tt.name == "direct") {
				t.Errorf("%d bytes went out of dma-bufs", sent)
			}
			if n := card.asked.Load(); n != 0 {
				t.Errorf("%d places in memory of devices were given, which nothing flushes", n)
			}
			if n := card.known.Load(); n != 0 {
				t.Errorf("%d registrations are left", n)
			}
			noted(t)
		})
	}
}

// directRounds runs operations on blocks that come and go.
func directRounds(ctx context.Context, d *deviceRank, rank int, way string) error {
	for salt, n := range []int{1, 20_000} {
		r := deviceRole{Rank: rank, Size: 3}
		for i, coll := range []schedule.Collective{schedule.AllReduce, schedule.AllGather} {
			if err := d.once(ctx, r, coll, buffer.Float32, buffer.Sum, n, salt, (i+salt)%2 == 0); err != nil {
				d.comm.Abort(err)
				return fmt.Errorf("%v of %d: %w", coll, n, err)
			}
		}
	}
	if got := d.comm.MemoryWay(); got != way {
		return fmt.Errorf("the way is %q, want %q", got, way)
	}
	text, err := d.comm.Explain(schedule.AllReduce, 0, 1<<20)
	if want := fmt.Sprintf("device memory of rank %d: %s\n", rank, way); err != nil || !strings.Contains(text, want) {
		return fmt.Errorf("Explain does not say %q: %w\n%s", want, err, text)
	}
	// Close gives back what FreeBlock has not.
	b, err := d.comm.AllocDevice(buffer.Uint8, 100)
	if err == nil && bytes.Equal(nil, b.Data) {
		err = errors.New("no memory")
	}
	return err
}
