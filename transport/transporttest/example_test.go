package transporttest_test

import (
	"context"
	"fmt"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// ExampleExercise checks a link whose ends are in two goroutines; they might as well be two processes.
func ExampleExercise() {
	ctx := context.Background()
	net := mem.New()
	var eps [2]transport.Endpoint
	bells := [2]transport.Bell{transport.NewBell(), transport.NewBell()}
	for rank := range eps {
		var err error
		if eps[rank], err = net.Listen(ctx, "example", rank, bells[rank]); err != nil {
			fmt.Println(err)
			return
		}
		defer eps[rank].Close()
	}
	results := make(chan error, 2)
	for rank := range eps {
		go func() {
			peer := 1 - rank
			l, err := eps[rank].Open(transport.Peer{Rank: peer, Addr: eps[peer].Addr()}, transport.LinkID{})
			if err == nil {
				err = transporttest.Exercise(ctx, l, bells[rank], 42, 50)
			}
			results <- err
		}()
	}
	fmt.Println(<-results, <-results)
	// Output: <nil> <nil>
}
