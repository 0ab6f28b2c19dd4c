package rdma

import (
	"bytes"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
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

// A farMemory is memory that the processor faults on, over a file that stands for a dma-buf.
type farMemory struct {
	transport.DeviceMemory
	place   []byte
	content []byte // as the device sees it
	fetched atomic.Int64
}

// newFarMemory returns n bytes of it.
func newFarMemory(t *testing.T, n int) *farMemory {
	t.Helper()
	fd, err := unix.MemfdCreate("dma-buf", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "dma-buf")
	t.Cleanup(func() { file.Close() })
	const before = 4096 // the range begins a page into it
	if err := file.Truncate(before + int64(n)); err != nil {
		t.Fatal(err)
	}
	m := &farMemory{}
	for _, view := range []struct {
		mem     *[]byte
		allowed int
	}{{&m.place, syscall.PROT_NONE}, {&m.content, syscall.PROT_READ | syscall.PROT_WRITE}} {
		mem, err := syscall.Mmap(fd, before, n, view.allowed, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(mem) })
		*view.mem = mem
	}
	for i := range m.content {
		m.content[i] = byte(i * 7)
	}
	m.DeviceMemory = transport.DeviceMemory{
		Addr: addressOf(m.place), Length: n,
		DMABuf: func() (int, uint64, error) {
			other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			return other, before, err
		},
		CloseFD: syscall.Close,
		Fetch: func(dst []byte, addr uintptr) error {
			m.fetched.Add(int64(copy(dst, m.content[addr-addressOf(m.place):])))
			return nil
		},
	}
	return m
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
			far := newFarMemory(t, 1<<20)
			ep := g.Endpoints[0].(transport.DeviceEndpoint)
			if !g.Transport.Caps().Device {
				t.Error("the transport does not say that it sends memory of devices")
			}
			way, err := ep.RegisterDevice(far.DeviceMemory)
			if err != nil || way.How != "dma-buf" {
				t.Fatalf("got %+v, %v", way, err)
			}
			sent := 0
			for i := range 6 {
				at, length := i*100_000+i*13, min(100+i*60_000, transport.MaxPayload)
				sendAndCheck(t, g, a, b, far.place[at:at+length], far.content[at:at+length])
				sent += length
			}
			if direct, copied := int(n.direct.Load()), int(far.fetched.Load()); tt.cut && (direct != 0 || copied != sent) || !tt.cut && (direct != sent || copied != 0) {
				t.Errorf("%d bytes were read out of the dma-buf and %d fetched, of %d", direct, copied, sent)
			}
			carriedBy := map[bool]string{false: "rdma", true: "tcp"}[tt.cut]
			if c := a.Caps(); c.Via != carriedBy {
				t.Errorf("carried by %s (%s), want %s", c.Via, c.Why, carriedBy)
			}
			if err := way.Forget(); err != nil {
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
	mem := newFarMemory(t, 1<<16).DeviceMemory
	if _, err := ep.RegisterDevice(mem); !errors.Is(err, syscall.EOPNOTSUPP) || !errors.Is(err, syscall.EFAULT) {
		t.Errorf("got %v, want why neither way is there", err)
	}
	if len(ep.memory.cache) != 0 {
		t.Error("it is registered all the same")
	}
	n.dmabuf = true
	failing := mem
	failing.DMABuf = func() (int, uint64, error) { return -1, 0, errors.ErrUnsupported }
	if _, err := ep.RegisterDevice(failing); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a driver that exports nothing: got %v", err)
	}
	if _, err := ep.RegisterDevice(transport.DeviceMemory{}); err == nil {
		t.Error("no memory: got no error")
	}
}

