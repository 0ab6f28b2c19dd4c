package quic_test

import (
	"context"
	"fmt"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// Two ranks, here in one process, pass a frame over QUIC.
func ExampleNew() {
	ctx := context.Background()
	id, err := transporttest.Identity() // in earnest, from transport/p2p
	if err != nil {
		fmt.Println(err)
		return
	}
	tr, err := quic.New(id, quic.ListenOn("127.0.0.1:0"), quic.Conns(2))
	if err != nil {
		fmt.Println(err)
		return
	}
	var bells [2]transport.Bell
	var eps [2]transport.Endpoint
	var peers []transport.Peer
	for rank := range eps {
		bells[rank], _ = tr.NewBell()
		if eps[rank], err = tr.Listen(ctx, "group", rank, bells[rank]); err != nil {
			fmt.Println(err)
			return
		}
		defer eps[rank].Close()
		peers = append(peers, transport.Peer{Rank: rank, Addr: eps[rank].Addr(), ID: id.ID})
	}
	var links [2]transport.Link
	for rank := range eps {
		eps[rank].Admit(peers) // who may connect
		if links[rank], err = eps[rank].Open(peers[1-rank], transport.LinkID{Comm: 1}); err != nil {
			fmt.Println(err)
			return
		}
	}
	payload := []byte("a gradient")
	ok, err := links[0].Post(&transport.Header{Kind: transport.Data, Length: uint32(len(payload))}, payload)
	fmt.Println(ok, err)
	for {
		bells[1].Arm()
		f, err := links[1].Poll()
		if f != nil || err != nil {
			bells[1].Disarm()
			fmt.Printf("%s, %v, encrypted %v\n", f.Payload, err, links[1].Caps().Encrypted)
			links[1].Release()
			return
		}
		bells[1].Sleep(ctx, 0)
	}
	// Output:
	// true <nil>
	// a gradient, <nil>, encrypted true
}
