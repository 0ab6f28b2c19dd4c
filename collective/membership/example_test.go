package membership_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/transport/p2p"
)

// A group of three forms from an invitation that travels as text.
func ExampleOver() {
	ctx := context.Background()
	newHost := func() *p2p.Host {
		h, err := p2p.New(ctx, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			panic(err)
		}
		return h
	}
	inviter := newHost()
	defer inviter.Close()
	inv, err := membership.Invite(inviter, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := inv.Text() // rt1:…, for the other two
	if err != nil {
		fmt.Println(err)
		return
	}

	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			host := newHost()
			defer host.Close()
			inv, err := membership.ParseInvitation(text)
			if err != nil {
				fmt.Println(err)
				return
			}
			_, _, err = membership.Over(ctx, host, inv, membership.Member{Rank: membership.AnyRank}, membership.Options{})
			if err != nil {
				fmt.Println(err)
			}
		})
	}
	group, rank, err := membership.Over(ctx, inviter, inv, membership.Member{Rank: membership.AnyRank}, membership.Options{})
	wg.Wait()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(group.Members), "members;", "identity proved:", group.Members[rank].ID == inviter.ID())
	// Output: 3 members; identity proved: true
}

func ExampleFromEnv() {
	env := map[string]string{
		"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "run7",
	}
	launch, ok, err := membership.FromEnv(func(name string) string { return env[name] })
	fmt.Println(launch, ok, err)
	// Output: torchrun: rank 5 of 8, job "run7", at node0:29501 true <nil>
}

func ExampleParseInvitation() {
	_, err := membership.ParseInvitation("rt1:aaaabbbbcccc")
	fmt.Println(err)
	// Output: membership: invitation is cut off
}
