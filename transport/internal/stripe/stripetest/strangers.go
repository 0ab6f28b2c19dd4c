package stripetest

import (
	"context"
	"errors"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// An end is one rank with an identity of its own.
type end struct {
	rank int
	id   transport.Identity
	ep   transport.Endpoint
	bell transport.Bell
}

func newEnd(t *testing.T, newTransport Maker, group string, rank int) *end {
	t.Helper()
	id, err := transporttest.Identity()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTransport(id)
	if err != nil {
		t.Fatal(err)
	}
	bell, err := tr.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	ep, err := tr.Listen(context.Background(), group, rank, bell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ep.Close(), bell.Close()); err != nil {
			t.Error(err)
		}
	})
	return &end{rank, id, ep, bell}
}

func (e *end) peer() transport.Peer {
	return transport.Peer{Rank: e.rank, Addr: e.ep.Addr(), ID: e.id.ID}
}

func (e *end) open(t *testing.T, to transport.Peer) transport.Link {
	t.Helper()
	l, err := e.ep.Open(to, LinkID)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// awaitErr waits for the end of a link.
func (e *end) awaitErr(t *testing.T, l transport.Link) error {
	t.Helper()
	if err := transporttest.Await(e.bell, "the end of the link", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	return l.Err()
}

func wantRefused(t *testing.T, what string, err error, why transport.Refusal) {
	t.Helper()
	var refused *transport.RefusedError
	if !errors.As(err, &refused) || refused.Why != why || !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("%s: got %v, want a LostError because of a RefusedError: %v", what, err, why)
	}
}

// talk passes a frame each way.
func talk(t *testing.T, a, b *end, la, lb transport.Link) {
	t.Helper()
	pass := func(from, to *end, out, in transport.Link) {
		t.Helper()
		h := transport.Header{Kind: transport.Data, Length: 5}
		if ok, err := out.Post(&h, []byte("hello")); !ok {
			t.Fatalf("post: %v", err)
		}
		var f *transport.Frame
		var err error
		if e := transporttest.Await(to.bell, "a frame", func() bool { f, err = in.Poll(); return f != nil || err != nil }); e != nil {
			t.Fatal(e)
		}
		if err != nil || string(f.Payload) != "hello" {
			t.Fatalf("got %v, %v, want a frame that says hello", f, err)
		}
		in.Release()
	}
	pass(a, b, la, lb)
	pass(b, a, lb, la)
}

// Strangers runs the tests of those who must not get in. Each newTransport must make a transport of its own.
func Strangers(t *testing.T, newTransport Maker) {
	// Rank 0 has been told another identity for rank 1 than the one that rank 1 has.
	t.Run("WrongIdentity", func(t *testing.T) {
		a, b, other := newEnd(t, newTransport, "g", 0), newEnd(t, newTransport, "g", 1), newEnd(t, newTransport, "h", 1)
		wrong := b.peer()
		wrong.ID = other.id.ID
		a.ep.Admit([]transport.Peer{a.peer(), wrong})
		b.ep.Admit([]transport.Peer{a.peer(), b.peer()})
		err := a.awaitErr(t, a.open(t, wrong))
		var identity *transport.IdentityError
		if !errors.As(err, &identity) || identity.Want != other.id.ID || identity.Got != b.id.ID || !errors.Is(err, transport.ErrPeerLost) {
			t.Errorf("rank 0: got %v, want a LostError because of an IdentityError: %s instead of %s", err, b.id.ID, other.id.ID)
		}
		wantRefused(t, "rank 1", b.awaitErr(t, b.open(t, a.peer())), transport.RefusedStranger)
	})
	// A stranger knows the address and the group, and comes between two members.
	t.Run("Stranger", func(t *testing.T) {
		a, b, c := newEnd(t, newTransport, "g", 0), newEnd(t, newTransport, "g", 1), newEnd(t, newTransport, "g", 2)
		for _, e := range []*end{a, b} {
			e.ep.Admit([]transport.Peer{a.peer(), b.peer()})
		}
		c.ep.Admit([]transport.Peer{a.peer(), b.peer(), c.peer()})
		la, lb := a.open(t, b.peer()), b.open(t, a.peer())
		talk(t, a, b, la, lb)
		wantRefused(t, "stranger", c.awaitErr(t, c.open(t, a.peer())), transport.RefusedStranger)
		// Pretending to be a member's rank does not help without the identity.
		d := newEnd(t, newTransport, "g", 1)
		d.ep.Admit([]transport.Peer{a.peer(), d.peer()})
		wantRefused(t, "impostor", d.awaitErr(t, d.open(t, a.peer())), transport.RefusedStranger)
		talk(t, a, b, la, lb)
	})
	t.Run("WrongGroup", func(t *testing.T) {
		a, b := newEnd(t, newTransport, "g", 0), newEnd(t, newTransport, "h", 1)
		for _, e := range []*end{a, b} {
			e.ep.Admit([]transport.Peer{a.peer(), b.peer()})
		}
		wantRefused(t, "rank 1 of another group", b.awaitErr(t, b.open(t, a.peer())), transport.RefusedGroup)
	})
	// Who knows its members late makes the others wait, no more.
	t.Run("LateAdmit", func(t *testing.T) {
		a, b := newEnd(t, newTransport, "g", 0), newEnd(t, newTransport, "g", 1)
		b.ep.Admit([]transport.Peer{a.peer(), b.peer()})
		lb := b.open(t, a.peer())
		h := transport.Header{Kind: transport.Data, Length: 1}
		if ok, err := lb.Post(&h, []byte{7}); !ok {
			t.Fatal(err)
		}
		a.ep.Admit([]transport.Peer{a.peer(), b.peer()})
		la := a.open(t, b.peer())
		var f *transport.Frame
		var err error
		if e := transporttest.Await(a.bell, "a frame", func() bool { f, err = la.Poll(); return f != nil || err != nil }); e != nil {
			t.Fatal(e)
		}
		if err != nil || f.Payload[0] != 7 {
			t.Fatalf("got %v, %v", f, err)
		}
		la.Release()
		talk(t, a, b, la, lb)
	})
	t.Run("OpenErrors", func(t *testing.T) {
		a, b := newEnd(t, newTransport, "g", 0), newEnd(t, newTransport, "g", 1)
		for name, spoil := range map[string]func(p *transport.Peer){
			"no identity":  func(p *transport.Peer) { p.ID = "" },
			"own rank":     func(p *transport.Peer) { p.Rank = 0 },
			"bad address":  func(p *transport.Peer) { p.Addr = "localhost:80" },
			"no port":      func(p *transport.Peer) { p.Addr = p.Addr[:17] + "127.0.0.1" },
			"negative":     func(p *transport.Peer) { p.Rank = -1 },
			"short nonce":  func(p *transport.Peer) { p.Addr = p.Addr[1:] },
			"port 0":       func(p *transport.Peer) { p.Addr = p.Addr[:17] + "127.0.0.1:0" },
			"empty places": func(p *transport.Peer) { p.Addr = p.Addr[:17] },
		} {
			p := b.peer()
			spoil(&p)
			if _, err := a.ep.Open(p, LinkID); !errors.Is(err, transport.ErrUnreachable) {
				t.Errorf("%s: got %v, want ErrUnreachable", name, err)
			}
		}
		// The same endpoint under another name.
		a.open(t, b.peer())
		p := b.peer()
		p.ID = a.id.ID
		var identity *transport.IdentityError
		if _, err := a.ep.Open(p, transport.LinkID{Comm: 9}); !errors.As(err, &identity) {
			t.Errorf("another identity: got %v, want an IdentityError", err)
		}
	})
}

// Settings runs two ranks whose settings differ.
func Settings(t *testing.T, one, two Maker) {
	a, b := newEnd(t, one, "g", 0), newEnd(t, two, "g", 1)
	for _, e := range []*end{a, b} {
		e.ep.Admit([]transport.Peer{a.peer(), b.peer()})
	}
	wantRefused(t, "other settings", b.awaitErr(t, b.open(t, a.peer())), transport.RefusedSettings)
}
