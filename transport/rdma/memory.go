package rdma

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
)

// Way says how a device reaches registered memory.
type Way uint8

// The ways, best first.
const (
	WayHost    Way = iota + 1 // memory of the host, read by the device itself
	WayDMABuf                 // memory of another device, handed over as a dma-buf
	WayPeerMem                // memory of another device, by its address, through a kernel module (nvidia-peermem)
	WayStaged                 // copied to memory of the host first
)

func (w Way) String() string {
	switch w {
	case WayHost:
		return "host"
	case WayDMABuf:
		return "dma-buf"
	case WayPeerMem:
		return "peer memory"
	case WayStaged:
		return "staged"
	}
	return fmt.Sprintf("way %d", uint8(w))
}

// Memory is what [Endpoint.Register] makes known to the device, as a value: this package knows no kind of memory but
// the host's.
type Memory struct {
	// Addr and Length are the range. A payload that lies in it is sent from there. Memory of another device has the
	// address that this one has in the process; nothing here ever reads it through that.
	Addr   uintptr
	Length int
	// Device says that the range is memory of another device, not of the host.
	Device bool
	// DMABuf exports the range (cuMemGetHandleForAddressRange, say) and returns a descriptor and where in it the range
	// begins. It is called once, and Register closes the descriptor with CloseFD. nil: that is not possible.
	DMABuf func() (fd int, offset uint64, err error)
	// CloseFD closes a descriptor of DMABuf. nil: it stays open, and belongs to the caller.
	CloseFD func(fd int) error
	// Read copies len(dst) bytes from addr to memory of the host, and returns when they are there. It is the last
	// way: without it, memory that the device cannot reach is refused.
	Read func(dst []byte, addr uintptr) error
	// Ordered and Flush say of memory of another device, as in [transport.DeviceMemory], when that device sees what this one has
	// stored there: at once, when Flush has returned, or, if neither is set, when this one has read from there behind it.
	Ordered bool
	Flush   func() error
}

// A Registration is memory that the device knows.
type Registration struct {
	// Way is how the device reaches it.
	Way Way
	// Receives says that what comes can be stored there by the peers' devices: see [transport.ExpectingLink].
	Receives bool
	// Settles says what is done before a frame that was stored there is handed out, so that its owner sees the payload; if the
	// registration does not receive, why not.
	Settles string
	// Tried is why the ways before it were not to be had, best first.
	Tried []error

	m   *memory
	key spanKey
}

// Close forgets the memory, when each of its registrations has been closed. Frames that borrow it must be complete.
func (r *Registration) Close() error {
	if r.m == nil {
		return nil
	}
	m := r.m
	r.m = nil
	return m.drop(r.key)
}

// settling says how what peers' devices have stored comes to be seen by whoever owns the memory.
type settling uint8

const (
	settlesAtOnce settling = iota
	settlesByFlush
	settlesByRead
)

func (s settling) String() string {
	return [...]string{"ordered", "flushed by the driver", "flushed by a read"}[s]
}

// settlingOf returns what memory needs.
func settlingOf(m *Memory) settling {
	switch {
	case !m.Device || m.Ordered:
		return settlesAtOnce
	case m.Flush != nil:
		return settlesByFlush
	}
	return settlesByRead
}

// spanKey is a range of addresses.
type spanKey struct{ base, end uintptr }

// A span is a registered range.
type span struct {
	spanKey
	key    uint32 // local key of the device
	remote uint32 // the key of peers
	device bool   // not to be read by this processor
	// writable says that the peers' devices may store there, and settling what is to be done then.
	writable bool
	settling settling
	flush    func() error
	read     func(dst []byte, addr uintptr) error // how it is sent, where the device does not read it itself
	fetch    func(dst []byte, addr uintptr) error // how a link without a device sends it; nil: as other memory, or not at all
}

// hostCopy returns a payload as the processor can read it: itself, or a copy of memory of a device.
func (s *span) hostCopy(payload []byte) ([]byte, error) {
	fetch := s.read
	if fetch == nil {
		fetch = s.fetch
	}
	switch {
	case fetch != nil:
		host := make([]byte, len(payload))
		if err := fetch(host, addressOf(payload)); err != nil {
			return nil, fmt.Errorf("rdma: read of memory of a device: %w", err)
		}
		return host, nil
	case s.device:
		return nil, fmt.Errorf("rdma: %w: memory of a device without a way to read it, on a link that the device does not carry", transport.ErrNotSupported)
	}
	return payload, nil
}

// cached is a registration with its users: ranges of the same pages share one.
type cached struct {
	span   span
	way    Way
	region region // nil when staged
	users  int
	deaf   error // why the peers' devices may not store there
}

