package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/examples/internal/links"
)

// A process is one of those that take part, with its ranks as goroutines.
type process struct {
	o        *options
	index    int
	group    string
	out      io.Writer
	terminal *os.File // for progress
	links    *links.Links
	known    answers // that its ranks check results against
}

// run measures everything on all ranks of the process. It returns how many elements were wrong on all ranks of the
// group together, or the error of the first rank that failed.
func (p *process) run(ctx context.Context) (wrong int64, err error) {
	if p.links, err = p.o.Meet(ctx, "perf", p.o.hosts > 1, p.terminal); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.links.Close()) }()
	var wait sync.WaitGroup
	var mu sync.Mutex
	for t := range p.o.threads {
		wait.Go(func() {
			n, e := p.rank(ctx, p.index*p.o.threads+t)
			mu.Lock()
			defer mu.Unlock()
			if e != nil && err == nil {
				err = e
			}
			wrong = n
		})
	}
	wait.Wait()
	return wrong, err
}

// rank is the life of one rank.
func (p *process) rank(parent context.Context, rank int) (wrong int64, err error) {
	ctx, dog := watch(parent, p.o.timeout)
	defer dog.stop()
	dog.at("joining the group")
	defer func() {
		if err != nil {
			// Of a rank that gave up, the library may report another rank's abort for the same reason.
			if cause := context.Cause(ctx); cause != nil && !strings.Contains(err.Error(), cause.Error()) {
				err = fmt.Errorf("%w (%w)", err, cause)
			}
			err = fmt.Errorf("rank %d: %s: %w", rank, *dog.what.Load(), err)
		}
	}()
	g, err := p.o.openGPU(p.o.local(rank))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	comm, err := p.join(ctx, rank, g)
	if err != nil {
		return 0, err
	}
	rank = comm.Rank()
	defer func() {
		if err != nil {
			comm.Abort(err)
		}
		if e := comm.Close(); err == nil {
			err = e
		}
	}()
	if p.o.topology != "" && rank == 0 {
		text, err := comm.Topology().MarshalText()
		if err == nil {
			err = os.WriteFile(p.o.topology, text, 0o666)
		}
		if err != nil {
			return 0, err
		}
	}
	dog.at("describing the ranks")
	devices, err := gatherDevices(ctx, comm, p.o, g)
	if err != nil {
		return 0, err
	}
	var report *reporter
	if rank == 0 {
		if report, err = newReporter(p.o, p.out, p.terminal, devices); err != nil {
			return 0, err
		}
	}
	wrong, err = p.measure(ctx, comm, g, dog, report)
	return wrong, errors.Join(err, report.finish(err))
}

func (p *process) measure(ctx context.Context, comm *collective.Comm, g *gpu, dog *watchdog, report *reporter) (wrong int64, err error) {
	dog.at("allocating buffers")
	send, recv := p.o.largest()
	b, err := newBuffers(comm, g, p.o.alloc, send, recv)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.free()) }()
	m := member{
		o: p.o, comm: comm, dog: dog, buffers: b, known: p.shared(),
		times: make([]float64, p.o.iters), one: make([]float64, 1), count: make([]int64, 1),
	}
	for s := range p.o.subjects() {
		r, err := m.row(ctx, s, report)
		if err != nil {
			return wrong, err
		}
		wrong += r.outOfPlace.wrong + r.inPlace.wrong
		if err := report.row(r); err != nil {
			return wrong, err
		}
	}
	if g != nil && report != nil {
		dog.at("copying within the device")
		dog.call()
		report.header.copied, err = g.copyBandwidth(int(max(send, recv)))
	}
	return wrong, err
}

// shared is where ranks of this process share the results they expect, if there are several.
func (p *process) shared() *answers {
	if p.o.threads == 1 {
		return nil
	}
	return &p.known
}

// row measures one size, out of place and in place.
func (m *member) row(ctx context.Context, s subject, report *reporter) (row, error) {
	width := int64(s.dtype.Size())
	shape := m.o.coll.shapeOf(s.size, width, m.comm.Size())
	r := row{
		size: max(shape.send, shape.recv) * width, count: shape.param, dtype: s.dtype.String(), op: "none", root: -1,
		iters: m.o.iters,
	}
	if s.op != 0 {
		r.op = s.op.String()
	}
	if m.o.coll.rooted() {
		r.root = s.root
	}
	if m.o.coll == barrier {
		r.dtype = "none"
	}
	if m.o.explain && report != nil {
		text, err := explain(m.comm, m.o.coll, s.root, max(shape.send, shape.recv)*width)
		if err != nil {
			return r, err
		}
		if err := report.explain(text); err != nil {
			return r, err
		}
	}
	var err error
	report.measuring(s, false)
	if r.outOfPlace, err = m.measure(ctx, s, false); err != nil {
		return r, err
	}
	report.measuring(s, true)
	r.inPlace, err = m.measure(ctx, s, true)
	return r, err
}
