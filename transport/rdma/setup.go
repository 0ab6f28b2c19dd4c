package rdma

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// controlWindow is how many frames the control link must hold: a hello, the word that frames come on it, and a frame.
const controlWindow = 4

// phase says how far the steward has come with a link. In the direction of the arrows:
//
//	making -> greeted -> linking -> ready -> proving -> proven -> flushing -> running -> over
//	   \________\___________\_________\________\__________\____> relaying ----------------/
//
// Each side says hello, connects its queue pairs when it has the other's hello, says that it is ready, proves the
// path by a write that must be acknowledged when the other is ready, and says that it is up. When both have, frames go over
// the device. Until a side has said that it is up, it may say that its frames come on the control link instead, and
// then the other does the same.
type phase uint8

const (
	phaseMaking   phase = iota
	phaseGreeted        // the hello is sent
	phaseLinking        // the queue pairs are being connected
	phaseReady          // they are
	phaseProving        // the first writes are on the way
	phaseProven         // they are acknowledged
	phaseFlushing       // frames that were posted meanwhile are being sent
	phaseRunning        // frames go over the device
	phaseRelaying       // frames that were posted meanwhile go to the control link
	phaseEnded          // not by this side, and before anything ran
	phaseOver           // nothing is left to do
)

// setup is the steward's part of a link.
type setup struct {
	phase  phase
	made   chan error // holds the outcome of equip
	linked chan error // holds the outcome of connect

	mine     *hello
	theirs   *hello
	ready    bool // the peer is
	up       bool
	relay    bool      // the peer's frames come on the control link
	whys     [2]string // why they do: this end's reason and the peer's; "": the other's
	closing  bool      // the peer has said that its end is closed
	silent   bool      // nothing more comes on the control link
	outbox   [][]byte
	sent     uint64 // messages
	deadline time.Time
	looking  bool // counted among those for whom the steward looks at the queues
	fenced   bool // the last writes of a closed end are posted
	told     bool // the peer knows that this end is broken
}

// equip makes the memory and the queue pairs of a link. It runs in a goroutine of its own.
func (l *link) equip() error {
	err := l.makeEquipment()
	l.idle()
	return err
}

// idle ends what another goroutine did with the queue pairs.
func (l *link) idle() {
	l.mu.Lock()
	l.busy = false
	abandoned := l.abandoned
	l.mu.Unlock()
	if abandoned {
		l.dismantle()
		l.release()
	}
}

func roundUp(n int) int {
	page := os.Getpagesize()
	return (n + page - 1) / page * page
}

func (l *link) makeEquipment() error {
	e := l.ep
	window, err := newPages(roundUp(windowBytes(len(l.in))))
	if err != nil {
		return err
	}
	cells, err := newPages(roundUp((len(l.in) + 1) * cellSize))
	if err != nil {
		return errors.Join(err, freePages(window))
	}
	l.mu.Lock()
	l.window, l.cells = window, cells
	l.mu.Unlock()
	slots, err := e.fabric.register(addressOf(window), len(window), true)
	if err != nil {
		return err
	}
	out, err := e.fabric.register(addressOf(cells), len(cells), false)
	if err != nil {
		return errors.Join(err, slots.release())
	}
	mine := &hello{window: len(l.in), slots: uint64(addressOf(window)), place: e.fabric.place()}
	_, mine.key = slots.keys()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regions = []region{slots, out}
	l.cellKey, _ = out.keys()
	e.look.Lock()
	defer e.look.Unlock()
	for range e.t.cfg.queuePairs {
		d := &end{link: l, refill: l.refill(), psn: randomPSN()}
		if d.queue, err = e.reserve(l.sendDepth() + l.receiveDepth()); err != nil {
			return err
		}
		if d.pair, err = d.queue.queue.pair(l.sendDepth(), l.receiveDepth()); err == nil {
			l.ends = append(l.ends, d)
			e.ends[d.pair.number()] = d
			err = d.pair.receives(l.receiveDepth())
		} else {
			d.queue.taken -= l.sendDepth() + l.receiveDepth()
		}
		if err != nil {
			return err
		}
		mine.pairs = append(mine.pairs, helloPair{d.pair.number(), d.psn})
	}
	l.setup.mine = mine // the steward reads it behind made
	return nil
}

