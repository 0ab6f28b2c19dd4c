package tcp

import (
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
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

// onLoopback keeps tests off the network.
var onLoopback = ListenOn("127.0.0.1:0")

// A waiting connection can only be waited for, as all can where the system is not Linux.
type waiting struct{ stripe.Conn }

func (w waiting) WriteBuffers(segments [][]byte) error { return w.Conn.(*conn).WriteBuffers(segments) }

func (w waiting) Clear() { w.Conn.(*conn).Clear() }

func wait(c *config) { c.wrap = func(c stripe.Conn) stripe.Conn { return waiting{c} } }

func TestConformance(t *testing.T) {
	for _, tc := range []struct {
		name    string
		plain   bool
		options []Option
	}{
		{"conns=1", false, []Option{Conns(1)}},
		{"conns=4", false, nil},
		{"conns=1,plain", true, []Option{Conns(1), Plain()}},
		{"conns=4,plain", true, []Option{Plain()}},
		{"conns=4,plaindata", false, []Option{PlainData()}},
		{"conns=2,wait", false, []Option{Conns(2), wait}},
		{"conns=2,plaindata,wait", false, []Option{Conns(2), PlainData(), wait}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
				var id transport.Identity
				if !tc.plain {
					id = newIdentity(t)
				}
				tr, err := New(id, append([]Option{onLoopback}, tc.options...)...)
				if err != nil {
					t.Fatal(err)
				}
				return transporttest.NewGroupAs(t, tr, n, id.ID)
			})
		})
	}
}
