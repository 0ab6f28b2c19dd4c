package tcp

import (
	"fmt"
	"testing"

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

// tlsAllocs is what crypto/tls allocates for a frame of 64 KiB: 24 bytes for each record that it reads.
const tlsAllocs = 6

// onLoopback keeps tests off the network.
var onLoopback = ListenOn("127.0.0.1:0")

func TestConformance(t *testing.T) {
	for _, conns := range []int{1, 2, 4} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("conns=%d,plain=%v", conns, plain), func(t *testing.T) {
				transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
					id, options := transport.Identity{}, []Option{onLoopback, Conns(conns)}
					if plain {
						options = append(options, Plain())
					} else {
						id = newIdentity(t)
					}
					tr, err := New(id, options...)
					if err != nil {
						t.Fatal(err)
					}
					g := transporttest.NewGroupAs(t, tr, n, id.ID)
					if !plain {
						g.Allocs = tlsAllocs
					}
					return g
				})
			})
		}
	}
}
