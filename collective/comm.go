package collective

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/internal/engine"
	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
)

// Epoch is a generation of a group's membership. Frames of another epoch are dropped.
type Epoch uint32

// A Comm is one rank's handle on one group. Its methods may be called from any goroutine; operations run one at a
// time, in the order in which they are called, and every rank must call the same ones in the same order.
type Comm struct {
	cfg     Config
	epoch   Epoch
	group   *membership.Group
	planner *plan.Planner
	doors   doors
	engine  *engine.Engine
	calls   callCache
	costs   *probe.Report // that the planner's graph was made of; nil: none
	queue   queue
	own     owned        // what Join made for this communicator alone
	away    away         // device memory
	splits  atomic.Int64 // operations that make communicators, for their names
}

// doors are a rank's endpoints, best first, and its bell.
type doors struct {
	transports []transport.Transport
	endpoints  []transport.Endpoint
	bell       transport.Bell
	opened     *routes
	host       *hostMemory
}

// Join makes this rank a member of a group and returns when all its ranks have joined, or with an error when ctx ends
// first: [*ConfigError], or one that Is membership.ErrForming, with the ranks that are missing or the reason of a
// refusal.
//
// Ranks of one host find each other by the group's name. Ranks of several hosts come by an invitation, which any of
// them can make; the process that made it must be among them, and is nobody special once the group has formed. Before Join
// returns, a group on several hosts measures what its links cost, which takes about a second; a rank that is lost
// meanwhile is lost as in any operation.
func Join(ctx context.Context, cfg Config) (*Comm, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	own, err := cfg.meet(ctx)
	if err != nil {
		return nil, err
	}
	c, err := join(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, own.close())
	}
	c.own = own
	if c.measures() {
		if err := c.measure(ctx); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	cfg.Logger.Debug("joined", "group", cfg.Group, "rank", c.cfg.Rank, "size", cfg.Size)
	return c, nil
}

// join opens this rank's endpoints and forms the group. cfg is complete.
func join(ctx context.Context, cfg Config) (*Comm, error) {
	seat := cfg.Rank
	if seat == AnyRank {
		seat = int(membership.NewID() >> 34) // no other rank is likely to have it
	}
	d, err := openDoors(ctx, cfg.Transports, cfg.Group, seat)
	if err != nil {
		return nil, err
	}
	group, rank, err := cfg.form(ctx, &d, d.member(cfg, seat))
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	cfg.Rank = rank
	c, err := newComm(cfg, group, d)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return c, nil
}

// newComm returns the communicator of a rank of a formed group.
func newComm(cfg Config, group *membership.Group, d doors) (*Comm, error) {
	planner, err := sharedPlanner(cfg, group)
	if err != nil {
		return nil, err
	}
	c := &Comm{cfg: cfg, epoch: 1, group: group, planner: planner, doors: d}
	self := group.Members[cfg.Rank]
	onHost, inProcess := group.Near(cfg.Rank)
	// Small messages are copied aside and may be read after this rank has left. Ranks of this process read them where they
	// are, so there they must be memory that the collector keeps as long as somebody does.
	alloc, free, near := d.alloc, d.free, transport.ScopeHost
	if inProcess > 1 && d.near() {
		alloc = func(bytes int) ([]byte, error) { return make([]byte, bytes), nil }
		free, near = func([]byte) error { return nil }, transport.ScopeProcess
	}
	if !d.together(group) {
		near = 0
	}
	d.admit(group)
	c.engine = engine.New(engine.Config{
		Rank: cfg.Rank, Size: cfg.Size, Epoch: uint32(c.epoch), Bell: d.bell,
		Crowded: onHost > min(runtime.NumCPU(), runtime.GOMAXPROCS(0)*onHost/inProcess), Shared: inProcess > 1 || d.networked(),
		InProcess: inProcess,
		Alloc:     alloc, Free: free, Memory: cfg.Memory, Reads: readers(cfg.Memory, group, cfg.Rank), Near: near, Direct: c.away.isDirect, Landing: c.landing,
		Open: func(peer int, channel uint16) (transport.Link, error) {
			l, name, err := d.open(&self, &group.Members[peer], transport.LinkID{Comm: group.ID, Channel: channel})
			if err == nil {
				cfg.Logger.Debug("link", "rank", cfg.Rank, "peer", peer, "channel", channel, "transport", name)
				d.opened.note(peer, name, l)
			}
			return l, err
		},
	})
	return c, nil
}

