package collective_test

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// How long the world stops for while two ranks reduce 64 MiB and a third goroutine collects garbage all the time: neither
// copies nor kernels nor waiting may hold up the collector.
func BenchmarkStopTheWorld(b *testing.B) {
	links := linkKinds()
	for _, kind := range []string{"registered", "plain"} {
		b.Run(kind, func(b *testing.B) {
			comms := join(b, layout{ranks: 2, links: links[min(1, len(links)-1)]})
			const elements = 16 << 20
			data := make([][]float32, len(comms))
			each(b, comms, func(_ context.Context, c *collective.Comm) (err error) {
				data[c.Rank()] = make([]float32, elements)
				if kind == "registered" {
					data[c.Rank()], err = collective.Alloc[float32](c, elements)
				}
				return err
			})
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					default:
						runtime.GC()
					}
				}
			}()
			before := pauses()
			b.SetBytes(4 * elements)
			for b.Loop() {
				for _, err := range ranksDo(len(comms), func(r int) error {
					return collective.AllReduce(b.Context(), comms[r], data[r], buffer.Sum)
				}) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			after := pauses()
			close(stop)
			<-stopped
			longest := 0.0
			for i, n := range after.Counts {
				if n > before.Counts[i] {
					longest = after.Buckets[i+1]
				}
			}
			b.ReportMetric(longest*1e6, "pause-us")
		})
	}
}

// pauses returns how long the collector has stopped the world for, in seconds.
func pauses() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}
