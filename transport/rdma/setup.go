package rdma

import (
	"encoding/binary"
	"errors"
	"fmt"
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
