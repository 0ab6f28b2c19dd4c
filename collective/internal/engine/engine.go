// Package engine moves the bytes of a schedule: it asks a schedule.Machine what may run, posts and polls the links, and
// reduces with the buffer kernels. It runs in its caller's goroutine. In the steady state it allocates nothing, takes
// no lock, and over shared memory switches no goroutine.
package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// Config is what an engine is made of.
type Config struct {
	Rank, Size int
	Epoch      uint32
	// Open opens this rank's end of the link to a peer, as transport.Endpoint.Open does.
	Open func(peer int, channel uint16) (transport.Link, error)
	Bell transport.Bell
	// Crowded says that the ranks of this host outnumber its cores: then a waiting rank yields at once.
	Crowded bool
	// Shared says that other goroutines of this process are ranks too: then yielding is to them.
	Shared bool
	// InProcess is how many ranks this process has, if many: those that wait then look around less often.
	InProcess int
	// Alloc gets memory that links send by reference, for small messages that are copied aside. Free gives it back.
	Alloc func(bytes int) ([]byte, error)
	Free  func(mem []byte) error
	// Memory is where operands lie that are not in the host's memory; nil: there are none. Reads says whether a peer reads
	// it in place.
	Memory buffer.Memory
	Reads  func(peer int) bool
	// Near, if not 0, says that all ranks are on this host and have no such Memory, so that small operations may run on boards
	// (all ranks must say that alike), and how far memory of Alloc is read in place.
	Near transport.Scope
	// Direct says whether links that send from the memory of devices know a place in Memory; nil: none does.
	Direct func(b []byte) bool
	// Landing returns so many bytes of Memory that such links also receive into, for as long as the engine is there, or nil while there are
	// no such links. nil: there never are.
	Landing func(bytes int) ([]byte, error)
}

// controlChannel is the channel on which neighbours (rank ± 1) tell each other what they wait for, once an operation has
// stood still for a while.
const controlChannel = 0xffff

// An Engine runs the operations of one rank of one communicator, one at a time. Run belongs to one goroutine at a
// time; Abort may be called from any.
type Engine struct {
	cfg     Config
	rank    topology.Rank
	epoch   uint32
	machine schedule.Machine
	lanes   []lane
	asides  [2]aside
	runs    uint32
	head    transport.Header // of the frame being posted
	srcs    [][]byte
	frames  []*transport.Frame
	parts   [][]byte          // of srcs, block by block
	answers []answer          // where the peers want one
	result  []byte            // of a block, on its way past the caches
	placed  []bool            // by reply of the script and slice: the peer has the data already
	offered []bool            // by answer and slice: the peer may have stored the data
	now     entry             // the operation that runs
	history uint32            // sums up all operations so far
	past    [remembered]entry // the last operations, by number
	stale   uint64            // frames of other epochs, dropped
	waiter  waiter
	board   board
	reader  *conn            // to the peer whose reading of an aside buffer is waited for
	wanted  transport.Header // of a frame that gets a place
	awaits  []*awaited       // of the script that runs
	landing landing
	off     *offload
	away    bool    // it runs
	takers  []*conn // of the step that offload takes

	// conns are the open links; the engine's goroutine adds, Abort and Close read.
	mu      sync.Mutex
	conns   map[connKey]*conn
	control [2]*conn // to rank-1 and rank+1
	ended   bool
	cause   atomic.Pointer[error] // why the engine has ended
	told    chan struct{}         // closed when the peers have been told
}

// remembered is how many operations an engine can still say what they were.
const remembered = 32

// An entry is an operation in the order of operations.
type entry struct {
	sc     *Script
	number uint32 // from 1
	// stamp goes into the frames: half of it is the number, half sums up all operations up to this one. Ranks that differed
	// where none of them could see it, because no frame of theirs was awaited, find out at the next frame that is.
	stamp uint32
}

// A lane is the driver's side of a schedule.Lane: the sends that have started and are not complete.
type lane struct {
	pending []sent // a ring
	first   int
	count   int
}