func randomPSN() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint32(b[:]) & 0xffffff
}

// connect joins the queue pairs of both ends. It runs in a goroutine of its own.
func (l *link) connect(mine, theirs *hello) error {
	l.mu.Lock()
	ends := l.ends
	l.mu.Unlock()
	var err error
	for i := range min(len(mine.pairs), len(theirs.pairs)) {
		r := route{
			to: theirs.place, number: theirs.pairs[i].number, psnIn: theirs.pairs[i].psn, psnOut: mine.pairs[i].psn,
			mtu: min(mine.place.mtu, theirs.place.mtu),
		}
		if err = ends[i].pair.connect(r); err != nil {
			break
		}
	}
	l.idle()
	return err
}

// dismantle takes the queue pairs apart. Whatever they still had to do is undone.
func (l *link) dismantle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		l.abandoned = true
		return
	}
	e := l.ep
	e.look.Lock()
	defer e.look.Unlock()
	for _, d := range append(l.ends, l.spare...) {
		// In this order nothing of this pair is left in the queue when its number comes again.
		delete(e.ends, d.pair.number())
		d.pair.reset()
		d.pair.destroy()
		d.queue.taken -= l.sendDepth() + l.receiveDepth()
	}
	if len(l.ends) > 0 {
		e.collect()
	}
	l.ends, l.spare = nil, nil
	for i := range l.out {
		if o := &l.out[i]; o.stage != nil || o.borrowed {
			if o.stage != nil {
				e.stages.put(o.stage)
			}
			*o = outSlot{}
		}
	}
}

// release gives the memory of a link back, but for a frame that is held. The queue pairs are gone.
func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		return
	}
	for _, r := range l.regions {
		if err := r.release(); err != nil {
			l.ep.t.cfg.logger.Warn("RDMA memory not given back", "error", err)
		}
	}
	l.regions = nil
	if l.held {
		l.gone = true
		return
	}
	l.freeMemory()
}

// freeMemory frees the slots and cells. mu is held.
func (l *link) freeMemory() {
	for _, b := range [][]byte{l.window, l.cells} {
		if b != nil {
			_ = freePages(b) // nothing can be done about it
		}
	}
	l.window, l.cells = nil, nil
}

// say queues a message for the peer.
func (l *link) say(b []byte) { l.setup.outbox = append(l.setup.outbox, b) }

// step does what can be done for a link now. It returns when to do something at the latest.
func (l *link) step(now time.Time, closing bool) time.Time {
	s := &l.setup
	if s.phase == phaseOver {
		return time.Time{}
	}
	if l.ended.Load() == endedFail {
		l.finish()
		return time.Time{}
	}
	l.hear()
	for before := phase(0xff); before != s.phase; {
		before = s.phase
		l.advance(now, closing)
		if s.phase == phaseOver {
			return time.Time{}
		}
	}
	l.speak()
	switch s.phase {
	case phaseLinking, phaseReady, phaseProving:
		return s.deadline
	case phaseRunning:
		if l.blocked.Load() && !l.unblock() {
			return now.Add(wordEvery)
		}
	}
	return time.Time{}
}

// wordEvery is how often the steward looks for credits of a link whose owner waits for room.
const wordEvery = time.Millisecond

// unblock rings the bell of an owner that waits for room, if there is some.
func (l *link) unblock() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusal() == nil && !l.room() {
		if l.readCredit(); l.refusal() == nil && !l.room() {
			return false
		}
	}
	l.blocked.Store(false)
	l.ep.bell.Ring()
	return true
}

// finish ends the steward's part.
func (l *link) finish() {
	l.look(false)
	l.undo()
	l.delivered.Store(true)
	l.setup.phase = phaseOver
}

// undo gives back what the link has of the device, unless the endpoint closes: that does it for all links when their
// last frames are delivered, as it takes time.
func (l *link) undo() {
	if !l.ep.shutting.Load() {
		l.dismantle()
		l.release()
	}
}

