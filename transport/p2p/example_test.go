package p2p_test

import (
	"context"
	"fmt"
	"io"

	"github.com/ringtree/ringtree/transport/p2p"
)

// Two hosts that know each other's addresses talk over a stream that proves who is at the other end.
func Example() {
	ctx := context.Background()
	local := []string{"/ip4/127.0.0.1/tcp/0"}
	alice, err := p2p.New(ctx, p2p.Config{Listen: local})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.Close()
	bob, err := p2p.New(ctx, p2p.Config{Listen: local})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bob.Close()

	err = bob.Handle("/example/greet", func(s p2p.Stream) {
		defer s.Close()
		fmt.Fprintf(s, "hello, alice: %v", s.PeerID() == alice.ID())
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := alice.Open(ctx, bob.Addrs(), "/example/greet")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	text, err := io.ReadAll(s)
	fmt.Println(string(text), err)
	// Output: hello, alice: true <nil>
}

// When a group has formed, its host hears only members.
func ExampleHost_Gate() {
	h, err := p2p.New(context.Background(), p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	fmt.Println(h.Gate([]string{h.ID()}))
	// Output: <nil>
}
