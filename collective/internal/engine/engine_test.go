package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

const comm = 77

// A group is engines that are linked in memory.
type group struct {
	*testing.T
	engines   []*Engine
	endpoints []transport.Endpoint
	planner   *plan.Planner
}

// newGroup links n engines. configure may change what an engine is made of.
func newGroup(t *testing.T, n int, configure func(rank int, c *Config)) *group {
	t.Helper()
	g := &group{T: t}
	graph, err := topology.Uniform(1, n, topology.Link{Level: topology.Host, Alpha: 1e-6, Beta: 1e-10})
	if err != nil {
		t.Fatal(err)
	}
	g.planner = plan.New(graph)
	network := mem.New()
	for r := range n {
		bell := transport.NewBell()
		ep, err := network.Listen(t.Context(), "g", r, bell)
		if err != nil {
			t.Fatal(err)
		}
		g.endpoints = append(g.endpoints, ep)
		c := Config{
			Rank: r, Size: n, Epoch: 1, Bell: bell, Shared: true, Alloc: ep.Alloc, Free: ep.Free,
			Open: func(peer int, channel uint16) (transport.Link, error) {
				if peer >= n { // of a group that is said to be larger
					return nil, transport.ErrUnreachable
				}
				return ep.Open(g.peer(peer), id(channel))
			},
		}
		if configure != nil {
			configure(r, &c)
		}
		g.engines = append(g.engines, New(c))
	}
	t.Cleanup(func() {
		for r, e := range g.engines {
			if err := errors.Join(e.Close(errors.New("over")), g.endpoints[r].Close()); err != nil {
				t.Errorf("rank %d: Close: %v", r, err)
			}
			e.Free()
		}
	})
	return g
}

func id(channel uint16) transport.LinkID { return transport.LinkID{Comm: comm, Channel: channel} }

func (g *group) peer(r int) transport.Peer {
	return transport.Peer{Rank: r, Host: "h", Process: "p", Addr: g.endpoints[r].Addr()}
}

// link opens rank r's own end of a link, to take the place of its engine.
func (g *group) link(r, peer int, channel uint16) transport.Link {
	g.Helper()
	l, err := g.endpoints[r].Open(g.peer(peer), id(channel))
	if err != nil {
		g.Fatal(err)
	}
	return l
}

// allReduce runs one operation on one rank.
func (g *group) allReduce(ctx context.Context, r int, a plan.Algorithm, data []int32) error {
	b := buffer.Of(data)
	p, err := g.planner.Choose(a, plan.Request{Collective: schedule.AllReduce, Bytes: int64(len(b.Data))})
	if err != nil {
		return err
	}
	e := g.engines[r]
	sig := Signature{Collective: schedule.AllReduce, Type: buffer.Int32, Op: buffer.Sum, Count: uint64(len(data)), Algorithm: p.Variant.Code()}
	sc, err := e.NewScript(sig, p.Schedule, len(data), p.SliceBytes)
	if err != nil {
		return err
	}
	return e.Run(ctx, sc, &Operands{In: b.Data, Out: b.Data})
}

// each runs f on every rank at once.
func (g *group) each(f func(r int) error) []error {
	errs := make([]error, len(g.engines))
	var wg sync.WaitGroup
	for r := range g.engines {
		wg.Go(func() { errs[r] = f(r) })
	}
	wg.Wait()
	return errs
}

// Ranks that spin, that yield and that sleep at once give the same.
func TestKindsOfWaiting(t *testing.T) {
	kinds := map[string]func(int, *Config){
		"alone on a core":  func(_ int, c *Config) { c.Shared = false },
		"crowded":          func(_ int, c *Config) { c.Crowded, c.Shared = true, false },
		"shared":           func(_ int, c *Config) {},
		"shared, crowded":  func(_ int, c *Config) { c.Crowded = true },
		"large":            func(_ int, c *Config) { c.Size = 257 }, // for what a rank of a large group does while it waits
		"each another one": func(r int, c *Config) { c.Crowded, c.Shared = r%2 == 0, r < 2 },
	}
	for name, configure := range kinds {
		g := newGroup(t, 3, configure)
		for round := range 50 {
			for r, err := range g.each(func(r int) error {
				data := slices.Repeat([]int32{int32(r + round)}, 1000)
				if err := g.allReduce(t.Context(), r, plan.Ring, data); err != nil {
					return err
				}
				if want := slices.Repeat([]int32{int32(3 + 3*round)}, 1000); !slices.Equal(data, want) {
					return fmt.Errorf("got %d…, want %d…", data[0], want[0])
				}
				return nil
			}) {
				if err != nil {
					t.Fatalf("%s: round %d: rank %d: %v", name, round, r, err)
				}
			}
		}
	}
}

