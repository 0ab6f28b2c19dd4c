// Package links gives the examples what their flags have in common: the transports, and the group that is formed over them.
package links

import (
	"context"
	"fmt"
	"strings"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/all"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/p2p"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/shm"
	"github.com/ringtree/ringtree/transport/tcp"
)

// Names are the values of a -transport flag.
func Names() []string { return []string{"auto", "mem", "shm", "quic", "tcp"} }

// Check returns an error when name is neither one of [Names] nor "".
func Check(name string) error {
	if name == "" {
		return nil
	}
	for _, n := range Names() {
		if n == name {
			return nil
		}
	}
	return fmt.Errorf("transport %q: want one of %s", name, strings.Join(Names(), ", "))
}

// Links are a process's transports, for all its ranks.
type Links struct {
	// Peer is the process's identity; nil where nothing reaches beyond the host.
	Peer *p2p.Host
	// Transports are what -transport allows.
	Transports []transport.Transport
	// Invitation is the group's; "" where it is formed otherwise.
	Invitation string

	flags Flags
}

// Open makes the transports of that name, with conns connections a peer (0: as many as the transport likes). "auto" is
// what works on one host, and with network also quic and tcp; quic and tcp between processes and hosts have
// shared memory inside a host beside them when inside is set.
func Open(ctx context.Context, name string, conns int, network, inside bool) (*Links, error) {
	l := &Links{}
	network = network || name == "quic" || name == "tcp"
	if network {
		h, err := p2p.New(ctx, p2p.Config{})
		if err != nil {
			return nil, err
		}
		l.Peer = h
	}
	if err := l.pick(name, conns, network, inside); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Links) pick(name string, conns int, network, inside bool) error {
	if name == "" {
		name = "auto"
	}
	switch name {
	case "mem":
		l.Transports = []transport.Transport{mem.Default()}
	case "shm":
		if err := shm.Available(); err != nil {
			return err
		}
		l.Transports = []transport.Transport{shm.New()}
	case "auto":
		l.Transports = all.Transports()
	case "quic", "tcp":
		if inside {
			l.Transports = all.Transports()
		}
	default:
		return Check(name)
	}
	if !network {
		return nil
	}
	t, err := l.far(name, conns)
	if err == nil && t != nil {
		l.Transports = append(l.Transports, t)
	}
	return err
}

// far returns the transport between hosts, or nil.
func (l *Links) far(name string, conns int) (transport.Transport, error) {
	id := l.Peer.Identity()
	switch name {
	case "quic":
		if conns > 0 {
			return quic.New(id, quic.Conns(conns))
		}
		return quic.New(id)
	case "tcp":
		if conns > 0 {
			return tcp.New(id, tcp.Conns(conns))
		}
		return tcp.New(id)
	case "auto":
		return all.Network(id, all.Settings{Conns: conns})
	}
	return nil, nil
}

// Close ends what Open made. The communicators must be closed before.
func (l *Links) Close() error {
	if l.Peer == nil {
		return nil
	}
	return l.Peer.Close()
}
