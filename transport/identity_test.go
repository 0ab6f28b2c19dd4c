package transport_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

func TestIdentityCheck(t *testing.T) {
	full := transport.Identity{
		ID: "x", TLS: func(string) *tls.Config { return nil }, PeerID: func(tls.ConnectionState) (string, error) { return "", nil },
	}
	if err := full.Check(); err != nil {
		t.Errorf("complete: got %v", err)
	}
	for name, spoil := range map[string]func(id *transport.Identity){
		"no ID":     func(id *transport.Identity) { id.ID = "" },
		"no TLS":    func(id *transport.Identity) { id.TLS = nil },
		"no PeerID": func(id *transport.Identity) { id.PeerID = nil },
	} {
		id := full
		spoil(&id)
		if id.Check() == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestIdentityErrors(t *testing.T) {
	cause := errors.New("bad signature")
	err := error(&transport.IdentityError{Want: "a", Cause: cause})
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "nobody, want a: bad signature") {
		t.Errorf("got %v", err)
	}
	texts := make(map[string]bool)
	for r := transport.Refusal(0); r <= transport.RefusedExists+1; r++ {
		texts[(&transport.RefusedError{Why: r}).Error()] = true
	}
	if want := int(transport.RefusedExists) + 2; len(texts) != want {
		t.Errorf("%d texts of refusals, want %d: %v", len(texts), want, texts)
	}
}

func ExampleIdentityError() {
	var err error = &transport.LostError{Peer: 3, Cause: &transport.IdentityError{Want: "12D3KooWA", Got: "12D3KooWB"}}
	var identity *transport.IdentityError
	fmt.Println(errors.Is(err, transport.ErrPeerLost), errors.As(err, &identity))
	fmt.Println(err)
	// Output:
	// true true
	// transport: peer 3 lost: transport: peer is 12D3KooWB, want 12D3KooWA
}

func ExampleRefusedError() {
	fmt.Println(&transport.RefusedError{Why: transport.RefusedStranger})
	// Output: transport: the peer refused the connection: not a member
}
