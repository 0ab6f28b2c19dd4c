package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// A Config is one rank's part in a [Measure]. Measure does not change it.
type Config struct {
	// Rank is this rank's number in the graph.
	Rank topology.Rank
	// Bell is this rank's, on which all links that Open returns ring. Nobody else waits on it meanwhile.
	Bell transport.Bell
	// Open returns this rank's end of a link to a peer, as Endpoint.Open does: of an ID that all ranks use for this
	// measurement and for nothing else. Measure opens one link to a peer at most, and closes it.
	Open func(peer topology.Rank) (transport.Link, error)
	// Alloc returns memory that links send by reference where they can, and Free takes it back, as those of an
	// Endpoint do. nil: memory of the Go heap.
	Alloc func(size int) ([]byte, error)
	Free  func([]byte) error
	// Memory is how many bytes each rank that is measured takes for what it sends, at least transport.MaxPayload. Frames
	// come from all over it, so beta is that of the caches which it fits in. 0: 32 MiB. It counts at each rank.
	Memory int
	// Polls is how often a rank that waits looks before it sleeps, as Probe.Polls. It counts at each rank.
	Polls int
	// Machine numbers the machines on which ranks really are, when those are not the hosts of the graph: pairs that
	// have a machine in common are measured one after the other. nil: the graph's hosts. It must be the same on all ranks.
	Machine func(topology.Rank) int
	// Budget is how long the ping-pong of all pairs together shall take; pairs of different machines share
	// it. Round trips over 0.1 s may take longer: see [Probe].Limit. 0: 1.2 s. It counts at the ranks that ping.
	Budget time.Duration
	// Known is a report, of a [Cache] for example, that rank 0 gives to all ranks instead of measuring. nil:
	// measure. It counts at rank 0 alone.
	Known *Report
}

const (
	defaultBudget = 1200 * time.Millisecond
	defaultMemory = 32 << 20
	page          = 4096 // or more
)

// Measure finds the costs of the tiers of g, and of the paths between its sites, over real links. Every rank of the
// group calls it, with equal graphs and pairs; all get the same report. Without pairs it takes those of [Pairs].
//
// Ranks that are in no pair sleep, but for messages along a binomial tree of ranks. The first failure anywhere ends it on
// every rank: the error is a [*ConfigError], before anything is sent, or a [*PeerError]. A rank whose peers never call it waits
// until ctx ends.
func Measure(ctx context.Context, g *topology.Graph, c Config, pairs ...Pair) (*Report, error) {
	if g == nil || c.Rank < 0 || int(c.Rank) >= g.Size() {
		return nil, configErrorf("Config.Rank", "rank %d is not in the graph", c.Rank)
	}
	if g.Size() > 1 && (c.Bell == nil || c.Open == nil) {
		return nil, configErrorf("Config.Open", "no bell or no way to open links")
	}
	if (c.Alloc == nil) != (c.Free == nil) {
		return nil, configErrorf("Config.Alloc", "Alloc and Free go together")
	}
	if c.Budget < 0 {
		return nil, configErrorf("Config.Budget", "%v", c.Budget)
	}
	if c.Budget == 0 {
		c.Budget = defaultBudget
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory
	}
	if c.Memory < transport.MaxPayload {
		return nil, configErrorf("Config.Memory", "%d bytes, want at least %d", c.Memory, transport.MaxPayload)
	}
	if len(pairs) == 0 {
		pairs = Pairs(g)
	}
	if err := checkPairs(g, pairs); err != nil {
		return nil, err
	}
	if c.Known != nil {
		if err := c.Known.check(); err != nil {
			return nil, err
		}
	}
	m := &member{c: c, g: g, pairs: pairs, machine: machineOf(g, &c), ports: make(map[topology.Rank]*port)}
	r, err := m.run(ctx)
	return r, m.finish(ctx, err)
}

// A member is one rank during a measurement.
type member struct {
	c       Config
	g       *topology.Graph
	pairs   []Pair
	machine func(topology.Rank) int
	ports   map[topology.Rank]*port
	send    []byte // nil until this rank is in a pair
	receive []byte
	found   []result
}