// What peers store in memory of a device is handed out when the device sees it: at once, when the driver has flushed it, or when the
// card has read from there. Where the card cannot, it is not stored there. That a missing flush is noticed shows that the test
// can fail.
func TestDirectReceive(t *testing.T) {
	cannot := errors.New("no reader")
	for _, tt := range []struct {
		name    string
		net     func(n *softNet, m *transport.DeviceMemory)
		settles string
		deaf    bool // nothing is stored there
		early   bool // it is handed out before it is there
	}{
		{name: "ordered", settles: "ordered", net: func(n *softNet, m *transport.DeviceMemory) { n.prompt, m.Ordered = true, true }},
		{name: "not ordered after all", settles: "ordered", early: true, net: func(n *softNet, m *transport.DeviceMemory) { m.Ordered = true }},
		{name: "flush", settles: "flushed by the driver", net: func(n *softNet, m *transport.DeviceMemory) {
			m.Flush = func() error { n.arrive(); return nil }
		}},
		{name: "flush that is none", settles: "flushed by the driver", early: true, net: func(n *softNet, m *transport.DeviceMemory) {
			m.Flush = func() error { return nil }
		}},
		{name: "read", settles: "flushed by a read", net: func(*softNet, *transport.DeviceMemory) {}},
		{name: "read that is none", settles: "flushed by a read", early: true, net: func(n *softNet, m *transport.DeviceMemory) { n.dull = true }},
		{name: "no reads", settles: "no reader", deaf: true, net: func(n *softNet, m *transport.DeviceMemory) { n.deaf = cannot }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newSoftNet()
			n.unruly, n.dmabuf, n.readable, n.files = true, true, readable, mapped
			g, a, b := newGroup(t, n, QueuePairs(2))
			far := newFarMemory(t, 1<<21)
			tt.net(n, &far.DeviceMemory)
			way, err := g.Endpoints[1].(transport.DeviceEndpoint).RegisterDevice(far.DeviceMemory)
			if err != nil || way.How != "dma-buf" || way.Receives == tt.deaf || way.Settles != tt.settles {
				t.Fatalf("got %+v, %v", way, err)
			}
			stored, early := receiveFar(t, g, a, b, far)
			if (stored == 0) != tt.deaf || early != tt.early {
				t.Errorf("%d frames were stored there, handed out too early: %t", stored, early)
			}
			if reads := n.reads.Load(); (reads > 0) != (tt.settles == "flushed by a read") || int(reads) > stored {
				t.Errorf("%d reads for %d frames", reads, stored)
			}
			if err := way.Forget(); err != nil {
				t.Error(err)
			}
		})
	}
}

// receiveFar sends frames from rank 0 to places in rank 1's device memory, as many ahead as it takes, and looks at each as the device
// sees it when Poll has returned it.
func receiveFar(t *testing.T, g *transporttest.Group, a, b transport.Link, far *farMemory) (stored int, early bool) {
	t.Helper()
	const frames = 60
	size := func(i int) int { return 17_000 + i*13 }
	src, err := g.Endpoints[0].Alloc(1 << 21)
	if err != nil {
		t.Fatal(err)
	}
	for i := range src {
		src[i] = byte(i*5 + i>>9 + 1)
	}
	payload := func(i int) []byte { return src[i*20_000+i:][:size(i)] }
	header := func(i int) transport.Header {
		return transport.Header{Kind: transport.Data, Seq: uint32(i), Length: uint32(size(i))}
	}
	sendAndCheck(t, g, a, b, src[:10], src[:10])
	to := b.(transport.ExpectingLink)
	if err := transporttest.Await(g.Bells[1], "places", func() bool { return to.Expecting() > 0 }); err != nil {
		t.Fatal(err)
	}
	sending := make(chan error, 1)
	go func() {
		sending <- func() error {
			for i := range frames {
				h := header(i)
				var ok bool
				var err error
				if e := transporttest.Await(g.Bells[0], "room", func() bool { ok, err = a.Post(&h, payload(i)); return ok || err != nil }); e != nil || err != nil {
					return errors.Join(e, err)
				}
			}
			return nil
		}()
	}()
	defer func() {
		if err := <-sending; err != nil {
			t.Error(err)
		}
	}()
	wanted := 0
	var f *transport.Frame
	for i := range frames {
		if err := transporttest.Await(g.Bells[1], "a frame", func() bool {
			for wanted = max(wanted, i); wanted < frames && wanted-i < to.Expecting(); wanted++ {
				h := header(wanted)
				to.Expect(wanted-i, &h, far.place[wanted*30_000+wanted:][:size(wanted)])
			}
			f, err = b.Poll()
			return f != nil || err != nil
		}); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := f.Payload
		if at := far.place[i*30_000+i:]; unsafe.SliceData(got) == unsafe.SliceData(at) {
			stored++
			got = far.content[i*30_000+i:][:size(i)]
			early = early || !bytes.Equal(got, payload(i))
		} else if !bytes.Equal(got, payload(i)) {
			t.Fatalf("frame %d is wrong", i)
		}
		b.Release()
	}
	return stored, early
}