// exchange is an all-reduce of two ranks in so many operations that they are not computed ahead: each sends the other
// everything, chunk by chunk.
type exchange struct{ chunks int }

func (exchange) Ranks() int                { return 2 }
func (exchange) Channels() int             { return 1 }
func (s exchange) Layout() schedule.Layout { return schedule.Layout{Blocks: s.chunks, Pieces: 1} }

func (s exchange) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	if i >= s.chunks {
		return schedule.Op{}, false
	}
	op := schedule.Op{Kind: schedule.Send, Peer: 1 - r, Src: schedule.Input(i), N: 1, Match: int32(i)}
	if l.In() {
		op.Kind, op.Dst, op.Final = schedule.RecvReduce, schedule.Output(i), true
	}
	return op, true
}

func TestProgramTooLongToCompile(t *testing.T) {
	const chunks = compileLimit/2 + 1 // in each lane
	s := exchange{chunks}
	if schedule.Compile(s, 0, compileLimit) != nil {
		t.Fatal("the schedule is compiled: it is too short for this test")
	}
	g := newGroup(t, 2, nil)
	for round := range 2 {
		for r, err := range g.each(func(r int) error {
			in, out := make([]int32, 2*chunks+1), make([]int32, 2*chunks+1)
			for i := range in {
				in[i] = int32(i * (r + 1 + round))
			}
			sig := Signature{Collective: schedule.AllReduce, Type: buffer.Int32, Op: buffer.Sum, Count: uint64(len(in)), Algorithm: 1}
			sc, err := g.engines[r].NewScript(sig, s, len(in), 1<<10)
			if err != nil {
				return err
			}
			if err := g.engines[r].Run(t.Context(), sc, &Operands{In: buffer.Of(in).Data, Out: buffer.Of(out).Data}); err != nil {
				return err
			}
			for i, got := range out {
				if want := int32(i * (3 + 2*round)); got != want {
					return fmt.Errorf("element %d is %d, want %d", i, got, want)
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("round %d: rank %d: %v", round, r, err)
			}
		}
	}
}

// header is the one of the first frame that rank 1 would send to rank 0 in a ring all-reduce of two int32.
func (g *group) header() transport.Header { return g.headers(plan.Ring, 1)[0] }

// headers are those of the first frames of that many all-reduces of two int32, one after the other.
func (g *group) headers(a plan.Algorithm, operations int) []transport.Header {
	g.Helper()
	// The stamps are what an engine of the same history makes.
	e := New(Config{Rank: 1, Size: 2, Epoch: 1, Bell: transport.NewBell(), Open: func(int, uint16) (transport.Link, error) { return g.link(1, 0, 99), nil }})
	sc := g.script(e, a)
	hs := make([]transport.Header, operations)
	for i := range hs {
		e.begin(sc)
		hs[i] = sc.head
		hs[i].Seq, hs[i].Length = e.now.stamp, 4
	}
	return hs
}

// script is what e runs for an all-reduce of two int32.
func (g *group) script(e *Engine, a plan.Algorithm) *Script {
	g.Helper()
	p, err := g.planner.Choose(a, plan.Request{Collective: schedule.AllReduce, Bytes: 8})
	if err != nil {
		g.Fatal(err)
	}
	sig := Signature{Collective: schedule.AllReduce, Type: buffer.Int32, Op: buffer.Sum, Count: 2, Algorithm: p.Variant.Code()}
	sc, err := e.NewScript(sig, p.Schedule, 2, p.SliceBytes)
	if err != nil {
		g.Fatal(err)
	}
	return sc
}

func post(t *testing.T, l transport.Link, h transport.Header, payload []byte) {
	t.Helper()
	h.Length = uint32(len(payload))
	if ok, err := l.Post(&h, payload); !ok {
		t.Fatalf("post: %v", err)
	}
}

// Frames of another epoch are dropped and counted; the operation takes the next ones.
func TestStaleFrames(t *testing.T) {
	g := newGroup(t, 2, nil)
	l := g.link(1, 0, 0)
	h := g.header()
	old := h
	old.Epoch = 7
	post(t, l, old, []byte{1, 2, 3, 4})
	post(t, l, old, nil)
	// Then what the schedule wants: this side's block reduced by the peer, then the reduced block.
	post(t, l, h, buffer.Of([]int32{10}).Data)
	next := h
	next.Step = 1
	post(t, l, next, buffer.Of([]int32{20}).Data)
	done := make(chan error, 1)
	data := []int32{1, 2}
	go func() { done <- g.allReduce(t.Context(), 0, plan.Ring, data) }()
	for range 2 { // rank 0's frames
		for {
			f, err := l.Poll()
			if err != nil {
				t.Fatal(err)
			}
			if f != nil {
				l.Release()
				break
			}
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := g.engines[0].Stale(); got != 2 {
		t.Errorf("%d stale frames, want 2", got)
	}
	slices.Sort(data)
	if data[0] != 11 && data[0] != 12 || data[1] != 20 {
		t.Errorf("got %d, want the peer's 10 added to one element and its 20 in the other", data)
	}
}

// A frame of the right operation that is not the one that the schedule says is next ends the operation.
func TestFrameOutOfPlace(t *testing.T) {
	for name, spoil := range map[string]func(h *transport.Header){
		"step":    func(h *transport.Header) { h.Step = 1 },
		"slice":   func(h *transport.Header) { h.Slice = 1 },
		"channel": func(h *transport.Header) { h.Channel = 3 },
		"length":  func(h *transport.Header) { h.Length = 5 },
	} {
		g := newGroup(t, 2, nil)
		h := g.header()
		spoil(&h)
		post(t, g.link(1, 0, 0), h, make([]byte, h.Length))
		err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, 2))
		var frame *transport.FrameError
		var peer *PeerError
		if !errors.As(err, &frame) || !errors.As(err, &peer) || peer.Rank != 1 {
			t.Errorf("another %s: got %v, want a FrameError that names rank 1", name, err)
		}
		if got := g.engines[0].Err(); !errors.Is(got, err) {
			t.Errorf("another %s: Err is %v, want %v", name, got, err)
		}
	}
}

// Each field of the signature is compared, and each is named.
func TestMismatchFields(t *testing.T) {
	for field, spoil := range map[string]func(h *transport.Header){
		"collective":           func(h *transport.Header) { h.Coll = uint8(schedule.Reduce) },
		"count":                func(h *transport.Header) { h.Count++ },
		"dtype":                func(h *transport.Header) { h.DType = uint8(buffer.Float64) },
		"op":                   func(h *transport.Header) { h.Op = uint8(buffer.Max) },
		"root":                 func(h *transport.Header) { h.Root = 1 },
		"algorithm":            func(h *transport.Header) { h.Algo++ },
		"operation number":     func(h *transport.Header) { h.Seq++ },
		"an earlier operation": func(h *transport.Header) { h.Seq ^= 1 << 31 },
	} {
		g := newGroup(t, 2, nil)
		h := g.header()
		spoil(&h)
		post(t, g.link(1, 0, 0), h, make([]byte, 4))
		err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, 2))
		var m *MismatchError
		if !errors.As(err, &m) || m.Field != field || m.Rank != 0 || m.Peer != 1 || m.Local == m.Remote {
			t.Errorf("%s: got %v, want a MismatchError of it", field, err)
		}
	}
}