// port opens the link to a peer.
func (m *member) port(peer topology.Rank) (*port, error) {
	if p := m.ports[peer]; p != nil {
		return p, nil
	}
	l, err := m.c.Open(peer)
	if err != nil {
		return nil, err
	}
	p := &port{link: l, bell: m.c.Bell, polls: pollsOf(m.c.Polls), failed: m.failed}
	m.ports[peer] = p
	return p, nil
}

// open opens all links that this rank may need, so that its failure reaches everybody who may wait for it.
func (m *member) open() error {
	peers := children(m.c.Rank, m.g.Size())
	if m.c.Rank > 0 {
		peers = append(peers, parent(m.c.Rank))
	}
	self := m.machine(m.c.Rank)
	before := topology.NoRank // who speaks for the machine in the pair before
	for _, p := range m.pairs {
		switch m.c.Rank {
		case p.A:
			peers = append(peers, p.B)
		case p.B:
			peers = append(peers, p.A)
		}
		if lead, here := p.lead(m.machine, self); here {
			if before != topology.NoRank && before != lead {
				switch m.c.Rank {
				case lead:
					peers = append(peers, before)
				case before:
					peers = append(peers, lead)
				}
			}
			before = lead
		}
	}
	var first error
	for _, peer := range peers {
		if _, err := m.port(peer); err != nil && first == nil {
			first = &PeerError{Peer: peer, Doing: "opening the link", Err: err}
		}
	}
	return first
}

// failed returns why another rank has given up, if one has that this rank has a link to.
func (m *member) failed() error {
	for peer, p := range m.ports {
		if err := p.link.Err(); err != nil && !errors.Is(err, transport.ErrPeerClosed) {
			return &PeerError{Peer: peer, Doing: "its measurement", Err: err}
		}
	}
	return nil
}

// peerError says at what an error of a peer's link, or of another one, came.
func peerError(peer topology.Rank, doing string, err error) error {
	var other *PeerError
	if errors.As(err, &other) {
		return err
	}
	return &PeerError{Peer: peer, Doing: doing, Err: err}
}

func (m *member) run(ctx context.Context) (*Report, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	known, err := m.start(ctx)
	if err != nil || known != nil {
		return known, err
	}
	if err := m.measure(ctx); err != nil {
		return nil, err
	}
	return m.share(ctx)
}

// start hands down what is to be done, and returns the report if it is known already.
func (m *member) start(ctx context.Context) (*Report, error) {
	mine := digest(m.g.Size(), m.pairs, m.machine)
	var s start
	var text []byte
	var err error
	if m.c.Rank == 0 {
		s.Digest = mine
		if m.c.Known != nil {
			if s.Known, err = m.c.Known.MarshalJSON(); err != nil {
				return nil, err
			}
		}
		if text, err = json.Marshal(s); err != nil {
			return nil, err
		}
	} else if text, err = m.receiveFrom(ctx, parent(m.c.Rank), stepStart); err != nil {
		return nil, err
	}
	if err := m.hand(ctx, stepStart, text); err != nil || m.c.Rank == 0 {
		return m.c.Known, err
	}
	fail := func(err error) (*Report, error) {
		return nil, &PeerError{Peer: parent(m.c.Rank), Doing: "start", Err: err}
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return fail(protocolErrorf("a start that cannot be read: %v", err))
	}
	if s.Digest != mine {
		return fail(protocolErrorf("rank 0 has other ranks, pairs or machines than this one"))
	}
	if s.Known == nil {
		return nil, nil
	}
	r, err := ParseReport(s.Known)
	if err != nil {
		return fail(err)
	}
	return r, nil
}

// hand sends a message of the tree to the ranks below.
func (m *member) hand(ctx context.Context, step uint32, text []byte) error {
	below := children(m.c.Rank, m.g.Size())
	for _, child := range slices.Backward(below) { // the largest part has the longest way
		if err := m.sendTo(ctx, child, step, noPair, text); err != nil {
			return err
		}
	}
	return nil
}

