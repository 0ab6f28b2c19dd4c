package stripe

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// Close waits for peers to take what was posted and to say goodbye: for those that it has heard in the last flushing, which
// live peers see to by their pulses, and for draining at most.
const (
	flushing = 700 * time.Millisecond
	draining = 10 * time.Second
	looks    = 7 // in flushing
)

// An Endpoint is a [transport.Endpoint] over the connections that its carriers make and accept.
type Endpoint struct {
	cfg   Config
	group [32]byte
	addr  string
	began time.Time
	bell  transport.Bell
	heap  transport.Heap
	pool  pool

	ctx        context.Context // ends when the endpoint has said its goodbyes
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	done       chan struct{} // closed when Close is through

	mu       sync.Mutex
	closed   bool
	members  map[int]string // identity by rank; nil until Admit
	peers    map[Nonce]*peer
	startMu  sync.Mutex // taken last
	stopping bool       // no goroutine starts any more; under startMu
}

var _ transport.Endpoint = (*Endpoint)(nil)

// New makes an endpoint and starts its carriers. Its owner has checked the Config.
func New(cfg Config) *Endpoint {
	e := &Endpoint{
		cfg: cfg, group: sha256.Sum256([]byte(cfg.Group)), addr: FormatAddr(cfg.Nonce, PlacesOf(cfg.Carriers)), bell: cfg.Bell,
		done: make(chan struct{}), peers: make(map[Nonce]*peer), began: time.Now(),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for i, c := range cfg.Carriers {
		if c.Silent > 0 {
			e.goroutines.Add(1)
			go e.watch(i)
		}
		if c.Start != nil {
			c.Start(func(conn Conn) { e.serve(i, conn) })
		}
	}
	return e
}

// clock returns the time since the endpoint was made.
func (e *Endpoint) clock() time.Duration { return time.Since(e.began) }

// start makes room for n goroutines, unless the endpoint stops.
func (e *Endpoint) start(n int) bool {
	e.startMu.Lock()
	defer e.startMu.Unlock()
	if e.stopping {
		return false
	}
	e.goroutines.Add(n)
	return true
}

// Addr returns the endpoint's nonce and where it listens.
func (e *Endpoint) Addr() string { return e.addr }

// Admit implements [transport.Endpoint].
func (e *Endpoint) Admit(peers []transport.Peer) {
	members := make(map[int]string, len(peers))
	for _, p := range peers {
		members[p.Rank] = p.ID
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.members = members
}

// Open implements [transport.Endpoint].
func (e *Endpoint) Open(to transport.Peer, id transport.LinkID) (transport.Link, error) {
	l, err := e.open(to, id)
	if err != nil {
		return nil, fmt.Errorf("%s: open: %w", e.cfg.Name, err)
	}
	for _, c := range e.cfg.Carriers {
		if c.Prompt {
			return placingLink{l}, nil
		}
	}
	return l, nil
}

func (e *Endpoint) open(to transport.Peer, id transport.LinkID) (*link, error) {
	if to.Rank == e.cfg.Rank || to.Rank < 0 || to.Rank > MaxRank || e.cfg.ID != "" && to.ID == "" {
		return nil, fmt.Errorf("rank %d to rank %d at %q, identity %q: %w", e.cfg.Rank, to.Rank, to.Addr, to.ID, transport.ErrUnreachable)
	}
	nonce, places, err := ParseAddr(to.Addr)
	if err != nil {
		return nil, fmt.Errorf("rank %d to rank %d: %w: %w", e.cfg.Rank, to.Rank, transport.ErrUnreachable, err)
	}
	ways := e.ways(places)
	if ways == nil {
		return nil, fmt.Errorf("rank %d to rank %d at %q: no carrier that both have: %w", e.cfg.Rank, to.Rank, to.Addr, transport.ErrUnreachable)
	}
	want := to.ID
	if e.cfg.ID == "" {
		want = ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, transport.ErrClosed
	}
	p := e.peers[nonce]
	if p == nil {
		p = newPeer(e, to.Rank, want, nonce)
		e.peers[nonce] = p
	}
	if p.rank != to.Rank || p.id != want {
		return nil, fmt.Errorf("rank %d, connected as rank %d: %w", to.Rank, p.rank, &transport.IdentityError{Want: want, Got: p.id})
	}
	l, err := p.open(id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == idle && p.ways == nil && e.start(1) {
		p.state, p.ways = dialing, ways
		rand.Read(p.offer[:]) // never fails
		var ctx context.Context
		ctx, p.cancelDial = context.WithCancel(p.ctx)
		go func() {
			defer e.goroutines.Done()
			p.dial(ctx)
		}()
	}
	return l, nil
}

// ways sorts a peer's places by the carriers that reach them; nil: none does.
func (e *Endpoint) ways(places []Place) [][]string {
	ways := make([][]string, len(e.cfg.Carriers))
	any := false
	for i, c := range e.cfg.Carriers {
		if c.Dial == nil {
			continue
		}
		for _, p := range places {
			if p.Carrier == c.Name {
				ways[i] = append(ways[i], p.At)
				any = true
			}
		}
	}
	if !any {
		return nil
	}
	return ways
}

// Alloc returns memory of the Go heap: these links send by copy.
func (e *Endpoint) Alloc(size int) ([]byte, error) { return e.heap.Alloc(size) }

// Free implements [transport.Endpoint].
func (e *Endpoint) Free(mem []byte) error { return e.heap.Free(mem) }

// serve greets who has connected over a carrier, and adds the connection to its session or closes it. It returns when
// that is decided. Who connects has as long to say its first words as a dialler waits for the answer.
func (e *Endpoint) serve(carrier int, conn Conn) {
	ctx, cancel := context.WithTimeout(e.ctx, e.cfg.DialTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var buf [helloSize]byte
	var h hello
	if _, err := io.ReadFull(conn, buf[:]); err != nil {
		e.refused(conn, err)
		return
	}
	err := h.parse(buf[:])
	said := welcome
	var p *peer
	var refused *transport.RefusedError
	switch {
	case err == nil:
		p, said = e.judge(&h, conn.PeerID(), carrier)
	case errors.As(err, &refused):
		said = answer(refused.Why)
	default:
		e.refused(conn, err)
		return
	}
	err = writeAll(conn, said.append(make([]byte, 0, answerSize)))
	switch {
	case said < welcome:
		err = &transport.RefusedError{Why: transport.Refusal(said)}
		fallthrough
	case said != welcome:
		// The dialling side reads the answer and hangs up: hanging up first could destroy the answer.
		io.ReadFull(conn, buf[:1])
		e.refused(conn, err)
	case err != nil || !stop():
		conn.Close()
		p.lose(fmt.Errorf("greeting: %w", errors.Join(err, ctx.Err())))
	default:
		p.attach(int(h.index), conn)
	}
}

// refused closes a connection that is not taken.
func (e *Endpoint) refused(conn Conn, err error) {
	conn.Close()
	if err != nil && e.ctx.Err() == nil {
		level := slog.LevelWarn
		if errors.Is(err, io.EOF) { // a dialling side that has thought better of it
			level = slog.LevelDebug
		}
		e.cfg.Logger.Log(context.Background(), level, "connection refused", "transport", e.cfg.Name, "rank", e.cfg.Rank, "identity", conn.PeerID(), "error", err)
	}
}

// judge decides on a hello from the identity id over a carrier. With a welcome, it returns the peer in whose session the
// connection has its place.
func (e *Endpoint) judge(h *hello, id string, carrier int) (*peer, answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	member, ok := e.members[int(h.from)]
	if e.cfg.ID == "" {
		member = ""
	}
	switch {
	case e.members == nil:
		return nil, notYet
	case !ok || member != id || int(h.from) == e.cfg.Rank:
		return nil, answer(transport.RefusedStranger)
	case h.group != e.group:
		return nil, answer(transport.RefusedGroup)
	case int(h.to) != e.cfg.Rank || h.toNonce != e.cfg.Nonce:
		return nil, answer(transport.RefusedGone)
	case int(h.conns) != e.cfg.Conns || int(h.most) != e.cfg.Carriers[carrier].most(e.cfg.Conns) || int(h.window) != e.cfg.Window || int64(h.silent) != e.cfg.Carriers[carrier].Silent.Milliseconds() || h.clear != e.cfg.Carriers[carrier].Clear:
		return nil, answer(transport.RefusedSettings)
	}
	p := e.peers[h.fromNonce]
	if p == nil {
		if e.closed || h.index != 0 {
			return nil, answer(transport.RefusedGone)
		}
		e.forgetUnopened(int(h.from))
		p = newPeer(e, int(h.from), id, h.fromNonce)
		e.peers[h.fromNonce] = p
	}
	if p.rank != int(h.from) || p.id != id {
		return nil, answer(transport.RefusedStranger)
	}
	return p.judge(h, carrier)
}

func (p *peer) judge(h *hello, carrier int) (*peer, answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.index > 0 && (p.state != up || p.session != h.session) {
		return nil, answer(transport.RefusedGone)
	}
	p.grow(int(h.index) + 1)
	w := p.wires[h.index]
	switch {
	case h.index > 0 && w.taken:
		return nil, answer(transport.RefusedGone)
	case h.index > 0:
		w.taken = true
		return p, welcome
	case p.state == up || p.state == over:
		return nil, answer(transport.RefusedExists)
	case p.state == dialing && p.ep.cfg.Rank < p.rank:
		p.yielded = true
		return nil, yield
	}
	if p.cancelDial != nil {
		p.cancelDial()
	}
	p.state, p.session, w.taken = up, h.session, true
	p.take(route{carrier, h.why})
	return p, welcome
}

// forgetUnopened drops what earlier endpoints of a rank have left, if this side never had to do with them. mu
// is held.
func (e *Endpoint) forgetUnopened(rank int) {
	for nonce, p := range e.peers {
		p.mu.Lock()
		if p.rank == rank && p.state == over && !p.everOpened {
			delete(e.peers, nonce)
		}
		p.mu.Unlock()
	}
}

// drain waits until the sessions with peers are over, or nothing more can be hoped of those that are not.
func drain(peers []*peer) {
	limit := time.NewTimer(draining)
	defer limit.Stop()
	look := time.NewTicker(flushing / looks)
	defer look.Stop()
	heard := make(map[*peer]uint64, len(peers))
	silent := make(map[*peer]int, len(peers))
	for _, p := range peers {
		heard[p] = p.heard()
	}
	for i := 0; i < len(peers); {
		select {
		case <-peers[i].finished:
			i++
		case <-limit.C:
			return
		case <-look.C:
			var rest []*peer
			for _, p := range peers[i:] {
				silent[p]++
				if h := p.heard(); h != heard[p] {
					heard[p], silent[p] = h, 0
				}
				if silent[p] < looks {
					rest = append(rest, p)
				}
			}
			peers, i = rest, 0
		}
	}
}

// Close implements [transport.Endpoint]. It waits for peers to take what was posted, as long as they may.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		<-e.done
		return nil
	}
	e.closed = true
	peers := make([]*peer, 0, len(e.peers))
	for _, p := range e.peers {
		peers = append(peers, p)
	}
	e.mu.Unlock()
	defer close(e.done)
	e.heap.Close()
	for _, p := range peers {
		p.mu.Lock()
		var opened []*link
		for _, l := range p.links {
			if l.opened {
				opened = append(opened, l)
			}
		}
		p.mu.Unlock()
		for _, l := range opened {
			l.finish(kindClose, nil)
		}
		p.sayBye()
	}
	drain(peers)
	e.cancel()
	e.startMu.Lock()
	e.stopping = true
	e.startMu.Unlock()
	for _, c := range e.cfg.Carriers {
		if c.Stop != nil {
			c.Stop()
		}
	}
	for _, p := range peers {
		p.finish(&remoteEnd{err: transport.ErrPeerClosed, session: true}) // heard by nobody
		p.hangUp()
	}
	e.goroutines.Wait()
	e.cfg.Release()
	return nil
}
