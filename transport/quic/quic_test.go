package quic

import (
	"fmt"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
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

// onLoopback keeps tests off the network, and patient makes them bear a starved machine.
var (
	onLoopback = ListenOn("127.0.0.1:0")
	patient    = SilentTimeout(20 * time.Second)
)

// quicAllocs bounds what quic-go may allocate for a frame of 64 KiB, which is 46 packets and their acknowledgements.
const quicAllocs = 400

func TestConformance(t *testing.T) {
	for _, conns := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("conns=%d", conns), func(t *testing.T) {
			transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
				id := newIdentity(t)
				tr, err := New(id, onLoopback, patient, Conns(conns))
				if err != nil {
					t.Fatal(err)
				}
				g := transporttest.NewGroupAs(t, tr, n, id.ID)
				g.Allocs = quicAllocs
				return g
			})
		})
	}
}
