package cudabridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// A BufferHandle names a buffer to another process of this host.
type BufferHandle [64]byte

// Handle returns the name under which other processes open a buffer of Alloc.
func (b *Buffer) Handle() (BufferHandle, error) {
	var h BufferHandle
	err := b.device.do(cuIpcGetMemHandle, &arguments{addressOf(b.data)}, h[:])
	return h, err
}

// OpenBuffer maps a buffer of n bytes of another process, on this or another device. Close of the result unmaps it, which the
// other process must not wait for: its memory lives until then.
func (d *Device) OpenBuffer(h BufferHandle, n int) (*Mapping, error) {
	if err := size("OpenBuffer", n); err != nil {
		return nil, err
	}
	a := arguments{ipcLazyPeerAccess}
	if err := d.do(cuIpcOpenMemHandle, &a, h[:]); err != nil {
		return nil, err
	}
	return &Mapping{device: d, data: place(a[0], n)}, nil
}

// A Mapping is another process's buffer in this one.
type Mapping struct {
	device *Device
	data   []byte
	once   sync.Once
	err    error
}

// Bytes names the memory, as [Buffer.Bytes] does.
func (m *Mapping) Bytes() []byte { return m.data }

// Close unmaps the buffer. No copy or kernel that uses it may be in flight.
func (m *Mapping) Close() error {
	m.once.Do(func() { m.err = m.device.do(cuIpcCloseMemHandle, &arguments{addressOf(m.data)}, nil) })
	return m.err
}

// A reference says where in the memory of this host's devices a stretch lies. Its encoding travels between ranks.
type reference struct {
	process string       // that the allocation belongs to: 24 hexadecimal digits
	device  int          // number of its device in that process
	base    uint64       // address of the allocation in its process
	id      uint64       // that the driver gave the allocation: another one at the same address has another
	size    uint64       // of the allocation, in bytes
	offset  uint64       // of the stretch in it
	length  uint64       // of the stretch
	handle  BufferHandle // of the allocation
}

const (
	processLength = 24
	referenceSize = processLength + 6*8 + 64
)

func (r *reference) append(b []byte) []byte {
	b = append(b, r.process...)
	for _, v := range []uint64{uint64(r.device), r.base, r.id, r.size, r.offset, r.length} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return append(b, r.handle[:]...)
}

// parseReference reads what append wrote. What comes from another process is checked before it is used.
func parseReference(b []byte) (reference, error) {
	var r reference
	if len(b) != referenceSize {
		return r, fmt.Errorf("cudabridge: reference of %d bytes, want %d: %w", len(b), referenceSize, ErrArgument)
	}
	r.process = string(b[:processLength])
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[processLength+8*i:]) }
	r.base, r.id, r.size, r.offset, r.length = v(1), v(2), v(3), v(4), v(5)
	if v(0) > 1<<16 || r.size == 0 || r.size > 1<<50 || r.offset > r.size || r.length > r.size-r.offset || r.base == 0 || r.base > ^uint64(0)-r.size {
		return r, fmt.Errorf("cudabridge: reference to bytes %d to %d of %d: %w", r.offset, r.offset+r.length, r.size, ErrArgument)
	}
	r.device = int(v(0))
	copy(r.handle[:], b[processLength+48:])
	return r, nil
}

// An importTable keeps the mappings of other processes' allocations: mapping one is slow, and ranks reduce the same buffers
// again and again.
type importTable struct {
	mu   sync.Mutex
	open map[importKey]*imported
}

type importKey struct {
	process string
	base    uint64
}

type imported struct {
	id      uint64
	mapping *Mapping
}

// find returns the mapping of r's allocation, opening it at first. An allocation that has taken the place of another one
// displaces it.
func (t *importTable) find(d *Device, r *reference) (*Mapping, error) {
	key := importKey{r.process, r.base}
	t.mu.Lock()
	defer t.mu.Unlock()
	if have := t.open[key]; have != nil {
		if have.id == r.id && uint64(len(have.mapping.data)) == r.size {
			return have.mapping, nil
		}
		delete(t.open, key)
		if err := have.mapping.Close(); err != nil {
			return nil, err
		}
	}
	m, err := d.OpenBuffer(r.handle, int(r.size))
	if err != nil {
		return nil, fmt.Errorf("cudabridge: a peer's memory cannot be mapped: %w", err)
	}
	if t.open == nil {
		t.open = make(map[importKey]*imported)
	}
	t.open[key] = &imported{r.id, m}
	return m, nil
}

func (t *importTable) close(*Device) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, i := range t.open {
		errs = append(errs, i.mapping.Close())
	}
	t.open = nil
	return errors.Join(errs...)
}
