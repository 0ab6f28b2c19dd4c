package collective_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/tcp"
)

// overTCP is what ranks of these tests use between hosts.
func overTCP(t *testing.T, id transport.Identity) transport.Transport {
	t.Helper()
	c, err := tcp.New(id, tcp.ListenOn("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// invited joins a group of goroutine ranks by an invitation, on hosts of these names, with what change makes of their
// configurations.
func invited(t *testing.T, size int, host func(r int) string, change func(r int, c *collective.Config)) ([]*collective.Comm, []error) {
	t.Helper()
	comms := make([]*collective.Comm, size)
	first := newPeer(t)
	invitation, err := collective.Invite(first, size)
	if err != nil {
		t.Fatal(err)
	}
	configs := make([]collective.Config, size)
	for r := range configs {
		peer := first
		if r > 0 {
			peer = newPeer(t)
		}
		configs[r] = collective.Config{
			Rank: r, Peer: peer, Invitation: invitation, Host: host(r),
			Transports: []transport.Transport{mem.Default(), overTCP(t, peer.Identity())},
		}
		if change != nil {
			change(r, &configs[r])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := ranksDo(size, func(r int) (err error) {
		comms[r], err = collective.Join(ctx, configs[r])
		return err
	})
	t.Cleanup(func() {
		for _, c := range comms {
			if c != nil {
				c.Close()
			}
		}
	})
	return comms, errs
}

func joined(t *testing.T, comms []*collective.Comm, errs []error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	each(t, comms, func(ctx context.Context, c *collective.Comm) error {
		one := []int32{1}
		if err := collective.AllReduce(ctx, c, one, buffer.Sum); err != nil || int(one[0]) != c.Size() {
			return fmt.Errorf("sum %d, %w", one[0], err)
		}
		return nil
	})
}

// A group on several hosts plans with what its links cost, the same on all ranks, and so do its parts. The next group of
// the same ranks knows already.
func TestMeasuredCosts(t *testing.T) {
	name := groupName()
	host := func(r int) string { return fmt.Sprint(name, r/2) }
	var first *probe.Report
	for round := range 2 {
		comms, errs := invited(t, 5, host, nil)
		joined(t, comms, errs)
		graph := comms[0].Topology()
		for r, c := range comms {
			if c.Costs() == nil || !c.Topology().Equal(graph) {
				t.Fatalf("rank %d: costs %v, graph\n%v\nwant the measured one of rank 0:\n%v", r, c.Costs(), c.Topology(), graph)
			}
		}
		if graph.Hosts() != 3 || graph.HostSize(0) != 2 {
			t.Errorf("got %d hosts, %d ranks on the first, want 3 and 2", graph.Hosts(), graph.HostSize(0))
		}
		if l := graph.Link(0, 4); l.Alpha <= 0 || l.Alpha > 1 {
			t.Errorf("between hosts: got %+v, want a measured cost", l)
		}
		text, err := comms[1].Explain(schedule.AllReduce, 0, 1<<20)
		if err != nil || !strings.Contains(text, "costs measured when the group formed: ") {
			t.Errorf("got %v and\n%swant a line about costs", err, text)
		}
		if round == 0 {
			first = comms[0].Costs()
		} else if comms[0].Costs() != first {
			t.Error("the second group has measured again")
		}
		parts := make([]*collective.Comm, len(comms))
		each(t, comms, func(ctx context.Context, c *collective.Comm) (err error) {
			parts[c.Rank()], err = c.Split(ctx, c.Rank()%2, 0)
			return err
		})
		if got, want := parts[0].Topology().Link(0, 1), graph.Link(0, 2); got.Alpha != want.Alpha || got.Beta != want.Beta {
			t.Errorf("in a part: got %+v, want %+v", got, want)
		}
		closeAll(t, parts)
		closeAll(t, comms)
	}
}

// A group of one host is formed without a measurement, unless it has a place for the costs.
func TestMeasuredOneHost(t *testing.T) {
	host := func(int) string { return "one" }
	comms, errs := invited(t, 3, host, nil)
	joined(t, comms, errs)
	if comms[0].Costs() != nil {
		t.Errorf("got costs %+v, want the usual ones", comms[0].Costs())
	}
	cache := &probe.Cache{Dir: t.TempDir()}
	var alpha [2]float64
	for round := range alpha {
		cached := make([]*collective.Comm, 3)
		group, ts := groupName(), []transport.Transport{mem.New()}
		errs := ranksDo(len(cached), func(r int) (err error) {
			cached[r], err = collective.Join(t.Context(), collective.Config{Rank: r, Size: 3, Group: group, Transports: ts, Costs: cache})
			return err
		})
		joined(t, cached, errs)
		alpha[round] = cached[2].Topology().Link(0, 1).Alpha
		if cached[0].Costs() == nil {
			t.Error("got the usual costs, want measured ones")
		}
		closeAll(t, cached)
	}
	files, err := filepath.Glob(filepath.Join(cache.Dir, "probe-*.json"))
	if err != nil || len(files) != 1 || alpha[0] != alpha[1] {
		t.Errorf("got files %v, %v, and alphas %v: want one file, and its costs the second time", files, err, alpha)
	}
	// A cache that cannot be written keeps nobody from forming a group.
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	comms, errs = invited(t, 2, host, func(_ int, c *collective.Config) { c.Costs = &probe.Cache{Dir: blocked} })
	joined(t, comms, errs)
}

// Where a core has very many ranks nobody measures how they wait for it.
func TestMeasureCrowd(t *testing.T) {
	size := 8*runtime.NumCPU() + 1
	if size > 100 {
		t.Skipf("it takes %d ranks to crowd this machine", size)
	}
	group, ts := groupName(), []transport.Transport{mem.New()}
	comms := make([]*collective.Comm, size)
	cache := &probe.Cache{Dir: t.TempDir()}
	errs := ranksDo(size, func(r int) (err error) {
		comms[r], err = collective.Join(t.Context(), collective.Config{Rank: r, Size: size, Group: group, Transports: ts, Costs: cache})
		return err
	})
	joined(t, comms, errs)
	if comms[0].Costs() != nil {
		t.Errorf("got costs %+v, want the usual ones", comms[0].Costs())
	}
	closeAll(t, comms)
}

// A hurt transport does something instead when the links that measure are opened.
type hurt struct {
	transport.Transport
	open func(ep transport.Endpoint) error
}

type hurtEndpoint struct {
	transport.Endpoint
	open func(ep transport.Endpoint) error
}

func (h hurt) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	ep, err := h.Transport.Listen(ctx, group, rank, bell)
	return hurtEndpoint{ep, h.open}, err
}

func (h hurtEndpoint) Open(to transport.Peer, id transport.LinkID) (transport.Link, error) {
	if id.Channel == 0xfffe {
		if err := h.open(h.Endpoint); err != nil {
			return nil, err
		}
	}
	return h.Endpoint.Open(to, id)
}

// Where one rank cannot measure, all plan with the usual costs.
func TestMeasureFails(t *testing.T) {
	name := groupName()
	comms, errs := invited(t, 4, func(r int) string { return fmt.Sprint(name, r) }, func(r int, c *collective.Config) {
		if r == 2 {
			c.Transports[1] = hurt{c.Transports[1], func(transport.Endpoint) error { return errors.New("out of luck") }}
		}
	})
	joined(t, comms, errs)
	for r, c := range comms {
		if c.Costs() != nil || !c.Topology().Equal(comms[0].Topology()) {
			t.Errorf("rank %d: got costs %+v, want the usual ones", r, c.Costs())
		}
	}
}

// A rank that is gone while the group measures is missed by all: none hangs, and none gets a communicator.
func TestMeasureDeath(t *testing.T) {
	name := groupName()
	_, errs := invited(t, 4, func(r int) string { return fmt.Sprint(name, r) }, func(r int, c *collective.Config) {
		if r == 2 {
			c.Transports[1] = hurt{c.Transports[1], func(ep transport.Endpoint) error { return ep.Close() }}
		}
	})
	for r, err := range errs {
		if err == nil {
			t.Errorf("rank %d: got a communicator, want an error", r)
		} else if r != 2 && !errors.Is(err, collective.ErrPeerLost) && !errors.Is(err, collective.ErrAborted) {
			t.Errorf("rank %d: got %v, want a lost peer", r, err)
		}
	}
}
