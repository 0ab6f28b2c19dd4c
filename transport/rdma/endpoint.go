package rdma

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/transport"
)

const (
	// queueDepth is how many completions a queue holds: every device has as many, software RoCE twice that.
	queueDepth = 16 << 10
	// draining is how long Close waits for the device to deliver what was posted; control has a limit of its own.
	draining = 300 * time.Millisecond
	// batch is how many completions one look takes.
	batch = 32
)

// An Endpoint is one rank's door.
type Endpoint struct {
	t       *Transport
	rank    int
	bell    transport.Bell // the rank's
	steward transport.Bell // wakes the goroutine that sets links up and ends them
	control transport.Endpoint
	fabric  fabric // nil: there is no device
	reason  error  // why
	memory  *memory
	stages  stages

	ctx        context.Context
	cancel     context.CancelFunc
	goroutines sync.WaitGroup // but the steward
	stewarding chan struct{}  // closed when the steward has ended
	done       chan struct{}  // closed when Close is through
	news       chan struct{}  // holds a token when a link has been delivered; for Close

	mu       sync.Mutex
	closed   bool
	links    map[*link]struct{}
	portErr  error
	deadline *time.Timer // of the port's grace

	// Looks at the queues.
	look     sync.Mutex
	queues   []*sharedQueue
	ends     map[uint32]*end // by number of the pair
	back     readBack
	found    [batch]completion
	shut     bool         // no queue is made any more
	onSleep  bool         // events are asked for when the rank is about to sleep, not after every look in vain
	shutting atomic.Bool  // Close has begun
	waits    atomic.Int32 // links that need the steward to look
}

// A sharedQueue is a completion queue and how much of it is taken.
type sharedQueue struct {
	queue queue
	taken int
	armed atomic.Bool
	dead  bool
}

var (
	_ transport.DeviceEndpoint = (*Endpoint)(nil)
	_ transport.HostEndpoint   = (*Endpoint)(nil)
)

func newEndpoint(t *Transport, rank int, b transport.Bell) *Endpoint {
	e := &Endpoint{
		t: t, rank: rank, bell: b, steward: transport.NewBell(), stewarding: make(chan struct{}), done: make(chan struct{}),
		news: make(chan struct{}, 1), links: make(map[*link]struct{}), ends: make(map[uint32]*end),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if own, ok := b.(*bell); ok {
		e.onSleep = true
		own.join(e)
	}
	return e
}

// start begins to serve.
func (e *Endpoint) start(control transport.Endpoint, f fabric, why error) {
	e.control, e.fabric, e.reason = control, f, why
	e.memory = newMemory(f)
	e.memory.back = e.makeReader
	e.stages.memory = e.memory
	go func() {
		defer close(e.stewarding)
		e.serve()
	}()
}

// A bell is a rank's, with the endpoints to tell when the rank is about to sleep.
type bell struct {
	transport.Bell
	mu    sync.Mutex
	doors []*Endpoint
}

func (b *bell) join(e *Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doors = append(b.doors, e)
}

func (b *bell) leave(e *Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, d := range b.doors {
		if d == e {
			b.doors = append(b.doors[:i], b.doors[i+1:]...)
			return
		}
	}
}

// Arm arms the bell, and then the queues: what completes from now on rings.
func (b *bell) Arm() {
	b.Bell.Arm()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.doors {
		e.arm()
	}
}

// tee rings for the control links: the rank, and the steward.
func (e *Endpoint) tee() transport.Bell { return &teeBell{Bell: e.steward, rank: e.bell} }

type teeBell struct {
	transport.Bell
	rank transport.Bell
}

func (b *teeBell) Ring() {
	b.Bell.Ring()
	b.rank.Ring()
}

// Addr returns the address of the control endpoint.
func (e *Endpoint) Addr() string { return e.control.Addr() }

// Admit implements [transport.Endpoint].
func (e *Endpoint) Admit(peers []transport.Peer) { e.control.Admit(peers) }

// Open implements [transport.Endpoint].
func (e *Endpoint) Open(to transport.Peer, id transport.LinkID) (transport.Link, error) {
	control, err := e.control.Open(to, id)
	if err != nil {
		return nil, fmt.Errorf("rdma: open: %w", err)
	}
	l := newLink(e, to.Rank, control)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		control.Close()
		return nil, fmt.Errorf("rdma: open: %w", transport.ErrClosed)
	}
	e.links[l] = struct{}{}
	if e.fabric != nil {
		e.goroutines.Add(1)
		l.busy = true
	}
	e.mu.Unlock()
	if e.fabric != nil {
		go func() {
			defer e.goroutines.Done()
			l.setup.made <- l.equip()
			e.steward.Ring()
		}()
	} else {
		l.setup.made <- e.reason
	}
	e.steward.Ring()
	return l, nil
}

