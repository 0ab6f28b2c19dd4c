package cudabridge

import (
	"fmt"
	"os"

	"github.com/ringtree/ringtree/collective/buffer"
)

var _ buffer.Direct = (*Memory)(nil)

// DMABuf exports the allocation that b lies in, so that a network card can read and write it by itself (GPUDirect): fd is a dma-buf, in
// which b begins at byte offset. The caller closes it. The memory stays the device's: a card that knows it must forget it before it
// is freed. The error Is [ErrNotSupported] where the driver, older than CUDA 11.7 or of the closed kind, cannot export memory, and for
// a Memory that is to be staged.
func (m *Memory) DMABuf(b []byte) (fd int, offset uint64, err error) {
	if m.cfg.Staged {
		return -1, 0, fmt.Errorf("cudabridge: memory of %v is staged by choice: %w", m, ErrNotSupported)
	}
	base, size, err := m.extent(b)
	if err != nil {
		return -1, 0, err
	}
	if at := addressOf(b) - base; len(b) == 0 || at > size || uint64(len(b)) > size-at {
		return -1, 0, fmt.Errorf("cudabridge: %d bytes are not in one allocation: %w", len(b), ErrArgument)
	}
	// The driver takes whole pages of the host. Allocations may begin within one.
	page := uint64(os.Getpagesize())
	start, end := base&^(page-1), (base+size+page-1)&^(page-1)
	a := arguments{start, end - start, rangeDMABuf}
	if err := m.device.do(cuMemGetHandleForAddressRange, &a, nil); err != nil {
		return -1, 0, err
	}
	return int(int32(a[0])), addressOf(b) - start, nil
}

// Stored asks the driver when the device's work sees what a network card has stored in its memory. A device that orders such stores for
// itself alone counts as one that orders them only where no other can read its memory in place. Where the driver does not know,
// because it is older than CUDA 11.3, a card has to read.
func (m *Memory) Stored() (ordered bool, flush func() error) {
	alone := m.cfg.Staged || m.device.driver.count == 1
	ordering := m.device.attribute(attributeOrdering)
	if ordering >= orderedForAll || ordering >= orderedForOwner && alone {
		return true, nil
	}
	scope := uint64(flushToAll)
	if alone {
		scope = flushToOwner
	}
	flush = func() error { return m.device.do(cuFlushGPUDirectRDMAWrites, &arguments{flushCurrent, scope}, nil) }
	if m.device.attribute(attributeFlush)&flushByHost == 0 || flush() != nil {
		return false, nil
	}
	return false, flush
}

// attribute returns an attribute that not every driver knows, 0 where it does not.
func (d *Device) attribute(which uint64) int {
	a := arguments{which, d.handle}
	if d.do(cuDeviceGetAttribute, &a, nil) != nil {
		return 0
	}
	return int(int32(a[0]))
}

// Fetch copies src, on the device, to memory of the host, through pinned memory, and returns when it is there. What is still to be
// written to src is the caller's concern.
func (m *Memory) Fetch(dst, src []byte) error {
	if len(dst) != len(src) {
		return errLengths
	}
	if len(src) == 0 {
		return nil
	}
	h, err := m.device.takePinned(len(src))
	if err != nil {
		return err
	}
	s, err := m.device.NewStream()
	if err == nil {
		if err = s.CopyOut(h.data[:len(src)], src); err == nil {
			err = s.Synchronize()
		}
		_ = s.Close() // what was in flight is over
	}
	if err != nil {
		m.device.keepPinned(map[*byte]*HostBuffer{&h.data[0]: h})
		return err
	}
	copy(dst, h.data)
	return m.device.givePinned(h)
}
