package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

func TestConfigErrors(t *testing.T) {
	if _, err := New[float32](nil, Config{}); !errors.Is(err, ErrConfig) {
		t.Errorf("New without communicator: %v, want %v", err, ErrConfig)
	}
	withRanks(t, 1, func(_ context.Context, c *collective.Comm) error {
		for _, cfg := range []Config{{BucketBytes: -1}, {FirstBucketBytes: -1}, {Op: 99}} {
			if _, err := New[float32](c, cfg); !errors.Is(err, ErrConfig) {
				return fmt.Errorf("New(%+v): %v, want %v", cfg, err, ErrConfig)
			}
		}
		return nil
	})
}

func TestConfigDefaults(t *testing.T) {
	for _, tt := range []struct{ in, want Config }{
		{Config{}, Config{BucketBytes: 25 << 20, FirstBucketBytes: 1 << 20, Op: buffer.Avg}},
		{Config{BucketBytes: 4096, Op: buffer.Sum}, Config{BucketBytes: 4096, FirstBucketBytes: 4096, Op: buffer.Sum}},
		{Config{FirstBucketBytes: 7, AllowUnused: true}, Config{BucketBytes: 25 << 20, FirstBucketBytes: 7, Op: buffer.Avg, AllowUnused: true}},
	} {
		got, err := tt.in.withDefaults()
		got.Logger = nil
		if err != nil || got != tt.want {
			t.Errorf("defaults of %+v = %+v, %v, want %+v", tt.in, got, err, tt.want)
		}
	}
}

func TestStateErrors(t *testing.T) {
	withRanks(t, 1, func(ctx context.Context, c *collective.Comm) error {
		r, err := New[float32](c, Config{})
		if err != nil {
			return err
		}
		p, err := r.Register("w", 4)
		if err != nil {
			return err
		}
		other, foreign, err := sealedReducer[float32](ctx, c, Config{}, 4)
		if err != nil {
			return err
		}
		defer other.Close()
		_, dup := r.Register("w", 4)
		_, none := r.Register("x", 0)
		_, long := r.Register("x", maxLength(4)+1)
		early, earlyWait := r.Ready(p), r.Wait(ctx)
		if err := r.Seal(ctx); err != nil {
			return err
		}
		_, late := r.Register("x", 1)
		again := r.Seal(ctx)
		if err := r.Ready(p); err != nil {
			return err
		}
		twice := r.Ready(p)
		strange, null := r.Ready(foreign[0]), r.Ready(nil)
		if err := r.Wait(ctx); err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
		_, registerClosed := r.Register("x", 1)
		for _, tt := range []struct {
			what      string
			err, want error
			name      string // of the gradient, for a ParamError
		}{
			{"Register of a taken name", dup, ErrDuplicate, "w"},
			{"Register of nothing", none, ErrLength, "x"},
			{"Register of too much", long, ErrLength, "x"},
			{"Ready before Seal", early, ErrNotSealed, ""},
			{"Wait before Seal", earlyWait, ErrNotSealed, ""},
			{"Register after Seal", late, ErrSealed, ""},
			{"second Seal", again, ErrSealed, ""},
			{"second Ready", twice, ErrTwice, "w"},
			{"Ready of another reducer's gradient", strange, ErrForeign, "g0"},
			{"Ready of nil", null, ErrForeign, ""},
			{"Register after Close", registerClosed, ErrClosed, ""},
			{"Seal after Close", r.Seal(ctx), ErrClosed, ""},
			{"Ready after Close", r.Ready(p), net.ErrClosed, ""},
			{"Wait after Close", r.Wait(ctx), ErrClosed, ""},
			{"second Close", r.Close(), nil, ""},
		} {
			if err := is(tt.what, tt.err, tt.want); err != nil {
				return err
			}
			var pe *ParamError
			if errors.As(tt.err, &pe) && (pe.Name != tt.name || !strings.Contains(pe.Error(), tt.name)) {
				return fmt.Errorf("%s: error %q names %q, want %q", tt.what, pe, pe.Name, tt.name)
			}
		}
		return nil
	})
}

func TestMissing(t *testing.T) {
	withRanks(t, 2, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float64](ctx, c, Config{Op: buffer.Sum, FirstBucketBytes: 64, BucketBytes: 64}, 8, 8, 8)
		if err != nil {
			return err
		}
		for i, p := range params {
			p.Grad()[0] = float64(1 + i)
		}
		if err := r.Ready(params[1]); err != nil {
			return err
		}
		err = r.Wait(ctx)
		var missing *MissingError
		if !errors.As(err, &missing) || !reflect.DeepEqual(missing.Names, []string{"g0", "g2"}) {
			return fmt.Errorf("Wait = %v, want g0 and g2 missing", err)
		}
		if err := r.Ready(params[0]); err != nil {
			return err
		}
		if err := r.Ready(params[2]); err != nil {
			return err
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
		for i, p := range params {
			if got, want := p.Grad()[0], float64(2+2*i); got != want {
				return fmt.Errorf("gradient %d: got %v, want %v", i, got, want)
			}
		}
		return nil
	})
	long := &MissingError{Names: strings.Split("abcdefghij", "")}
	if got, want := long.Error(), "bucket: not marked ready in this step: a, b, c, d, e, f, g, h and 2 more"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAllowUnused leaves another gradient out on each rank; the stale value of the step before must not count.