// Alloc returns memory that the device sends from without a copy.
func (e *Endpoint) Alloc(size int) ([]byte, error) { return e.memory.alloc(size) }

// Free implements [transport.Endpoint].
func (e *Endpoint) Free(mem []byte) error { return e.memory.free(mem) }

// Register makes memory that is not of Alloc known to the device, in the best way there is: payloads that lie in it are
// sent from there. Two registrations of the same range share one. It fails with [transport.ErrClosed] after Close, when
// the range is none or overlaps another that is registered, and, for memory of another device, when there is no way and
// no Read.
func (e *Endpoint) Register(m Memory) (*Registration, error) {
	r, err := e.memory.add(m)
	if err != nil {
		return nil, fmt.Errorf("rdma: register: %w", err)
	}
	return r, nil
}

// RegisterDevice implements [transport.DeviceEndpoint]: it is [Endpoint.Register] where the device reaches the memory without a copy, and
// an error elsewhere.
func (e *Endpoint) RegisterDevice(m transport.DeviceMemory) (transport.DeviceWay, error) {
	r, err := e.memory.addDirect(Memory{
		Addr: m.Addr, Length: m.Length, Device: true, DMABuf: m.DMABuf, CloseFD: m.CloseFD, Read: m.Fetch, Ordered: m.Ordered, Flush: m.Flush,
	})
	if err != nil {
		return transport.DeviceWay{}, fmt.Errorf("rdma: register: %w", err)
	}
	return transport.DeviceWay{How: r.Way.String(), Receives: r.Receives, Settles: r.Settles, Forget: r.Close}, nil
}

// RegisterHost implements [transport.HostEndpoint]: it is [Endpoint.Register] where there is a device that reaches the memory, and an error elsewhere.
func (e *Endpoint) RegisterHost(mem []byte) (forget func() error, err error) {
	r, err := e.memory.addDirect(Memory{Addr: addressOf(mem), Length: len(mem)})
	if err != nil {
		return nil, fmt.Errorf("rdma: register: %w", err)
	}
	return r.Close, nil
}

// reserve returns a queue with room for n completions. look is held.
func (e *Endpoint) reserve(n int) (*sharedQueue, error) {
	if e.shut {
		return nil, transport.ErrClosed
	}
	for _, q := range e.queues {
		if !q.dead && q.taken+n <= queueDepth {
			q.taken += n
			return q, nil
		}
	}
	made, err := e.fabric.queue(queueDepth)
	if err != nil {
		return nil, err
	}
	q := &sharedQueue{queue: made, taken: n}
	e.queues = append(e.queues, q)
	e.goroutines.Add(1) // the caller is one of them
	go func() {
		defer e.goroutines.Done()
		e.events(q)
	}()
	return q, nil
}

// events rings for the events of a queue.
func (e *Endpoint) events(q *sharedQueue) {
	for q.queue.wait() {
		q.armed.Store(false)
		e.bell.Ring()
		if e.waits.Load() > 0 {
			e.steward.Ring()
		}
	}
}

// arm asks for events, before a sleep.
func (e *Endpoint) arm() {
	e.look.Lock()
	defer e.look.Unlock()
	e.armQueues()
}

func (e *Endpoint) armQueues() (armed bool) {
	for _, q := range e.queues {
		if !q.dead && q.armed.CompareAndSwap(false, true) {
			armed = true
			if err := q.queue.arm(); err != nil {
				e.queueFailed(q, err)
			}
		}
	}
	return armed
}

// progress takes what the device has completed. It may be called with the lock of a link held.
func (e *Endpoint) progress() (moved bool) {
	e.look.Lock()
	defer e.look.Unlock()
	moved = e.collect()
	// Who waits with another bell than this transport's looks before it sleeps: the look that finds nothing asks for the
	// event, and looks once more.
	for !e.onSleep && !moved && e.armQueues() {
		moved = e.collect()
	}
	if moved {
		e.bell.Ring()
	}
	return moved
}

// collect is one round of progress. look is held.
func (e *Endpoint) collect() (moved bool) {
	for _, q := range e.queues {
		for !q.dead {
			n, err := q.queue.poll(e.found[:])
			if err != nil {
				e.queueFailed(q, err)
				break
			}
			for i := range n {
				e.dispatch(&e.found[i])
			}
			moved = moved || n > 0
			if n < batch {
				break
			}
		}
	}
	return moved
}

