package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// A member measures on one rank. All ranks run the same calls in the same order.
type member struct {
	o       *options
	comm    *collective.Comm
	dog     *watchdog
	buffers *buffers
	known   *answers  // of the ranks of this process; nil: each works them out
	seed    uint64    // of the inputs; every checked call has another one
	times   []float64 // of this rank's iterations, in seconds; made before anything is timed
	one     []float64
	count   []int64
}

// measure makes one half of a row.
func (m *member) measure(ctx context.Context, s subject, inPlace bool) (measurement, error) {
	half := "out-of-place"
	if inPlace {
		half = "in-place"
	}
	m.dog.at(fmt.Sprintf("%s %v of %v", half, m.o.coll, s))
	width := int64(s.dtype.Size())
	shape := m.o.coll.shapeOf(s.size, width, m.comm.Size())
	l := layoutOf(m.buffers, m.o.coll, shape, s.dtype, m.comm.Rank(), inPlace)
	at := m.buffers.operands(&l, m.o.coll, shape, s.dtype, m.comm.Rank())
	c := caller{comm: m.comm, coll: m.o.coll, op: s.op, root: s.root, dst: at.dst, src: at.src}
	seconds, err := m.time(ctx, s, &l, &c)
	if err != nil {
		return measurement{}, err
	}
	out := measurement{seconds: seconds, checked: m.o.check > 0}
	out.algbw, out.busbw = m.o.coll.bandwidth(shape, width, m.comm.Size(), seconds)
	if m.o.perIter {
		if out.times, err = m.gatherTimes(ctx); err != nil {
			return measurement{}, err
		}
	}
	out.wrong, err = m.check(ctx, s, &l, &c)
	return out, err
}

// time returns the time of one call in seconds, combined over the ranks as -a says. The timed loop allocates nothing.
func (m *member) time(ctx context.Context, s subject, l *layout, c *caller) (float64, error) {
	if m.o.coll != barrier {
		p := newPattern(s.dtype, s.op, m.comm.Size(), 0)
		if err := p.fillRoughly(l.src, m.comm.Rank()); err != nil {
			return 0, err
		}
	}
	if err := m.buffers.upload(l); err != nil {
		return 0, err
	}
	for range m.o.warmup {
		m.dog.call()
		if err := c.call(ctx); err != nil {
			return 0, err
		}
	}
	if err := collective.Barrier(ctx, m.comm); err != nil {
		return 0, err
	}
	var err error
	start := time.Now()
	if m.o.perIter {
		err = m.loopPerIter(ctx, c)
	} else {
		err = m.loop(ctx, c)
	}
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	if err := collective.Barrier(ctx, m.comm); err != nil {
		return 0, err
	}
	return m.combine(ctx, took.Seconds()/float64(m.o.iters*m.o.agg))
}

func (m *member) loop(ctx context.Context, c *caller) error {
	for range m.o.iters * m.o.agg {
		m.dog.call()
		if err := c.call(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *member) loopPerIter(ctx context.Context, c *caller) error {
	start := time.Now()
	last := time.Duration(0)
	for i := range m.times {
		for range m.o.agg {
			m.dog.call()
			if err := c.call(ctx); err != nil {
				return err
			}
		}
		now := time.Since(start) // half as long as time.Now takes
		m.times[i] = (now - last).Seconds() / float64(m.o.agg)
		last = now
	}
	return nil
}

// combine makes one time of all ranks' times.
func (m *member) combine(ctx context.Context, seconds float64) (float64, error) {
	op := buffer.Avg
	switch m.o.average {
	case ofRank0:
		return seconds, nil // only rank 0's report counts
	case ofMin:
		op = buffer.Min
	case ofMax:
		op = buffer.Max
	}
	m.one[0] = seconds
	err := collective.AllReduce(ctx, m.comm, m.one, op)
	return m.one[0], err
}

// gatherTimes returns every process's iteration times, in seconds: the slowest of its ranks.
func (m *member) gatherTimes(ctx context.Context) ([][]float64, error) {
	n := len(m.times)
	all := make([]float64, n*m.comm.Size())
	if err := collective.AllGather(ctx, m.comm, all, m.times); err != nil {
		return nil, err
	}
	var byProcess [][]float64
	for p := range m.o.processes {
		var rows [][]float64
		for t := range m.o.threads {
			r := p*m.o.threads + t
			rows = append(rows, all[r*n:(r+1)*n])
		}
		byProcess = append(byProcess, slowest(rows))
	}
	return byProcess, nil
}

// check makes the checked calls and returns how many elements were wrong on all ranks together.
func (m *member) check(ctx context.Context, s subject, l *layout, c *caller) (int64, error) {
	rank := m.comm.Rank()
	for range m.o.check {
		m.seed++
		p := newPattern(s.dtype, s.op, m.comm.Size(), m.seed)
		if err := l.prepare(&p, rank); err != nil {
			return 0, err
		}
		if err := m.buffers.upload(l); err != nil {
			return 0, err
		}
		m.dog.call()
		if err := c.call(ctx); err != nil {
			return 0, err
		}
		if err := m.buffers.download(l); err != nil {
			return 0, err
		}
		wrong, err := l.wrong(&p, m.o.coll, rank, s.root, m.known)
		if err != nil {
			return 0, err
		}
		m.dog.call()
		m.count[0] = wrong
		if err := collective.AllReduce(ctx, m.comm, m.count, buffer.Sum); err != nil {
			return 0, err
		}
		if m.count[0] != 0 {
			return m.count[0], nil
		}
	}
	return 0, nil
}