// registration is one of its users.
func (c *cached) registration(m *memory, tried []error) *Registration {
	r := &Registration{Way: c.way, Receives: c.span.writable, Settles: c.span.settling.String(), Tried: tried, m: m, key: c.span.spanKey}
	if !r.Receives {
		r.Settles = c.deaf.Error()
	}
	return r
}

// memory is the registered memory of an endpoint, and what Alloc has handed out. It is safe for concurrent use.
type memory struct {
	fabric fabric       // nil: there is no device
	back   func() error // makes that the device can read registered memory of its own, or says why it cannot
	spans  atomic.Pointer[[]span]

	mu     sync.Mutex
	closed bool
	cache  map[spanKey]*cached
	blocks map[*byte]block
}

type block struct {
	size int
	mem  []byte // whole pages
}

func newMemory(f fabric) *memory {
	m := &memory{fabric: f, cache: make(map[spanKey]*cached), blocks: make(map[*byte]block)}
	m.spans.Store(new([]span))
	return m
}

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// find returns the registered range in which a payload lies.
func (m *memory) find(payload []byte) (span, bool) {
	list := *m.spans.Load()
	if len(list) == 0 || len(payload) == 0 {
		return span{}, false
	}
	addr := addressOf(payload)
	low, high := 0, len(list) // the last that begins at or before addr is low-1
	for low < high {
		if mid := (low + high) / 2; list[mid].base <= addr {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 || addr+uintptr(len(payload)) > list[low-1].end {
		return span{}, false
	}
	return list[low-1], true
}

// publish makes the cache known to find. mu is held.
func (m *memory) publish() {
	list := make([]span, 0, len(m.cache))
	for _, c := range m.cache {
		list = append(list, c.span)
	}
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.base, b.base) })
	m.spans.Store(&list)
}

// pagesOf widens a range to whole pages.
func pagesOf(addr uintptr, n int) spanKey {
	page := uintptr(os.Getpagesize())
	return spanKey{addr &^ (page - 1), (addr + uintptr(n) + page - 1) &^ (page - 1)}
}

var (
	errOverlap = errors.New("overlaps other registered memory")
	errStaged  = errors.New("it is staged")
)

// add registers memory, or counts one more user of a range that is registered.
func (m *memory) add(mem Memory) (*Registration, error) {
	if mem.Length <= 0 || mem.Addr == 0 || mem.Addr+uintptr(mem.Length) < mem.Addr {
		return nil, fmt.Errorf("%d bytes at %#x: no range of memory", mem.Length, mem.Addr)
	}
	key := spanKey{mem.Addr, mem.Addr + uintptr(mem.Length)}
	if !mem.Device {
		key = pagesOf(mem.Addr, mem.Length)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, transport.ErrClosed
	}
	if c := m.cache[key]; c != nil && c.span.device == mem.Device {
		c.users++
		return c.registration(m, nil), nil
	}
	for other := range m.cache {
		if key.base < other.end && other.base < key.end {
			return nil, fmt.Errorf("%d bytes at %#x: %w", mem.Length, mem.Addr, errOverlap)
		}
	}
	c := &cached{span: span{spanKey: key, device: mem.Device}, users: 1}
	tried, err := m.bind(c, mem)
	if err != nil {
		return nil, err
	}
	m.cache[key] = c
	m.publish()
	return c.registration(m, tried), nil
}

// addDirect is add for memory that the device is to reach without a copy.
func (m *memory) addDirect(mem Memory) (*Registration, error) {
	r, err := m.add(mem)
	if err != nil || r.Way != WayStaged {
		return r, err
	}
	why := errors.Join(r.Tried...)
	if why == nil {
		why = ErrNoDevice
	}
	return nil, errors.Join(fmt.Errorf("%d bytes at %#x: no way without a copy: %w", mem.Length, mem.Addr, why), r.Close())
}

