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

// A carded transport has a network card of a kind: its links send out of dma-bufs that its endpoints know, and store into them what
// the receiver gives places for.
type carded struct {
	transport.Transport
	takes  bool         // dma-bufs
	deaf   bool         // does not store into them
	prompt bool         // what it stores is seen at once
	single bool         // links hold one frame at a time, and take two places
	astray bool         // hands out another place than it was given
	known  atomic.Int64 // registrations
	sent   atomic.Int64 // bytes out of dma-bufs
	stored atomic.Int64 // bytes into them
	reads  atomic.Int64 // what came was there behind a read of the card's

	mu    sync.Mutex
	lines map[cardedLine]*cardedPlaces
}

// A cardedLine is one direction of a link.
type cardedLine struct {
	id       transport.LinkID
	from, to int
}

// cardedPlaces are the places that a receiver has given.
type cardedPlaces struct {
	mu     sync.Mutex
	posted uint64 // frames
	list   map[uint64]*cardedPlace
}

type cardedPlace struct {
	head   transport.Header
	mem    []byte
	ep     *cardedEndpoint // whose memory it is
	stored bool
	there  bool // and the device sees it
}

func (c *carded) Caps() transport.Caps {
	caps := c.Transport.Caps()
	caps.Device = true
	return caps
}

func (c *carded) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := c.Transport.Listen(ctx, group, rank, bell)
	return &cardedEndpoint{Endpoint: ep, t: c, rank: rank}, err
}

// line returns the places of a direction.
func (c *carded) line(l cardedLine) *cardedPlaces {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines[l] == nil {
		c.lines[l] = &cardedPlaces{list: make(map[uint64]*cardedPlace)}
	}
	return c.lines[l]
}

type cardedEndpoint struct {
	transport.Endpoint
	t    *carded
	rank int
	mu   sync.Mutex
	list []cardedMemory
}

type cardedMemory struct {
	base    uintptr
	mem     []byte // the dma-buf's
	ordered bool
	flush   func() error
}

var errNoDMABuf = errors.New("the card takes no dma-bufs")

func (e *cardedEndpoint) RegisterDevice(m transport.DeviceMemory) (transport.DeviceWay, error) {
	fd, offset, err := m.DMABuf()
	if err != nil {
		return transport.DeviceWay{}, err
	}
	file, err := syscall.Mmap(fd, 0, int(offset)+m.Length, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err = errors.Join(err, m.CloseFD(fd)); err != nil {
		return transport.DeviceWay{}, err
	}
	if !e.t.takes {
		return transport.DeviceWay{}, errors.Join(errNoDMABuf, syscall.Munmap(file))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.t.known.Add(1)
	e.list = append(e.list, cardedMemory{m.Addr, file[offset:], m.Ordered, m.Flush})
	way := transport.DeviceWay{How: "dma-buf", Receives: true, Settles: "flushed by a read", Forget: func() error {
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
	}}
	switch {
	case e.t.deaf:
		way.Receives, way.Settles = false, "no reader"
	case m.Ordered:
		way.Settles = "ordered"
	case m.Flush != nil:
		way.Settles = "flushed by the driver"
	}
	return way, nil
}

// find returns a place as the card reaches it. mu is held.
func (e *cardedEndpoint) find(place []byte) (k cardedMemory, real []byte, ok bool) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(place)))
	for _, k := range e.list {
		if at >= k.base && at-k.base+uintptr(len(place)) <= uintptr(len(k.mem)) {
			return k, k.mem[at-k.base:][:len(place)], len(place) > 0
		}
	}
	return cardedMemory{}, nil, false
}

func (e *cardedEndpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	l, err := e.Endpoint.Open(peer, id)
	return &cardedLink{
		Link: l, e: e, out: e.t.line(cardedLine{id, e.rank, peer.Rank}), in: e.t.line(cardedLine{id, peer.Rank, e.rank}),
	}, err
}

type cardedLink struct {
	transport.Link
	e       *cardedEndpoint
	out, in *cardedPlaces
	posted  uint64
	taken   uint64
	frame   transport.Frame
}

