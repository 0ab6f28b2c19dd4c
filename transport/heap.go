package transport

import (
	"fmt"
	"math"
	"os"
	"sync"
	"unsafe"
)

// A Heap is Alloc, Free and the memory half of Close for endpoints whose memory needs no registration: it
// hands out page-aligned memory of the Go heap. The zero value is ready, and it is safe for concurrent use.
type Heap struct {
	mu     sync.Mutex
	closed bool
	blocks map[*byte]int // length by first byte
}

// Alloc returns size zeroed bytes that begin on a page. It fails when size is out of range and with
// [ErrClosed] after Close.
func (h *Heap) Alloc(size int) ([]byte, error) {
	page := os.Getpagesize()
	if size < 0 || size > math.MaxInt/4 {
		return nil, fmt.Errorf("transport: alloc of %d bytes: size out of range", size)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("transport: alloc: %w", ErrClosed)
	}
	if size == 0 {
		return []byte{}, nil
	}
	raw := make([]byte, size+page-1)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (page - 1)
	block := raw[skip : skip+size : skip+size]
	if h.blocks == nil {
		h.blocks = make(map[*byte]int)
	}
	h.blocks[unsafe.SliceData(block)] = size
	return block, nil
}

// Free forgets memory of Alloc. It fails when mem is not what Alloc returned and has not been freed since.
func (h *Heap) Free(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if size, ok := h.blocks[unsafe.SliceData(mem)]; !ok || size != len(mem) {
		return fmt.Errorf("transport: free of %d bytes that Alloc did not return", len(mem))
	}
	delete(h.blocks, unsafe.SliceData(mem))
	return nil
}

// Close makes Alloc fail. Memory that is still in use stays valid, and can still be freed.
func (h *Heap) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}
