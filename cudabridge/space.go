package cudabridge

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ringtree/ringtree/collective/buffer"
)

// MemoryConfig says how a device's memory takes part in operations.
type MemoryConfig struct {
	// Staged lets every byte to and from other ranks go through pinned host memory, also where they could read this device's
	// memory in place.
	Staged bool
}

// A Memory is a device's memory as operations use it: it implements [buffer.Memory].
type Memory struct {
	device *Device
	cfg    MemoryConfig

	mu      sync.Mutex
	own     map[*byte]*Buffer
	handles map[importKey]exported
	gates   []*gate
	devices []*Device // peers of this process whose access was enabled
}

type exported struct {
	id     uint64
	handle BufferHandle
	err    error
}

var _ buffer.Memory = (*Memory)(nil)

// Memory returns the device's memory for operations. It needs no Close: what it holds ends with the device.
func (d *Device) Memory(cfg MemoryConfig) *Memory {
	return &Memory{device: d, cfg: cfg, own: make(map[*byte]*Buffer), handles: make(map[importKey]exported)}
}

// Device returns the device.
func (m *Memory) Device() *Device { return m.device }

// String is the device's name in messages: "cuda:0".
func (m *Memory) String() string { return fmt.Sprintf("cuda:%d", m.device.index) }

// Contains asks the driver whether all of b lies in one allocation on the device.
func (m *Memory) Contains(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	base, size, err := m.extent(b)
	if err != nil || addressOf(b)-base > size-uint64(len(b)) || uint64(len(b)) > size {
		return false
	}
	a := arguments{pointerDevice, addressOf(b)}
	return m.device.driver.lib.call(cuPointerGetAttribute, m.device.context, &a, nil) == 0 && int(int32(a[0])) == m.device.index
}

// extent returns the allocation that b begins in.
func (m *Memory) extent(b []byte) (base, size uint64, err error) {
	a := arguments{addressOf(b)}
	err = m.device.do(cuMemGetAddressRange, &a, nil)
	return a[0], a[1], err
}

// Alloc is [Device.Alloc], for Free.
func (m *Memory) Alloc(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := m.device.Alloc(n)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.own[&b.data[0]] = b
	return b.data, nil
}

// Free frees what Alloc returned.
func (m *Memory) Free(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	m.mu.Lock()
	b := m.own[&data[0]]
	delete(m.own, &data[0])
	m.mu.Unlock()
	if b == nil || len(b.data) != len(data) {
		return fmt.Errorf("cudabridge: Free of %d bytes that Alloc did not return: %w", len(data), ErrArgument)
	}
	return b.Close()
}

// process is this process's identity in references.
var process = sync.OnceValue(func() string {
	var b [processLength / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
})

// namespace names the processes that can open each other's handles.
func namespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "unknown"
	}
	return name
}

// description is how Describe's text begins.
const description = "cuda1"

// Describe says which device it is, which others this process sees, and which processes can open its handles.
func (m *Memory) Describe() string {
	if m.cfg.Staged {
		return description + " staged"
	}
	return strings.Join(append([]string{description, m.device.info.UUID, namespace()}, m.device.driver.visible()...), " ")
}

// visible returns the identities of the devices that this process sees, by index.
func (d *Driver) visible() []string {
	out := make([]string, 0, d.count)
	for i := range d.count {
		a := arguments{uint64(i)}
		id := "none"
		if d.lib.call(cuDeviceGet, 0, &a, nil) == 0 {
			if info, err := d.describe(a[0]); err == nil {
				id = info.UUID
			}
		}
		out = append(out, id)
	}
	return out
}

// Reads is whether each process sees the other's device and they can reach each other's memory.
func (m *Memory) Reads(peer string) bool {
	f := strings.Fields(peer)
	if m.cfg.Staged || len(f) < 4 || f[0] != description || f[2] != namespace() {
		return false
	}
	sees := false
	for _, id := range f[3:] {
		sees = sees || id == m.device.info.UUID
	}
	for i, id := range m.device.driver.visible() {
		if id == f[1] {
			return sees && m.device.CanAccess(i)
		}
	}
	return false
}

