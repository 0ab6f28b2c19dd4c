package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
)

// A door is one rank's way to the others, for the time of the measurement.
type door struct {
	rank       int
	transports []transport.Transport
	endpoints  []transport.Endpoint
	widest     int // the transport that reaches furthest
	bell       transport.Bell
	group      *membership.Group
}

// enter makes the rank's endpoints and forms the group.
func enter(ctx context.Context, o *options, rank int, name string, host probe.HostInfo) (d *door, err error) {
	d = &door{rank: rank}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.transports, err = transportsOf(o.transport); err != nil {
		return d, err
	}
	for i, t := range d.transports {
		if t.Caps().Scope > d.transports[d.widest].Caps().Scope {
			d.widest = i
		}
	}
	if d.bell, err = d.transports[d.widest].NewBell(); err != nil {
		return d, err
	}
	self := membership.Member{
		Rank: rank, Host: host.Identity(), Label: host.Name, Process: membership.ProcessID(), PID: os.Getpid(), Cores: host.Cores,
		Addrs: make(map[string]string),
	}
	if self.Label == "" {
		self.Label = "host"
	}
	if o.hosts > 1 {
		self.Label = fmt.Sprintf("host%d", o.hostOf(rank))
	}
	for _, t := range d.transports {
		ep, err := t.Listen(ctx, name, rank, d.bell)
		if err != nil {
			return d, fmt.Errorf("transport %s: %w", t.Name(), err)
		}
		d.endpoints = append(d.endpoints, ep)
		self.Addrs[t.Name()] = ep.Addr()
	}
	form := membership.OnHost
	if o.processes == 1 {
		form = membership.Local
	}
	if d.group, err = form(ctx, name, o.ranks(), self); err != nil {
		return d, err
	}
	for i, t := range d.transports {
		var peers []transport.Peer
		for r := range d.group.Members {
			peers = append(peers, d.peer(r, t))
		}
		d.endpoints[i].Admit(peers)
	}
	return d, nil
}

func (d *door) peer(rank int, t transport.Transport) transport.Peer {
	m := &d.group.Members[rank]
	return transport.Peer{Rank: m.Rank, Host: m.Host, Process: m.Process, Addr: m.Addrs[t.Name()]}
}

// best returns which transport joins two ranks, or -1.
func (d *door) best(a, b int) int {
	return slices.IndexFunc(d.transports, func(t transport.Transport) bool {
		to := d.peer(b, t)
		return to.Addr != "" && t.Reaches(d.peer(a, t), to)
	})
}

// graph describes the members with costs that are usual. Ranks that share a process share a device, so that what a link
// within the process costs is measured apart.
func (d *door) graph() (*topology.Graph, error) {
	usual, err := topology.Preset("hosts", 2, map[string]string{"hosts": "2"})
	if err != nil {
		return nil, err
	}
	spec := topology.Spec{Reduce: usual.Reduce()}
	for l := topology.Device; l <= topology.World; l++ {
		spec.Tiers = append(spec.Tiers, usual.Tier(l))
	}
	ranksOf := make(map[string]int)
	for i := range d.group.Members {
		ranksOf[d.group.Members[i].Process]++
	}
	for i := range d.group.Members {
		m := &d.group.Members[i]
		p := topology.Place{Host: m.Label, Rack: "r0", Site: "s0"}
		if ranksOf[m.Process] > 1 {
			p.Device = fmt.Sprintf("pid%d", m.PID)
		}
		spec.Places = append(spec.Places, p)
		if spec.Cores == 0 || m.Cores < spec.Cores {
			spec.Cores = m.Cores
		}
	}
	return topology.New(spec)
}

// machines numbers the machines that ranks really are on, whatever -hosts makes of them.
func (d *door) machines() func(topology.Rank) int {
	number := make(map[string]int)
	of := make([]int, len(d.group.Members))
	for r := range of {
		host := d.group.Members[r].Host
		if _, known := number[host]; !known {
			number[host] = len(number)
		}
		of[r] = number[host]
	}
	return func(r topology.Rank) int { return of[r] }
}

// measure measures the links, on all ranks together. known is what rank 0 knows already, or nil.
func (d *door) measure(ctx context.Context, g *topology.Graph, known *probe.Report) (*probe.Report, error) {
	ep := d.endpoints[d.widest]
	return probe.Measure(ctx, g, probe.Config{
		Rank: topology.Rank(d.rank), Bell: d.bell, Alloc: ep.Alloc, Free: ep.Free, Machine: d.machines(), Known: known,
		Open: func(peer topology.Rank) (transport.Link, error) {
			i := d.best(d.rank, int(peer))
			if i < 0 {
				return nil, fmt.Errorf("rank %d: %w", peer, transport.ErrUnreachable)
			}
			return d.endpoints[i].Open(d.peer(int(peer), d.transports[i]), transport.LinkID{Comm: d.group.ID})
		},
	})
}

// key is what the costs of this group depend on.
func (d *door) key(o *options) probe.Key {
	k := probe.Key{Shape: fmt.Sprintf("topo: %d processes of %d ranks on %d hosts", o.processes, o.threads, o.hosts)}
	for i := range d.group.Members {
		k.Hosts = append(k.Hosts, d.group.Members[i].Host)
	}
	for _, t := range d.transports {
		k.Transports = append(k.Transports, t.Name())
	}
	return k
}

func (d *door) close() error {
	var errs []error
	for _, ep := range d.endpoints {
		errs = append(errs, ep.Close())
	}
	if d.bell != nil {
		errs = append(errs, d.bell.Close())
	}
	return errors.Join(errs...)
}