type sent struct {
	c   *conn // nil: already over
	seq uint64
}

// An aside buffer holds the data of one operation's eager sends.
type aside struct {
	mem     []byte
	filled  int     // elements of this operation that it holds
	used    bool    // some peer may still read it
	readers []*conn // to whom it was posted
}

// New returns an engine. Links are opened when an operation first needs them.
func New(cfg Config) *Engine {
	e := &Engine{cfg: cfg, rank: topology.Rank(cfg.Rank), epoch: cfg.Epoch, conns: make(map[connKey]*conn), told: make(chan struct{})}
	e.waiter.init(cfg)
	return e
}

// Stale returns how many frames of other epochs were dropped.
func (e *Engine) Stale() uint64 { return atomic.LoadUint64(&e.stale) }

// Run runs one operation to its end. On error the communicator is at an end: the other ranks have been told why.
func (e *Engine) Run(ctx context.Context, sc *Script, m *Operands) (err error) {
	e.runs++
	e.begin(sc)
	if sc.shot != nil && e.cfg.Near != 0 {
		if on, err := e.tryBoards(ctx, sc, m); on || err != nil {
			return err
		}
	}
	posted := 0
	if !m.Away && e.mayShoot(sc) {
		var done bool
		if posted, done = e.shoot(sc, m); done {
			return nil
		}
	}
	e.machine.Reset(sc.sched, e.rank, sc.slicing)
	n := e.machine.Lanes()
	for len(e.lanes) < n {
		e.lanes = append(e.lanes, lane{})
	}
	for i := range e.lanes[:n] {
		e.lanes[i].first, e.lanes[i].count = 0, 0
	}
	e.beginPlacing(sc)
	e.awaits = nil
	if len(sc.awaits) > 0 && !m.Away { // a device's stream may still use its memory: see loopOffload
		e.beginExpecting(sc, m, sc.awaits)
	}
	for range posted {
		e.machine.Start(schedule.OutLane(0))
		e.push(schedule.OutLane(0), sent{})
	}
	switch err = e.Err(); {
	case err != nil:
	case m.Away:
		err = e.runOffload(ctx, sc, m)
	default:
		if sc.eager && posted == 0 {
			err = e.freeAside(ctx, sc)
		}
		if err == nil {
			err = e.loop(ctx, sc, m)
		}
	}
	return e.conclude(err)
}

// conclude ends an operation that may have waited, and the engine with it if it failed.
func (e *Engine) conclude(err error) error {
	e.waiter.begin(e.cfg.Bell)
	if err != nil {
		err = e.fail(err)
		e.quiesce()
	}
	return err
}

// begin makes sc the operation that runs.
func (e *Engine) begin(sc *Script) {
	// Both steps are one to one, so histories that differ once differ for ever.
	e.history = (e.history ^ sc.sum) * 0x9e3779b1
	n := e.now.number + 1
	now := entry{sc, n, e.history&^0xffff | n&0xffff}
	e.now, e.past[n%remembered] = now, now
}

func (e *Engine) loop(ctx context.Context, sc *Script, m *Operands) error {
	e.waiter.begin(e.cfg.Bell)
	lanes := schedule.Lane(e.machine.Lanes())
	for {
		progress := false
		for l := range lanes {
			moved, err := e.advance(sc, m, l)
			if err != nil {
				return err
			}
			progress = progress || moved
		}
		if e.machine.Done() {
			return nil
		}
		if progress {
			e.waiter.begin(e.cfg.Bell)
			continue
		}
		if err := e.wait(ctx, sc); err != nil {
			return err
		}
	}
}

