package shm

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// A region is memory of Alloc on the side that made it.
type region struct {
	id   uint32
	base uintptr
	size int // as asked for; the mapping is whole pages
	m    *mapping
	fd   int
}

func (r *region) holds(p uintptr, n int) bool {
	return p >= r.base && p-r.base <= uintptr(r.size) && uintptr(n) <= uintptr(r.size)-(p-r.base)
}

// findRegion looks in a table that is sorted by address.
func findRegion(table []*region, p uintptr, n int) *region {
	i, found := slices.BinarySearchFunc(table, p, func(r *region, p uintptr) int { return cmp.Compare(r.base, p) })
	if !found {
		i-- // the one that begins before p
	}
	if i >= 0 && table[i].holds(p, n) {
		return table[i]
	}
	return nil
}

// Alloc returns memory that peers map, in whole pages of a memfd of its own: take large pieces and divide
// them. The memory stays mapped until Free, even after Close.
func (e *endpoint) Alloc(size int) ([]byte, error) {
	page := os.Getpagesize()
	if size < 0 || size > math.MaxInt-page {
		return nil, fmt.Errorf("shm: alloc of %d bytes: size out of range", size)
	}
	if err := e.checkOpen(); err != nil {
		return nil, fmt.Errorf("shm: alloc: %w", err)
	}
	if size == 0 {
		return []byte{}, nil
	}
	whole := (size + page - 1) &^ (page - 1)
	m, fd, err := newMapping("ringtree-memory", whole, unix.MAP_POPULATE)
	if err != nil {
		return nil, err
	}
	unix.Madvise(m.mem, unix.MADV_HUGEPAGE) // a hint that many systems do not take
	r := &region{base: uintptr(unsafe.Pointer(unsafe.SliceData(m.mem))), size: size, m: m, fd: fd}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.lastRegion == math.MaxUint32 {
		unix.Close(fd)
		m.release()
		if e.closed {
			return nil, fmt.Errorf("shm: alloc: %w", transport.ErrClosed)
		}
		return nil, fmt.Errorf("shm: alloc: no region numbers left")
	}
	e.lastRegion++
	r.id = e.lastRegion
	var table []*region
	if old := e.regions.Load(); old != nil {
		table = *old
	}
	i, _ := slices.BinarySearchFunc(table, r.base, func(r *region, p uintptr) int { return cmp.Compare(r.base, p) })
	table = slices.Insert(slices.Clone(table), i, r)
	e.regions.Store(&table)
	for _, p := range e.peers {
		if p.dialled {
			p.enqueue(r.announcement(), r.fd)
		}
	}
	return m.mem[:size:size], nil
}

func (r *region) announcement() message {
	return message{kind: msgRegion, region: r.id, size: uint64(len(r.m.mem))}
}

// Free unmaps mem here, and tells the peers, which unmap it when they hold no frame in it.
func (e *endpoint) Free(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	base := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	var r *region
	if table := e.regions.Load(); table != nil {
		r = findRegion(*table, base, len(mem))
	}
	if r == nil || r.base != base || r.size != len(mem) {
		return fmt.Errorf("shm: free of %d bytes that Alloc did not return", len(mem))
	}
	table := slices.DeleteFunc(slices.Clone(*e.regions.Load()), func(o *region) bool { return o == r })
	e.regions.Store(&table)
	for _, p := range e.peers {
		if p.dialled {
			p.enqueue(message{kind: msgUnregion, region: r.id}, -1)
		}
	}
	closeFD(r.fd)
	r.m.release()
	return nil
}

// findRegion returns a region of the peer, or nil, and whether it has been announced at all.
func (p *peer) findRegion(id uint32) (m *mapping, announced bool) {
	announced = id <= p.lastRegion.Load() // before the look, which then sees what was announced
	if table := p.regions.Load(); table != nil {
		m = (*table)[id]
	}
	return m, announced
}

// maxRegions bounds what one peer can make this process map.
const maxRegions = 1 << 16

// addRegion maps a region of the peer. Only the goroutine that reads the peer's connection calls it.
func (p *peer) addRegion(msg message, fd int) error {
	table := make(map[uint32]*mapping)
	if old := p.regions.Load(); old != nil {
		for id, m := range *old {
			table[id] = m
		}
	}
	if msg.region <= p.lastRegion.Load() || len(table) >= maxRegions {
		return &transport.FrameError{Reason: fmt.Sprintf("region %d after %d, with %d regions", msg.region, p.lastRegion.Load(), len(table))}
	}
	if msg.size == 0 || msg.size > math.MaxInt || msg.size%uint64(os.Getpagesize()) != 0 {
		return &transport.FrameError{Reason: fmt.Sprintf("region of %d bytes", msg.size)}
	}
	if err := checkMemfd(fd, int(msg.size)); err != nil {
		return err
	}
	m, err := mapFD(fd, int(msg.size), 0)
	if err != nil {
		return err
	}
	table[msg.region] = m
	p.regions.Store(&table)
	p.lastRegion.Store(msg.region)
	return nil
}

// dropRegion lets go of a region of the peer; frames that are held keep it mapped. Only the goroutine that
// reads the peer's connection calls it.
func (p *peer) dropRegion(id uint32) error {
	table := make(map[uint32]*mapping)
	var dropped *mapping
	if old := p.regions.Load(); old != nil {
		for k, m := range *old {
			if k == id {
				dropped = m
			} else {
				table[k] = m
			}
		}
	}
	if dropped == nil {
		return &transport.FrameError{Reason: fmt.Sprintf("end of region %d, which is not there", id)}
	}
	p.regions.Store(&table)
	dropped.release()
	return nil
}

// byID returns the regions in the order in which peers must learn of them.
func byID(table []*region) []*region {
	sorted := slices.Clone(table)
	slices.SortFunc(sorted, func(a, b *region) int { return cmp.Compare(a.id, b.id) })
	return sorted
}
