package all_test

import (
	"fmt"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/all"
	"github.com/ringtree/ringtree/transport/shm"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func TestTransports(t *testing.T) {
	names := map[string]bool{}
	scope := transport.Scope(0)
	for _, tr := range all.Transports() {
		if names[tr.Name()] {
			t.Errorf("%s twice", tr.Name())
		}
		names[tr.Name()] = true
		if s := tr.Caps().Scope; s < scope {
			t.Errorf("%s reaches less far than the one before it", tr.Name())
		} else {
			scope = s
		}
		// Every one that is offered works.
		g := transporttest.NewGroup(t, tr, 2)
		a, b := g.Pair(t, transport.LinkID{Comm: 1})
		done := make(chan error, 1)
		go func() { done <- transporttest.Exercise(t.Context(), a, g.Bells[0], 1, 20) }()
		if err := transporttest.Exercise(t.Context(), b, g.Bells[1], 1, 20); err != nil {
			t.Errorf("%s: %v", tr.Name(), err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", tr.Name(), err)
		}
	}
	if !names["mem"] {
		t.Error("no mem")
	}
	if want := shm.Available() == nil; names["shm"] != want {
		t.Errorf("shm: got %v, want %v", names["shm"], want)
	}
}

// A rank takes the first transport that reaches a peer.
func Example() {
	self := transport.Peer{Rank: 0, Host: "h", Process: "p"}
	peer := transport.Peer{Rank: 1, Host: "h", Process: "p"}
	for _, t := range all.Transports() {
		if t.Reaches(self, peer) {
			fmt.Println(t.Name())
			break
		}
	}
	// Output: mem
}