func TestAllowUnused(t *testing.T) {
	const n = 3
	withRanks(t, n, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c,
			Config{Op: buffer.Sum, FirstBucketBytes: 64, BucketBytes: 64, AllowUnused: true}, 16, 16, 16)
		if err != nil {
			return err
		}
		for step := range 3 {
			for i, p := range params {
				if i == c.Rank() {
					continue
				}
				for j := range p.Grad() {
					p.Grad()[j] = float32(100*step + 10*i + c.Rank())
				}
				if err := r.Ready(p); err != nil {
					return err
				}
			}
			if err := r.Wait(ctx); err != nil {
				return err
			}
			for i, p := range params {
				want := 0
				for rank := range n {
					if rank != i {
						want += 100*step + 10*i + rank
					}
				}
				for j, got := range p.Grad() {
					if got != float32(want) {
						return fmt.Errorf("step %d, gradient %d, element %d: got %v, want %d", step, i, j, got, want)
					}
				}
			}
		}
		return nil
	})
}

func TestLayoutErrors(t *testing.T) {
	long := strings.Repeat("é", 300)
	tests := []struct {
		name     string
		n        int
		odd      int // the rank that differs
		register func(r *Reducer[float32]) error
		cfg      Config
		want     LayoutError
	}{
		{"length", 3, 2, func(r *Reducer[float32]) error { _, err := register(r, 4, 6); return err }, Config{},
			LayoutError{1, [2]int{0, 2}, [2]string{`5 elements named "g1"`, `6 elements named "g1"`}}},
		{"one less", 2, 1, func(r *Reducer[float32]) error { _, err := register(r, 4); return err }, Config{},
			LayoutError{1, [2]int{0, 1}, [2]string{`5 elements named "g1"`, "none"}}},
		{"one more, on rank 0", 3, 0, func(r *Reducer[float32]) error { _, err := register(r, 4, 5, 6); return err }, Config{},
			LayoutError{2, [2]int{0, 1}, [2]string{`6 elements named "g2"`, "none"}}},
		{"name", 4, 1, func(r *Reducer[float32]) error { _, err := r.Register(long, 4); return err }, Config{},
			LayoutError{0, [2]int{0, 1}, [2]string{`4 elements named "g0"`, cut(`4 elements named "`+long, wordsMax)}}},
		{"config", 2, 1, func(r *Reducer[float32]) error { _, err := register(r, 4, 5); return err }, Config{Op: buffer.Max, BucketBytes: 12, AllowUnused: true},
			LayoutError{-1, [2]int{0, 1}, [2]string{
				Config{Op: buffer.Avg, FirstBucketBytes: 1 << 20, BucketBytes: 25 << 20}.words(buffer.Float32),
				Config{Op: buffer.Max, FirstBucketBytes: 12, BucketBytes: 12, AllowUnused: true}.words(buffer.Float32)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			withRanks(t, tt.n, func(ctx context.Context, c *collective.Comm) error {
				cfg := Config{}
				if c.Rank() == tt.odd {
					cfg = tt.cfg
				}
				r, err := New[float32](c, cfg)
				if err != nil {
					return err
				}
				if c.Rank() == tt.odd {
					err = tt.register(r)
				} else {
					_, err = register(r, 4, 5)
				}
				if err != nil {
					return err
				}
				err = r.Seal(ctx)
				var got *LayoutError
				if !errors.As(err, &got) || *got != tt.want {
					return fmt.Errorf("Seal = %v, want %v", err, &tt.want)
				}
				if again := r.Seal(ctx); again != err {
					return fmt.Errorf("second Seal = %v, want the first error", again)
				}
				// The communicator is still good: the ranks agreed that they do not agree.
				return collective.Barrier(ctx, c)
			})
		})
	}
	t.Run("element type", func(t *testing.T) {
		withRanks(t, 2, func(ctx context.Context, c *collective.Comm) error {
			var err error
			if c.Rank() == 0 {
				_, _, err = sealedReducer[float32](ctx, c, Config{}, 4)
			} else {
				_, _, err = sealedReducer[buffer.BF16](ctx, c, Config{}, 4)
			}
			var got *LayoutError
			if !errors.As(err, &got) || got.Index != -1 || !strings.Contains(got.Error(), buffer.BFloat16.String()) {
				return fmt.Errorf("Seal = %v, want a LayoutError that names bfloat16", err)
			}
			return nil
		})
	})
}

func TestAllocError(t *testing.T) {
	full := errors.New("no memory left")
	withRanks(t, 3, func(ctx context.Context, c *collective.Comm) error {
		r, err := New[float32](c, Config{FirstBucketBytes: 64, BucketBytes: 64})
		if err != nil {
			return err
		}
		if _, err := register(r, 16, 16, 16); err != nil {
			return err
		}
		want := error(nil)
		if c.Rank() == 1 {
			want = full
			real, calls := r.alloc, 0
			r.alloc = func(n int) ([]float32, error) {
				if calls++; calls == 2 {
					return nil, full
				}
				return real(n)
			}
		}
		err = r.Seal(ctx)
		var got *AllocError
		if !errors.As(err, &got) || got.Rank != 1 || got.Err != want || !errors.Is(err, got.Err) && got.Err != nil {
			return fmt.Errorf("Seal = %v, want an AllocError of rank 1 with %v", err, want)
		}
		if s := got.Error(); !strings.Contains(s, "memory") {
			return fmt.Errorf("text %q does not speak of memory", s)
		}
		return r.Close()
	})
}

func TestAbort(t *testing.T) {
	cause := errors.New("gave up")
	const n = 3
	var sealing sync.WaitGroup // an abort would end a Seal that is still running elsewhere
	sealing.Add(n)
	withRanks(t, n, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c, Config{FirstBucketBytes: 64, BucketBytes: 64}, 16, 16)
		sealing.Done()
		if err != nil {
			return err
		}
		sealing.Wait()
		if c.Rank() == 1 {
			// The first bucket is on its way, the second will never come.
			if err := r.Ready(params[1]); err != nil {
				return err
			}
			c.Abort(cause)
			if err := is("Ready after Abort", r.Ready(params[0]), collective.ErrAborted); err != nil {
				return err
			}
		} else {
			// The abort may arrive before, between or after these.
			for _, p := range params {
				if err := r.Ready(p); err != nil {
					if err := is("Ready", err, collective.ErrAborted); err != nil {
						return err
					}
				}
			}
		}
		first := r.Wait(ctx)
		if err := is("Wait", first, collective.ErrAborted); err != nil {
			return err
		}
		if err := is("second Wait", r.Wait(ctx), first); err != nil {
			return err
		}
		if err := is("Ready", r.Ready(params[0]), first); err != nil {
			return err
		}
		if got := r.Stats().Steps; got != 0 {
			return fmt.Errorf("%d steps counted, want none", got)
		}
		return nil
	})
}

