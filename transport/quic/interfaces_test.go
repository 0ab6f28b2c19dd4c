package quic

import (
	"testing"

	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// By default, ranks listen on all interfaces and find each other at whatever addresses the machine has.
func TestAllInterfaces(t *testing.T) {
	id := newIdentity(t)
	tr, err := New(id)
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	done := make(chan error, 1)
	go func() { done <- transporttest.Exercise(t.Context(), a, g.Bells[0], 1, 20) }()
	if err := transporttest.Exercise(t.Context(), b, g.Bells[1], 1, 20); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	t.Logf("at %s", g.Peers[0].Addr)
}
