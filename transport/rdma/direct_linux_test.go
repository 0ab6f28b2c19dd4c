package rdma

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// readable reports whether the processor may read at an address, which the kernel says without a fault.
func readable(addr uintptr) bool {
	var p [2]int
	if syscall.Pipe(p[:]) != nil {
		return false
	}
	defer syscall.Close(p[0])
	defer syscall.Close(p[1])
	_, err := syscall.Write(p[1], bytesAt(addr, 1))
	return err == nil
}

// mapped maps the first n bytes of a file.
func mapped(fd, n int) (mem []byte, unmap func() error, err error) {
	mem, err = syscall.Mmap(fd, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return mem, func() error { return syscall.Munmap(mem) }, err
}

// farMemory is memory that the processor faults on, over a file that stands for a dma-buf, with content behind it.
func farMemory(t *testing.T, n int) (mem transport.DeviceMemory, place, content []byte, fetched *atomic.Int64) {
	t.Helper()
	fd, err := unix.MemfdCreate("dma-buf", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "dma-buf")
	t.Cleanup(func() { file.Close() })
	const before = 4096 // the range begins a page into it
	content = make([]byte, n)
	for i := range content {
		content[i] = byte(i * 7)
	}
	if _, err := file.WriteAt(content, before); err != nil {
		t.Fatal(err)
	}
	place, err = syscall.Mmap(fd, before, n, syscall.PROT_NONE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(place) })
	fetched = new(atomic.Int64)
	return transport.DeviceMemory{
		Addr: addressOf(place), Length: n,
		DMABuf: func() (int, uint64, error) {
			other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			return other, before, err
		},
		CloseFD: syscall.Close,
		Fetch: func(dst []byte, addr uintptr) error {
			fetched.Add(int64(copy(dst, content[addr-addressOf(place):])))
			return nil
		},
	}, place, content, fetched
}

// TestDirect sends out of memory that only the device reads: by its dma-buf where the device carries the link, and fetched where
// the control link does, from the first frame on, which is posted before that is decided.
func TestDirect(t *testing.T) {
	for _, tt := range []struct {
		name string
		cut  bool
	}{{"direct", false}, {"relayed", true}} {
		t.Run(tt.name, func(t *testing.T) {
			n := newSoftNet()
			n.dmabuf, n.readable, n.files = true, readable, mapped
			n.cut.Store(tt.cut)
			g, a, b := newGroup(t, n, SetupTimeout(20*time.Second))
			mem, place, content, fetched := farMemory(t, 1<<20)
			ep := g.Endpoints[0].(transport.DeviceEndpoint)
			if !g.Transport.Caps().Device {
				t.Error("the transport does not say that it sends memory of devices")
			}
			how, forget, err := ep.RegisterDevice(mem)
			if err != nil || how != "dma-buf" {
				t.Fatalf("got %q, %v", how, err)
			}
			sent := 0
			for i := range 6 {
				at, length := i*100_000+i*13, min(100+i*60_000, transport.MaxPayload)
				sendAndCheck(t, g, a, b, place[at:at+length], content[at:at+length])
				sent += length
			}
			if direct, copied := int(n.direct.Load()), int(fetched.Load()); tt.cut && (direct != 0 || copied != sent) || !tt.cut && (direct != sent || copied != 0) {
				t.Errorf("%d bytes were read out of the dma-buf and %d fetched, of %d", direct, copied, sent)
			}
			carriedBy := map[bool]string{false: "rdma", true: "tcp"}[tt.cut]
			if c := a.Caps(); c.Via != carriedBy {
				t.Errorf("carried by %s (%s), want %s", c.Via, c.Why, carriedBy)
			}
			if err := forget(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDirectRefused registers memory of a device that would have to be copied: it is refused, without an effect.
func TestDirectRefused(t *testing.T) {
	n := newSoftNet()
	n.readable, n.files = readable, mapped
	g, _, _ := newGroup(t, n)
	ep := g.Endpoints[0].(*Endpoint)
	mem, _, _, _ := farMemory(t, 1<<16)
	if _, _, err := ep.RegisterDevice(mem); !errors.Is(err, syscall.EOPNOTSUPP) || !errors.Is(err, syscall.EFAULT) {
		t.Errorf("got %v, want why neither way is there", err)
	}
	if len(ep.memory.cache) != 0 {
		t.Error("it is registered all the same")
	}
	n.dmabuf = true
	failing := mem
	failing.DMABuf = func() (int, uint64, error) { return -1, 0, errors.ErrUnsupported }
	if _, _, err := ep.RegisterDevice(failing); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a driver that exports nothing: got %v", err)
	}
	if _, _, err := ep.RegisterDevice(transport.DeviceMemory{}); err == nil {
		t.Error("no memory: got no error")
	}
}