func (l *cardedLink) Caps() transport.Caps {
	caps := l.Link.Caps()
	caps.Device = true
	return caps
}

func (l *cardedLink) Expecting() int {
	if l.e.t.single {
		return 2
	}
	return 8
}

func (l *cardedLink) Expect(ahead int, h *transport.Header, place []byte) bool {
	l.e.mu.Lock()
	_, _, ok := l.e.find(place)
	l.e.mu.Unlock()
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	frame := l.taken + uint64(ahead)
	if !ok || l.e.t.deaf || ahead < 0 || ahead >= l.Expecting() || frame < l.in.posted || l.in.list[frame] != nil || int(h.Length) != len(place) {
		return false
	}
	cudatest.Card(place, cudatest.Wanted)
	l.in.list[frame] = &cardedPlace{head: *h, mem: place, ep: l.e}
	return true
}

func (l *cardedLink) Post(h *transport.Header, payload []byte) (bool, error) {
	if l.e.t.single && l.Link.Completed() < l.posted {
		return false, nil
	}
	l.e.mu.Lock()
	_, real, known := l.e.find(payload)
	l.e.mu.Unlock()
	if !known {
		real = payload
	}
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	ok, err := l.Link.Post(h, real)
	if !ok {
		return false, err
	}
	if known {
		l.e.t.sent.Add(int64(len(payload)))
	}
	if p := l.out.list[l.out.posted]; p != nil && p.head == *h {
		p.ep.mu.Lock()
		_, into, ok := p.ep.find(p.mem)
		if ok {
			copy(into, real)
			cudatest.Card(p.mem, cudatest.Stored)
			if l.e.t.prompt {
				cudatest.Settle()
			}
			l.e.t.stored.Add(int64(len(real)))
			p.stored = true
		}
		p.ep.mu.Unlock()
	}
	l.out.posted++
	l.posted++
	return true, nil
}

func (l *cardedLink) Poll() (*transport.Frame, error) {
	f, err := l.Link.Poll()
	if f == nil || err != nil {
		return f, err
	}
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	p := l.in.list[l.taken]
	if p == nil || !p.stored {
		return f, nil
	}
	if !p.there {
		l.e.mu.Lock()
		k, _, _ := l.e.find(p.mem)
		l.e.mu.Unlock()
		switch {
		case k.ordered:
		case k.flush != nil:
			if err := k.flush(); err != nil {
				return nil, err
			}
		default:
			l.e.t.reads.Add(1)
			cudatest.Settle()
		}
		p.there = true
	}
	l.frame = *f
	if l.frame.Payload = p.mem; l.e.t.astray {
		l.frame.Payload = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.mem[1:]))), len(p.mem))
	}
	return &l.frame, nil
}

func (l *cardedLink) Release() {
	l.in.mu.Lock()
	if p := l.in.list[l.taken]; p != nil {
		if !p.stored {
			cudatest.Card(p.mem, cudatest.Abandoned)
		}
		delete(l.in.list, l.taken)
	}
	l.taken++
	l.in.mu.Unlock()
	l.Link.Release()
}

// alone is a device's memory that no peer reads in place; closed is one that no card reads either.
type alone struct{ *cudabridge.Memory }

func (alone) Reads(string) bool { return false }

type closed struct{ buffer.Memory }

