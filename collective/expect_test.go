package collective_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// A storing transport joins ranks as mem does, by links that store what is sent where its receiver wants it, as early as
// they may: within Post.
type storing struct {
	transport.Transport
	stored atomic.Int64 // frames
	asked  atomic.Int64 // for places
	known  atomic.Int64 // bytes of RegisterHost

	mu    sync.Mutex
	paths map[pathKey]*storedPath
}

type pathKey struct {
	from, to int
	id       transport.LinkID
}

// A storedPath is what one direction of a link has to know.
type storedPath struct {
	mu     sync.Mutex
	posted uint64
	wants  map[uint64]want
	there  map[uint64][]byte // by frame: where it is stored
	shut   bool
}

type want struct {
	h   transport.Header
	mem []byte
}

func newStoring() *storing {
	return &storing{Transport: mem.New(), paths: make(map[pathKey]*storedPath)}
}

func (s *storing) path(k pathKey) *storedPath {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.paths[k]
	if p == nil {
		p = &storedPath{wants: make(map[uint64]want), there: make(map[uint64][]byte)}
		s.paths[k] = p
	}
	return p
}

func (s *storing) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := s.Transport.Listen(ctx, group, rank, bell)
	return &storingEndpoint{ep, s, rank}, err
}

// RegisterHost notes the memory, up to a length.
func (e *storingEndpoint) RegisterHost(mem []byte) (func() error, error) {
	if len(mem) > 1<<20 {
		return nil, errors.New("too long")
	}
	e.s.known.Add(int64(len(mem)))
	return func() error { e.s.known.Add(-int64(len(mem))); return nil }, nil
}

type storingEndpoint struct {
	transport.Endpoint
	s    *storing
	rank int
}

func (e *storingEndpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	l, err := e.Endpoint.Open(peer, id)
	return &storingLink{
		Link: l, s: e.s, in: e.s.path(pathKey{peer.Rank, e.rank, id}), out: e.s.path(pathKey{e.rank, peer.Rank, id}),
	}, err
}

type storingLink struct {
	transport.Link
	s        *storing
	in, out  *storedPath
	released uint64
	frame    transport.Frame
}

// places is how many frames ahead places are taken.
const places = 6

func (l *storingLink) Expecting() int { return places }

func (l *storingLink) Expect(ahead int, h *transport.Header, mem []byte) bool {
	l.s.asked.Add(1)
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	n := l.released + uint64(ahead)
	if _, taken := l.in.wants[n]; ahead < 0 || ahead >= places || taken || n < l.in.posted || l.in.shut || int(h.Length) != len(mem) {
		return false
	}
	l.in.wants[n] = want{*h, mem}
	return true
}

func (l *storingLink) Post(h *transport.Header, payload []byte) (bool, error) {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	ok, err := l.Link.Post(h, payload)
	if !ok {
		return ok, err
	}
	n := l.out.posted
	l.out.posted++
	if w, wanted := l.out.wants[n]; wanted && w.h == *h && !l.out.shut {
		copy(w.mem, payload)
		l.out.there[n] = w.mem
		l.s.stored.Add(1)
	}
	return true, nil
}

func (l *storingLink) Poll() (*transport.Frame, error) {
	f, err := l.Link.Poll()
	if f == nil {
		return nil, err
	}
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	if mem := l.in.there[l.released]; mem != nil {
		l.frame = *f
		l.frame.Payload = mem
		f = &l.frame
	}
	return f, nil
}

func (l *storingLink) Release() {
	l.in.mu.Lock()
	delete(l.in.there, l.released)
	delete(l.in.wants, l.released)
	l.released++
	l.in.mu.Unlock()
	l.Link.Release()
	if l.released%3 == 0 {
		runtime.Gosched()
	}
}

func (l *storingLink) Fail(reason []byte) {
	l.in.mu.Lock()
	l.in.shut = true
	l.in.mu.Unlock()
	l.Link.Fail(reason)
}

func (l *storingLink) Quiet() bool {
	l.in.mu.Lock()
	defer l.in.mu.Unlock()
	return l.in.shut || len(l.in.wants) == 0
}