// TestGiveUpWaiting: the end of Wait's context ends the waiting, not the work.
func TestGiveUpWaiting(t *testing.T) {
	gaveUp := make(chan struct{})
	withRanks(t, 2, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c, Config{Op: buffer.Sum}, 16)
		if err != nil {
			return err
		}
		params[0].Grad()[3] = float32(1 + c.Rank())
		if c.Rank() == 1 {
			<-gaveUp
		}
		if err := r.Ready(params[0]); err != nil {
			return err
		}
		if c.Rank() == 0 {
			over, cancel := context.WithCancel(ctx)
			cancel()
			if err := is("Wait", r.Wait(over), context.Canceled); err != nil {
				return err
			}
			if err := is("Close", r.Close(), ErrBusy); err != nil {
				return err
			}
			close(gaveUp)
		}
		if err := r.Wait(ctx); err != nil {
			return err
		}
		if got := params[0].Grad()[3]; got != 3 {
			return fmt.Errorf("got %v, want 3", got)
		}
		return nil
	})
}

func TestConcurrentWait(t *testing.T) {
	checked := make(chan struct{})
	withRanks(t, 2, func(ctx context.Context, c *collective.Comm) error {
		r, params, err := sealedReducer[float32](ctx, c, Config{}, 16)
		if err != nil {
			return err
		}
		if c.Rank() == 1 {
			<-checked
			if err := r.Ready(params[0]); err != nil {
				return err
			}
			return r.Wait(ctx)
		}
		if err := r.Ready(params[0]); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- r.Wait(ctx) }()
		for waiting := false; !waiting; runtime.Gosched() {
			r.mu.Lock()
			waiting = r.waiting
			r.mu.Unlock()
		}
		second, closing := r.Wait(ctx), r.Close()
		close(checked)
		if err := is("second Wait", second, ErrBusy); err != nil {
			return err
		}
		if err := is("Close", closing, ErrBusy); err != nil {
			return err
		}
		return <-done
	})
}
