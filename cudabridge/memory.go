package cudabridge

import (
	"fmt"
	"sync"
	"unsafe"

	"github.com/ringtree/ringtree/collective/buffer"
)

// A Buffer is memory of a device. The Go program must not touch its bytes: they lie at a device's address, and a load or
// store of the host faults. Slices of it name places to copies, kernels and collectives.
type Buffer struct {
	device *Device
	data   []byte
	once   sync.Once
	err    error
}

// Alloc returns n bytes of the device's memory, aligned to 256. Their content is unspecified. The error Is [ErrOutOfMemory]
// where there is not as much.
func (d *Device) Alloc(n int) (*Buffer, error) {
	if err := size("Alloc", n); err != nil {
		return nil, err
	}
	a := arguments{uint64(n)}
	if err := d.do(cuMemAlloc, &a, nil); err != nil {
		return nil, err
	}
	return &Buffer{device: d, data: place(a[0], n)}, nil
}

// place names n bytes at an address that is none of Go's.
func place(address uint64, n int) []byte {
	at := uintptr(address)
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), n)
}

// addressOf is place's opposite.
func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// Bytes names the buffer's memory. It must not be read or written by the Go program.
func (b *Buffer) Bytes() []byte { return b.data }

// Size returns the buffer's length in bytes.
func (b *Buffer) Size() int { return len(b.data) }

// Close frees the memory. No copy or kernel that uses it may be in flight.
func (b *Buffer) Close() error {
	b.once.Do(func() { b.err = b.device.do(cuMemFree, &arguments{addressOf(b.data)}, nil) })
	return b.err
}

// A HostBuffer is page-locked memory of the host, which devices copy from and to without a detour, and kernels reach in
// place. It is not memory of Go, and Go code may use it until Close.
type HostBuffer struct {
	device *Device
	data   []byte
	once   sync.Once
	err    error
}

// AllocHost returns n bytes of zeroed, page-locked host memory.
func (d *Device) AllocHost(n int) (*HostBuffer, error) {
	if err := size("AllocHost", n); err != nil {
		return nil, err
	}
	a := arguments{uint64(n), hostPortable | hostDeviceMap}
	if err := d.do(cuMemHostAlloc, &a, nil); err != nil {
		return nil, err
	}
	h := &HostBuffer{device: d, data: place(a[0], n)}
	clear(h.data)
	return h, nil
}

// Bytes returns the memory.
func (h *HostBuffer) Bytes() []byte { return h.data }

// Close frees the memory. No copy or kernel that uses it may be in flight.
func (h *HostBuffer) Close() error {
	h.once.Do(func() { h.err = h.device.do(cuMemFreeHost, &arguments{addressOf(h.data)}, nil) })
	return h.err
}

// class rounds a length up to one of those that pinned memory is kept in.
func class(n int) int {
	c := 4096
	for c < n {
		c *= 2
	}
	return c
}

// takePinned returns at least n bytes of pinned memory out of what givePinned has left, or new ones.
func (d *Device) takePinned(n int) (*HostBuffer, error) {
	c := class(n)
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, ErrClosed
	}
	if list := d.pinned[c]; len(list) > 0 {
		h := list[len(list)-1]
		d.pinned[c] = list[:len(list)-1]
		d.mu.Unlock()
		return h, nil
	}
	d.mu.Unlock()
	return d.AllocHost(c)
}

// givePinned keeps memory of takePinned for later. Pinning is slow, and a peer that has failed may read for a moment longer,
// so nothing is unmapped before the device is closed.
func (d *Device) givePinned(h *HostBuffer) error {
	d.mu.Lock()
	if !d.closed {
		d.pinned[class(len(h.data))] = append(d.pinned[class(len(h.data))], h)
		d.mu.Unlock()
		return nil
	}
	d.mu.Unlock()
	return h.Close()
}

// keepPinned keeps memory of takePinned until the device is closed, untouched.
func (d *Device) keepPinned(slots map[*byte]*HostBuffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range slots {
		d.kept = append(d.kept, h)
	}
}

// Block names elements of type t that lie in the buffer from byte offset on.
func (b *Buffer) Block(m *Memory, t buffer.DType, offset, count int) (buffer.Block, error) {
	if !t.Valid() || offset < 0 || count < 0 || count > (len(b.data)-offset)/t.Size() || offset > len(b.data) {
		return buffer.Block{}, fmt.Errorf("cudabridge: %d elements of %v at byte %d of %d: %w", count, t, offset, len(b.data), ErrArgument)
	}
	return buffer.Block{Data: b.data[offset : offset+count*t.Size()], Type: t, Memory: m}, nil
}
