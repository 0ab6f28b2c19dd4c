package collective_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// How long the world stops for while two ranks reduce 64 MiB and a third goroutine collects garbage all the time: neither
// copies nor kernels nor waiting may hold up the collector. stopping-us is the longest time until all had stopped, of this or another
// stop. What the machine does beside it: gap-us is the longest gap of a bare loop on every core, run before and after; delay-us
// how long threads of this process, together, were kept from a core meanwhile; steal-us what the hypervisor says that it took from
// all cores, in steps of 10 ms. A stop that is no longer than a gap says nothing of this code.
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
			gap := longestGap(gapTime)
			before, stopping := pauses("total"), pauses("stopping")
			delay, steal := queueTime(), stolenTime()
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
			b.ReportMetric(float64(queueTime()-delay)/1e3, "delay-us")
			b.ReportMetric(float64(stolenTime()-steal)/1e3, "steal-us")
			b.ReportMetric(longestSince(before, pauses("total"))*1e6, "pause-us")
			b.ReportMetric(longestSince(stopping, pauses("stopping"))*1e6, "stopping-us")
			close(stop)
			<-stopped
			b.ReportMetric(float64(max(gap, longestGap(gapTime)))/1e3, "gap-us")
		})
	}
}

// pauses returns how long the collector has stopped the world for, in seconds: "total", or "stopping", until all had stopped.
func pauses(of string) *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/" + of + "/gc:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// longestSince returns the upper end of the last bucket that has grown.
func longestSince(before, after *metrics.Float64Histogram) (longest float64) {
	for i, n := range after.Counts {
		if n > before.Counts[i] {
			longest = after.Buckets[i+1]
		}
	}
	return longest
}

// gapTime is about as long as the operations between two loops of longestGap take.
const gapTime = time.Second

// longestGap returns the longest time between two looks at the clock of threads that do nothing else for d, one a core.
func longestGap(d time.Duration) (longest time.Duration) {
	gaps := make(chan time.Duration)
	threads := runtime.GOMAXPROCS(0)
	for range threads {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := time.Now()
			var last, gap time.Duration
			for last < d {
				now := time.Since(start)
				last, gap = now, max(gap, now-last)
			}
			gaps <- gap
		}()
	}
	for range threads {
		longest = max(longest, <-gaps)
	}
	return longest
}

// queueTime returns how long this process's threads have been runnable without a core, in ns.
func queueTime() int64 {
	threads, _ := os.ReadDir("/proc/self/task")
	var sum int64
	for _, th := range threads {
		text, _ := os.ReadFile("/proc/self/task/" + th.Name() + "/schedstat")
		var ran, waited int64
		if _, err := fmt.Sscan(string(text), &ran, &waited); err == nil {
			sum += waited
		}
	}
	return sum
}

// stolenTime returns how long the hypervisor has kept this machine's cores from it, in ns; 0 where nobody says.
func stolenTime() int64 {
	text, _ := os.ReadFile("/proc/stat")
	var name string
	var ticks [8]int64 // user, nice, system, idle, iowait, irq, softirq, steal
	if _, err := fmt.Sscan(string(text), &name, &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]); err != nil {
		return 0
	}
	return ticks[7] * 10e6
}
