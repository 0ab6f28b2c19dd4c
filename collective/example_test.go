package collective_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// ranks runs f on each rank of a group of goroutines, at once, and waits until all are done.
func ranks(n int, f func(ctx context.Context, c *collective.Comm)) {
	ctx := context.Background()
	network := mem.New()
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			c, err := collective.Join(ctx, collective.Config{Rank: r, Size: n, Transports: []transport.Transport{network}})
			if err != nil {
				log.Fatal(err)
			}
			defer c.Close()
			f(ctx, c)
		})
	}
	wg.Wait()
}

func ExampleJoin() {
	// Two ranks of one process. In real use each rank is a process with its own Rank, and leaves Transports nil.
	network := mem.New()
	join := func(rank int) *collective.Comm {
		c, err := collective.Join(context.Background(), collective.Config{
			Rank: rank, Size: 2, Group: "my job", Transports: []transport.Transport{network},
		})
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	other := make(chan *collective.Comm)
	go func() { other <- join(1) }()
	a := join(0)
	b := <-other
	fmt.Printf("rank %d of %d, rank %d of %d, epoch %d\n", a.Rank(), a.Size(), b.Rank(), b.Size(), a.Epoch())
	fmt.Println(a.Close(), b.Close())
	// Output:
	// rank 0 of 2, rank 1 of 2, epoch 1
	// <nil> <nil>
}

func ExampleAllReduce() {
	ranks(4, func(ctx context.Context, c *collective.Comm) {
		gradient := []float32{float32(c.Rank()), 1}
		if err := collective.AllReduce(ctx, c, gradient, buffer.Avg); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 3 {
			fmt.Println(gradient)
		}
	})
	// Output: [1.5 1]
}

func ExampleReduceScatter() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		mine := make([]int32, 2)
		if err := collective.ReduceScatter(ctx, c, mine, []int32{1, 2, 3, 4}, buffer.Sum); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 1 {
			fmt.Println(mine)
		}
	})
	// Output: [6 8]
}

func ExampleAllGather() {
	ranks(3, func(ctx context.Context, c *collective.Comm) {
		all := make([]int32, 3)
		if err := collective.AllGather(ctx, c, all, []int32{int32(10 * c.Rank())}); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 2 {
			fmt.Println(all)
		}
	})
	// Output: [0 10 20]
}

func ExampleBroadcast() {
	ranks(3, func(ctx context.Context, c *collective.Comm) {
		weights := []float64{float64(c.Rank()), float64(c.Rank())}
		if err := collective.Broadcast(ctx, c, weights, 1); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 2 {
			fmt.Println(weights)
		}
	})
	// Output: [1 1]
}

func ExampleReduce() {
	ranks(3, func(ctx context.Context, c *collective.Comm) {
		var largest []int64 // of use to the root only
		if c.Rank() == 0 {
			largest = make([]int64, 1)
		}
		if err := collective.Reduce(ctx, c, largest, []int64{int64(c.Rank() * c.Rank())}, buffer.Max, 0); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			fmt.Println(largest)
		}
	})
	// Output: [4]
}

func ExampleBarrier() {
	var before sync.WaitGroup
	before.Add(3)
	ranks(3, func(ctx context.Context, c *collective.Comm) {
		before.Done()
		if err := collective.Barrier(ctx, c); err != nil {
			log.Fatal(err)
		}
		before.Wait() // returns at once: every rank has come to the barrier
	})
	fmt.Println("all were there")
	// Output: all were there
}

func ExampleStartAllReduce() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		layers := [][]float32{{1}, {2}, {3}}
		works := make([]*collective.Work, len(layers))
		for i, gradient := range layers { // backward computes one after the other …
			w, err := collective.StartAllReduce(ctx, c, gradient, buffer.Sum)
			if err != nil {
				log.Fatal(err)
			}
			works[i] = w
		}
		for _, w := range works { // … while the earlier ones are reduced
			if err := w.Wait(ctx); err != nil {
				log.Fatal(err)
			}
		}
		if c.Rank() == 0 {
			fmt.Println(layers)
		}
	})
	// Output: [[2] [4] [6]]
}

func ExampleStartReduceScatter() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		mine := make([]int32, 1)
		w, err := collective.StartReduceScatter(ctx, c, mine, []int32{1, 2}, buffer.Prod)
		if err != nil {
			log.Fatal(err)
		}
		<-w.Done()
		if c.Rank() == 1 {
			fmt.Println(mine, w.Err())
		}
	})
	// Output: [4] <nil>
}

func ExampleStartAllGather() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		all := make([]uint8, 2)
		w, err := collective.StartAllGather(ctx, c, all, []uint8{uint8('a' + c.Rank())})
		if err != nil {
			log.Fatal(err)
		}
		if err := w.Wait(ctx); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			fmt.Printf("%s\n", all)
		}
	})
	// Output: ab
}

func ExampleStartBroadcast() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		data := []int32{int32(c.Rank())}
		w, err := collective.StartBroadcast(ctx, c, data, 1)
		if err != nil {
			log.Fatal(err)
		}
		if err := w.Wait(ctx); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			fmt.Println(data)
		}
	})
	// Output: [1]
}

func ExampleStartReduce() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		data := []int32{int32(5 + c.Rank())}
		w, err := collective.StartReduce(ctx, c, data, data, buffer.Min, 1)
		if err != nil {
			log.Fatal(err)
		}
		if err := w.Wait(ctx); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 1 {
			fmt.Println(data)
		}
	})
	// Output: [5]
}

