// Package all knows every transport.
package all

import (
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
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

// Network returns the transports between hosts for a process with an identity, best first: quic, then tcp.
func Network(id transport.Identity) ([]transport.Transport, error) {
	q, err := quic.New(id)
	if err != nil {
		return nil, err
	}
	t, err := tcp.New(id)
	if err != nil {
		return nil, err
	}
	return []transport.Transport{q, t}, nil
}
