package network_test

import (
	"fmt"
	"time"

	"github.com/ringtree/ringtree/transport/network"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/tcp"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// QUIC, and TCP where QUIC does not get through within a second.
func ExampleNew() {
	id, err := transporttest.Identity() // in earnest, from transport/p2p
	if err != nil {
		fmt.Println(err)
		return
	}
	overQUIC, err := quic.New(id)
	if err != nil {
		fmt.Println(err)
		return
	}
	overTCP, err := tcp.New(id)
	if err != nil {
		fmt.Println(err)
		return
	}
	tr, err := network.New([]network.Way{overQUIC, overTCP}, network.HeadStart(time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tr.Name(), "encrypted:", tr.Caps().Encrypted)
	// Output: network encrypted: true
}