func (m *member) sendTo(ctx context.Context, peer topology.Rank, step, seq uint32, text []byte) error {
	p, err := m.port(peer)
	if err == nil && len(text) > transport.MaxPayload {
		err = fmt.Errorf("probe: a message of %d bytes is longer than a frame", len(text))
	}
	if err == nil {
		err = p.send(ctx, step, seq, 0, text)
	}
	if err != nil {
		return peerError(peer, "sending the "+stepName(step), err)
	}
	return nil
}

func (m *member) receiveFrom(ctx context.Context, peer topology.Rank, step uint32) ([]byte, error) {
	return m.receiveSeq(ctx, peer, step, noPair)
}

func (m *member) receiveSeq(ctx context.Context, peer topology.Rank, step, seq uint32) ([]byte, error) {
	p, err := m.port(peer)
	if err == nil {
		var f *transport.Frame
		if f, err = p.next(ctx, seq, step); err == nil {
			text := slices.Clone(f.Payload)
			p.link.Release()
			return text, nil
		}
	}
	return nil, peerError(peer, "waiting for the "+stepName(step), err)
}

// measure takes this rank's part in its pairs, in their order. Of the two ranks of a pair one speaks for each machine: it
// waits for the token of the pair that had the machine before, and passes it on. Tokens only ever come from earlier
// pairs, so the first pair that is not done can always go on.
func (m *member) measure(ctx context.Context) error {
	limit := m.c.Budget / time.Duration(max(1, longestChain(m.pairs, m.machine)))
	self := m.machine(m.c.Rank)
	before := -1 // the pair that had this machine last
	for i, p := range m.pairs {
		lead, here := p.lead(m.machine, self)
		if !here {
			continue
		}
		if before >= 0 && lead == m.c.Rank {
			if from, _ := m.pairs[before].lead(m.machine, self); from != lead {
				if _, err := m.receiveSeq(ctx, from, stepToken, uint32(before)); err != nil {
					return err
				}
			}
		}
		before = i
		if p.A == m.c.Rank || p.B == m.c.Rank {
			if err := m.take(ctx, i, limit); err != nil {
				return err
			}
		}
		if lead == m.c.Rank {
			if err := m.passOn(ctx, i, self); err != nil {
				return err
			}
		}
	}
	return nil
}

// passOn gives the machine to the next pair that needs it.
func (m *member) passOn(ctx context.Context, i, self int) error {
	for _, q := range m.pairs[i+1:] {
		if to, here := q.lead(m.machine, self); here {
			if to == m.c.Rank {
				return nil
			}
			return m.sendTo(ctx, to, stepToken, uint32(i), nil)
		}
	}
	return nil
}

// take is this rank's side of a pair that it is in.
func (m *member) take(ctx context.Context, i int, limit time.Duration) error {
	p := m.pairs[i]
	peer := p.A
	if peer == m.c.Rank {
		peer = p.B
	}
	fail := func(err error) error {
		return peerError(peer, fmt.Sprintf("ping-pong of pair %d", i), err)
	}
	if err := m.alloc(); err != nil {
		return fail(err)
	}
	link, err := m.port(peer)
	if err != nil {
		return fail(err)
	}
	e := end{port: *link, probe: &Probe{
		Pair: uint32(i), Limit: limit, Directed: p.Level == topology.World, Send: m.send, Receive: m.receive,
	}}
	if p.A == m.c.Rank {
		var samples []Sample
		if samples, err = e.ping(ctx); err == nil {
			m.found = append(m.found, result{i, samples})
		}
	} else {
		err = e.pong(ctx)
	}
	*link = e.port
	if err != nil {
		return fail(err)
	}
	return nil
}