// What a neighbour has said about an operation so long ago that the numbers in frames have gone round says nothing about this one.
func TestOldNews(t *testing.T) {
	g := newGroup(t, 2, nil)
	e := g.engines[0]
	h := g.header()
	sc := g.script(e, plan.Ring)
	for range 3<<16 + 1 {
		e.begin(sc)
	}
	l := g.link(1, 0, controlChannel)
	c, err := e.conn(1, controlChannel)
	if err != nil {
		t.Fatal(err)
	}
	post(t, l, h, nil)
	if err := e.hear(c); err != nil {
		t.Errorf("what was said of operation 1 in operation %d: %v", e.now.number, err)
	}
	h.Slice = e.now.number >> 16 // of this operation, then
	post(t, l, h, nil)
	if err := e.hear(c); !errors.Is(err, ErrMismatch) {
		t.Errorf("another history: %v, want %v", err, ErrMismatch)
	}
}

// A header full of nonsense is a mismatch, with a text.
func FuzzForeignHeader(f *testing.F) {
	f.Add(uint32(1), uint64(2), uint8(1), uint8(5), uint8(1), uint16(256), int32(0))
	f.Fuzz(func(t *testing.T, seq uint32, count uint64, coll, dtype, op uint8, algo uint16, root int32) {
		g := newGroup(t, 2, nil)
		h := g.header()
		mine := h
		h.Seq, h.Count, h.Coll, h.DType, h.Op, h.Algo, h.Root = seq, count, coll, dtype, op, algo, root
		if h == mine {
			t.Skip("the very header")
		}
		post(t, g.link(1, 0, 0), h, make([]byte, 4))
		if err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, 2)); !errors.Is(err, ErrMismatch) || err.Error() == "" {
			t.Fatalf("%+v: got %v, want %v", h, err, ErrMismatch)
		}
	})
}