// readers returns what says whether a peer reads this rank's device memory in place, or nil where none can.
func readers(m buffer.Memory, group *membership.Group, rank int) func(peer int) bool {
	if m == nil {
		return nil
	}
	reads := make([]bool, len(group.Members))
	for i := range group.Members {
		peer := &group.Members[i]
		reads[i] = i != rank && peer.Memory != "" && peer.Host == group.Members[rank].Host && m.Reads(peer.Memory)
	}
	return func(peer int) bool { return reads[peer] }
}

// sharedPlanner returns the planner of a group. Ranks that share the Group value share the planner's tables, unless they
// bring a topology of their own.
func sharedPlanner(cfg Config, group *membership.Group) (*plan.Planner, error) {
	if cfg.Topology != nil {
		return plan.New(cfg.Topology), nil
	}
	type made struct {
		p   *plan.Planner
		err error
	}
	m := group.Share(func() any {
		g, err := graphOf(group.Members)
		if err != nil {
			return made{err: err}
		}
		return made{p: plan.New(g)}
	}).(made)
	return m.p, m.err
}

// graphOf describes the members: who is on which host, with costs that are usual for shared memory and for a data-centre
// network.
func graphOf(members []membership.Member) (*topology.Graph, error) {
	usual, err := topology.Preset("hosts", 2, map[string]string{"hosts": "2"})
	if err != nil {
		return nil, err
	}
	spec := topology.Spec{Tiers: []topology.Link{usual.Tier(topology.Host), usual.Tier(topology.Rack)}, Reduce: usual.Reduce()}
	names := make(map[string]string) // label to a name that the text form can carry
	for i := range members {
		m := &members[i]
		if names[m.Label] == "" {
			names[m.Label] = fmt.Sprintf("h%d", len(names))
		}
		spec.Places = append(spec.Places, topology.Place{Host: names[m.Label], Rack: "r0", Site: "s0"})
		if spec.Cores == 0 || m.Cores < spec.Cores {
			spec.Cores = m.Cores
		}
	}
	return topology.New(spec)
}

// openDoors makes a rank's endpoints on the transports that this machine supports.
func openDoors(ctx context.Context, ts []transport.Transport, group string, rank int) (doors, error) {
	d := doors{opened: new(routes), host: new(hostMemory)}
	widest := -1
	for i, t := range ts {
		if widest < 0 || t.Caps().Scope > ts[widest].Caps().Scope {
			widest = i
		}
	}
	if widest < 0 {
		return d, argError("Config.Transports", "none")
	}
	bell, err := ts[widest].NewBell()
	if err != nil {
		return d, err
	}
	d.bell = bell
	for _, t := range ts {
		ep, err := t.Listen(ctx, group, rank, bell)
		if err != nil {
			return doors{}, errors.Join(fmt.Errorf("collective: transport %s: %w", t.Name(), err), d.close())
		}
		d.transports, d.endpoints = append(d.transports, t), append(d.endpoints, ep)
	}
	return d, nil
}

// near reports whether some transport joins ranks of one process by reference.
func (d *doors) near() bool {
	for _, t := range d.transports {
		if c := t.Caps(); c.Scope == transport.ScopeProcess && c.ByReference {
			return true
		}
	}
	return false
}

// together reports whether all members are on one host, use one transport that links by reference, and have no memory but the
// host's, and are few enough for boards. All of them come to the same answer. Every rank of a process asks, so that large
// groups must not be walked through.
func (d *doors) together(g *membership.Group) bool {
	if len(g.Members) > topology.BoardRanks {
		return false
	}
	first := &g.Members[0]
	reached := make(map[string]int)
	for i := range g.Members {
		m := &g.Members[i]
		if m.Host != first.Host || m.Label != first.Label || m.Memory != "" {
			return false
		}
		for name := range m.Addrs {
			reached[name]++
		}
	}
	for _, t := range d.transports {
		if c := t.Caps(); c.ByReference && c.Scope <= transport.ScopeHost && reached[t.Name()] == len(g.Members) {
			return true
		}
	}
	return false
}

// inProcess reports whether no transport reaches beyond this process.
func (d *doors) inProcess() bool {
	for _, t := range d.transports {
		if t.Caps().Scope > transport.ScopeProcess {
			return false
		}
	}
	return true
}

// member describes this rank to the others.
func (d *doors) member(cfg Config, seat int) membership.Member {
	m := membership.Member{
		Rank: cfg.Rank, Seat: seat, ID: cfg.identity(), Host: hostID(), Label: cfg.Host, Process: membership.ProcessID(), PID: os.Getpid(),
		Cores: runtime.NumCPU(), Addrs: make(map[string]string, len(d.endpoints)),
	}
	if m.Label == "" {
		m.Label = m.Host
	}
	for i, ep := range d.endpoints {
		m.Addrs[d.transports[i].Name()] = ep.Addr()
	}
	if cfg.Memory != nil {
		m.Memory = cfg.Memory.Describe()
	}
	return m
}

