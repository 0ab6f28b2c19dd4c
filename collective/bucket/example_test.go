package bucket_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/bucket"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// onRanks runs f as n ranks of one process.
func onRanks(group string, n int, f func(ctx context.Context, c *collective.Comm) error) {
	ctx := context.Background()
	shared := []transport.Transport{mem.New()}
	var wg sync.WaitGroup
	for rank := range n {
		wg.Go(func() {
			c, err := collective.Join(ctx, collective.Config{Rank: rank, Size: n, Group: group, Transports: shared})
			if err != nil {
				log.Print(err)
				return
			}
			defer c.Close()
			if err := f(ctx, c); err != nil {
				log.Print(err)
			}
		})
	}
	wg.Wait()
}

// Two ranks train one step of a model with two layers: each computes its own gradients, both get the average.
func Example() {
	onRanks("example", 2, func(ctx context.Context, c *collective.Comm) error {
		r, err := bucket.New[float32](c, bucket.Config{})
		if err != nil {
			return err
		}
		defer r.Close()
		// Registered from input to output …
		lower, err := r.Register("lower", 2)
		if err != nil {
			return err
		}
		upper, err := r.Register("upper", 2)
		if err != nil {
			return err
		}
		if err := r.Seal(ctx); err != nil {
			return err
		}

		// … and ready from output to input, as backward meets them.
		for i, p := range []*bucket.Param[float32]{upper, lower} {
			for j := range p.Grad() {
				p.Grad()[j] = float32(10*i + j + 4*c.Rank())
			}
			if err := r.Ready(p); err != nil {
				return err
			}
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
		if c.Rank() == 1 {
			fmt.Println("upper", upper.Grad(), "lower", lower.Grad())
		}
		return nil
	})
	// Output: upper [2 3] lower [12 13]
}

// A rank whose step does not use a gradient reduces it as zeros if the Config allows that.
func ExampleConfig_allowUnused() {
	onRanks("unused", 2, func(ctx context.Context, c *collective.Comm) error {
		r, err := bucket.New[float64](c, bucket.Config{Op: buffer.Sum, AllowUnused: true})
		if err != nil {
			return err
		}
		defer r.Close()
		p, err := r.Register("expert", 3)
		if err != nil {
			return err
		}
		if err := r.Seal(ctx); err != nil {
			return err
		}
		if c.Rank() == 0 { // rank 1 has no sample for this expert
			copy(p.Grad(), []float64{1, 2, 3})
			if err := r.Ready(p); err != nil {
				return err
			}
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
		if c.Rank() == 1 {
			fmt.Println(p.Grad(), r.Stats().Steps, "step")
		}
		return nil
	})
	// Output: [1 2 3] 1 step
}

// Ranks that disagree about the model learn so, and where, before the first step.
func ExampleReducer_Seal() {
	onRanks("seal", 2, func(ctx context.Context, c *collective.Comm) error {
		r, err := bucket.New[float32](c, bucket.Config{})
		if err != nil {
			return err
		}
		if _, err := r.Register("weights", 100+c.Rank()); err != nil {
			return err
		}
		if err := r.Seal(ctx); c.Rank() == 0 {
			fmt.Println(err)
		}
		return nil
	})
	// Output: bucket: ranks differ in layout: gradient 0 is 100 elements named "weights" on rank 0 but 101 elements named "weights" on rank 1
}