// look makes the steward look at the queues for this link, or not any more.
func (l *link) look(on bool) {
	s := &l.setup
	if s.looking == on {
		return
	}
	s.looking = on
	if on {
		l.ep.waits.Add(1)
	} else {
		l.ep.waits.Add(-1)
	}
}

// speak sends what is queued.
func (l *link) speak() {
	s := &l.setup
	for len(s.outbox) > 0 && !s.silent {
		h := transport.Header{Kind: transport.Data, Length: uint32(len(s.outbox[0]))}
		ok, err := l.control.Post(&h, s.outbox[0])
		if err != nil {
			s.outbox = nil // nobody listens any more; why is heard, or left to the owner
			return
		}
		if !ok {
			return
		}
		s.outbox = s.outbox[1:]
		s.sent++
	}
}

// hear takes what has come on the control link, until frames do.
func (l *link) hear() {
	s := &l.setup
	for !s.relay && !s.silent {
		f, err := l.control.Poll()
		if err != nil {
			l.hungUp(err)
			return
		}
		if f == nil {
			return
		}
		err = l.message(f.Payload)
		l.control.Release()
		if err != nil {
			l.broke(err)
			return
		}
	}
}

// hungUp takes the end of the control link.
func (l *link) hungUp(err error) {
	s := &l.setup
	s.silent = true
	switch {
	case errors.Is(err, transport.ErrClosed):
	case !errors.Is(err, transport.ErrPeerClosed):
		l.lose(&remoteEnd{err: err})
	case s.phase < phaseFlushing || s.phase > phaseRunning:
		l.lose(&remoteEnd{err: err, drain: true})
	case !s.closing:
		l.broke(&transport.FrameError{Reason: "the peer hung up without a word"})
	}
}

// message takes one message.
func (l *link) message(b []byte) error {
	s := &l.setup
	k, rest, err := parseHead(b)
	if err != nil {
		return err
	}
	bad := s.theirs == nil
	switch k {
	case kindHello:
		if s.theirs != nil {
			break
		}
		if s.theirs, err = parseHello(rest); err != nil {
			return err
		}
		bad, s.relay, s.whys[1] = false, len(s.theirs.pairs) == 0, s.theirs.why
	case kindReady:
		bad = bad || s.ready
		s.ready = true
	case kindUp:
		bad = bad || !s.ready || s.up
		s.up = true
	case kindRelay:
		s.relay, s.whys[1] = true, string(rest)
	case kindClosing:
		final := binary.LittleEndian.Uint64(rest)
		if bad = bad || !s.up || s.closing || l.arrived.Load() > final; !bad {
			s.closing = true
			l.lose(&remoteEnd{err: transport.ErrPeerClosed, drain: true, final: final})
		}
	case kindBroken:
		l.lose(&remoteEnd{err: &transport.LostError{Peer: l.rank, Cause: &BrokenError{Text: string(rest)}}})
	}
	if bad {
		return &transport.FrameError{Reason: fmt.Sprintf("control message %d out of turn", k)}
	}
	return nil
}

// The reasons why the control link carries frames although both ends have a device.
var (
	errTimeout   = errors.New("rdma: the device did not carry anything in time")
	errLinkLayer = errors.New("rdma: one end is on InfiniBand, the other on Ethernet")
	errPeer      = errors.New("rdma: the peer's device does not carry the link")
	errClosing   = errors.New("rdma: the link was closed before it was up")
)

