package transport_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// In a bubble, a Sleep takes exactly as long as it must.
func TestBellTimes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cases := []struct {
		name  string
		sleep func(b transport.Bell)
		want  time.Duration
	}{
		{"limit", func(b transport.Bell) { b.Arm(); b.Sleep(context.Background(), 3*time.Second) }, 3 * time.Second},
		{"limit again", func(b transport.Bell) {
			for range 3 {
				b.Arm()
				b.Sleep(context.Background(), time.Second)
			}
		}, 3 * time.Second},
		{"ring", func(b transport.Bell) {
			time.AfterFunc(2*time.Second, b.Ring)
			b.Arm()
			b.Sleep(context.Background(), time.Hour)
		}, 2 * time.Second},
		{"ring without limit", func(b transport.Bell) {
			time.AfterFunc(2*time.Second, b.Ring)
			b.Arm()
			b.Sleep(context.Background(), 0)
		}, 2 * time.Second},
		{"ring before", func(b transport.Bell) { b.Arm(); b.Ring(); b.Sleep(context.Background(), 0) }, 0},
		{"ring before Arm does not count", func(b transport.Bell) {
			b.Ring()
			b.Arm()
			b.Sleep(context.Background(), time.Second)
		}, time.Second},
		{"ring before Disarm does not count", func(b transport.Bell) {
			b.Arm()
			b.Ring()
			b.Disarm()
			b.Arm()
			b.Sleep(context.Background(), time.Second)
		}, time.Second},
		{"ring when disarmed does not count", func(b transport.Bell) {
			b.Arm()
			b.Disarm()
			b.Ring()
			b.Arm()
			b.Sleep(context.Background(), time.Second)
		}, time.Second},
		{"context", func(b transport.Bell) {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			defer cancel()
			b.Arm()
			b.Sleep(ctx, 0)
		}, 4 * time.Second},
		{"context with limit", func(b transport.Bell) {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			defer cancel()
			b.Arm()
			b.Sleep(ctx, time.Minute)
		}, 4 * time.Second},
		{"context done before", func(b transport.Bell) { cancel(); b.Arm(); b.Sleep(ctx, 0) }, 0},
		{"closed", func(b transport.Bell) { b.Close(); b.Ring(); b.Arm(); b.Sleep(context.Background(), 0) }, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c.sleep(transport.NewBell())
				if got := time.Since(start); got != c.want {
					t.Errorf("slept %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestBellNoAllocs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := transport.NewBell()
	for _, limit := range []time.Duration{0, time.Hour} {
		if n := testing.AllocsPerRun(100, func() {
			b.Arm()
			b.Ring()
			b.Sleep(ctx, limit)
		}); n != 0 {
			t.Errorf("limit %v: %v allocations per Sleep, want 0", limit, n)
		}
	}
}

func TestHeap(t *testing.T) {
	var h transport.Heap
	for _, size := range []int{-1, math.MaxInt} {
		if _, err := h.Alloc(size); err == nil {
			t.Errorf("alloc of %d bytes: no error", size)
		}
	}
	m, err := h.Alloc(5000)
	if err != nil || len(m) != 5000 || cap(m) != 5000 {
		t.Fatalf("alloc of 5000 bytes: got %d of %d, %v", len(m), cap(m), err)
	}
	if err := h.Free(m[:10]); err == nil {
		t.Error("free of a part: no error")
	}
	h.Close()
	if _, err := h.Alloc(1); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("alloc after Close: got %v, want ErrClosed", err)
	}
	if err := h.Free(m); err != nil {
		t.Errorf("free after Close: %v", err)
	}
	if err := h.Free(m); err == nil {
		t.Error("free twice: no error")
	}
}

// ExampleBell shows how a rank waits: it arms, looks once more, and sleeps only if there is nothing.
func ExampleBell() {
	bell := transport.NewBell()
	defer bell.Close()
	news := make(chan string, 1)
	go func() {
		news <- "a frame" // first publish,
		bell.Ring()       // then ring
	}()
	for {
		bell.Arm()
		select {
		case n := <-news:
			bell.Disarm()
			fmt.Println(n)
			return
		default:
		}
		bell.Sleep(context.Background(), 0)
	}
	// Output: a frame
}
