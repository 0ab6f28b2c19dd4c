package bucket

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// contribution is a small integer that depends on everything that could be mixed up, so that every partial sum
// is exact in every element type and a swapped, missing, doubled or stale contribution shows.
func contribution(rank, param, i, step int) int {
	return (rank*5+param*3+i*7+step*11)%16 - 4
}

// codec moves small integers in and out of an element type.
type codec[T Elem] struct {
	to   func(int) T
	from func(T) float64
}

func testValues[T Elem](t *testing.T, k codec[T]) {
	lengths := []int{1, 7, 300, 64, 1000, 2, 33}
	for _, n := range []int{1, 2, 3, 8} {
		for _, op := range []buffer.Op{buffer.Sum, buffer.Avg} {
			t.Run(fmt.Sprintf("%v-%d", op, n), func(t *testing.T) {
				const seed = 42
				withRanks(t, n, func(ctx context.Context, c *collective.Comm) error {
					r, params, err := sealedReducer[T](ctx, c, Config{Op: op, FirstBucketBytes: 256, BucketBytes: 1024}, lengths...)
					if err != nil {
						return err
					}
					if b := r.Stats().Buckets; b < 3 {
						return fmt.Errorf("%d buckets: too few to test their order", b)
					}
					rng := rand.New(rand.NewPCG(seed, uint64(c.Rank())))
					for step := range 5 {
						for _, i := range rng.Perm(len(params)) {
							for j := range params[i].Grad() {
								params[i].Grad()[j] = k.to(contribution(c.Rank(), i, j, step))
							}
							if err := r.Ready(params[i]); err != nil {
								return err
							}
						}
						if err := r.Wait(ctx); err != nil {
							return err
						}
						for i, p := range params {
							for j, g := range p.Grad() {
								sum := 0
								for rank := range n {
									sum += contribution(rank, i, j, step)
								}
								want := float64(sum)
								if op == buffer.Avg {
									want /= float64(n)
								}
								if got := k.from(g); !near(got, want, k) {
									return fmt.Errorf("seed %d, step %d, gradient %d, element %d: got %v, want %v", seed, step, i, j, got, want)
								}
							}
						}
					}
					return r.Close()
				})
			})
		}
	}
}

// near allows one rounding of an average to the element type, measured by the type's own spacing at 1.
func near[T Elem](got, want float64, k codec[T]) bool {
	if want == float64(int(want)) {
		return got == want
	}
	var eps float64
	switch any(k.to(0)).(type) {
	case float64:
		eps = 0x1p-52
	case float32:
		eps = 0x1p-23
	case buffer.F16:
		eps = 0x1p-10
	default:
		eps = 0x1p-7
	}
	diff := max(got-want, want-got)
	return diff <= eps*max(want, -want)
}

func TestValues(t *testing.T) {
	t.Run("float32", func(t *testing.T) {
		testValues(t, codec[float32]{func(i int) float32 { return float32(i) }, func(v float32) float64 { return float64(v) }})
	})
	t.Run("float64", func(t *testing.T) {
		testValues(t, codec[float64]{func(i int) float64 { return float64(i) }, func(v float64) float64 { return v }})
	})
	t.Run("half", func(t *testing.T) {
		testValues(t, codec[buffer.F16]{func(i int) buffer.F16 { return buffer.ToF16(float32(i)) },
			func(v buffer.F16) float64 { return float64(v.Float32()) }})
	})
	t.Run("bfloat16", func(t *testing.T) {
		testValues(t, codec[buffer.BF16]{func(i int) buffer.BF16 { return buffer.ToBF16(float32(i)) },
			func(v buffer.BF16) float64 { return float64(v.Float32()) }})
	})
}

// TestConcurrentReady marks gradients ready from one goroutine each, as a backward pass on several threads
// does, on ranks that all do it in another order.
func TestConcurrentReady(t *testing.T) {
	const n, steps = 4, 20
	lengths := make([]int, 24)
	for i := range lengths {
		lengths[i] = 1 + i*13%90
	}
	withRanks(t, n, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c, Config{Op: buffer.Sum, FirstBucketBytes: 128, BucketBytes: 512}, lengths...)
		if err != nil {
			return err
		}
		for step := range steps {
			var wg sync.WaitGroup
			var failed atomic.Pointer[error]
			for i, p := range params {
				wg.Go(func() {
					for j := range p.Grad() {
						p.Grad()[j] = float32(contribution(c.Rank(), i, j, step))
					}
					if err := r.Ready(p); err != nil {
						failed.Store(&err)
					}
				})
			}
			wg.Wait()
			if err := failed.Load(); err != nil {
				return *err
			}
			if err := r.Wait(ctx); err != nil {
				return err
			}
			for i, p := range params {
				for j, got := range p.Grad() {
					want := 0
					for rank := range n {
						want += contribution(rank, i, j, step)
					}
					if got != float32(want) {
						return fmt.Errorf("step %d, gradient %d, element %d: got %v, want %d", step, i, j, got, want)
					}
				}
			}
		}
		return nil
	})
}

