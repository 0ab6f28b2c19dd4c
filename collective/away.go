package collective

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/transport"
)

// away is a communicator's memory on its rank's device.
type away struct {
	mu       sync.Mutex
	blocks   map[*byte]*awayBlock // of AllocDevice
	scratch  []byte
	receives bool                     // links store in some block
	direct   atomic.Pointer[[][]byte] // what network cards read by themselves
	ways     map[string]bool          // how, or why they do not
}

// An awayBlock is one block.
type awayBlock struct {
	mem    []byte
	forget []func() error // lets the endpoints forget it
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
	have, alloc, free, size := &c.calls.scratch, c.doors.alloc, c.doors.free, n
	if k.src.Memory != nil {
		// To free memory the driver may wait for the whole device, of which a stream may wait for this very operation: what has become too
		// short is kept until Close.
		have, alloc, free = &c.away.scratch, c.allocAway, func([]byte) error { return nil }
		size = max(n, 2*len(*have))
	}
	if len(*have) < n {
		mem, err := alloc(size)
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
	b := &awayBlock{mem: mem}
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	if c.away.blocks == nil {
		c.away.blocks, c.away.ways = make(map[*byte]*awayBlock), make(map[string]bool)
	}
	c.away.blocks[&mem[0]] = b
	for i, ep := range c.doors.endpoints {
		if ep, ok := ep.(transport.DeviceEndpoint); ok {
			c.away.register(b, c.doors.transports[i].Name(), ep, c.cfg.Memory)
		}
	}
	c.away.publish()
	return mem, nil
}

// register makes a block known to an endpoint, if it can be read without a copy. mu is held.
func (a *away) register(b *awayBlock, name string, ep transport.DeviceEndpoint, memory buffer.Memory) {
	direct, ok := memory.(buffer.Direct)
	if !ok {
		a.ways[fmt.Sprintf("staged for %s (%v cannot be read by network cards)", name, memory)] = true
		return
	}
	base := uintptr(unsafe.Pointer(&b.mem[0]))
	ordered, flush := direct.Stored()
	way, err := ep.RegisterDevice(transport.DeviceMemory{
		Addr: base, Length: len(b.mem),
		DMABuf:  func() (int, uint64, error) { return direct.DMABuf(b.mem) },
		CloseFD: func(fd int) error { return os.NewFile(uintptr(fd), "dma-buf").Close() },
		Fetch: func(dst []byte, addr uintptr) error {
			at := int(addr - base)
			return direct.Fetch(dst, b.mem[at:at+len(dst)])
		},
		Ordered: ordered, Flush: flush,
	})
	if err != nil {
		a.ways[fmt.Sprintf("staged for %s (%v)", name, err)] = true
		return
	}
	if way.Receives {
		a.ways[fmt.Sprintf("%s for %s, both ways (%s)", way.How, name, way.Settles)] = true
		a.receives = true
	} else {
		a.ways[fmt.Sprintf("%s for %s, to send only (%s)", way.How, name, way.Settles)] = true
	}
	b.forget = append(b.forget, way.Forget)
}

// publish makes the blocks that endpoints know visible to Direct. mu is held.
func (a *away) publish() {
	var list [][]byte
	for _, b := range a.blocks {
		if len(b.forget) > 0 {
			list = append(list, b.mem)
		}
	}
	a.direct.Store(&list)
}

// isDirect reports whether a place lies in a block that endpoints know.
func (a *away) isDirect(b []byte) bool {
	list := a.direct.Load()
	if list == nil {
		return false
	}
	at := uintptr(unsafe.Pointer(&b[0]))
	for _, mem := range *list {
		if base := uintptr(unsafe.Pointer(&mem[0])); at >= base && at-base <= uintptr(len(mem)-len(b)) && len(b) <= len(mem) {
			return true
		}
	}
	return false
}

// forgetBlock lets the endpoints forget a block. mu is held.
func (a *away) forgetBlock(b *awayBlock) error {
	var errs []error
	for _, forget := range b.forget {
		errs = append(errs, forget())
	}
	b.forget = nil
	return errors.Join(errs...)
}

// landing returns memory of the rank's device that links store in, until the communicator is closed; nil if they store in none yet. It frees
// nothing, for the same reason as scratchFor.
func (c *Comm) landing(n int) ([]byte, error) {
	c.away.mu.Lock()
	receives := c.away.receives
	c.away.mu.Unlock()
	if !receives {
		return nil, nil
	}
	return c.allocAway(n)
}

// MemoryWay says how network cards have reached the memory of AllocDevice so far: "dma-buf for rdma" or "peer memory for rdma", and whether
// they send from there only, or store there, too, and what is then done so that the device sees it; or "staged for rdma" and why. It is so
// for all blocks that there were; "" where no transport could or there were none.
func (c *Comm) MemoryWay() string {
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(c.away.ways)), "; ")
}

// freeBlockAway is FreeBlock there.
func (c *Comm) freeBlockAway(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	b := c.away.blocks[&mem[0]]
	if b == nil || len(b.mem) != len(mem) {
		return argError("block", "%d bytes that AllocDevice did not return", len(mem))
	}
	delete(c.away.blocks, &mem[0])
	c.away.publish()
	return errors.Join(c.away.forgetBlock(b), c.cfg.Memory.Free(mem))
}

// freeAway gives all of it back.
func (c *Comm) freeAway() error {
	c.away.mu.Lock()
	defer c.away.mu.Unlock()
	var errs []error
	for _, b := range c.away.blocks {
		errs = append(errs, c.away.forgetBlock(b), c.cfg.Memory.Free(b.mem))
	}
	c.away.blocks = nil
	c.away.publish()
	c.away.scratch = nil
	return errors.Join(errs...)
}
