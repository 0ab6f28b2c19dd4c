package collective

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/topology/probe"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/all"
	"github.com/ringtree/ringtree/transport/p2p"
)

// AnyRank as Config.Rank lets the group number this rank: ranks of one host are neighbours.
const AnyRank = membership.AnyRank

// Invite returns an invitation to a new group of size ranks, one line that other processes give to [Join] as
// Config.Invitation. peer is this process's host: it must join, too, with the same invitation. Whoever has the
// invitation can join, so it is as secret as the group's data.
func Invite(peer *p2p.Host, size int) (string, error) {
	inv, err := membership.Invite(peer, size)
	if err != nil {
		return "", err
	}
	return inv.Text()
}

// hostID is the identity of what shares memory with this process: its kernel, its network namespace and its user.
var hostID = sync.OnceValue(func() string {
	h := probe.Host()
	return fmt.Sprintf("%s/%d", h.Identity(), os.Getuid())
})

// owned is what Join made for one communicator alone.
type owned struct{ peer *p2p.Host }

func (o owned) close() error {
	if o.peer == nil {
		return nil
	}
	return o.peer.Close()
}

// meet completes the configuration with what it takes to meet the others.
func (c *Config) meet(ctx context.Context) (owned, error) {
	var own owned
	if (c.Invitation != "" || c.Launch != nil && c.Launch.Addr != "") && c.Peer == nil {
		h, err := p2p.New(ctx, p2p.Config{Logger: c.Logger})
		if err != nil {
			return own, fmt.Errorf("collective: this process's host: %w", err)
		}
		c.Peer, own.peer = h, h
	}
	if c.Invitation != "" {
		inv, err := membership.ParseInvitation(c.Invitation)
		if err != nil {
			return own, err
		}
		c.Group = inv.Name()
	}
	if c.Transports == nil {
		c.Transports = all.Transports()
		if c.Peer != nil {
			network, err := all.Network(c.Peer.Identity(), all.Settings{Logger: c.Logger})
			if err != nil {
				return own, err
			}
			c.Transports = append(c.Transports, network)
		}
		return own, nil
	}
	var err error
	c.Transports, err = all.Combine(c.Transports, c.Logger)
	return own, err
}

// identity is what this rank's process proves to network peers; "" if nothing.
func (c *Config) identity() string {
	if c.Peer == nil {
		return ""
	}
	return c.Peer.ID()
}

// Identities returns the identities that the members have proved, each once: what [p2p.Host.Gate] wants, after which nobody
// but the members is heard. It is empty where no member has one.
func (c *Comm) Identities() []string { return c.group.IDs() }

// form gathers the group, and returns this rank's number in it.
func (c *Config) form(ctx context.Context, d *doors, self membership.Member) (*membership.Group, int, error) {
	if c.Invitation != "" {
		inv, err := membership.ParseInvitation(c.Invitation)
		if err != nil {
			return nil, 0, err
		}
		return membership.Over(ctx, c.Peer, inv, self, membership.Options{Logger: c.Logger})
	}
	if c.Launch != nil {
		var host membership.Host // nil where all ranks are on this host
		if c.Peer != nil {
			host = c.Peer
		}
		return membership.Launched(ctx, host, *c.Launch, self, membership.Options{Logger: c.Logger})
	}
	form := membership.OnHost
	if d.inProcess() {
		form = membership.Local
	}
	g, err := form(ctx, c.Group, c.Size, self)
	return g, c.Rank, err
}

// admit tells the endpoints who the members are.
func (d *doors) admit(g *membership.Group) {
	for i, ep := range d.endpoints {
		if d.transports[i].Caps().Scope < transport.ScopeNetwork {
			continue // nobody else can come in
		}
		peers := make([]transport.Peer, len(g.Members))
		for r := range g.Members {
			peers[r] = asPeer(&g.Members[r], d.transports[i].Name())
		}
		ep.Admit(peers)
	}
}

// networked reports whether some transport reaches beyond this host: its links are moved by goroutines of this process,
// which a waiting rank must let run.
func (d *doors) networked() bool {
	for _, t := range d.transports {
		if t.Caps().Scope >= transport.ScopeNetwork {
			return true
		}
	}
	return false
}