// refer returns the reference to b, which lies in one allocation on the device.
func (m *Memory) refer(b []byte) (reference, error) {
	base, size, err := m.extent(b)
	if err != nil {
		return reference{}, err
	}
	a := arguments{pointerBufferID, base}
	if err := m.device.do(cuPointerGetAttribute, &a, nil); err != nil {
		return reference{}, err
	}
	r := reference{
		process: process(), device: m.device.index, base: base, id: a[0], size: size, offset: addressOf(b) - base, length: uint64(len(b)),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := importKey{base: base}
	e, ok := m.handles[key]
	if !ok || e.id != r.id {
		e = exported{id: r.id}
		e.err = m.device.do(cuIpcGetMemHandle, &arguments{base}, e.handle[:])
		m.handles[key] = e
	}
	r.handle = e.handle
	return r, e.err
}

// resolve returns the place of what a peer's reference stands for.
func (m *Memory) resolve(r *reference) ([]byte, error) {
	if r.process != process() {
		mapping, err := m.device.ipc.find(m.device, r)
		if err != nil {
			return nil, err
		}
		return mapping.data[r.offset : r.offset+r.length], nil
	}
	if r.device != m.device.index {
		if err := m.enable(r.device); err != nil {
			return nil, err
		}
	}
	return place(r.base+r.offset, int(r.length)), nil
}

// enable lets the device reach the memory of device number peer of this process.
func (m *Memory) enable(peer int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.devices {
		if d.index == peer {
			return nil
		}
	}
	d, err := m.device.driver.Device(peer)
	if err != nil {
		return err
	}
	m.devices = append(m.devices, d) // its context stays for as long as the process has another one on it
	return m.device.EnablePeer(d)
}

// A gate is an operation's place in a stream.
type gate struct {
	stream *Stream
	before *Event
	after  *Event // recorded behind the stream's wait; nil: it does not wait
	word   *HostBuffer
	opened atomic.Bool
}

// Gate records an event on the stream and, with hold, lets the stream wait for a word of pinned memory behind it. The error Is
// [ErrNotSupported] where the driver cannot wait for a word.
func (m *Memory) Gate(stream buffer.Stream, hold bool) (buffer.Gate, error) {
	s, ok := stream.(*Stream)
	if !ok || s == nil || s.device.context != m.device.context {
		return nil, fmt.Errorf("cudabridge: a stream %T for operations on %v: %w", stream, m, ErrArgument)
	}
	m.sweep()
	g := &gate{stream: s}
	var err error
	if g.before, err = m.device.NewEvent(false); err != nil {
		return nil, err
	}
	if err := s.Record(g.before); err != nil {
		return nil, err
	}
	if !hold {
		return g, nil
	}
	if g.word, err = m.device.takePinned(4); err != nil {
		return nil, err
	}
	if g.after, err = m.device.NewEvent(false); err != nil {
		return nil, err
	}
	atomic.StoreUint32(store32(g.word.data), 0)
	if err := s.waitValue(g.word.data[:4], 1); err != nil {
		return nil, err
	}
	if err := s.Record(g.after); err != nil {
		atomic.StoreUint32(store32(g.word.data), 1)
		return nil, err
	}
	m.mu.Lock()
	m.gates = append(m.gates, g)
	m.mu.Unlock()
	return g, nil
}

// sweep takes back the words of gates that their streams have passed.
func (m *Memory) sweep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.gates[:0]
	for _, g := range m.gates {
		if done, err := g.after.Done(); err == nil && done && g.opened.Load() {
			_ = m.device.givePinned(g.word)
			_ = g.after.Close()
			continue
		}
		kept = append(kept, g)
	}
	clear(m.gates[len(kept):])
	m.gates = kept
}

// Open is buffer.Gate's.
func (g *gate) Open() error {
	if g.opened.Swap(true) {
		return ErrClosed
	}
	if g.word != nil {
		atomic.StoreUint32(store32(g.word.data), 1)
	}
	return g.before.Close()
}