// advance moves a lane as far as it goes without waiting, or by a step where lanes take turns.
func (e *Engine) advance(sc *Script, m *Operands, l schedule.Lane) (moved bool, err error) {
	moved = e.settle(l)
	for {
		st, ok := e.machine.Ready(l)
		if !ok {
			return moved, nil
		}
		op := e.machine.Op(l, st.First)
		var did bool
		switch op.Kind {
		case schedule.Send:
			did, err = e.send(sc, m, l, st, &op)
		case schedule.Copy:
			lo, hi := sc.slice(op.Src, op.N, st.Slice, sc.slicing.Count(op.N))
			src, dst := m.span(op.Src, lo, hi, sc.size), m.span(op.Dst, lo, hi, sc.size)
			if len(src) > 0 && &src[0] != &dst[0] {
				buffer.Copy(dst, src)
			}
			e.machine.Start(l)
			e.push(l, sent{})
			did = true
		default:
			did, err = e.receive(sc, m, l, st, &op)
		}
		if err != nil {
			return moved, err
		}
		before := e.machine.Over(l)
		e.settle(l)
		if !did {
			return moved, nil
		}
		if len(e.awaits) > 0 && l.In() {
			e.expectNext(sc, m, l, before)
		}
		moved = true
		if sc.turns {
			return true, nil
		}
	}
}

// link returns the conn of an operation.
func (e *Engine) link(sc *Script, l schedule.Lane, i int, peer topology.Rank) (*conn, error) {
	if sc.conns != nil {
		return sc.conns[l][i], nil
	}
	return e.conn(int(peer), l.Channel())
}

func (e *Engine) send(sc *Script, m *Operands, l schedule.Lane, st schedule.Step, op *schedule.Op) (bool, error) {
	c, err := e.link(sc, l, st.First, op.Peer)
	if err != nil {
		return false, err
	}
	lo, hi := sc.slice(op.Src, op.N, st.Slice, sc.slicing.Count(op.N))
	data := m.span(op.Src, lo, hi, sc.size)
	aside := op.Eager && len(data) > c.inline
	if aside {
		data = e.asideOf(data, lo, sc)
	}
	h := &e.head
	*h = sc.head
	h.Seq, h.Channel, h.Step, h.Slice, h.Length = e.now.stamp, uint16(l.Channel()), uint32(st.First), uint32(st.Slice), uint32(len(data))
	if sc.placing != nil {
		if e.hasPlaced(sc, l, st.First, st.Slice) {
			h.Kind, data = transport.Placed, nil
		} else {
			e.offer(sc, m, c, l, st.First, st.Slice, lo, hi)
		}
	}
	ok, err := c.Post(h, data)
	if err != nil {
		return false, e.blame(c, sc, l, st.First, err)
	}
	if !ok {
		return false, nil
	}
	c.posted++
	e.machine.Start(l)
	switch {
	case aside:
		e.borrow(c)
		fallthrough
	case op.Eager:
		e.push(l, sent{})
	default:
		e.push(l, sent{c, c.posted})
	}
	return true, nil
}

func (e *Engine) push(l schedule.Lane, s sent) {
	ln := &e.lanes[l]
	if ln.count == len(ln.pending) {
		grown := make([]sent, max(8, 2*len(ln.pending)))
		for i := range ln.count {
			grown[i] = ln.pending[(ln.first+i)&(len(ln.pending)-1)]
		}
		ln.pending, ln.first = grown, 0
	}
	ln.pending[(ln.first+ln.count)&(len(ln.pending)-1)] = s
	ln.count++
}

// settle completes the lane's oldest steps whose data the peers are done with.
func (e *Engine) settle(l schedule.Lane) (moved bool) {
	ln := &e.lanes[l]
	for ln.count > 0 {
		if s := &ln.pending[ln.first]; s.c != nil && s.c.Completed() < s.seq {
			return moved
		}
		ln.first = (ln.first + 1) & (len(ln.pending) - 1)
		ln.count--
		e.machine.Complete(l)
		moved = true
	}
	return moved
}

