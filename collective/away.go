package collective

import (
	"context"
	"errors"
	"sync"

	"github.com/ringtree/ringtree/collective/buffer"
)

// away is a communicator's memory on its rank's device.
type away struct {
	mu      sync.Mutex
	blocks  map[*byte][]byte // of AllocBlock
	scratch []byte
}

// OnStream ties a call to a stream of the device that its blocks lie on, a *cudabridge.Stream: the operation comes after all
// that is on the stream when it is called or started. Work that is given to the stream after a Start waits for the operation;
// a blocking call is over when it returns. Without it the data must be ready.
func OnStream(s buffer.Stream) Option {
	return func(o *options) { o.stream, o.onStream = s, true }
}

// gated is a call with its place in a stream, if an option gives it one.
func (c *Comm) gated(k call, opts []Option, hold bool) (call, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if !o.onStream {
		return k, nil
	}
	if k.src.Memory == nil {
		return k, argError("OnStream", "the blocks lie in the host's memory")
	}
	g, err := k.src.Memory.Gate(o.stream, hold)
	k.gate = g
	return k, err
}

// release lets the stream of a gate, if there is one, go on.
func release(g buffer.Gate) error {
	if g == nil {
		return nil
	}
	return g.Open()
}

// memoryFits reports why a call's blocks lie where the communicator cannot take them, or nil.
func (c *Comm) memoryFits(k *call) error {
	switch {
	case k.src.Memory != k.dst.Memory:
		return argError("dst", "it lies elsewhere than src")
	case k.src.Memory == nil:
		return nil
	case k.src.Memory != c.cfg.Memory:
		return argError("src", "it lies in %v, which is not Config.Memory", k.src.Memory)
	case !c.cfg.Memory.Contains(k.src.Data):
		return argError("src", "not all of it lies in %v", c.cfg.Memory)
	case !c.cfg.Memory.Contains(k.dst.Data):
		return argError("dst", "not all of it lies in %v", c.cfg.Memory)
	}
	return nil
}

// scratchFor returns at least n bytes of scratch memory where the call's blocks lie.
func (c *Comm) scratchFor(k *call, n int) ([]byte, error) {
	m := k.src.Memory
	have, alloc, free := &c.calls.scratch, c.doors.alloc, c.doors.free
	if m != nil {
		have, alloc, free = &c.away.scratch, m.Alloc, m.Free
	}
	if len(*have) < n {
		mem, err := alloc(n)
		if err != nil {
			return nil, err
		}
		if *have != nil {
			_ = free(*have)
		}
		*have = mem
	}
	return (*have)[:n], nil
}

// moveOut copies a result from scratch memory to where the caller wants it.
func (c *Comm) moveOut(ctx context.Context, k *call, src []byte) error {
	if k.src.Memory == nil {
		buffer.Copy(k.dst.Data, src)
		return nil
	}
	return c.engine.Move(ctx, k.dst.Data, src)
}

// allocAway is AllocBlock on the rank's device.
func (c *Comm) allocAway(n int) ([]byte, error) {
	mem, err := c.cfg.Memory.Alloc(n)
	if err != nil || n == 0 {
		return nil, err
	}
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	if c.away.blocks == nil {
		c.away.blocks = make(map[*byte][]byte)
	}
	c.away.blocks[&mem[0]] = mem
	return mem, nil
}

// freeBlockAway is FreeBlock there.
func (c *Comm) freeBlockAway(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	if len(c.away.blocks[&mem[0]]) != len(mem) {
		return argError("block", "%d bytes that AllocDevice did not return", len(mem))
	}
	delete(c.away.blocks, &mem[0])
	return c.cfg.Memory.Free(mem)
}

// freeAway gives all of it back.
func (c *Comm) freeAway() error {
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	var errs []error
	for _, mem := range c.away.blocks {
		errs = append(errs, c.cfg.Memory.Free(mem))
	}
	c.away.blocks = nil
	if c.away.scratch != nil {
		errs = append(errs, c.cfg.Memory.Free(c.away.scratch))
		c.away.scratch = nil
	}
	return errors.Join(errs...)
}