// A link that cannot be opened names the peer, and nothing hangs.
func TestOpenFails(t *testing.T) {
	why := errors.New("no such wire")
	g := newGroup(t, 3, func(r int, c *Config) {
		if open := c.Open; r == 0 {
			c.Open = func(peer int, channel uint16) (transport.Link, error) {
				if peer == 1 {
					return nil, why
				}
				return open(peer, channel)
			}
		}
	})
	err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, 3))
	var peer *PeerError
	if !errors.Is(err, why) || !errors.As(err, &peer) || peer.Rank != 1 {
		t.Errorf("got %v, want %v of rank 1", err, why)
	}
}

// Memory for what is copied aside may be refused.
func TestAllocFails(t *testing.T) {
	why := errors.New("no memory")
	g := newGroup(t, 2, func(_ int, c *Config) { c.Alloc = func(int) ([]byte, error) { return nil, why } })
	for r, err := range g.each(func(r int) error { return g.allReduce(t.Context(), r, plan.Direct, make([]int32, 3)) }) {
		if !errors.Is(err, why) && !errors.Is(err, ErrAborted) {
			t.Errorf("rank %d: got %v, want %v", r, err, why)
		}
	}
}

// What is copied aside grows with the messages, and the memory before is given back.
func TestAsideGrows(t *testing.T) {
	var mu sync.Mutex
	held := make(map[*byte]bool)
	g := newGroup(t, 2, func(_ int, c *Config) {
		alloc, free := c.Alloc, c.Free
		c.Alloc = func(n int) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			b, err := alloc(n)
			held[&b[0]] = true
			return b, err
		}
		c.Free = func(b []byte) error {
			mu.Lock()
			defer mu.Unlock()
			delete(held, &b[0])
			return free(b)
		}
	})
	for _, n := range []int{1, 1024, 1025, 3000, 8000, 2, 8000} {
		for r, err := range g.each(func(r int) error {
			data := slices.Repeat([]int32{int32(r)}, n)
			err := g.allReduce(t.Context(), r, plan.Direct, data)
			if want := slices.Repeat([]int32{1}, n); err == nil && !slices.Equal(data, want) {
				err = fmt.Errorf("got %d…, want 1…", data[0])
			}
			return err
		}) {
			if err != nil {
				t.Fatalf("%d elements: rank %d: %v", n, r, err)
			}
		}
	}
	if len(held) > 4 { // two a rank
		t.Errorf("%d pieces of memory are held, want 4 at most", len(held))
	}
}