// dispatch gives a completion to the link whose it is. look is held.
func (e *Endpoint) dispatch(c *completion) {
	if e.back.is(c.pair) {
		e.back.take(c, e.fabric.name())
		return
	}
	d := e.ends[c.pair]
	if d == nil {
		return // of a link that is through
	}
	switch {
	case c.status != StatusOK:
		err := &CompletionError{Device: e.fabric.name(), Status: c.status, Vendor: c.vendor}
		if d.link.proving.Load() && c.status != StatusRemoteAccess {
			d.link.proofFailed(err)
		} else {
			d.link.broke(err)
		}
	case c.id&received == 0:
		d.reaped.Store(c.id + 1)
	default:
		d.link.arrive(c)
		if d.owed++; d.owed >= d.refill {
			n := d.owed
			d.owed = 0
			if err := d.pair.receives(n); err != nil {
				d.link.broke(err)
			}
		}
	}
}

// queueFailed ends the links of a queue that cannot be used any more. look is held.
func (e *Endpoint) queueFailed(q *sharedQueue, err error) {
	q.dead = true
	for _, d := range e.ends {
		if d.queue == q {
			d.link.broke(err)
		}
	}
	if e.back.queue == q {
		e.back.failed.CompareAndSwap(nil, &err)
	}
}

// deviceSays takes an event of the device: a loss, a port that is down, or nil for a port that is up again.
func (e *Endpoint) deviceSays(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil:
		e.portErr = nil
	case errors.Is(err, ErrPortDown):
		if e.portErr == nil && !e.closed {
			e.portErr = err
			e.deadline = time.AfterFunc(e.t.cfg.grace, e.portGone)
		}
	default:
		e.breakAll(err)
	}
}

// portGone ends all links when the port has been down for too long.
func (e *Endpoint) portGone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.portErr != nil {
		e.breakAll(e.portErr)
	}
}

// breakAll ends all links that the device carries. mu is held.
func (e *Endpoint) breakAll(err error) {
	for l := range e.links {
		if course(l.course.Load()) == direct {
			l.broke(err)
		} else {
			l.proofFailed(err)
		}
	}
}

// serve is the steward: it owns the control links until they carry frames.
func (e *Endpoint) serve() {
	var links []*link
	for e.ctx.Err() == nil {
		e.steward.Arm()
		e.mu.Lock()
		links = links[:0]
		for l := range e.links {
			links = append(links, l)
		}
		closing := e.closed
		e.mu.Unlock()
		now, next := time.Now(), time.Time{}
		for _, l := range links {
			until := l.step(now, closing)
			if l.setup.phase == phaseOver {
				e.forget(l)
			} else if !until.IsZero() && (next.IsZero() || until.Before(next)) {
				next = until
			}
		}
		clear(links)
		// What the steps have written completes with an event, or has completed.
		if e.waits.Load() > 0 {
			if e.arm(); e.progress() {
				e.steward.Disarm()
				continue
			}
		}
		limit := time.Duration(0)
		if !next.IsZero() {
			limit = max(time.Until(next), time.Millisecond)
		}
		e.steward.Sleep(e.ctx, limit)
	}
}

// forget removes a link that needs no steward any more.
func (e *Endpoint) forget(l *link) {
	e.mu.Lock()
	delete(e.links, l)
	e.mu.Unlock()
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// undelivered reports whether some link waits for the device to deliver what was posted.
func (e *Endpoint) undelivered() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for l := range e.links {
		if !l.delivered.Load() {
			return true
		}
	}
	return false
}

// Close implements [transport.Endpoint].
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		<-e.done
		return nil
	}
	e.closed = true
	if e.deadline != nil {
		e.deadline.Stop()
	}
	links := make([]*link, 0, len(e.links))
	for l := range e.links {
		links = append(links, l)
	}
	e.mu.Unlock()
	defer close(e.done)
	e.shutting.Store(true)
	e.memory.refuse()
	for _, l := range links {
		l.Close()
	}
	limit := time.NewTimer(draining)
	defer limit.Stop()
	for late := false; !late && e.undelivered(); {
		e.steward.Ring()
		select {
		case <-e.news:
		case <-limit.C:
			late = true
		}
	}
	e.cancel()
	<-e.stewarding
	for _, l := range links {
		if !l.delivered.Load() {
			l.control.Fail(nil) // a good end would promise frames that do not come
		}
	}
	// The queue pairs outlive the control session, so that no peer takes their end for a failure.
	err := e.control.Close()
	for _, l := range links {
		l.dismantle()
		l.release()
	}
	e.look.Lock()
	e.back.close()
	queues := e.queues
	e.queues, e.shut = nil, true
	e.look.Unlock()
	for _, q := range queues {
		q.queue.unblock()
	}
	e.goroutines.Wait()
	// Links whose equipment was still being made have it now.
	for _, l := range links {
		l.dismantle()
		l.release()
	}
	for _, q := range queues {
		q.queue.close()
	}
	err = errors.Join(err, e.stages.close(), e.memory.close())
	if own, ok := e.bell.(*bell); ok {
		own.leave(e)
	}
	e.t.leave(e)
	return err
}