func (m *member) alloc() error {
	if m.send != nil {
		return nil
	}
	get := m.c.Alloc
	if get == nil {
		get = func(size int) ([]byte, error) { return make([]byte, size), nil }
	}
	send, err := get(m.c.Memory)
	if err != nil {
		return err
	}
	for i := 0; i < len(send); i += page { // so that the pages are there, and are not all the same one
		send[i] = 1
	}
	m.send, m.receive = send, make([]byte, transport.MaxPayload)
	return nil
}

// share brings what was found to rank 0 and the report to everybody.
func (m *member) share(ctx context.Context) (*Report, error) {
	for _, child := range children(m.c.Rank, m.g.Size()) {
		text, err := m.receiveFrom(ctx, child, stepGather)
		if err != nil {
			return nil, err
		}
		more, err := parseResults(text, len(m.pairs))
		if err != nil {
			return nil, &PeerError{Peer: child, Doing: "gathering", Err: err}
		}
		m.found = append(m.found, more...)
	}
	if m.c.Rank == 0 {
		r, err := m.report()
		if err != nil {
			return nil, err
		}
		text, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		return r, m.hand(ctx, stepReport, text)
	}
	text, err := json.Marshal(m.found)
	if err != nil {
		return nil, err
	}
	up := parent(m.c.Rank)
	if err := m.sendTo(ctx, up, stepGather, noPair, text); err != nil {
		return nil, err
	}
	if text, err = m.receiveFrom(ctx, up, stepReport); err != nil {
		return nil, err
	}
	r, err := ParseReport(text)
	if err != nil {
		return nil, &PeerError{Peer: up, Doing: "reading the report", Err: err}
	}
	return r, m.hand(ctx, stepReport, text)
}

// report fits the costs to what all ranks found.
func (m *member) report() (*Report, error) {
	byPair := make([][]Sample, len(m.pairs))
	for _, r := range m.found {
		if byPair[r.Pair] != nil {
			return nil, protocolErrorf("two ranks have samples of pair %d", r.Pair)
		}
		byPair[r.Pair] = r.Samples
	}
	byLevel := make(map[topology.Level][]Sample)
	count := make(map[topology.Level]int)
	r := new(Report)
	for i, p := range m.pairs {
		if byPair[i] == nil {
			return nil, protocolErrorf("no rank has samples of pair %d", i)
		}
		byLevel[p.Level] = append(byLevel[p.Level], byPair[i]...)
		count[p.Level]++
		if p.Level != topology.World {
			continue
		}
		a, b := m.g.SiteName(m.g.Site(p.A)), m.g.SiteName(m.g.Site(p.B))
		f := fit(byPair[i], true)
		r.Paths = append(r.Paths,
			PathCost{topology.Path{From: a, To: b, Alpha: f.alpha, Beta: f.there}, f.probes, f.residual},
			PathCost{topology.Path{From: b, To: a, Alpha: f.alpha, Beta: f.back}, f.probes, f.residual})
	}
	for l := topology.Device; l <= topology.World; l++ {
		if count[l] > 0 {
			f := fit(byLevel[l], false)
			r.Tiers = append(r.Tiers, TierCost{l, topology.Link{Level: l, Alpha: f.alpha, Beta: f.there}, count[l], f.probes, f.residual})
		}
	}
	return r, r.check()
}

// finish ends the links: in good order, when nothing borrows memory any more, or with the reason of the failure.
func (m *member) finish(ctx context.Context, err error) error {
	for peer, p := range m.ports {
		if err == nil {
			if e := p.flush(ctx); e != nil && !errors.Is(e, transport.ErrPeerClosed) {
				err = peerError(peer, "finishing", e)
			}
		}
	}
	for peer, p := range m.ports {
		if err != nil {
			p.link.Fail([]byte(err.Error()))
		}
		if e := p.link.Close(); e != nil && err == nil {
			err = &PeerError{Peer: peer, Doing: "closing", Err: e}
		}
	}
	if m.send != nil && m.c.Free != nil {
		// The peers of a link that has ended read nothing of it any more that matters, and memory of an endpoint
		// stays mapped for them.
		err = errors.Join(err, m.c.Free(m.send))
	}
	return err
}