// TestDirect runs operations on memory of devices over links that send out of it and store into it by themselves; where they cannot, it
// is staged, and MemoryWay says why. The stand-in follows what a card stores, and notes work that does not come behind it.
func TestDirect(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	defer cudatest.Direct(0, 0)
	for _, tt := range []struct {
		name            string
		takes, deaf     bool // the card
		flush, ordering int  // as the driver's attributes have them
		staged, closed  bool
		way             string
		sends, receives bool
	}{
		{name: "read", takes: true, way: "dma-buf for mem, both ways (flushed by a read)", sends: true, receives: true},
		{name: "flush", takes: true, flush: 1, way: "dma-buf for mem, both ways (flushed by the driver)", sends: true, receives: true},
		{name: "ordered", takes: true, ordering: 200, way: "dma-buf for mem, both ways (ordered)", sends: true, receives: true},
		{name: "sends only", takes: true, deaf: true, way: "dma-buf for mem, to send only (no reader)", sends: true},
		{name: "no dma-buf", way: "staged for mem (the card takes no dma-bufs)"},
		{name: "staged", takes: true, staged: true, way: "staged for mem (cudabridge: memory of cuda:0 is staged by choice: cudabridge: not supported by this driver or device)"},
		{name: "closed", takes: true, closed: true, way: "staged for mem (cuda:0 cannot be read by network cards)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cudatest.Direct(tt.flush, tt.ordering)
			card := &carded{takes: tt.takes, deaf: tt.deaf, prompt: tt.ordering > 0}
			directGroup(t, library, card, tt.staged, func(m *cudabridge.Memory) buffer.Memory {
				if tt.closed {
					return closed{m}
				}
				return alone{m}
			}, func(ctx context.Context, d *deviceRank, rank int) error { return directRounds(ctx, d, rank, tt.way) })
			if sent := card.sent.Load(); (sent > 0) != tt.sends {
				t.Errorf("%d bytes went out of dma-bufs", sent)
			}
			if stored := card.stored.Load(); (stored > 0) != tt.receives {
				t.Errorf("%d bytes were stored into dma-bufs", stored)
			}
			if reads := card.reads.Load(); (reads > 0) != (tt.name == "read") {
				t.Errorf("the card read %d times", reads)
			}
			if n := card.known.Load(); n != 0 {
				t.Errorf("%d registrations are left", n)
			}
			noted(t)
		})
	}
}

