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