// receive takes a slice from one peer, or, for a joint reduction, from all of them at once.
func (e *Engine) receive(sc *Script, m *Operands, l schedule.Lane, st schedule.Step, op *schedule.Op) (bool, error) {
	lo, hi := sc.slice(op.Dst, op.N, st.Slice, sc.slicing.Count(op.N))
	length := uint32((hi - lo) * sc.size)
	e.frames = e.frames[:0]
	for j := range st.Width {
		o := op
		if j > 0 {
			other := e.machine.Op(l, st.First+j)
			o = &other
		}
		c, err := e.link(sc, l, st.First+j, o.Peer)
		if err != nil {
			return false, err
		}
		f, err := e.poll(sc, c, l, st.First+j)
		if f == nil {
			return false, err
		}
		if f.Step != uint32(o.Match) || f.Slice != uint32(st.Slice) || f.Length != length || f.Channel != uint16(l.Channel()) {
			return false, e.blame(c, sc, l, st.First+j, &transport.FrameError{Reason: "not the next one of the schedule"})
		}
		if f.Kind == transport.Placed && (op.Kind != schedule.Recv || !e.isPlaced(sc, l, st.First+j, st.Slice)) {
			return false, e.blame(c, sc, l, st.First+j, &transport.FrameError{Reason: "placed without an offer"})
		}
		e.frames = append(e.frames, f)
	}
	dst := m.span(op.Dst, lo, hi, sc.size)
	if op.Kind == schedule.Recv {
		if e.frames[0].Kind != transport.Placed && !isThere(e.frames[0], dst) {
			buffer.Copy(dst, e.frames[0].Payload)
		}
	} else if length > 0 {
		e.reduce(sc, m, l, st, op, dst, m.span(op.Src, lo, hi, sc.size))
	}
	for j := range st.Width {
		peer := op.Peer
		if j > 0 {
			peer = e.machine.Op(l, st.First+j).Peer
		}
		c, _ := e.link(sc, l, st.First+j, peer)
		if length > 0 {
			// A peer that gave up meanwhile may have changed the data under the reader's eyes: it fails its links first.
			if err := e.failed(c); err != nil {
				return false, err
			}
		}
		c.Release()
	}
	e.machine.Start(l)
	e.push(l, sent{})
	return true, nil
}

// reduce combines the polled frames and the rank's own operand in the order of ranks.
func (e *Engine) reduce(sc *Script, m *Operands, l schedule.Lane, st schedule.Step, op *schedule.Op, dst, own []byte) {
	e.srcs = e.srcs[:0]
	if st.Width == 1 {
		if op.Peer < e.rank {
			e.srcs = append(e.srcs, e.frames[0].Payload, own)
		} else {
			e.srcs = append(e.srcs, own, e.frames[0].Payload)
		}
	} else {
		ranks := e.waiter.ranks[:0]
		ranks = append(ranks, e.rank)
		e.srcs = append(e.srcs, own)
		for j, f := range e.frames {
			peer := op.Peer
			if j > 0 {
				peer = e.machine.Op(l, st.First+j).Peer
			}
			ranks, e.srcs = append(ranks, peer), append(e.srcs, f.Payload)
		}
		e.inOrder(ranks)
	}
	if sc.placing != nil {
		if answers := e.answerable(sc, l, st); len(answers) > 0 {
			e.reduceAndPlace(sc, dst, own, answers, op.Final && m.Finish)
			return
		}
	}
	finish := op.Final && m.Finish
	if op.Final && sc.large && sc.Collective == schedule.ReduceScatter && !finish {
		sc.kernel.ReduceStream(dst, e.srcs) // nobody reads it in this operation
		return
	}
	sc.kernel.Reduce(dst, e.srcs)
	if finish {
		sc.kernel.Finish(dst, e.cfg.Size)
	}
}

// inOrder puts e.srcs into the order of the ranks that they are of. The peers of a unit come in rotated order: as many below as above this
// rank may be first. Insertion is quick on the few and nearly sorted.
func (e *Engine) inOrder(ranks []topology.Rank) {
	for i := range ranks {
		for at := i; at > 0 && ranks[at] < ranks[at-1]; at-- {
			ranks[at], ranks[at-1] = ranks[at-1], ranks[at]
			e.srcs[at], e.srcs[at-1] = e.srcs[at-1], e.srcs[at]
		}
	}
	e.waiter.ranks = ranks
}

