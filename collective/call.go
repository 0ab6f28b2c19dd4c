package collective

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/internal/engine"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// An Option changes one call.
type Option func(*options)

type options struct {
	timeout  time.Duration
	stream   buffer.Stream
	onStream bool
}

// WithTimeout ends the operation, on every rank, when it takes longer than d. It comes on top of the context's deadline.
func WithTimeout(d time.Duration) Option {
	return func(o *options) { o.timeout = d }
}

// A call is one operation of one rank, checked and ready to run.
type call struct {
	coll     schedule.Collective
	op       buffer.Op
	root     topology.Rank
	dst, src buffer.Block
	count    int         // as the caller gave it: elements of the shorter side
	length   int         // elements of the whole vector
	gate     buffer.Gate // what it comes after on a device; nil: nothing
}

// callCache keeps what was prepared for earlier calls, by signature.
type callCache struct {
	scripts map[callKey]*engine.Script
	last    callKey
	script  *engine.Script
	scratch []byte
}

type callKey struct {
	coll  schedule.Collective
	dtype buffer.DType
	op    buffer.Op
	root  topology.Rank
	count int
}

// maxScripts bounds a cache whose callers never use the same count twice.
const maxScripts = 512

// do runs a call in the order of calls. It is the one way into the engine.
func (c *Comm) do(ctx context.Context, k *call, opts []Option) error {
	if len(opts) == 0 {
		if c.queue.tryEnter() {
			err := c.run(ctx, k, nil)
			c.queue.leave()
			return err
		}
		return c.perform(ctx, *k, nil)
	}
	gated, err := c.gated(*k, opts, false)
	if err != nil {
		return err
	}
	return c.perform(ctx, gated, opts)
}

func (c *Comm) perform(ctx context.Context, k call, opts []Option) error {
	inline, w, err := c.queue.enter(func() *Work { return c.work(ctx, k, opts) })
	switch {
	case err != nil:
		return errors.Join(c.ended(k, err), release(k.gate))
	case inline:
		err = c.run(ctx, &k, opts)
		c.queue.leave()
		return err
	}
	<-w.done // w itself ends with ctx, also while it waits for its turn
	return w.err
}

// start queues a call.
func (c *Comm) start(ctx context.Context, k call, opts []Option) (*Work, error) {
	k, err := c.gated(k, opts, true)
	if err != nil {
		return nil, err
	}
	w := c.work(ctx, k, opts)
	if err := c.queue.start(w); err != nil {
		w.unwatch()
		return nil, errors.Join(c.ended(k, err), release(k.gate))
	}
	return w, nil
}

// work returns the Work of a call. When its context ends before its turn comes, that ends the communicator as it would
// have ended it later: the operations before may last for ever.
func (c *Comm) work(ctx context.Context, k call, opts []Option) *Work {
	w := newWork(ctx, func(ctx context.Context) error { return c.run(ctx, &k, opts) })
	w.unwatch = context.AfterFunc(ctx, func() {
		err := engine.Ended(ctx)
		c.engine.Abort(&AbortError{Rank: c.cfg.Rank, Cause: fmt.Sprintf("%v, before its turn: %v", k.coll, err), Err: err})
	})
	return w
}

// ended is the error of a call on a communicator that has ended.
func (c *Comm) ended(k call, err error) error {
	return fmt.Errorf("collective: %v on rank %d: %w", k.coll, c.cfg.Rank, err)
}

func (c *Comm) run(ctx context.Context, k *call, opts []Option) error {
	err := c.runInTurn(ctx, k, opts)
	if k.gate != nil {
		if opened := release(k.gate); err == nil {
			err = opened
		}
	}
	return err
}

func (c *Comm) runInTurn(ctx context.Context, k *call, opts []Option) error {
	if len(opts) > 0 {
		var o options
		for _, opt := range opts {
			opt(&o)
		}
		if o.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.timeout)
			defer cancel()
		}
	}
	if err := c.engine.Err(); err != nil {
		return c.ended(*k, err)
	}
	sc, err := c.script(k)
	if err == nil {
		err = c.runScript(ctx, sc, k)
	}
	if err != nil {
		c.engine.Abort(err) // also when it was this rank's alone, a lack of memory or of a link: the others wait for it
		return c.ended(*k, c.engine.Err())
	}
	return nil
}

// script returns the prepared schedule for a call.
func (c *Comm) script(k *call) (*engine.Script, error) {
	key := callKey{k.coll, k.src.Type, k.op, k.root, k.count}
	cc := &c.calls
	if cc.script != nil && cc.last == key {
		return cc.script, nil
	}
	sc := cc.scripts[key]
	if sc == nil {
		bytes := k.length * k.src.Type.Size()
		p, err := c.planner.Choose(c.cfg.Algorithm, plan.Request{Collective: k.coll, Root: k.root, Bytes: int64(bytes)})
		if err != nil {
			return nil, err
		}
		sig := engine.Signature{
			Collective: k.coll, Type: k.src.Type, Op: k.op, Root: k.root, Count: uint64(k.count), Algorithm: p.Variant.Code(),
		}
		if sc, err = c.engine.NewScript(sig, p.Schedule, k.length, p.SliceBytes); err != nil {
			return nil, err
		}
		if cc.scripts == nil || len(cc.scripts) >= maxScripts {
			cc.scripts = make(map[callKey]*engine.Script)
		}
		cc.scripts[key] = sc
	}
	cc.last, cc.script = key, sc
	return sc, nil
}

// runScript gives the caller's memory to the engine. Where a schedule wants an output as long as the vector and the
// caller keeps only a part, scratch memory takes the rest.
func (c *Comm) runScript(ctx context.Context, sc *engine.Script, k *call) error {
	size := k.src.Type.Size()
	var m engine.Operands // filled in like a call
	m.In, m.Out, m.Finish, m.Away, m.Gate = k.src.Data, k.dst.Data, k.op == buffer.Avg && c.cfg.Size > 1, k.src.Memory != nil, k.gate
	if k.coll == schedule.AllGather {
		m.InAt = c.cfg.Rank * k.count
	}
	scratch, copyOut := sc.NeedsScratch(topology.Rank(c.cfg.Rank))
	if scratch {
		out, err := c.scratchFor(k, k.length*size)
		if err != nil {
			return err
		}
		m.Out = out
	}
	own := c.cfg.Rank * k.count
	if k.coll == schedule.ReduceScatter && !copyOut {
		m.Own, m.OwnLo, m.OwnHi = k.dst.Data, own, own+k.count
	}
	if err := c.engine.Run(ctx, sc, &m); err != nil {
		return err
	}
	if copyOut {
		return c.moveOut(ctx, k, m.Out[own*size:(own+k.count)*size])
	}
	return nil
}
