package collective_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
)

// Memory of Alloc and other memory, in and out, differently on every rank.
func TestRegisteredMemory(t *testing.T) {
	for _, links := range linkKinds() {
		const n = 4
		comms := join(t, layout{ranks: n, links: links, hosts: 2})
		for _, coll := range schedule.Collectives() {
			for _, count := range []int{0, 1, 1000, short(1, 70_000, 200_000)[0]} {
				for mask := range 1 << n {
					if count > 1000 && mask%5 != 0 {
						continue
					}
					o := &operation{coll: coll, dtype: buffer.Float32, op: buffer.Sum, root: mask % n, count: count, inPlace: mask%3 == 0}
					o.prepare(n)
					each(t, comms, func(ctx context.Context, c *collective.Comm) error {
						m := plain
						if mask>>c.Rank()&1 == 1 {
							m = registered
						}
						return o.run(ctx, c, m)
					})
					if t.Failed() {
						t.Fatalf("%s: %v, mask %b", links, o, mask)
					}
				}
			}
		}
	}
}

func TestAlloc(t *testing.T) {
	for _, links := range linkKinds() {
		c := join(t, layout{ranks: 1, links: links})[0]
		for _, n := range []int{0, 1, 1000, 100_000} {
			data, err := collective.Alloc[int64](c, n)
			if err != nil || len(data) != n || cap(data) != n {
				t.Fatalf("%s: Alloc of %d: %d elements, room for %d, %v", links, n, len(data), cap(data), err)
			}
			for i, v := range data {
				if v != 0 {
					t.Fatalf("%s: element %d is %d, want 0", links, i, v)
				}
				data[i] = int64(i)
			}
			if err := gather(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := collective.Free(c, data); err != nil {
				t.Errorf("%s: Free of %d: %v", links, n, err)
			}
		}
		var config *collective.ConfigError
		if _, err := collective.Alloc[float64](c, -1); !errors.As(err, &config) || config.Field != "n" {
			t.Errorf("%s: Alloc of -1: got %v, want a ConfigError of n", links, err)
		}
		if _, err := collective.Alloc[float64](c, int(^uint(0)>>1)); !errors.As(err, &config) || config.Field != "n" {
			t.Errorf("%s: Alloc of too many: got %v, want a ConfigError of n", links, err)
		}
		if _, err := c.AllocBlock(99, 1); !errors.As(err, &config) || config.Field != "dtype" {
			t.Errorf("%s: AllocBlock of type 99: got %v, want a ConfigError of dtype", links, err)
		}
		data, err := collective.Alloc[int64](c, 100)
		if err != nil {
			t.Fatal(err)
		}
		for what, part := range map[string][]int64{"memory of Go": make([]int64, 100), "a part": data[:50], "the end": data[50:]} {
			if err := collective.Free(c, part); err == nil {
				t.Errorf("%s: Free of %s succeeds", links, what)
			}
		}
		if err := collective.Free(c, data); err != nil {
			t.Error(err)
		}
	}
}

// Memory comes and goes while the communicator is in use, and is used by ranks that learn of it late.
func TestAllocChurn(t *testing.T) {
	for _, links := range linkKinds() {
		each(t, join(t, layout{ranks: 3, links: links}), func(ctx context.Context, c *collective.Comm) error {
			for i := range short(20, make([]struct{}, 100)...) {
				data, err := collective.Alloc[int32](c, 1+i*997%30_000)
				if err != nil {
					return err
				}
				for j := range data {
					data[j] = int32(c.Rank() * j)
				}
				if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
					return err
				}
				for j, got := range data {
					if got != int32(3*j) {
						return fmt.Errorf("round %d, element %d: got %d, want %d", i, j, got, 3*j)
					}
				}
				if err := collective.Free(c, data); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