// An aside buffer is not used again while the peer may still read it: the operation waits, and names the reader when it
// has waited too long.
func TestAsideIsBusy(t *testing.T) {
	for name, reads := range map[string]bool{"the peer reads": true, "the peer does not": false} {
		g := newGroup(t, 2, nil)
		l := g.link(1, 0, 0)
		for _, h := range g.headers(plan.Direct, 3) { // one shot: each rank sends everything
			post(t, l, h, buffer.Of([]int32{10, 20}).Data)
		}
		data := []int32{1, 2}
		for range 2 { // the two buffers are in use now
			if err := g.allReduce(t.Context(), 0, plan.Direct, data); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		third := make(chan error, 1)
		go func() { third <- g.allReduce(ctx, 0, plan.Direct, data) }()
		if reads {
			// Of the frames, the first is what the operation waits for; the others show that it went on.
			for i, want := range [][]int32{{1, 2}, {11, 22}, {21, 42}} {
				var f *transport.Frame
				for f == nil {
					var err error
					if f, err = l.Poll(); err != nil {
						t.Fatal(err)
					}
					runtime.Gosched()
				}
				if got := buffer.Of(want).Data; !slices.Equal(f.Payload, got) {
					t.Errorf("frame %d: got %v, want %v", i, f.Payload, got)
				}
				l.Release()
			}
			if err := <-third; err != nil || !slices.Equal(data, []int32{31, 62}) {
				t.Errorf("%s: got %d, %v, want [31 62]", name, data, err)
			}
		} else {
			cancel()
			var peer *PeerError
			if err := <-third; !errors.Is(err, context.Canceled) || !errors.As(err, &peer) || peer.Rank != 1 {
				t.Errorf("%s: got %v, want %v that names rank 1", name, err, context.Canceled)
			}
		}
		cancel()
	}
}

// A peer that leaves without reading what was put aside for it is named.
func TestAsideOfOneWhoLeft(t *testing.T) {
	g := newGroup(t, 2, nil)
	l := g.link(1, 0, 0)
	for _, h := range g.headers(plan.Direct, 2) {
		post(t, l, h, make([]byte, 8))
	}
	for range 2 {
		if err := g.allReduce(t.Context(), 0, plan.Direct, make([]int32, 2)); err != nil {
			t.Fatal(err)
		}
	}
	// Everything that it sent is read; this side's first frame is not, and never will be.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var peer *PeerError
	if err := g.allReduce(t.Context(), 0, plan.Direct, make([]int32, 2)); !errors.Is(err, transport.ErrPeerClosed) || !errors.As(err, &peer) || peer.Rank != 1 {
		t.Errorf("got %v, want %v that names rank 1", err, transport.ErrPeerClosed)
	}
}

// After its end an engine opens nothing and runs nothing, and says why.
func TestAfterTheEnd(t *testing.T) {
	first := errors.New("first")
	g := newGroup(t, 3, nil)
	g.engines[0].Abort(first)
	g.engines[0].Abort(errors.New("second"))
	if err := g.engines[0].Err(); err != first {
		t.Errorf("Err is %v, want %v", err, first)
	}
	if err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, 3)); !errors.Is(err, first) {
		t.Errorf("an operation after Abort: got %v, want %v", err, first)
	}
	if err := g.engines[1].Close(net.ErrClosed); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := g.allReduce(t.Context(), 1, plan.Ring, make([]int32, 3)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("an operation after Close: got %v, want %v", err, net.ErrClosed)
	}
}

// A rank that sleeps is woken by an Abort, at once: in a bubble no time passes.
func TestAbortWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 2, nil)
		why := errors.New("why")
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { g.engines[0].Abort(why) })
		if err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, 3)); !errors.Is(err, why) {
			t.Errorf("got %v, want %v", err, why)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the abort of after 10 s ended the operation after %v", took)
		}
	})
}

// What is waited for has come just when the deadline passes: nobody is to blame, and the operation goes on.
func TestOverdueOfNobody(t *testing.T) {
	g := newGroup(t, 2, nil)
	h := g.header()
	l := g.link(1, 0, 0)
	post(t, l, h, make([]byte, 4))
	e := g.engines[0]
	p, err := g.planner.Choose(plan.Ring, plan.Request{Collective: schedule.AllReduce, Bytes: 8})
	if err != nil {
		t.Fatal(err)
	}
	sig := Signature{Collective: schedule.AllReduce, Type: buffer.Int32, Op: buffer.Sum, Count: 2, Algorithm: p.Variant.Code()}
	sc, err := e.NewScript(sig, p.Schedule, 2, p.SliceBytes)
	if err != nil {
		t.Fatal(err)
	}
	e.begin(sc)
	e.machine.Reset(sc.sched, e.rank, sc.slicing)
	e.lanes = make([]lane, e.machine.Lanes())
	m := Operands{In: make([]byte, 8), Out: make([]byte, 8)}
	if _, err := e.advance(sc, &m, schedule.OutLane(0)); err != nil {
		t.Fatal(err)
	}
	// Rank 0 has sent and waits for its frame to be read; rank 1 reads it.
	if f, err := l.Poll(); f == nil {
		t.Fatalf("no frame of rank 0: %v", err)
	}
	if err := e.overdue(sc, context.Canceled); err == nil {
		t.Error("a frame is unread: nobody is overdue, want rank 1")
	}
	l.Release()
	if err := e.overdue(sc, context.Canceled); err != nil {
		t.Errorf("everything has come: got %v, want nil", err)
	}
}