// left returns how many frames are still expected where somebody may still store them.
func (s *storing) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.paths {
		p.mu.Lock()
		if !p.shut {
			n += len(p.wants)
		}
		p.mu.Unlock()
	}
	return n
}

// Whatever is received and not reduced may be stored by the peer as soon as it is sent: every collective by every schedule gives
// what it must, in place and out of place, and leaves nothing expected.
func TestExpecting(t *testing.T) {
	for _, n := range short(3, 2, 3, 4, 5, 7) {
		for _, a := range algorithms() {
			l := layout{ranks: n, links: "storing", hosts: min(n, 2), algorithm: a}
			t.Run(fmt.Sprint(l), func(t *testing.T) {
				var ops []*operation
				for i, coll := range []schedule.Collective{schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather, schedule.Broadcast, schedule.Reduce} {
					count := 20_011 * n
					if coll.ByRank() {
						count /= n
					}
					for _, inPlace := range []bool{true, false} {
						o := &operation{coll: coll, dtype: buffer.Int32, op: buffer.Sum, root: i % n, count: count, inPlace: inPlace, seed: uint64(i)}
						ops = append(ops, o.prepare(n))
					}
				}
				s := newStoring()
				comms, err := form(t.Context(), l, groupName(), []transport.Transport{s})
				if err != nil {
					t.Fatal(err)
				}
				each(t, comms, func(ctx context.Context, c *collective.Comm) error {
					for range 2 {
						for _, o := range ops {
							if err := o.run(ctx, c, plain); err != nil {
								return err
							}
						}
					}
					return nil
				})
				if left := s.left(); left > 0 {
					t.Errorf("%d frames are still expected", left)
				}
				closeAll(t, comms)
				t.Logf("%d frames stored of %d asked for", s.stored.Load(), s.asked.Load())
				if s.stored.Load() == 0 && a == plan.Ring {
					t.Error("nothing was stored")
				}
			})
		}
	}
}

// Memory of Alloc is known to every endpoint that has a use for that, until it is freed, and is good where one does not take it.
func TestAllocIsKnown(t *testing.T) {
	s := newStoring()
	comms, err := form(t.Context(), layout{ranks: 1}, groupName(), []transport.Transport{mem.New(), s})
	if err != nil {
		t.Fatal(err)
	}
	c := comms[0]
	for _, tt := range []struct {
		bytes int
		known int64
	}{{0, 0}, {1000, 1000}, {2 << 20, 0}} {
		b, err := c.AllocBlock(buffer.Uint8, tt.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.known.Load(); got != tt.known {
			t.Errorf("of %d bytes of Alloc, %d are known, want %d", tt.bytes, got, tt.known)
		}
		if tt.bytes > 0 {
			if err := c.FreeBlock(b.Slice(0, tt.bytes/2)); err == nil || s.known.Load() != tt.known {
				t.Errorf("Free of a part: got %v, and %d bytes are known", err, s.known.Load())
			}
		}
		if err := c.FreeBlock(b); err != nil || s.known.Load() != 0 {
			t.Errorf("after Free (%v), %d bytes are known", err, s.known.Load())
		}
	}
	closeAll(t, comms)
}

// A rank that gives up while others store into its memory has it back when its operation returns.
func TestExpectingAborted(t *testing.T) {
	s := newStoring()
	comms, err := form(t.Context(), layout{ranks: 3, algorithm: plan.Ring}, groupName(), []transport.Transport{s})
	if err != nil {
		t.Fatal(err)
	}
	for rank, err := range ranksDo(3, func(rank int) error {
		data := make([]int32, 200_000)
		if err := collective.AllReduce(t.Context(), comms[rank], data, buffer.Sum); err != nil {
			return fmt.Errorf("the first: %w", err)
		}
		if rank == 2 { // sends nothing of what the others expect
			comms[rank].Abort(errors.New("enough"))
			return nil
		}
		err := collective.Broadcast(t.Context(), comms[rank], data, 2)
		clear(data) // which a late store would race with
		return err
	}) {
		if (err == nil) != (rank == 2) {
			t.Errorf("rank %d: got %v", rank, err)
		}
	}
	if left := s.left(); left > 0 || s.asked.Load() == 0 {
		t.Errorf("%d frames are still expected, of %d", left, s.asked.Load())
	}
	closeAll(t, comms)
}
