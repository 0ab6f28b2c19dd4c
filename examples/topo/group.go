package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/examples/internal/links"
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
	links      map[int]transport.Link // that were opened to measure, by peer
}

// enter makes the rank's endpoints and forms the group.
func enter(ctx context.Context, o *options, l *links.Links, rank int, name string, host probe.HostInfo) (d *door, err error) {
	// Its number is the group's to give where it comes by an invitation; its endpoints need one that nobody else has.
	config := l.Config(rank, o.ranks(), name)
	d = &door{transports: l.Transports, links: make(map[int]transport.Link)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if name, err = nameOf(o, l, name); err != nil {
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
		Rank: config.Rank, Seat: int(membership.NewID() >> 34), Host: host.Identity(), Label: host.Identity(), Process: membership.ProcessID(),
		PID: os.Getpid(), Cores: host.Cores, Addrs: make(map[string]string),
	}
	if l.Peer != nil {
		self.ID = l.Peer.ID()
	}
	if o.hosts > 1 {
		self.Label = fmt.Sprintf("host%d", o.hostOf(rank))
	}
	for _, t := range d.transports {
		ep, err := t.Listen(ctx, name, self.Seat, d.bell)
		if err != nil {
			return d, fmt.Errorf("transport %s: %w", t.Name(), err)
		}
		d.endpoints = append(d.endpoints, ep)
		self.Addrs[t.Name()] = ep.Addr()
	}
	if d.group, d.rank, err = form(ctx, o, l, self, name); err != nil {
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

// nameOf returns the name that all ranks know the group by, name where it has no other.
func nameOf(o *options, l *links.Links, name string) (string, error) {
	switch {
	case l.Invitation != "":
		inv, err := membership.ParseInvitation(l.Invitation)
		if err != nil {
			return "", err
		}
		return inv.Name(), nil
	case o.Job != nil:
		return o.Job.Name(), nil
	}
	return name, nil
}

// form gathers the group, and returns this rank's number in it.
func form(ctx context.Context, o *options, l *links.Links, self membership.Member, name string) (*membership.Group, int, error) {
	var host membership.Host // nil where all ranks are on this host
	if l.Peer != nil {
		host = l.Peer
	}
	switch {
	case l.Invitation != "":
		inv, err := membership.ParseInvitation(l.Invitation)
		if err != nil {
			return nil, 0, err
		}
		return membership.Over(ctx, host, inv, self, membership.Options{})
	case o.Job != nil:
		return membership.Launched(ctx, host, *o.Job, self, membership.Options{})
	}
	meet := membership.OnHost
	if o.processes == 1 {
		meet = membership.Local
	}
	g, err := meet(ctx, name, o.ranks(), self)
	return g, self.Rank, err
}

func (d *door) peer(rank int, t transport.Transport) transport.Peer {
	m := &d.group.Members[rank]
	return transport.Peer{Rank: m.Seat, ID: m.ID, Host: m.Host, Process: m.Process, Addr: m.Addrs[t.Name()]}
}

// best returns which transport joins two ranks, or -1. Ranks of pretended hosts are joined over a network where there is
// one.
func (d *door) best(a, b int) int {
	for _, asLabelled := range []bool{true, false} {
		for i, t := range d.transports {
			from, to := d.peer(a, t), d.peer(b, t)
			if asLabelled && d.group.Members[a].Label != d.group.Members[b].Label {
				from.Host, from.Process = "", ""
			}
			if to.Addr != "" && t.Reaches(from, to) {
				return i
			}
		}
	}
	return -1
}

// graph describes the members with costs that are usual. Ranks that share a process share a device, so that what a link
// within the process costs is measured apart.
func (d *door) graph(o *options) (*topology.Graph, error) {
	usual, err := topology.Preset("hosts", 2, map[string]string{"hosts": "2"})
	if err != nil {
		return nil, err
	}
	spec := topology.Spec{Reduce: usual.Reduce()}
	for l := topology.Device; l <= topology.World; l++ {
		spec.Tiers = append(spec.Tiers, usual.Tier(l))
	}
	ranksOf, names, named := make(map[string]int), make(map[string]string), make(map[string]int)
	for i := range d.group.Members {
		ranksOf[d.group.Members[i].Process]++
	}
	for i := range d.group.Members {
		m := &d.group.Members[i]
		if names[m.Label] == "" {
			names[m.Label] = m.Label
			if o.hosts <= 1 { // an identity, which is long
				names[m.Label], _, _ = strings.Cut(m.Label, "/")
				if named[names[m.Label]]++; named[names[m.Label]] > 1 || names[m.Label] == "" {
					names[m.Label] = fmt.Sprintf("%s.%d", cmp.Or(names[m.Label], "host"), named[names[m.Label]])
				}
			}
		}
		p := topology.Place{Host: names[m.Label], Rack: "r0", Site: "s0"}
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
			l, err := d.endpoints[i].Open(d.peer(int(peer), d.transports[i]), transport.LinkID{Comm: d.group.ID})
			if err == nil {
				d.links[int(peer)] = l
			}
			return l, err
		},
	})
}

// key is what the costs of this group depend on.
func (d *door) key(o *options) probe.Key {
	k := probe.Key{Shape: fmt.Sprintf("topo: %d ranks, %d a process, on %d hosts", len(d.group.Members), o.threads, o.hosts)}
	for i := range d.group.Members {
		k.Hosts = append(k.Hosts, d.group.Members[i].Host)
	}
	for _, t := range d.transports {
		k.Transports = append(k.Transports, t.Name())
	}
	return k
}

// over returns the name of the transport between two ranks: as this rank has found it, where it has a link to one of them.
func (d *door) over(a, b int) string {
	peer := a
	if a == d.rank {
		peer = b
	}
	if l := d.links[peer]; l != nil && (a == d.rank || b == d.rank) {
		if via := l.Caps().Via; via != "" {
			return via
		}
	}
	return d.transports[d.best(a, b)].Name()
}

// detours tells which peers of this rank are not reached the best way, and why.
func (d *door) detours() []string {
	var list []string
	for _, peer := range slices.Sorted(maps.Keys(d.links)) {
		if c := d.links[peer].Caps(); c.Why != "" {
			list = append(list, fmt.Sprintf("rank %d over %s: %s", peer, c.Via, c.Why))
		}
	}
	return list
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
