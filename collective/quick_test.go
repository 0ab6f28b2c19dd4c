package collective

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

func TestQuick(t *testing.T) {
	for _, tr := range []transport.Transport{mem.New(), shm.New()} {
		for _, n := range []int{1, 2, 3, 5, 8} {
			for _, a := range append(plan.Algorithms(), plan.Auto) {
				var wg sync.WaitGroup
				for r := range n {
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
						defer cancel()
						c, err := Join(ctx, Config{Rank: r, Size: n, Group: fmt.Sprint("q", tr.Name(), n, a), Transports: []transport.Transport{tr}, Algorithm: a, Host: fmt.Sprint("h", r/3)})
						if err != nil {
							t.Error(err)
							return
						}
						defer c.Close()
						for _, size := range []int{0, 1, 2, 7, 1000, 100000, 1000003} {
							x := make([]float32, size)
							for i := range x {
								x[i] = float32(r + i%13)
							}
							if err := AllReduce(ctx, c, x, buffer.Sum); err != nil {
								t.Error(tr.Name(), n, a, size, r, err)
								return
							}
							for i := range x {
								if want := float32(n*(n-1)/2 + n*(i%13)); x[i] != want {
									t.Error(tr.Name(), n, a, size, r, i, x[i], want)
									return
								}
							}
						}
					})
				}
				wg.Wait()
			}
		}
	}
}
