package all_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/all"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/shm"
	"github.com/ringtree/ringtree/transport/tcp"
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

// Between hosts, there is a choice of two, which work together.
func TestNetwork(t *testing.T) {
	id, err := transporttest.Identity()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := all.Network(id, all.Settings{Conns: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Network(transport.Identity{}, all.Settings{}); err == nil {
		t.Error("without an identity: got no error")
	}
	if _, err := all.Network(id, all.Settings{Conns: 99}); err == nil {
		t.Error("99 connections: got no error")
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, transport.LinkID{Comm: 1})
	done := make(chan error, 1)
	go func() { done <- transporttest.Exercise(t.Context(), a, g.Bells[0], 1, 20) }()
	if err := errors.Join(transporttest.Exercise(t.Context(), b, g.Bells[1], 1, 20), <-done); err != nil {
		t.Error(err)
	}
	if via := a.Caps().Via; via != "quic" && via != "tcp" || via != b.Caps().Via {
		t.Errorf("got %q and %q, want one of quic and tcp", via, b.Caps().Via)
	}
}

// What can take each other's place becomes one, where the first of it was; the rest stays.
func TestCombine(t *testing.T) {
	id, err := transporttest.Identity()
	if err != nil {
		t.Fatal(err)
	}
	q, err := quic.New(id)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tcp.New(id)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := tcp.New(id, tcp.Conns(3))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	for _, c := range []struct {
		given []transport.Transport
		want  string
	}{
		{nil, ""},
		{[]transport.Transport{c}, "tcp"},
		{[]transport.Transport{mem.Default(), q}, "mem quic"},
		{[]transport.Transport{q, mem.Default(), c}, "network mem"},
		{[]transport.Transport{mem.Default(), c, q}, "mem network"},
	} {
		got, err := all.Combine(c.given, log)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, tr := range got {
			names = append(names, tr.Name())
		}
		if text := strings.Join(names, " "); text != c.want {
			t.Errorf("got %q, want %q", text, c.want)
		}
	}
	if _, err := all.Combine([]transport.Transport{q, odd}, log); err == nil {
		t.Error("different numbers of connections: got no error")
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