// poll returns the next frame of this operation on a link, or nil when there is none yet.
func (e *Engine) poll(sc *Script, c *conn, l schedule.Lane, i int) (*transport.Frame, error) {
	for {
		f, err := c.Poll()
		if err != nil {
			return nil, e.blame(c, sc, l, i, err)
		}
		if f == nil {
			return nil, nil
		}
		if c.near {
			// The data of a peer that gave up is its caller's again, which may even have unmapped it.
			if err := e.failed(c); err != nil {
				return nil, err
			}
		}
		if f.Epoch != e.epoch {
			atomic.AddUint64(&e.stale, 1)
			e.landing.put(c.landed())
			c.Release()
			c.base++
			continue
		}
		if e.now.differs(&f.Header) {
			if err := e.failed(c); err != nil { // it knows better
				return nil, err
			}
			return nil, e.mismatch(&e.now, c.peer, &f.Header)
		}
		return f, nil
	}
}

// failed returns the reason of a peer that has ended the link by Fail, or nil.
func (e *Engine) failed(c *conn) error {
	if err := c.Err(); err != nil {
		if remote, ok := errors.AsType[*transport.RemoteError](err); ok {
			return decodeReason(c.peer, remote.Reason)
		}
	}
	return nil
}

// Abort ends everything: a running operation returns, and the peers hear cause. It may be called from any goroutine,
// more than once; the first cause counts.
func (e *Engine) Abort(cause error) {
	if !e.cause.CompareAndSwap(nil, &cause) {
		return
	}
	e.tell(cause)
	close(e.told)
	e.cfg.Bell.Ring()
}

// Err returns why the engine has ended, or nil.
func (e *Engine) Err() error {
	if p := e.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// fail ends the engine with the outcome of a failed operation.
func (e *Engine) fail(err error) error {
	if !e.cause.CompareAndSwap(nil, &err) {
		<-e.told // whoever sees this operation end may count on the peers knowing why
		return e.Err()
	}
	e.tell(err)
	close(e.told)
	return err
}

// tell passes the reason of an end to every rank that this one has a link with, and to its neighbours by number, so
// that it reaches ranks that wait on others.
func (e *Engine) tell(err error) {
	for side := range 2 {
		if peer, ok := e.neighbour(side); ok {
			_, _ = e.conn(peer, controlChannel) // best effort: the neighbour may be the one that is gone
		}
	}
	why := encodeReason(e.cfg.Rank, err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for _, c := range e.conns {
		c.Fail(why)
	}
}

// Close ends all links in good order; Err is cause from now on, unless the engine ended before. No operation may be
// running.
func (e *Engine) Close(cause error) error {
	if e.cause.CompareAndSwap(nil, &cause) {
		close(e.told)
	}
	var errs []error
	if e.off != nil {
		errs = append(errs, e.off.queue.Close())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	for _, c := range e.conns {
		errs = append(errs, c.Close())
		// What follows shows the link that its owner reads it no more. Until then, or until it is collected, it keeps
		// its memory, and a process has only so many mappings.
		if c.held {
			c.Release()
		}
		_, _ = c.Poll()
	}
	return errors.Join(errs...)
}

// Free gives back the engine's memory. Its endpoints must be closed: until then peers may learn where the memory is, and
// read it.
func (e *Engine) Free() {
	for i := range e.asides {
		if mem := e.asides[i].mem; mem != nil {
			_ = e.cfg.Free(mem) // an endpoint that forgets its memory when it closes says no
			e.asides[i].mem = nil
		}
	}
	if e.board.own != nil {
		_ = e.cfg.Free(e.board.own)
		e.board.own = nil
	}
}