// advance takes a link one phase further, if it can.
func (l *link) advance(now time.Time, closing bool) {
	s := &l.setup
	closed := l.ended.Load() == endedClose
	if end := l.over.Load(); end != nil && s.phase < phaseFlushing {
		if errors.Is(end.err, transport.ErrPeerLost) && !s.silent {
			l.say(brokenMessage(end.err))
			l.speak()
		}
		l.look(false)
		l.dismantle()
		s.phase = phaseEnded
	}
	if s.phase <= phaseProving {
		l.mu.Lock()
		idle := len(l.waiting) == 0
		l.mu.Unlock()
		switch {
		case closed && idle && s.phase != phaseMaking:
			l.control.Close()
			l.finish()
			return
		case closed:
			l.startRelay(errClosing)
		case s.relay && s.phase != phaseMaking:
			l.startRelay(errPeer)
		case s.phase >= phaseLinking && now.After(s.deadline):
			l.startRelay(errTimeout)
		case s.phase != phaseMaking && l.proof() != nil:
			l.startRelay(l.proof())
		}
	}
	switch s.phase {
	case phaseMaking:
		select {
		case err := <-s.made:
			if err != nil {
				l.startRelay(err)
				return
			}
			l.say(s.mine.append())
			s.phase = phaseGreeted
		default:
		}
	case phaseGreeted:
		if s.theirs == nil {
			return
		}
		if s.theirs.place.ethernet != s.mine.place.ethernet {
			l.startRelay(errLinkLayer)
			return
		}
		s.deadline = now.Add(l.ep.t.cfg.setup)
		s.linked = make(chan error, 1)
		l.mu.Lock()
		l.theirs, l.limit, l.busy = s.theirs, min(len(l.in), s.theirs.window), true
		l.mu.Unlock()
		l.ep.goroutines.Add(1) // Close waits for the steward first
		go func() {
			defer l.ep.goroutines.Done()
			s.linked <- l.connect(s.mine, s.theirs)
			l.ep.steward.Ring()
		}()
		s.phase = phaseLinking
	case phaseLinking:
		select {
		case err := <-s.linked:
			if err != nil {
				l.startRelay(err)
				return
			}
			l.say(head(kindReady, 0))
			s.phase = phaseReady
		default:
		}
	case phaseReady:
		if s.ready {
			l.look(true)
			l.prove()
			s.phase = phaseProving
		}
	case phaseProving:
		if l.acknowledged() {
			l.say(head(kindUp, 0))
			l.proving.Store(false)
			s.phase = phaseProven
		}
	case phaseProven:
		switch {
		case s.up:
			s.phase = phaseFlushing
		case s.relay:
			l.startRelay(errPeer)
		}
	case phaseFlushing:
		if l.flush() {
			l.look(false)
			s.phase = phaseRunning
			l.ep.bell.Ring()
		}
	case phaseRunning:
		l.run(closed, closing)
	case phaseRelaying:
		l.passOn(closed)
	case phaseEnded:
		if closed {
			l.control.Close()
			l.finish()
		}
	}
}

// prove writes a word of zeros, which says that nothing has been released, over every queue pair.
func (l *link) prove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proving.Store(true)
	n := min(len(l.ends), len(l.theirs.pairs))
	l.spare, l.ends = l.ends[n:], l.ends[:n]
	l.out = make([]outSlot, l.limit)
	for _, d := range l.ends {
		cell := l.cells[len(l.in)*cellSize:]
		l.w = write{to: uintptr(l.theirs.slots), head: addressOf(cell), headLength: 8, headKey: l.cellKey}
		if err := l.write(d, true); err != nil {
			l.proofFailed(err)
		}
	}
}

// proofFailed notes that the path does not carry, the first time.
func (l *link) proofFailed(err error) {
	l.proofErr.CompareAndSwap(nil, &err)
	l.ep.steward.Ring()
}

func (l *link) proof() error {
	if err := l.proofErr.Load(); err != nil {
		return *err
	}
	return nil
}

// acknowledged reports whether everything that was written has been. The link must not be busy.
func (l *link) acknowledged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.ends {
		if d.reaped.Load() < d.posts {
			return false
		}
	}
	return true
}

// flush sends the frames that were posted before the link was up, as far as there is room, and reports whether all are.
func (l *link) flush() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.over.Load() == nil && len(l.waiting) > 0 {
		if !l.room() {
			if l.readCredit(); !l.room() {
				return false
			}
		}
		if err := l.send(&l.waiting[0].header, l.waiting[0].payload); err != nil {
			l.broke(err)
			break
		}
		l.waiting[0] = waiting{}
		l.waiting = l.waiting[1:]
	}
	l.waiting = nil
	l.course.Store(uint32(direct))
	return true
}