// wantedFar makes rank 1 expect a frame at the beginning of far, and returns its header when rank 0 has the offer.
func wantedFar(t *testing.T, g *transporttest.Group, a, b transport.Link, far *farMemory) transport.Header {
	t.Helper()
	sendAndCheck(t, g, a, b, far.content[:10], far.content[:10])
	to := b.(transport.ExpectingLink)
	h := transport.Header{Kind: transport.Data, Length: 1 << 15}
	if err := transporttest.Await(g.Bells[1], "a place", func() bool { return to.Expecting() > 0 && to.Expect(0, &h, far.place[:h.Length]) }); err != nil {
		t.Fatal(err)
	}
	awaitOffer(t, g, a, b)
	return h
}

// A flush that fails ends the link, and so does a read.
func TestDirectReceiveFails(t *testing.T) {
	failed := errors.New("the driver has failed")
	for name, flush := range map[string]func() error{"flush": func() error { return failed }, "read": nil} {
		t.Run(name, func(t *testing.T) {
			n := newSoftNet()
			n.dmabuf, n.readable, n.files = true, readable, mapped
			g, a, b := newGroup(t, n, QueuePairs(1))
			far := newFarMemory(t, 1<<16)
			far.Flush = flush
			way, err := g.Endpoints[1].(transport.DeviceEndpoint).RegisterDevice(far.DeviceMemory)
			if err != nil {
				t.Fatal(err)
			}
			h := wantedFar(t, g, a, b, far)
			post(t, g, a, &h, make([]byte, h.Length))
			var polled error
			if err := transporttest.Await(g.Bells[1], "the end", func() bool {
				b.(*link).ep.progress()
				if b.(*link).arrived.Load() == 2 { // all of it: the read is not answered
					n.cut.Store(flush == nil)
				}
				_, polled = b.Poll()
				return polled != nil
			}); err != nil {
				t.Fatal(err)
			}
			var status *CompletionError
			if !errors.Is(polled, transport.ErrPeerLost) || (flush != nil) != errors.Is(polled, failed) || (flush == nil) != errors.As(polled, &status) {
				t.Errorf("got %v", polled)
			}
			if err := way.Forget(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Memory that was forgotten is no place, and whoever has its key cannot write there any more.
func TestForgotten(t *testing.T) {
	n := newSoftNet()
	n.dmabuf, n.readable, n.files = true, readable, mapped
	g, a, b := newGroup(t, n, QueuePairs(1))
	far := newFarMemory(t, 1<<16)
	before := bytes.Clone(far.content)
	way, err := g.Endpoints[1].(transport.DeviceEndpoint).RegisterDevice(far.DeviceMemory)
	if err != nil {
		t.Fatal(err)
	}
	h := wantedFar(t, g, a, b, far)
	to := b.(transport.ExpectingLink)
	if err := way.Forget(); err != nil {
		t.Fatal(err)
	}
	if to.Expect(1, &h, far.place[h.Length:]) {
		t.Error("a place in memory that was forgotten was taken")
	}
	post(t, g, a, &h, make([]byte, h.Length))
	err = awaitEnd(t, g, 0, a)
	if failed, ok := errors.AsType[*CompletionError](err); !ok || failed.Status != StatusRemoteAccess {
		t.Errorf("got %v, want a remote access error", err)
	}
	if !bytes.Equal(far.content, before) {
		t.Error("the memory has been written to")
	}
}
