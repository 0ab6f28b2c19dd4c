package membership

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport/p2p"
)

// Over real streams, members of different versions refuse each other in words, whichever of them is the newer one, and
// the group forms all the same.
func TestOverWrongVersion(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var hosts [3]*p2p.Host
	for i := range hosts {
		h, err := p2p.New(ctx, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		hosts[i] = h
	}
	inv, err := Invite(hosts[0], 2)
	if err != nil {
		t.Fatal(err)
	}
	member := func(host string) Member { return Member{Rank: AnyRank, Host: host, Label: host, Process: host} }
	refused := make(chan *RefusedError, 1)
	formed := make(chan error, 1)
	go func() {
		_, _, err := Over(ctx, hosts[0], inv, member("a"), Options{Refused: func(e *RefusedError) { refused <- e }})
		formed <- err
	}()

	// A newer guest.
	stream, err := hosts[1].Open(ctx, hosts[0].Addrs(), protocolName)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	hello, err := (&message{Kind: kindHello, Version: Version + 1, Group: inv.Group[:], Nonce: make([]byte, nonceSize)}).encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write(hello); err != nil {
		t.Fatal(err)
	}
	if answer, err := decodeMessage(stream, nil); err != nil || answer.Kind != kindRefuse || answer.Code != WrongVersion || answer.Version != Version {
		t.Errorf("the newer guest got %+v, %v, want a refusal: %v", answer, err, WrongVersion)
	}
	if e := <-refused; e.Code != WrongVersion || e.Peer != hosts[1].ID() {
		t.Errorf("the coordinator noted %+v, want %v of %s", e, WrongVersion, hosts[1].ID())
	}

	// A newer coordinator, which refuses this version.
	if err := hosts[1].Handle(protocolName, func(s p2p.Stream) {
		defer s.Close()
		if m, err := decodeMessage(s, nil); err != nil || m.Version != Version {
			t.Errorf("the newer coordinator got %+v, %v, want a hello", m, err)
		}
		no, err := (&message{Kind: kindRefuse, Version: Version + 1, Code: WrongVersion, Reason: "wrong version: it speaks 1"}).encode()
		if err == nil {
			_, err = s.Write(no)
		}
		if err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	newer := *inv
	newer.Addrs = hosts[1].Addrs()
	_, _, err = Over(ctx, hosts[2], &newer, member("b"), Options{})
	if e := (*RefusedError)(nil); !errors.As(err, &e) || e.Code != WrongVersion || e.Peer != hosts[1].ID() {
		t.Errorf("the older guest got %v, want a RefusedError: %v", err, WrongVersion)
	}

	if _, _, err := Over(ctx, hosts[2], inv, member("b"), Options{}); err != nil {
		t.Errorf("a member of the right version: %v", err)
	}
	if err := <-formed; err != nil {
		t.Errorf("the coordinator: %v", err)
	}
}