// run looks after a link whose frames go over the device.
func (l *link) run(closed, closing bool) {
	s := &l.setup
	end := l.over.Load()
	lost := end != nil && !end.drain
	if lost && !s.told {
		s.told = true
		if !s.silent {
			l.say(brokenMessage(end.err))
			l.speak()
		}
		l.look(false)
		l.dismantle()
	}
	if !closed {
		return
	}
	if lost {
		l.control.Close()
		l.finish()
		return
	}
	if !s.fenced {
		s.fenced = true
		l.look(true)
		l.say(closingMessage(l.fence()))
	}
	l.speak()
	// What the peer has closed its end to need not arrive.
	if end == nil && !l.acknowledged() || len(s.outbox) > 0 && !s.silent {
		return
	}
	l.look(false)
	if !l.delivered.Swap(true) && closing {
		select {
		case l.ep.news <- struct{}{}:
		default:
		}
	}
	// The queue pairs stay until the peer has closed its end, too, so that it does not take their end for a failure.
	if s.closing || s.silent {
		l.control.Close()
		l.finish()
	}
}

// fence posts a last write that completes, behind all others, and returns the number of frames.
func (l *link) fence() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.ends {
		if d.reaped.Load() == d.posts {
			continue
		}
		l.w = write{to: uintptr(l.theirs.slots)}
		if err := l.write(d, true); err != nil {
			l.broke(err)
		}
	}
	return l.posted.Load()
}

// startRelay lets the control link carry the frames.
func (l *link) startRelay(why error) {
	s := &l.setup
	l.look(false)
	l.undo()
	if !errors.Is(why, errPeer) {
		s.whys[0] = cutText(why.Error())
	}
	if s.phase == phaseMaking {
		l.say((&hello{why: s.whys[0]}).append())
	} else {
		l.say(relayMessage(s.whys[0]))
	}
	l.mu.Lock()
	l.out = nil
	l.mu.Unlock()
	s.phase = phaseRelaying
}

// relayReason returns why the control link carries the frames, in the words of both ends, which come to the same text.
func (l *link) relayReason() string {
	texts, ranks := l.setup.whys, [2]int{l.ep.rank, l.rank}
	if ranks[0] > ranks[1] {
		texts[0], texts[1], ranks[0], ranks[1] = texts[1], texts[0], ranks[1], ranks[0]
	}
	if texts[0] == texts[1] {
		return texts[0]
	}
	var parts []string
	for i, text := range texts {
		if text != "" {
			parts = append(parts, fmt.Sprintf("rank %d: %s", ranks[i], text))
		}
	}
	return strings.Join(parts, "; ")
}

// passOn gives the frames that were posted meanwhile to the control link, and then the link itself to its owner.
func (l *link) passOn(closed bool) {
	s := &l.setup
	l.speak()
	if len(s.outbox) > 0 && !s.silent {
		return
	}
	l.mu.Lock()
	l.relayBase = s.sent
	for len(l.waiting) > 0 && !s.silent {
		f := &l.waiting[0]
		if f.borrowed { // it may be memory of a device, which the control link must not read
			host, err := l.hostCopy(f.payload)
			if err != nil {
				l.lose(&remoteEnd{err: &transport.LostError{Peer: l.rank, Cause: err}})
				break
			}
			f.payload = host
		}
		ok, err := l.control.Post(&f.header, f.payload)
		if !ok && err == nil {
			l.mu.Unlock()
			return
		}
		if err != nil {
			break // which the owner hears from the control link
		}
		l.posted.Add(1)
		l.waiting = l.waiting[1:]
	}
	switch {
	case closed:
		l.mu.Unlock()
		l.control.Close()
		l.finish()
		return
	case l.over.Load() != nil:
		s.phase = phaseEnded
	case s.relay || s.silent:
		l.waiting, l.why = nil, l.relayReason()
		l.course.Store(uint32(relayed))
		l.delivered.Store(true)
		s.phase = phaseOver
		l.ep.t.cfg.logger.Warn("RDMA link carried by the control transport", "rank", l.ep.rank, "peer", l.rank, "control", l.ep.t.control.Name(), "why", l.why)
	}
	l.mu.Unlock()
	l.ep.bell.Ring()
}
