package collective_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/p2p"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/tcp"
)

// A deaf socket drops every packet in both directions, without a word.
type deaf struct{ net.PacketConn }

func (d deaf) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := d.PacketConn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// newPeer makes an identity that listens on this host only, over TCP alone: UDP may be blocked.
func newPeer(t *testing.T) *p2p.Host {
	t.Helper()
	h, err := p2p.New(t.Context(), p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// networked returns what a rank on a network uses: mem inside its process, quic or tcp beyond, its UDP blocked or not.
func networked(t *testing.T, peer *p2p.Host, blocked bool) []transport.Transport {
	t.Helper()
	options := []quic.Option{quic.ListenOn("127.0.0.1:0"), quic.SilentTimeout(patience)}
	if blocked {
		options = append(options, quic.Through(func(c net.PacketConn) net.PacketConn { return deaf{c} }))
	}
	q, err := quic.New(peer.Identity(), options...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tcp.New(peer.Identity(), tcp.ListenOn("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return []transport.Transport{mem.Default(), q, c}
}

// One communicator over three transports: two ranks of one host, one on another, and one whose UDP is blocked. All agree on
// which way each of them goes, and say why; groups that are split off go the same ways without finding out again.
func TestMixedTransports(t *testing.T) {
	const size, cut = 4, 3
	name := groupName()
	comms := make([]*collective.Comm, size)
	peers := make([]*p2p.Host, size)
	for r := range peers {
		peers[r] = newPeer(t)
	}
	invitation, err := collective.Invite(peers[0], size)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := errors.Join(ranksDo(size, func(r int) (err error) {
		comms[r], err = collective.Join(ctx, collective.Config{
			Rank: r, Peer: peers[r], Invitation: invitation, Transports: networked(t, peers[r], r == cut),
			Host: fmt.Sprint(name, "-", []int{0, 0, 1, 2}[r]), Algorithm: plan.Direct,
		})
		return err
	})...); err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, comms)
	add := func(ctx context.Context, c *collective.Comm) error {
		sum := make([]int32, 20_000)
		for i := range sum {
			sum[i] = int32(c.Rank() + i)
		}
		if err := collective.AllReduce(ctx, c, sum, buffer.Sum); err != nil {
			return err
		}
		for i, v := range sum {
			if want := int32(6 + size*i); v != want {
				return fmt.Errorf("element %d: got %d, want %d", i, v, want)
			}
		}
		return nil
	}
	for r, p := range peers { // from here on nobody else is heard
		if ids := comms[r].Identities(); len(ids) != size || p.Gate(ids) != nil {
			t.Errorf("rank %d: got identities %q, want %d that the gate takes", r, ids, size)
		}
	}
	stranger := newPeer(t)
	if _, err := stranger.Open(ctx, peers[1].Addrs(), "/any"); err == nil || errors.As(err, new(*p2p.ProtocolError)) {
		t.Errorf("a stranger at the gate: got %v, want to be kept out", err)
	}
	each(t, comms, add)
	checkRoutes(t, comms, cut, "no answer over quic within ")

	parts := make([]*collective.Comm, size)
	each(t, comms, func(ctx context.Context, c *collective.Comm) (err error) {
		parts[c.Rank()], err = c.Split(ctx, 0, 0)
		return err
	})
	if t.Failed() {
		return
	}
	defer closeAll(t, parts)
	each(t, parts, add)
	checkRoutes(t, parts, cut, "quic did not reach this peer before")

	text, err := parts[0].Explain(schedule.AllReduce, 0, 1<<20)
	want := fmt.Sprintf("tcp to rank %d (quic did not reach this peer before)", cut)
	if err != nil || !strings.Contains(text, "  links of rank 0: mem to 1 peer") || !strings.Contains(text, want) {
		t.Errorf("got %v and\n%swant a line with %q", err, text, want)
	}
}

// checkRoutes holds what the ranks say of their links to each other and to what is there.
func checkRoutes(t *testing.T, comms []*collective.Comm, cut int, why string) {
	t.Helper()
	routes := make([]map[int]collective.Route, len(comms))
	for r, c := range comms {
		routes[r] = make(map[int]collective.Route)
		for _, route := range c.Routes() {
			routes[r][route.Peer] = route
		}
	}
	for a := range comms {
		for b := range a {
			there, back := routes[a][b], routes[b][a]
			if there.Transport != back.Transport || there.Why != back.Why {
				t.Errorf("ranks %d and %d: %+v and %+v", a, b, there, back)
			}
			switch {
			case a == cut:
				if there.Transport != "tcp" || !strings.HasPrefix(there.Why, why) {
					t.Errorf("ranks %d and %d: got %+v, want tcp because %s", a, b, there, why)
				}
			case a == 1 && b == 0:
				if there.Transport != "mem" || there.Why != "" {
					t.Errorf("ranks %d and %d: got %+v, want mem", a, b, there)
				}
			case there.Transport != "quic" && there.Why == "": // a starved machine may have taken tcp, and then says so
				t.Errorf("ranks %d and %d: got %+v, want quic", a, b, there)
			}
		}
	}
}
