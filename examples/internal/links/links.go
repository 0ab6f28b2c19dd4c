// Package links gives the examples what their flags have in common: the transports, and the group that is formed over them.
package links

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/all"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/p2p"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/rdma"
	"github.com/ringtree/ringtree/transport/shm"
	"github.com/ringtree/ringtree/transport/tcp"
)

// quicFirst is QUIC, and TCP for the peers that it does not reach, whatever is quicker.
const quicFirst = "quic,tcp"

// Names are the values of a -transport flag.
func Names() []string { return []string{"auto", "mem", "shm", "quic", "tcp", quicFirst, "rdma"} }

// distant reports whether a transport is for a network even where there is no invitation.
func distant(name string) bool {
	return name == "quic" || name == "tcp" || name == quicFirst || name == "rdma"
}

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

// A Wire says how ranks are connected over a network.
type Wire struct {
	Conns     int  // connections a peer; 0: as many as the transport likes
	PlainData bool // tcp sends data in clear
}

// Open makes the transports of that name, with a network's connections as w has them. "auto" is
// what works on one host, and with network also quic and tcp; those two, one or both, and rdma, by themselves
// have shared memory inside a host beside it when inside is set.
func Open(ctx context.Context, name string, w Wire, network, inside bool) (*Links, error) {
	l := &Links{}
	network = network || distant(name)
	if network {
		h, err := p2p.New(ctx, p2p.Config{})
		if err != nil {
			return nil, err
		}
		l.Peer = h
	}
	if err := l.pick(name, w, network, inside); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Links) pick(name string, w Wire, network, inside bool) error {
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
	case "quic", "tcp", quicFirst, "rdma":
		if inside {
			l.Transports = all.Transports()
		}
	default:
		return Check(name)
	}
	if !network {
		return nil
	}
	far, err := l.far(name, w)
	l.Transports = append(l.Transports, far...)
	return err
}

// far returns the transports between hosts, if any.
func (l *Links) far(name string, w Wire) ([]transport.Transport, error) {
	id := l.Peer.Identity()
	var t transport.Transport
	var err error
	switch name {
	case "quic":
		t, err = overQUIC(id, w)
	case "tcp":
		t, err = overTCP(id, w)
	case quicFirst:
		q, failed := overQUIC(id, w)
		if failed != nil {
			return nil, failed
		}
		s, failed := overTCP(id, w)
		if failed != nil {
			return nil, failed
		}
		return all.Combine([]transport.Transport{q, s}, slog.New(slog.DiscardHandler))
	case "rdma":
		t, err = overRDMA(id, w.Conns)
	case "auto":
		t, err = all.Network(id, all.Settings{Conns: w.Conns})
	default:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []transport.Transport{t}, nil
}

func overQUIC(id transport.Identity, w Wire) (transport.Transport, error) {
	var options []quic.Option
	if w.Conns > 0 {
		options = append(options, quic.Conns(w.Conns))
	}
	return quic.New(id, options...)
}

func overTCP(id transport.Identity, w Wire) (transport.Transport, error) {
	var options []tcp.Option
	if w.Conns > 0 {
		options = append(options, tcp.Conns(w.Conns))
	}
	if w.PlainData {
		options = append(options, tcp.PlainData())
	}
	return tcp.New(id, options...)
}

// overRDMA returns RDMA with conns queue pairs a link, or says what is missing.
func overRDMA(id transport.Identity, conns int) (transport.Transport, error) {
	if err := rdma.Available(); err != nil {
		return nil, err
	}
	// One connection does for control; the kernel says at once that a process has died, and the device that a path is cut; and
	// an emulated machine, where this is tested, takes its time for a handshake and is silent for long when it is starved.
	control, err := tcp.New(id, tcp.Conns(1), tcp.DialTimeout(time.Minute), tcp.SilentTimeout(time.Minute))
	if err != nil {
		return nil, err
	}
	var options []rdma.Option
	if conns > 0 {
		options = append(options, rdma.QueuePairs(conns))
	}
	return rdma.New(control, options...)
}

// Close ends what Open made. The communicators must be closed before.
func (l *Links) Close() error {
	if l.Peer == nil {
		return nil
	}
	return l.Peer.Close()
}