// TestOverlap shows that the first bucket is reduced while the second gradient is still unknown: each rank
// computes the second from the reduced first.
func TestOverlap(t *testing.T) {
	const n = 3
	withRanks(t, n, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float64](ctx, c, Config{Op: buffer.Sum, FirstBucketBytes: 64, BucketBytes: 64}, 8, 8)
		if err != nil {
			return err
		}
		in, out := params[0], params[1]
		out.Grad()[0] = float64(1 + c.Rank())
		if err := r.Ready(out); err != nil {
			return err
		}
		select {
		case <-r.buckets[0].work.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		in.Grad()[0] = 10 * out.Grad()[0]
		if err := r.Ready(in); err != nil {
			return err
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
		if got, want := [2]float64{out.Grad()[0], in.Grad()[0]}, [2]float64{6, 180}; got != want {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
}

func TestGrad(t *testing.T) {
	withRanks(t, 1, func(ctx context.Context, c *collective.Comm) error {
		r, err := New[float32](c, Config{})
		if err != nil {
			return err
		}
		params, err := register(r, 5, 6)
		if err != nil {
			return err
		}
		if g := params[0].Grad(); g != nil {
			return fmt.Errorf("Grad before Seal = %v, want nil", g)
		}
		if err := r.Seal(ctx); err != nil {
			return err
		}
		for i, p := range params {
			g := p.Grad()
			if len(g) != 5+i || cap(g) != 5+i || p.Name() != fmt.Sprint("g", i) {
				return fmt.Errorf("gradient %d %q: len %d cap %d, want %d", i, p.Name(), len(g), cap(g), 5+i)
			}
			if a := uintptr(unsafe.Pointer(&g[0])) % align; a != 0 {
				return fmt.Errorf("gradient %d starts %d bytes past a %d-byte boundary", i, a, align)
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
		if g := params[0].Grad(); g != nil {
			return fmt.Errorf("Grad after Close = %v, want nil", g)
		}
		return r.Close()
	})
}

func TestStats(t *testing.T) {
	withRanks(t, 2, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c, Config{FirstBucketBytes: 64, BucketBytes: 128}, 17, 16, 16)
		if err != nil {
			return err
		}
		for step := range 3 {
			for i := range params {
				if err := r.Ready(params[len(params)-1-i]); err != nil {
					return err
				}
			}
			if err := r.Wait(ctx); err != nil {
				return err
			}
			s := r.Stats()
			if s.Steps != step+1 || s.Buckets != 3 || s.Bytes != 64+64+128 {
				return fmt.Errorf("after step %d: %+v, want 3 buckets of 64, 64 and 128 bytes", step, s)
			}
			if s.Exposed < 0 || s.Exposed > s.Total || s.Hidden() < 0 || s.Hidden() > 1 {
				return fmt.Errorf("exposed %v of %v, hidden %v", s.Exposed, s.Total, s.Hidden())
			}
		}
		return nil
	})
	if h := (Stats{}).Hidden(); h != 0 {
		t.Errorf("Hidden of nothing = %v, want 0", h)
	}
	if h := (Stats{Total: 4, Exposed: 1}).Hidden(); h != 0.75 {
		t.Errorf("Hidden = %v, want 0.75", h)
	}
}

// TestNoAllocation compares a step with the bare operations that it starts.
func TestNoAllocation(t *testing.T) {
	withRanks(t, 1, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c, Config{FirstBucketBytes: 64, BucketBytes: 64}, 16, 16, 16, 16)
		if err != nil {
			return err
		}
		var failed error
		step := testing.AllocsPerRun(100, func() {
			for _, p := range params {
				if err := r.Ready(p); err != nil {
					failed = err
				}
			}
			if err := r.Wait(ctx); err != nil {
				failed = err
			}
		})
		bare := testing.AllocsPerRun(100, func() {
			for _, p := range params {
				w, err := collective.StartAllReduce(ctx, c, p.Grad(), buffer.Avg)
				if err == nil {
					err = w.Wait(ctx)
				}
				if err != nil {
					failed = err
				}
			}
		})
		if failed != nil {
			return failed
		}
		if step > bare {
			return fmt.Errorf("a step of %d buckets allocates %v times, its operations alone %v times", len(r.buckets), step, bare)
		}
		return nil
	})
}

func TestEmpty(t *testing.T) {
	withRanks(t, 2, func(ctx context.Context, c *collective.Comm) error {
		r, _, err := sealedReducer[float32](ctx, c, Config{})
		if err != nil {
			return err
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
		if got, want := r.Stats().Steps, 1; got != want {
			return fmt.Errorf("%d steps, want %d", got, want)
		}
		return r.Close()
	})
}

// records keeps what a Reducer logs.
type records struct {
	slog.Handler
	mu    sync.Mutex
	bytes []int64
}

func (h *records) Enabled(context.Context, slog.Level) bool { return true }

func (h *records) Handle(_ context.Context, rec slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "bytes" {
			h.bytes = append(h.bytes, a.Value.Int64())
		}
		return true
	})
	return nil
}

func TestLogger(t *testing.T) {
	h := &records{Handler: slog.DiscardHandler}
	withRanks(t, 1, func(ctx context.Context, c *collective.Comm) error {
		_, _, err := sealedReducer[float64](ctx, c, Config{FirstBucketBytes: 64, BucketBytes: 128, Logger: slog.New(h)}, 8, 16, 8)
		return err
	})
	if want := []int64{64, 128, 64}; !reflect.DeepEqual(h.bytes, want) {
		t.Errorf("logged buckets of %v bytes, want %v", h.bytes, want)
	}
}
