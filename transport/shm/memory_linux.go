package shm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// seals fix the size of a memfd for good. Without them whoever made it could cut it short, and reading it
// would be a fault.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// available tries what the transport lives on.
func available() error {
	fd, err := newMemfd("ringtree-probe", os.Getpagesize())
	if err != nil {
		return fmt.Errorf("shm: %w: %w", transport.ErrNotSupported, err)
	}
	unix.Close(fd)
	l, _, err := listenRandom()
	if err != nil {
		return fmt.Errorf("shm: %w: %w", transport.ErrNotSupported, err)
	}
	return l.Close()
}

// newMemfd makes anonymous shared memory of a fixed size and returns its file descriptor.
func newMemfd(name string, size int) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("shm: memfd_create: %w", err)
	}
	for {
		if err = unix.Ftruncate(fd, int64(size)); err != unix.EINTR {
			break
		}
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("shm: memfd of %d bytes: %w", size, err)
	}
	return fd, nil
}

// checkMemfd makes sure that a file descriptor of another process is memory of exactly size bytes that
// nobody can resize.
func checkMemfd(fd, size int) error {
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return &transport.FrameError{Reason: fmt.Sprintf("file descriptor is no memfd: %v", err)}
	}
	if got&seals != seals {
		return &transport.FrameError{Reason: fmt.Sprintf("memfd with seals %#x, want %#x", got, seals)}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("shm: fstat: %w", err)
	}
	if st.Size != int64(size) {
		return &transport.FrameError{Reason: fmt.Sprintf("memfd of %d bytes, want %d", st.Size, size)}
	}
	return nil
}

// A mapping is shared memory in this process's address space. It is unmapped when its last user lets go of
// it, or when it is collected: pointers into it do not keep it alive, so whoever reads it must.
type mapping struct {
	mem     []byte
	users   atomic.Int64
	cleanup runtime.Cleanup
}

// mapFD maps a checked memfd for one user. flags may add MAP_POPULATE.
func mapFD(fd, size, flags int) (*mapping, error) {
	mem, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|flags)
	if errors.Is(err, unix.ENOMEM) {
		// Mappings that wait for the collector count against the limit of the process.
		runtime.GC()
		mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|flags)
	}
	if err != nil {
		return nil, fmt.Errorf("shm: mmap of %d bytes: %w", size, err)
	}
	m := &mapping{mem: mem}
	m.users.Store(1)
	m.cleanup = runtime.AddCleanup(m, func(mem []byte) { unix.Munmap(mem) }, mem)
	return m, nil
}

// newMapping makes memory and maps it. The file descriptor is the caller's.
func newMapping(name string, size, flags int) (*mapping, int, error) {
	fd, err := newMemfd(name, size)
	if err != nil {
		return nil, -1, err
	}
	m, err := mapFD(fd, size, flags)
	if err != nil {
		unix.Close(fd)
		return nil, -1, err
	}
	return m, fd, nil
}

// acquire adds a user. It returns false when the last one has gone.
func (m *mapping) acquire() bool {
	for {
		n := m.users.Load()
		if n == 0 {
			return false
		}
		if m.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release takes a user away; the last one unmaps.
func (m *mapping) release() {
	if m.users.Add(-1) == 0 {
		m.cleanup.Stop()
		unix.Munmap(m.mem)
	}
}

// word32 and word64 return the words at an offset that the layout keeps aligned and in range.
func (m *mapping) word32(off int) *uint32 {
	return (*uint32)(unsafe.Pointer(unsafe.SliceData(m.mem[off : off+4])))
}

func (m *mapping) word64(off int) *uint64 {
	return (*uint64)(unsafe.Pointer(unsafe.SliceData(m.mem[off : off+8])))
}

// copyStep is the most that is copied without a chance for the scheduler to stop the goroutine: memmove
// cannot be preempted, and a stop of the world waits for it.
const copyStep = 64 << 10

func copyPayload(dst, src []byte) {
	for len(src) > copyStep {
		copyPiece(dst[:copyStep], src[:copyStep])
		dst, src = dst[copyStep:], src[copyStep:]
	}
	copyPiece(dst, src)
}

// copyPiece is a call of its own because preemption happens at the entry of a function.
//
//go:noinline
func copyPiece(dst, src []byte) { copy(dst, src) }
