package main

import (
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/examples/internal/sizes"
)

// members joins o.threads ranks of this process and calls f on each.
func members(t *testing.T, o *options, f func(m *member) error) {
	t.Helper()
	l, err := o.Meet(t.Context(), "perf", false, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := process{o: o, group: t.Name(), links: l}
	var wait sync.WaitGroup
	for rank := range o.ranks() {
		wait.Go(func() {
			ctx, dog := watch(t.Context(), o.timeout)
			defer dog.stop()
			comm, err := p.join(ctx, rank, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer comm.Close()
			send, recv := o.largest()
			b, err := newBuffers(comm, nil, o.alloc, send, recv)
			if err != nil {
				t.Error(err)
				return
			}
			m := &member{
				o: o, comm: comm, dog: dog, buffers: b,
				times: make([]float64, o.iters), one: make([]float64, 1), count: make([]int64, 1),
			}
			if err := f(m); err != nil {
				t.Errorf("rank %d: %v", rank, err)
				comm.Abort(err)
				return
			}
			if err := collective.Barrier(ctx, comm); err != nil {
				t.Errorf("rank %d: %v", rank, err)
			}
			if err := b.free(); err != nil {
				t.Errorf("rank %d: free: %v", rank, err)
			}
		})
	}
	wait.Wait()
}

func TestTimedLoopAllocatesNothing(t *testing.T) {
	const iters = 2000
	// What the runtime may allocate meanwhile: its records of parked goroutines move between the processors' caches of
	// 128 before they come back, and other goroutines live, too. An allocation in each call would be far above it.
	few := uint64(300 * runtime.GOMAXPROCS(0))
	for _, coll := range []collKind{allReduce, reduceScatter, allGather, broadcast, reduce, barrier} {
		o := defaults()
		o.coll, o.processes, o.threads, o.Transport, o.iters = coll, 1, 2, "mem", iters
		o.sweep = sizes.Sweep{First: 32 << 10, Last: 32 << 10, Step: 1, Factor: 2}
		s := subject{size: 32 << 10, dtype: buffer.Float32, op: buffer.Sum}
		members(t, &o, func(m *member) error {
			l := layoutOf(m.buffers, coll, coll.shapeOf(s.size, 4, 2), s.dtype, m.comm.Rank(), false)
			c := caller{comm: m.comm, coll: coll, op: s.op, dst: l.dst, src: l.src}
			ctx := t.Context()
			for _, loop := range []func() error{
				func() error { return m.loop(ctx, &c) }, // the first prepares schedules and links
				func() error { return m.loop(ctx, &c) },
				func() error { return m.loopPerIter(ctx, &c) },
			} {
				if err := collective.Barrier(ctx, m.comm); err != nil {
					return err
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if err := loop(); err != nil {
					return err
				}
				runtime.ReadMemStats(&after)
				if n := after.Mallocs - before.Mallocs; n > few && m.times[0] != 0 {
					t.Errorf("%v on rank %d: %d allocations in %d calls, want none", coll, m.comm.Rank(), n, iters)
				}
				m.times[0] = 1
			}
			for i, took := range m.times {
				if took <= 0 {
					t.Errorf("%v: iteration %d: got %g s, want a time", coll, i, took)
				}
			}
			return nil
		})
	}
}

// TestCombine gives every rank another time.
func TestCombine(t *testing.T) {
	for how, want := range map[combination]float64{ofRank0: 1, ofMean: 2, ofMin: 1, ofMax: 3} {
		o := defaults()
		o.processes, o.threads, o.Transport, o.average, o.sweep.Last = 1, 3, "mem", how, 1024
		members(t, &o, func(m *member) error {
			got, err := m.combine(t.Context(), float64(1+m.comm.Rank()))
			if err == nil && m.comm.Rank() == 0 && got != want {
				t.Errorf("-a %d: got %g, want %g", how, got, want)
			}
			return err
		})
	}
}

func TestGatherTimes(t *testing.T) {
	o := defaults()
	o.processes, o.threads, o.Transport, o.iters, o.sweep.Last = 1, 3, "mem", 2, 1024
	members(t, &o, func(m *member) error {
		r := float64(m.comm.Rank())
		m.times[0], m.times[1] = 1+r, 9-r
		rows, err := m.gatherTimes(t.Context())
		if err == nil && (len(rows) != 1 || rows[0][0] != 3 || rows[0][1] != 9) {
			t.Errorf("rank %g: got %v, want the slowest rank of the one process: [[3 9]]", r, rows)
		}
		return err
	})
}

// TestCheckCountsWrongElements lets the library do something else than what is checked: every rank hears of all wrong
// elements, and the run does not end with status 0.
func TestCheckCountsWrongElements(t *testing.T) {
	const ranks, count = 3, 256
	o := defaults()
	o.processes, o.threads, o.Transport, o.sweep.Last, o.check = 1, ranks, "mem", 4*count, 5
	asked := subject{size: 4 * count, dtype: buffer.Int32, op: buffer.Sum}
	members(t, &o, func(m *member) error {
		l := layoutOf(m.buffers, allReduce, shape{count, count, count}, asked.dtype, m.comm.Rank(), false)
		c := caller{comm: m.comm, coll: allReduce, op: buffer.Max, dst: l.dst, src: l.src}
		wrong, err := m.check(t.Context(), asked, &l, &c)
		if err != nil {
			return err
		}
		const most = ranks * count
		if wrong < most*9/10 || wrong > most || statusOf(wrong, false) != exitFailed || statusOf(wrong, true) != exitWrong {
			t.Errorf("a maximum taken for a sum: %d wrong on rank %d, want nearly %d", wrong, m.comm.Rank(), most)
		}
		if m.seed != 1 {
			t.Errorf("checked %d times, want to stop at the first that is wrong", m.seed)
		}
		c.op = asked.op
		wrong, err = m.check(t.Context(), asked, &l, &c)
		if wrong != 0 || statusOf(wrong, true) != 0 || m.seed != 6 {
			t.Errorf("a sum: %d wrong after %d checks on rank %d, want none after 5 more", wrong, m.seed, m.comm.Rank())
		}
		return err
	})
}
