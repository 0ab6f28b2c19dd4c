package collective

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/transport"
)

// Alloc returns n zeroed elements in memory that peers on this host read in place, and that network cards send from and store to: operations
// on it copy less. It is the host's
// memory, also where Config.Memory is a device's, for which there is AllocDevice. It
// belongs to the communicator: [Free] or Close gives it back, and it must not be touched after that.
func Alloc[T buffer.Elem](c *Comm, n int) ([]T, error) {
	b, err := c.AllocBlock(buffer.TypeOf[T](), n)
	if err != nil {
		return nil, err
	}
	return buffer.View[T](b)
}

// Free gives back what [Alloc] returned: that very slice. No operation on it may be running.
func Free[T buffer.Elem](c *Comm, data []T) error { return c.FreeBlock(buffer.Of(data)) }

// AllocBlock is [Alloc] for a type known at run time only.
func (c *Comm) AllocBlock(t buffer.DType, n int) (buffer.Block, error) {
	switch {
	case !t.Valid():
		return buffer.Block{}, argError("dtype", "unknown type %d", t)
	case n < 0 || n > math.MaxInt/t.Size():
		return buffer.Block{}, argError("n", "%d elements", n)
	}
	mem, err := c.doors.alloc(n * t.Size())
	if err != nil {
		return buffer.Block{}, err
	}
	if err := c.doors.register(mem); err != nil {
		c.cfg.Logger.Debug("memory that a network card will not reach", "rank", c.cfg.Rank, "bytes", len(mem), "error", err)
	}
	return buffer.Block{Data: mem, Type: t}, nil
}

// FreeBlock is [Free] for a type known at run time only, and for what AllocDevice returned.
func (c *Comm) FreeBlock(b buffer.Block) error {
	if b.Memory != nil {
		return c.freeBlockAway(b.Data)
	}
	return errors.Join(c.doors.forget(b.Data), c.doors.free(b.Data))
}

// hostMemory is the memory of Alloc that endpoints other than its own know.
type hostMemory struct {
	mu     sync.Mutex
	blocks map[*byte]hostBlock
}

type hostBlock struct {
	bytes  int
	forget []func() error
}

// register makes memory of the widest endpoint's known to the others that have a use for that. The error says which of them do not
// take it: they copy what is sent from there.
func (d *doors) register(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	var list []func() error
	var errs []error
	own := d.widest()
	for i, ep := range d.endpoints {
		host, ok := ep.(transport.HostEndpoint)
		if !ok || ep == own {
			continue
		}
		forget, err := host.RegisterHost(mem)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.transports[i].Name(), err))
			continue
		}
		list = append(list, forget)
	}
	if len(list) > 0 {
		d.host.mu.Lock()
		defer d.host.mu.Unlock()
		if d.host.blocks == nil {
			d.host.blocks = make(map[*byte]hostBlock)
		}
		d.host.blocks[&mem[0]] = hostBlock{len(mem), list}
	}
	return errors.Join(errs...)
}

// forget undoes register.
func (d *doors) forget(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	d.host.mu.Lock()
	b := d.host.blocks[&mem[0]]
	if b.bytes != len(mem) {
		d.host.mu.Unlock()
		return nil // not known, or a part of it, which cannot be freed
	}
	delete(d.host.blocks, &mem[0])
	d.host.mu.Unlock()
	var errs []error
	for _, forget := range b.forget {
		errs = append(errs, forget())
	}
	return errors.Join(errs...)
}

// AllocDevice returns n elements, of unspecified content, in Config.Memory. They belong to the communicator: FreeBlock or
// Close gives them back.
func (c *Comm) AllocDevice(t buffer.DType, n int) (buffer.Block, error) {
	switch {
	case c.cfg.Memory == nil:
		return buffer.Block{}, argError("Config.Memory", "there is none to allocate from")
	case !t.Valid():
		return buffer.Block{}, argError("dtype", "unknown type %d", t)
	case n < 0 || n > math.MaxInt/t.Size():
		return buffer.Block{}, argError("n", "%d elements", n)
	}
	mem, err := c.allocAway(n * t.Size())
	if err != nil {
		return buffer.Block{}, err
	}
	return buffer.Block{Data: mem, Type: t, Memory: c.cfg.Memory}, nil
}