func ExampleStartBarrier() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		w, err := collective.StartBarrier(ctx, c)
		if err != nil {
			log.Fatal(err)
		}
		// Something useful goes here.
		if err := w.Wait(ctx); err != nil {
			log.Fatal(err)
		}
	})
	fmt.Println("all were there")
	// Output: all were there
}

func ExampleAlloc() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		gradient, err := collective.Alloc[float32](c, 1000) // peers on this host read it in place
		if err != nil {
			log.Fatal(err)
		}
		gradient[999] = 0.5
		if err := collective.AllReduce(ctx, c, gradient, buffer.Sum); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			fmt.Println(len(gradient), gradient[999])
		}
		if err := collective.Free(c, gradient); err != nil {
			log.Fatal(err)
		}
	})
	// Output: 1000 1
}

func ExampleFree() {
	ranks(1, func(_ context.Context, c *collective.Comm) {
		data, err := collective.Alloc[int64](c, 10)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(collective.Free(c, data))
		fmt.Println(collective.Free(c, make([]int64, 10)) != nil) // it is not of Alloc
	})
	// Output:
	// <nil>
	// true
}

func ExampleWithTimeout() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		if c.Rank() == 0 {
			return // it never calls, but closes in good order
		}
		err := collective.Barrier(ctx, c, collective.WithTimeout(time.Minute))
		var peer *collective.PeerError
		if errors.As(err, &peer) {
			fmt.Println("waited for rank", peer.Rank)
		}
	})
	// Output: waited for rank 0
}

func ExampleComm_AllReduceBlock() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		dtype, err := buffer.ParseDType("bf16") // known at run time only
		if err != nil {
			log.Fatal(err)
		}
		src, err := c.AllocBlock(dtype, 3)
		if err != nil {
			log.Fatal(err)
		}
		dst, err := c.AllocBlock(dtype, 3)
		if err != nil {
			log.Fatal(err)
		}
		values, err := buffer.View[buffer.BF16](src)
		if err != nil {
			log.Fatal(err)
		}
		values[2] = buffer.ToBF16(1.5)
		if err := c.AllReduceBlock(ctx, dst, src, buffer.Sum); err != nil {
			log.Fatal(err)
		}
		sums, err := buffer.View[buffer.BF16](dst)
		if err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			fmt.Println(sums[2].Float32())
		}
		if err := errors.Join(c.FreeBlock(src), c.FreeBlock(dst)); err != nil {
			log.Fatal(err)
		}
	})
	// Output: 3
}

func ExampleComm_ReduceScatterBlock() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		mine := make([]int16, 1)
		if err := c.ReduceScatterBlock(ctx, buffer.Of(mine), buffer.Of([]int16{3, 4}), buffer.Sum); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 1 {
			fmt.Println(mine)
		}
	})
	// Output: [8]
}

func ExampleComm_AllGatherBlock() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		all := make([]int8, 2)
		mine := all[c.Rank() : c.Rank()+1] // in place
		mine[0] = int8(7 + c.Rank())
		if err := c.AllGatherBlock(ctx, buffer.Of(all), buffer.Of(mine)); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 1 {
			fmt.Println(all)
		}
	})
	// Output: [7 8]
}

func ExampleComm_BroadcastBlock() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		got := make([]uint64, 1)
		if err := c.BroadcastBlock(ctx, buffer.Of(got), buffer.Of([]uint64{42}), 0); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 1 {
			fmt.Println(got)
		}
	})
	// Output: [42]
}

func ExampleComm_ReduceBlock() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		sum := make([]float64, 1)
		if err := c.ReduceBlock(ctx, buffer.Of(sum), buffer.Of([]float64{0.25}), buffer.Sum, 0); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			fmt.Println(sum)
		}
	})
	// Output: [0.5]
}

func ExampleComm_Split() {
	ranks(4, func(ctx context.Context, c *collective.Comm) {
		pair, err := c.Split(ctx, c.Rank()/2, c.Rank()) // 0 and 1, 2 and 3
		if err != nil {
			log.Fatal(err)
		}
		defer pair.Close()
		sum := []int32{int32(c.Rank())}
		if err := collective.AllReduce(ctx, pair, sum, buffer.Sum); err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 3 {
			fmt.Printf("rank %d of %d: %d\n", pair.Rank(), pair.Size(), sum)
		}
	})
	// Output: rank 1 of 2: [5]
}

func ExampleComm_Explain() {
	ranks(2, func(_ context.Context, c *collective.Comm) {
		text, err := c.Explain(schedule.AllReduce, 0, 64<<20)
		if err != nil {
			log.Fatal(err)
		}
		if c.Rank() == 0 {
			what, _, _ := strings.Cut(text, ":") // the choice and the candidates' costs follow
			fmt.Println(what)
		}
	})
	// Output: all_reduce of 64 MiB over 2 ranks on 1 hosts
}

func ExampleComm_Abort() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		if c.Rank() == 0 {
			c.Abort(errors.New("loss is not a number"))
			return
		}
		err := collective.Barrier(ctx, c)
		fmt.Println(errors.Is(err, collective.ErrAborted))
		fmt.Println(c.Err())
	})
	// Output:
	// true
	// aborted by rank 0: loss is not a number
}

func ExampleWork_Wait() {
	ranks(2, func(ctx context.Context, c *collective.Comm) {
		w, err := collective.StartBarrier(ctx, c)
		if err != nil {
			log.Fatal(err)
		}
		impatient, cancel := context.WithCancel(ctx)
		cancel()
		if err := w.Wait(impatient); err != nil {
			// Giving up waiting does not end the operation.
			err = w.Wait(ctx)
			if err != nil {
				log.Fatal(err)
			}
		}
	})
	fmt.Println("done")
	// Output: done
}
