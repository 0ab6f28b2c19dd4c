package collective_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/p2p"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/tcp"
)

// overNetwork makes a process's identity and its one transport, which never takes silence for death: what is noticed is
// noticed otherwise, however starved this machine is.
func overNetwork(ctx context.Context, name string, c *collective.Config) (*p2p.Host, error) {
	peer, err := p2p.New(ctx, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		return nil, err
	}
	var t transport.Transport
	if name == "quic" {
		t, err = quic.New(peer.Identity(), quic.ListenOn("127.0.0.1:0"), quic.SilentTimeout(time.Hour))
	} else {
		t, err = tcp.New(peer.Identity(), tcp.ListenOn("127.0.0.1:0"), tcp.SilentTimeout(time.Hour))
	}
	if err != nil {
		peer.Close()
		return nil, err
	}
	c.Peer, c.Transports = peer, []transport.Transport{t}
	return peer, nil
}

// freeAddr returns a loopback address that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr())
}

// A process that is killed in the middle of an operation over a network is named by all others, though a network has
// nothing to say about it: over tcp its kernel ends the connections, over quic it refuses packets.
func TestNetworkProcessKilled(t *testing.T) {
	for _, over := range []string{"quic", "tcp"} {
		for _, a := range short(1, plan.Ring, plan.Direct) {
			t.Run(fmt.Sprintf("%s,%v", over, a), func(t *testing.T) {
				killOne(t, role{Play: "flood", Over: over, Addr: freeAddr(t), Algorithm: a, Bytes: 8 << 20})
			})
		}
	}
}

// A process that is stopped is not lost over a network either: the others' deadlines end the operation and name it.
func TestNetworkProcessStopped(t *testing.T) {
	for _, over := range []string{"quic", "tcp"} {
		t.Run(over, func(t *testing.T) {
			stopOne(t, role{Play: "stall", Over: over, Addr: freeAddr(t), Algorithm: plan.Direct, Stall: 2 * time.Second})
		})
	}
}