// directGroup runs three ranks on a device whose links are of a card.
func directGroup(t *testing.T, library string, card *carded, staged bool, of func(*cudabridge.Memory) buffer.Memory, play func(ctx context.Context, d *deviceRank, rank int) error) {
	t.Helper()
	card.Transport, card.lines = mem.New(), make(map[cardedLine]*cardedPlaces)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	group := groupName()
	for rank, err := range ranksDo(3, func(rank int) (err error) {
		d, err := openDevice(library, 0, staged)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		d.comm, err = collective.Join(ctx, collective.Config{
			Rank: rank, Size: 3, Group: group, Transports: []transport.Transport{card}, Algorithm: plan.Ring, Memory: of(d.memory),
		})
		if err != nil {
			return err
		}
		return play(ctx, d, rank)
	}) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// TestLanding reduces what the peers' card stores in memory of the engine's own on the device. Its links hold one frame at a time, so all
// but the first of each comes when its place has long been given.
func TestLanding(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	card := &carded{takes: true, single: true}
	directGroup(t, library, card, false, func(m *cudabridge.Memory) buffer.Memory { return alone{m} }, func(ctx context.Context, d *deviceRank, rank int) error {
		return d.once(ctx, deviceRole{Rank: rank, Size: 3}, schedule.ReduceScatter, buffer.Float32, buffer.Sum, 70_000, 0, true)
	})
	if stored := card.stored.Load(); stored < 3*280_000 {
		t.Errorf("%d bytes were stored into dma-bufs, want half of what was sent", stored)
	}
	noted(t)
}

// TestAstray is told that a payload lies in memory of the device where nobody expects it, which the host cannot copy: the operation fails.
func TestAstray(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	var found atomic.Bool
	directGroup(t, library, &carded{takes: true, single: true, astray: true}, false, func(m *cudabridge.Memory) buffer.Memory { return alone{m} }, func(ctx context.Context, d *deviceRank, rank int) error {
		// Places of a block of their own, so that each has a byte behind it.
		src, err := d.comm.AllocDevice(buffer.Float32, 20_000)
		if err != nil {
			return err
		}
		dst, err := d.comm.AllocDevice(buffer.Float32, 3*20_000+1)
		if err != nil {
			return err
		}
		err = d.comm.AllGatherBlock(ctx, dst.Slice(0, 3*20_000), src)
		if err == nil {
			return errors.New("got no error")
		}
		if frame, ok := errors.AsType[*transport.FrameError](err); ok && strings.Contains(frame.Reason, "another is expected") {
			found.Store(true)
		}
		return nil
	})
	if !found.Load() {
		t.Error("nobody says why")
	}
	cudatest.Settle()
	cudatest.Violations() // places were given up while the card still used them
}

// Bridges that are wrong.
type (
	goesOn    struct{ alone } // its streams do not wait for operations
	early     struct{ alone } // its operations do not wait for streams
	unflushed struct{ alone } // its flush does nothing
	unordered struct{ alone } // it does not order what cards store, and says so
)

func (m goesOn) Gate(s buffer.Stream, _ bool) (buffer.Gate, error) { return m.alone.Gate(s, false) }

func (m early) NewQueue() (buffer.Queue, error) {
	q, err := m.alone.NewQueue()
	return earlyQueue{q}, err
}

type earlyQueue struct{ buffer.Queue }

func (earlyQueue) After(buffer.Gate) (buffer.Ticket, error) { return 0, nil }

func (unflushed) Stored() (bool, func() error) { return false, func() error { return nil } }

func (unordered) Stored() (bool, func() error) { return true, nil }

// TestDirectMutants shows that what is wrong with a bridge or a card is noticed, whatever the timing is: places that are given before the
// stream has come so far, a stream that goes on too early, and what is handed out before the device sees it.
func TestDirectMutants(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, standIn); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		of   func(m alone) buffer.Memory
		want string
	}{
		{"none", func(m alone) buffer.Memory { return m }, ""},
		{"the stream goes on too early", func(m alone) buffer.Memory { return goesOn{m} }, "race"},
		{"the operation begins too early", func(m alone) buffer.Memory { return early{m} }, "a network card"},
		{"no flush", func(m alone) buffer.Memory { return unflushed{m} }, "a network card"},
		{"no order", func(m alone) buffer.Memory { return unordered{m} }, "a network card"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first := make(chan struct{})
			directGroup(t, library, &carded{takes: true, single: true}, false, func(m *cudabridge.Memory) buffer.Memory { return tt.of(alone{m}) },
				func(ctx context.Context, d *deviceRank, rank int) error { return reduceThenCopy(ctx, d, rank, first) })
			n, text := cudatest.Violations()
			if (n > 0) != (tt.want != "") || !strings.Contains(text, tt.want) {
				t.Errorf("noted %d violations: %s", n, text)
			}
		})
	}
}

// reduceThenCopy starts an all-reduce of what a stream is still to bring, and copies the result behind it. Rank 0 is first, so that it cannot
// come to its end before its stream has the copy.
func reduceThenCopy(ctx context.Context, d *deviceRank, rank int, first chan struct{}) error {
	const n = 80_000
	b, free, err := d.put(buffer.Float32, deviceInput(buffer.Float32, rank, n/4, 0))
	if err != nil {
		return err
	}
	to, err := d.device.Alloc(n)
	if err != nil {
		return err
	}
	if rank > 0 {
		select {
		case <-first:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	work, err := d.comm.StartAllReduceBlock(ctx, b, b, buffer.Sum, collective.OnStream(d.stream))
	if err != nil {
		return err
	}
	if err := d.stream.Copy(to.Bytes(), b.Data); err != nil {
		return err
	}
	if rank == 0 {
		close(first)
	}
	err = errors.Join(work.Wait(ctx), d.stream.Synchronize())
	cudatest.Settle() // what is wrong has been noted
	return errors.Join(err, free(), to.Close())
}

// directRounds runs operations on blocks that come and go.
func directRounds(ctx context.Context, d *deviceRank, rank int, way string) error {
	r := deviceRole{Rank: rank, Size: 3}
	for salt, n := range []int{1, 20_000} {
		for i, coll := range schedule.Collectives() {
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
