package collective

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
)

const (
	// measureChannel is the channel of the links that measure; schedules have few channels, and start at 0.
	measureChannel = 0xfffe
	// measureBudget is how long the ping-pong of all pairs shall take, measureTime what everything together may: a group that is
	// not done by then plans with the usual costs.
	measureBudget = 800 * time.Millisecond
	measureTime   = 4 * time.Second
	// measureMemory is what a rank that is measured sends from, more than a processor's nearest caches hold.
	measureMemory = 8 << 20
	// measuredRanks is the largest group that is measured.
	measuredRanks = 4096
	// measuredCrowd is how many ranks a core of a machine may have: with more, what is measured is how they wait for it.
	measuredCrowd = 8
)

// errSlow is the cause of a measurement's end when it takes too long.
var errSlow = errors.New("collective: measuring takes too long")

// measures reports whether the group finds out what its links cost. It depends on nothing that ranks could see differently.
func (c *Comm) measures() bool {
	if c.cfg.Topology != nil || c.cfg.Size < 2 || c.cfg.Size > measuredRanks {
		return false
	}
	onMachine := make(map[string]int)
	for i := range c.group.Members {
		m := &c.group.Members[i]
		if onMachine[m.Host]++; onMachine[m.Host] > measuredCrowd*max(m.Cores, 1) {
			return false
		}
	}
	distant := c.cfg.Invitation != "" || c.cfg.Launch != nil && c.cfg.Launch.Addr != ""
	return c.cfg.Costs != nil || distant && c.Topology().Hosts() > 1
}

// measure makes the planner work with measured costs: all ranks with the same ones, or all with the usual ones where the
// measurement failed for any of them. The error is one of the communicator, which has then ended.
func (c *Comm) measure(ctx context.Context) error {
	apart, err := probe.Apart(c.Topology())
	if err != nil {
		return err
	}
	key := c.costsKey(apart)
	var known *probe.Report
	if c.cfg.Rank == 0 {
		known = c.knownCosts(key)
	}
	report, err := c.probe(ctx, apart, known)
	var settled *topology.Graph
	if err == nil {
		settled, err = report.Settle(apart)
	}
	if err != nil {
		c.cfg.Logger.Info("the links could not be measured", "group", c.cfg.Group, "rank", c.cfg.Rank, "error", err)
	}
	same, err := c.agree(ctx, settled)
	if err != nil || !same {
		return err
	}
	c.planner, c.costs = plan.New(settled), report
	// Scripts of the old planner's schedules are gone with their cache; scratch memory stays.
	c.calls = callCache{scratch: c.calls.scratch}
	if c.cfg.Rank == 0 && known == nil {
		c.keepCosts(key, report)
	}
	return nil
}

// probe takes this rank's part in the measurement.
func (c *Comm) probe(ctx context.Context, g *topology.Graph, known *probe.Report) (*probe.Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, measureTime, errSlow)
	defer cancel()
	members := c.group.Members
	self := &members[c.cfg.Rank]
	machines := make([]int, len(members))
	number := make(map[string]int)
	for r := range members {
		host := members[r].Host
		if _, known := number[host]; !known {
			number[host] = len(number)
		}
		machines[r] = number[host]
	}
	cfg := probe.Config{
		Rank: topology.Rank(c.cfg.Rank), Bell: c.doors.bell, Alloc: c.doors.alloc, Free: c.doors.free, Memory: measureMemory,
		Budget: measureBudget, Known: known,
		Machine: func(r topology.Rank) int { return machines[r] },
		Open: func(peer topology.Rank) (transport.Link, error) {
			l, _, err := c.doors.open(self, &members[peer], transport.LinkID{Comm: c.group.ID, Channel: measureChannel})
			return l, err
		},
	}
	onHost := 0
	for r := range members {
		if members[r].Host == self.Host {
			onHost++
		}
	}
	if onHost > runtime.NumCPU() {
		cfg.Polls = -1 // whoever spins keeps the others from their turn
	}
	return probe.Measure(ctx, g, cfg)
}

// agree reports whether all ranks have equal graphs; nil is none.
func (c *Comm) agree(ctx context.Context, g *topology.Graph) (bool, error) {
	verdict := []int64{0, 0, 0}
	if g != nil {
		text, err := g.MarshalText()
		if err != nil {
			return false, err
		}
		sum := sha256.Sum256(text)
		digest := int64(binary.LittleEndian.Uint64(sum[:]) >> 1) // so that its negative is there
		verdict = []int64{1, digest, -digest}
	}
	if err := AllReduce(ctx, c, verdict, buffer.Min); err != nil {
		return false, err
	}
	return verdict[0] == 1 && verdict[1] == -verdict[2], nil
}

// costsKey is what the costs of this group depend on.
func (c *Comm) costsKey(g *topology.Graph) probe.Key {
	var k probe.Key
	shape := sha256.New()
	for h := range g.Hosts() {
		m := &c.group.Members[g.HostRank(h, 0)]
		k.Hosts = append(k.Hosts, m.Host)
		fmt.Fprintf(shape, "%s %s %d\n", m.Host, m.Label, g.HostSize(h)) // a hash takes everything
	}
	for _, t := range c.doors.transports {
		k.Transports = append(k.Transports, t.Name())
	}
	k.Shape = fmt.Sprintf("group %x", shape.Sum(nil)[:16])
	return k
}

// costs are reports of groups that this process has measured, for those whose Config keeps them nowhere else.
var costs = struct {
	sync.Mutex
	by map[string]keptCosts
}{by: make(map[string]keptCosts)}

type keptCosts struct {
	report *probe.Report
	at     time.Time
}

// maxKept bounds costs.
const maxKept = 256

// knownCosts returns what an earlier group of the same shape has found, or nil.
func (c *Comm) knownCosts(k probe.Key) *probe.Report {
	if c.cfg.Costs != nil {
		r, err := c.cfg.Costs.Load(k)
		if err != nil {
			c.cfg.Logger.Debug("no costs in the cache", "group", c.cfg.Group, "reason", err)
			return nil
		}
		return r
	}
	costs.Lock()
	defer costs.Unlock()
	kept, ok := costs.by[fmt.Sprint(k)]
	if !ok || time.Since(kept.at) > probe.DefaultMaxAge {
		return nil
	}
	return kept.report
}

// keepCosts keeps a report for later groups.
func (c *Comm) keepCosts(k probe.Key, r *probe.Report) {
	if c.cfg.Costs != nil {
		if err := c.cfg.Costs.Store(k, r); err != nil {
			c.cfg.Logger.Info("costs not kept", "group", c.cfg.Group, "error", err)
		}
		return
	}
	costs.Lock()
	defer costs.Unlock()
	if len(costs.by) >= maxKept {
		clear(costs.by)
	}
	costs.by[fmt.Sprint(k)] = keptCosts{r, time.Now()}
}

// Costs returns what the group measured when it formed, and the planner works with; nil where it works with usual costs or
// those of Config.Topology. It must not be changed.
func (c *Comm) Costs() *probe.Report { return c.costs }

// costsText is a line for people, "" where nothing was measured.
func costsText(r *probe.Report) string {
	if r == nil {
		return ""
	}
	pairs, probes, residual := 0, 0, 0.0
	for _, t := range r.Tiers {
		pairs, probes, residual = pairs+t.Pairs, probes+t.Probes, math.Max(residual, t.Residual)
	}
	return fmt.Sprintf("  costs measured when the group formed: %d pairs of ranks, %d round trips, residual up to %.0f %%\n", pairs, probes, 100*residual)
}
