package collective

import (
	"math"

	"github.com/ringtree/ringtree/collective/buffer"
)

// Alloc returns n zeroed elements in memory that peers on this host read in place: operations on it copy less. It is the host's
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
	return buffer.Block{Data: mem, Type: t}, nil
}

// FreeBlock is [Free] for a type known at run time only, and for what AllocDevice returned.
func (c *Comm) FreeBlock(b buffer.Block) error {
	if b.Memory != nil {
		return c.freeBlockAway(b.Data)
	}
	return c.doors.free(b.Data)
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