// open opens the link to a peer on the best transport that reaches it. Ranks that count as being on different hosts are
// joined as if they were, over a network, where both offer one. It returns the transport's name, too.
func (d *doors) open(self, peer *membership.Member, id transport.LinkID) (transport.Link, string, error) {
	for _, asLabelled := range []bool{true, false} {
		for i, t := range d.transports {
			from, to := asPeer(self, t.Name()), asPeer(peer, t.Name())
			if asLabelled && self.Label != peer.Label {
				from.Host, from.Process = "", ""
			}
			if to.Addr == "" || !t.Reaches(from, to) {
				continue
			}
			l, err := d.endpoints[i].Open(to, id)
			return l, t.Name(), err
		}
	}
	return nil, "", transport.ErrUnreachable
}

func asPeer(m *membership.Member, transportName string) transport.Peer {
	return transport.Peer{Rank: m.Seat, ID: m.ID, Host: m.Host, Process: m.Process, Addr: m.Addrs[transportName]}
}

// alloc returns memory of the endpoint that reaches furthest: every nearer link can read it, too.
func (d *doors) alloc(bytes int) ([]byte, error) { return d.widest().Alloc(bytes) }

func (d *doors) free(mem []byte) error { return d.widest().Free(mem) }

func (d *doors) widest() transport.Endpoint {
	w := 0
	for i, t := range d.transports {
		if t.Caps().ByReference && t.Caps().Scope > d.transports[w].Caps().Scope {
			w = i
		}
	}
	return d.endpoints[w]
}

func (d *doors) close() error {
	var errs []error
	for _, ep := range d.endpoints {
		errs = append(errs, ep.Close())
	}
	if d.bell != nil {
		errs = append(errs, d.bell.Close())
	}
	return errors.Join(errs...)
}

// Rank returns this rank's number.
func (c *Comm) Rank() int { return c.cfg.Rank }

// Size returns the number of ranks.
func (c *Comm) Size() int { return c.cfg.Size }

// Epoch returns the generation of the membership.
func (c *Comm) Epoch() Epoch { return c.epoch }

// Topology returns the graph that the planner works with.
func (c *Comm) Topology() *topology.Graph { return c.planner.Graph() }

// Err returns nil while the communicator works, else why it has ended: what the first failed operation returned, the
// cause of an abort, or [ErrClosed].
func (c *Comm) Err() error { return c.engine.Err() }

// Explain returns, as text, which schedule an operation over a vector of so many bytes uses, why, and what the other
// candidates would cost by the model, whether the costs were measured, and how this rank reaches the peers that it has links
// with. root counts for broadcast and reduce only.
func (c *Comm) Explain(coll schedule.Collective, root int, bytes int64) (string, error) {
	p, err := c.planner.Choose(c.cfg.Algorithm, plan.Request{Collective: coll, Root: topology.Rank(root), Bytes: bytes})
	if err != nil {
		return "", err
	}
	return c.planner.Explain(p) + costsText(c.costs) + routeText(c.cfg.Rank, c.Routes()) + memoryText(c.cfg.Rank, c.MemoryWay()), nil
}

// Abort ends the communicator on every rank: operations that run or are called later return an [*AbortError], which Is
// [ErrAborted] and, on this rank, Is cause. It returns at once, may be called at any time from any goroutine, and only the first
// call has an effect.
func (c *Comm) Abort(cause error) {
	if cause == nil {
		cause = errNilCause
	}
	c.engine.Abort(&AbortError{Rank: c.cfg.Rank, Cause: cause.Error(), Err: cause})
}

// Close ends this rank's membership: it lets running operations of this rank finish for up to half a second,
// aborts them otherwise, and frees memory of [Alloc]. Peers that still need this rank get an error that names it.
// It is idempotent and returns within a second, whatever the peers do; only while a peer on another host is still taking what this rank
// has sent to it does Close wait for that, up to ten seconds.
func (c *Comm) Close() error {
	if !c.queue.close(500*time.Millisecond, func() { c.engine.Abort(ErrClosed) }) {
		return nil
	}
	err := errors.Join(c.engine.Close(ErrClosed), c.doors.close())
	c.engine.Free()
	if m := c.cfg.Memory; m != nil {
		err = errors.Join(err, c.freeAway())
	}
	if mem := c.calls.scratch; mem != nil {
		_ = c.doors.free(mem) // as for the engine's
		c.calls.scratch = nil
	}
	c.cfg.Logger.Debug("closed", "group", c.cfg.Group, "rank", c.cfg.Rank)
	return errors.Join(err, c.own.close())
}
