// Package all knows the transports that a group uses when it is told nothing.
package all

import (
	"log/slog"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/network"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/shm"
	"github.com/ringtree/ringtree/transport/tcp"
)

// Transports returns the transports that this machine has, best first: for a peer, the first that reaches it
// is the one to use. The first is [mem.Default]; shm is there where [shm.Available] says so.
func Transports() []transport.Transport {
	ts := []transport.Transport{mem.Default()}
	if shm.Available() == nil {
		ts = append(ts, shm.New())
	}
	return ts
}

// Settings are what the transports of [Network] have in common. The zero value is their own defaults.
type Settings struct {
	Conns  int          // connections a peer; 0: the default
	Logger *slog.Logger // nil: nothing is logged
}

// Network returns the transport between hosts for a process with an identity: tcp or quic, whichever is quicker to a peer (see
// transport/network), or the one that reaches it. RDMA is not among them, since nothing on its wire is encrypted: whoever trusts the network between the hosts
// chooses transport/rdma over what Network returns.
func Network(id transport.Identity, s Settings) (transport.Transport, error) {
	var q []quic.Option
	var t []tcp.Option
	var n []network.Option
	if s.Conns != 0 {
		q, t = append(q, quic.Conns(s.Conns)), append(t, tcp.Conns(s.Conns))
	}
	if s.Logger != nil {
		q, t, n = append(q, quic.Logger(s.Logger)), append(t, tcp.Logger(s.Logger)), append(n, network.Logger(s.Logger))
	}
	overQUIC, err := quic.New(id, q...)
	if err != nil {
		return nil, err
	}
	overTCP, err := tcp.New(id, t...)
	if err != nil {
		return nil, err
	}
	return network.New([]network.Way{overTCP, overQUIC}, n...)
}

// Combine returns ts with those that can take each other's place, quic and tcp, made one, at the place of the first
// of them, so that a peer which one does not reach is reached over the other.
func Combine(ts []transport.Transport, log *slog.Logger) ([]transport.Transport, error) {
	var ways []network.Way
	for _, t := range ts {
		if w, ok := t.(network.Way); ok {
			ways = append(ways, w)
		}
	}
	if len(ways) < 2 {
		return ts, nil
	}
	n, err := network.New(ways, network.Logger(log))
	if err != nil {
		return nil, err
	}
	var out []transport.Transport
	for _, t := range ts {
		if _, ok := t.(network.Way); !ok {
			out = append(out, t)
		} else if n != nil {
			out, n = append(out, n), nil
		}
	}
	return out, nil
}