// bind finds the best way to the memory.
func (m *memory) bind(c *cached, mem Memory) (tried []error, err error) {
	none := ErrNoDevice
	c.deaf = none
	if m.fabric != nil {
		want := peersWrite
		c.span.settling, c.span.flush = settlingOf(&mem), mem.Flush
		if c.deaf = nil; c.span.settling == settlesByRead {
			want |= selfReads
			c.deaf = m.back()
		}
		if mem.DMABuf != nil {
			if err = m.byDMABuf(c, mem, want); err == nil {
				c.way = WayDMABuf
			} else {
				tried = append(tried, fmt.Errorf("%v: %w", WayDMABuf, err))
			}
		}
		if c.region == nil {
			way := WayHost
			if mem.Device {
				way = WayPeerMem
			}
			err = c.known(want, func(r rights) (region, error) {
				return m.fabric.register(c.span.base, int(c.span.end-c.span.base), r)
			})
			if err == nil {
				c.way = way
			} else {
				tried = append(tried, fmt.Errorf("%v: %w", way, err))
			}
		}
		none = errors.Join(tried...)
	}
	switch {
	case c.region != nil:
		c.span.key, c.span.remote = c.region.keys()
		if mem.Device {
			c.span.fetch = mem.Read
		}
	case mem.Read != nil:
		c.way, c.span.read, c.deaf = WayStaged, mem.Read, errStaged
	case mem.Device:
		return nil, fmt.Errorf("%d bytes at %#x: no way from the device: %w", mem.Length, mem.Addr, none)
	default:
		// The processor can copy it, as it copies what was never registered.
		c.way, c.deaf = WayStaged, errStaged
		c.span.read = func(dst []byte, addr uintptr) error {
			copy(dst, unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), len(dst)))
			return nil
		}
	}
	return tried, nil
}

func (m *memory) byDMABuf(c *cached, mem Memory, want rights) error {
	fd, offset, err := mem.DMABuf()
	if err != nil {
		return err
	}
	err = c.known(want, func(r rights) (region, error) {
		return m.fabric.registerDMABuf(fd, offset, mem.Addr, mem.Length, r)
	})
	if mem.CloseFD == nil {
		return err
	}
	if failed := mem.CloseFD(fd); failed != nil {
		err = errors.Join(err, failed)
		if c.region != nil {
			err = errors.Join(err, c.region.release())
			c.region, c.span.writable = nil, false
		}
	}
	return err
}

// known registers the range with the rights that receiving takes or, where that cannot be, for the own device's sends alone: it may be
// allowed to read only what others must not change.
func (c *cached) known(want rights, register func(r rights) (region, error)) (err error) {
	if c.deaf == nil {
		if c.region, err = register(want); err == nil {
			c.span.writable = true
			return nil
		}
	}
	r, failed := register(0)
	if failed != nil {
		return failed
	}
	if c.region = r; c.deaf == nil {
		c.deaf = err
	}
	return nil
}

// drop ends one use of a range.
func (m *memory) drop(key spanKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.cache[key]
	if c == nil {
		return nil // the endpoint has closed
	}
	if c.users--; c.users > 0 {
		return nil
	}
	delete(m.cache, key)
	m.publish()
	if c.region == nil {
		return nil
	}
	return c.region.release()
}

// alloc is [transport.Endpoint.Alloc]. Memory that the device does not take is handed out all the same, and copied
// when it is sent.
func (m *memory) alloc(size int) ([]byte, error) {
	if size < 0 || size > math.MaxInt/4 {
		return nil, fmt.Errorf("rdma: alloc of %d bytes: size out of range", size)
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("rdma: alloc: %w", transport.ErrClosed)
	}
	if size == 0 {
		return []byte{}, nil
	}
	page := os.Getpagesize()
	mem, err := newPages((size + page - 1) / page * page)
	if err != nil {
		return nil, fmt.Errorf("rdma: alloc of %d bytes: %w", size, err)
	}
	if m.fabric != nil {
		if _, err := m.add(Memory{Addr: addressOf(mem), Length: len(mem)}); err != nil {
			return nil, errors.Join(fmt.Errorf("rdma: alloc of %d bytes: %w", size, err), freePages(mem))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks[unsafe.SliceData(mem)] = block{size, mem}
	return mem[:size:size], nil
}

func (m *memory) free(mem []byte) error {
	if len(mem) == 0 {
		return nil
	}
	m.mu.Lock()
	b, ok := m.blocks[unsafe.SliceData(mem)]
	if !ok || b.size != len(mem) {
		m.mu.Unlock()
		return fmt.Errorf("rdma: free of %d bytes that Alloc did not return", len(mem))
	}
	delete(m.blocks, unsafe.SliceData(mem))
	m.mu.Unlock()
	return errors.Join(m.drop(pagesOf(addressOf(b.mem), len(b.mem))), freePages(b.mem))
}

// refuse makes alloc and add fail.
func (m *memory) refuse() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

// close makes the device forget all memory. What was handed out stays valid, and can still be freed.
func (m *memory) close() error {
	m.refuse()
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, c := range m.cache {
		if c.region != nil {
			errs = append(errs, c.region.release())
		}
	}
	clear(m.cache)
	m.publish()
	return errors.Join(errs...)
}
