package rdma

import (
	"fmt"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/tcp"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func newIdentity(t testing.TB) transport.Identity {
	t.Helper()
	id, err := transporttest.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// onTCP returns a transport whose control links are of TCP on the loopback.
func onTCP(id transport.Identity, options ...Option) (*Transport, error) {
	control, err := tcp.New(id, tcp.ListenOn("127.0.0.1:0"), tcp.Conns(1))
	if err != nil {
		return nil, err
	}
	return New(control, options...)
}

// foreign hides that a transport has a bell of its own.
type foreign struct{ *Transport }

func (foreign) NewBell() (transport.Bell, error) { return transport.NewBell(), nil }

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name    string
		unruly  bool
		foreign bool
		options []Option
	}{
		{name: "default"},
		{name: "unruly", unruly: true, options: []Option{QueuePairs(4)}},
		{name: "foreign bell", foreign: true, unruly: true, options: []Option{QueuePairs(2), Window(3)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
				id := newIdentity(t)
				net := newSoftNet()
				net.unruly = c.unruly
				tr, err := onTCP(id, append([]Option{net.on()}, c.options...)...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := net.left(); err != nil {
						t.Error(err)
					}
				})
				if c.foreign {
					return transporttest.NewGroupAs(t, foreign{tr}, n, id.ID)
				}
				return transporttest.NewGroupAs(t, tr, n, id.ID)
			})
		})
	}
}

// Without a device, the control transport carries everything.
func TestConformanceRelayed(t *testing.T) {
	maker := func(t testing.TB, n int) *transporttest.Group {
		id := newIdentity(t)
		tr, err := onTCP(id, func(c *config) {
			c.open = func(*config) (fabric, error) { return nil, fmt.Errorf("%w for this test", ErrNoDevice) }
		})
		if err != nil {
			t.Fatal(err)
		}
		g := transporttest.NewGroupAs(t, tr, n, id.ID)
		g.Allocs = 6 // of crypto/tls, 24 bytes for each record
		return g
	}
	for _, c := range transporttest.Cases() {
		if c.Name == "Window" || c.Name == "Listen" {
			continue // until the peer has read the hello, its window holds one frame less; and the links are encrypted
		}
		t.Run(c.Name, func(t *testing.T) { c.Run(t, maker) })
	}
}
