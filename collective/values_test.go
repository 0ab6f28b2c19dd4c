package collective_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
)

// Every collective by every algorithm with every type and reduction gives what the serial oracle gives, over every kind
// of link, on one, two and three hosts, in place and out of place.
func TestValues(t *testing.T) {
	for _, n := range short(3, 2, 3, 5, 8, 1) {
		ops := everything(n)
		for _, links := range linkKinds() {
			for _, a := range algorithms() {
				if links == overPairs && a != plan.Auto && a != plan.Hierarchical {
					continue // the links mix the two kinds before it
				}
				for hosts := 1; hosts <= min(n, 3); hosts++ {
					if n >= 5 && hosts == 2 || n == 8 && hosts == 1 {
						continue // others are as uneven, and as even
					}
					l := layout{ranks: n, links: links, hosts: hosts, algorithm: a}
					t.Run(fmt.Sprint(l), func(t *testing.T) {
						each(t, join(t, l), func(ctx context.Context, c *collective.Comm) error {
							for _, o := range ops {
								if err := o.run(ctx, c, plain); err != nil {
									return err
								}
							}
							return nil
						})
					})
				}
			}
		}
	}
}

// everything returns every collective with every type, reduction, length and place of the result: not the product of
// all, but every pair of type and reduction, and every length with both places.
func everything(n int) []*operation {
	small := []int{0, 1, n - 1, n, n + 1, 1000, 17}
	var ops []*operation
	for _, coll := range schedule.Collectives() {
		i := int(coll)
		add := func(t buffer.DType, op buffer.Op, count int) {
			o := &operation{coll: coll, dtype: t, op: op, root: i % n, count: count, inPlace: i%2 == 0, seed: uint64(i)}
			ops = append(ops, o.prepare(n))
			i++
		}
		for _, t := range buffer.DTypes() {
			for _, op := range buffer.Ops() {
				if op == buffer.Sum || coll.Reduces() {
					add(t, op, small[i%len(small)])
				}
			}
		}
		for _, count := range append(small, short(1, 8191, 100003)...) {
			if coll.ByRank() && count > 1000 {
				count /= n
			}
			add(buffer.Float32, buffer.Sum, count)
			add(buffer.Int64, buffer.Sum, count)
			i++ // the other place for each
			add(buffer.Float32, buffer.Max, count)
		}
	}
	return ops
}

// The longest messages that differ from others in kind: chunks of many slices, over every kind of link.
func TestLongVectors(t *testing.T) {
	for _, links := range linkKinds() {
		for _, a := range short(2, algorithms()...) {
			l := layout{ranks: 4, links: links, hosts: 2, algorithm: a}
			t.Run(fmt.Sprint(l), func(t *testing.T) {
				var ops []*operation
				for i, coll := range []schedule.Collective{schedule.AllReduce, schedule.ReduceScatter, schedule.AllGather, schedule.Broadcast, schedule.Reduce} {
					count := 300_001
					if coll.ByRank() {
						count /= l.ranks
					}
					o := &operation{coll: coll, dtype: buffer.Int32, op: buffer.Sum, root: i % l.ranks, count: count, inPlace: i%2 == 0}
					ops = append(ops, o.prepare(l.ranks))
				}
				each(t, join(t, l), func(ctx context.Context, c *collective.Comm) error {
					for _, o := range ops {
						if err := o.run(ctx, c, plain); err != nil {
							return err
						}
					}
					return nil
				})
			})
		}
	}
}

// Random floats: all ranks get the same bits, every run gives them again, whatever carries them, and they are as near to
// the exact sum as the type allows.
func TestRandomFloats(t *testing.T) {
	const n, count = 5, 4099
	for _, dtype := range []buffer.DType{buffer.Float16, buffer.BFloat16, buffer.Float32, buffer.Float64} {
		for _, a := range plan.Algorithms() {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 0))
			exact, size := make([]float64, count), make([]float64, count) // of the sums, and of the sums of absolute values
			inputs := make([]buffer.Block, n)
			for r := range inputs {
				inputs[r] = newBlock(dtype, count)
				for i := range count {
					put(inputs[r], i, 0, rng.NormFloat64())
					v := float(inputs[r], i)
					exact[i] += v
					size[i] += math.Abs(v)
				}
			}
			var first buffer.Block
			for _, links := range linkKinds() {
				comms := join(t, layout{ranks: n, links: links, hosts: 2, algorithm: a})
				for run := range 2 {
					outs := make([]buffer.Block, n)
					each(t, comms, func(ctx context.Context, c *collective.Comm) error {
						outs[c.Rank()] = newBlock(dtype, count)
						return c.AllReduceBlock(ctx, outs[c.Rank()], inputs[c.Rank()], buffer.Sum)
					})
					if first.Data == nil {
						first = outs[0]
					}
					for r, out := range outs {
						if err := same(out, first.Data); err != nil {
							t.Fatalf("%v by %v over %s, run %d, seed %d: rank %d differs from the first rank of the first run: %v", dtype, a, links, run, seed, r, err)
						}
					}
				}
			}
			// Higham, "Accuracy and Stability of Numerical Algorithms", section 4.2: n-1 roundings of partial sums.
			unit := map[buffer.DType]float64{buffer.Float16: 0x1p-11, buffer.BFloat16: 0x1p-8, buffer.Float32: 0x1p-24, buffer.Float64: 0x1p-53}[dtype]
			for i := range count {
				if got := float(first, i); math.Abs(got-exact[i]) > n*unit*size[i] {
					t.Fatalf("%v by %v, seed %d: element %d is %v, the sum is %v, the bound %v", dtype, a, seed, i, got, exact[i], n*unit*size[i])
				}
			}
		}
	}
}

// Half-precision operands that meet in one reduction step are accumulated in float32: 2048 + 1 + 1 is 2050 then, and
// 2048 where every sum is rounded.
func TestHalfAccumulatesWide(t *testing.T) {
	each(t, join(t, layout{ranks: 3, links: overMem, algorithm: plan.Direct}), func(ctx context.Context, c *collective.Comm) error {
		data := []buffer.F16{buffer.ToF16(1)}
		if c.Rank() == 0 {
			data[0] = buffer.ToF16(2048)
		}
		if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
			return err
		}
		if got := data[0].Float32(); got != 2050 {
			return fmt.Errorf("sum of 2048, 1 and 1 is %v, want 2050", got)
		}
		return nil
	})
}

// Results, of integers and of whole numbers in floats, are the same bits whatever algorithm makes them.
func TestAlgorithmsAgree(t *testing.T) {
	const n, count = 6, 1237
	rng := rand.New(rand.NewPCG(1, 2))
	inputs := make([][]int16, n)
	for r := range inputs {
		inputs[r] = make([]int16, count)
		for i := range inputs[r] {
			inputs[r][i] = int16(rng.Uint32()) // sums and products wrap around
		}
	}
	for _, op := range buffer.Ops() {
		results := make(map[plan.Algorithm][]int16)
		for _, a := range algorithms() {
			each(t, join(t, layout{ranks: n, links: overMem, hosts: 3, algorithm: a}), func(ctx context.Context, c *collective.Comm) error {
				data := slices.Clone(inputs[c.Rank()])
				if err := collective.AllReduce(ctx, c, data, op); err != nil {
					return err
				}
				if c.Rank() == 0 {
					results[a] = data
				}
				return nil
			})
		}
		for a, got := range results {
			if want := results[plan.Ring]; !slices.Equal(got, want) {
				t.Errorf("%v by %v is not what ring gives", op, a)
			}
		}
	}
}
