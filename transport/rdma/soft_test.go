package rdma

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A softNet is devices and the network between them, in this process: it delivers in order within a pair and in no
// order between pairs, reads what is sent when it is delivered and not before, checks every key and every depth, and
// breaks on demand. It is a stand-in for the tests of what stands on verbs; verbs themselves run in testvm.
type softNet struct {
	unruly bool         // delivers after random delays
	inline int          // bytes
	dmabuf bool         // takes dma-bufs
	direct atomic.Int64 // bytes that were read out of files
	stored atomic.Int64 // and written to them
	reads  atomic.Int64 // of readers
	deaf   error        // why there are no readers
	dull   bool         // readers read, and nothing comes of it
	prompt bool         // what is stored in files is there at once
	// With GPUs: readable says whether the processor reads at an address, and files maps the first bytes of a dma-buf.
	readable func(addr uintptr) bool
	files    func(fd, n int) (mem []byte, unmap func() error, err error)

	mu      sync.Mutex
	last    uint32 // key and number
	pairs   map[uint32]*softPair
	regions map[uint32]*softRegion
	devices map[*softDevice]bool
	cut     atomic.Bool // nothing is delivered or answered
	faults  []error     // against the rules of verbs
	parked  []softParked
}

// softParked is what a device has stored in a file and completed, and what is on its way there for as long as it can be: until the
// device has read from one of its files, or arrive is called.
type softParked struct {
	device *softDevice
	into   []byte
	data   []byte
}

// arrive lets what devices have stored in files come there, as the call of a driver does.
func (n *softNet) arrive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unpark(nil)
}

// unpark is arrive for one device, nil: all. mu is held.
func (n *softNet) unpark(d *softDevice) {
	n.parked = slices.DeleteFunc(n.parked, func(p softParked) bool {
		mine := d == nil || p.device == d
		if mine {
			copy(p.into, p.data)
		}
		return mine
	})
}

func newSoftNet() *softNet {
	return &softNet{inline: softInline, pairs: map[uint32]*softPair{}, regions: map[uint32]*softRegion{}, devices: map[*softDevice]bool{}}
}

// on is the option that makes a transport use the network.
func (n *softNet) on() Option {
	return func(c *config) {
		c.open = func(*config) (fabric, error) {
			d := &softDevice{net: n}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.devices[d] = true
			return d, nil
		}
	}
}

func (n *softNet) fault(format string, args ...any) {
	n.faults = append(n.faults, fmt.Errorf(format, args...))
}

// left returns what was done against the rules and what is still there.
func (n *softNet) left() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := errors.Join(n.faults...)
	if len(n.pairs)+len(n.regions)+len(n.devices) > 0 {
		err = errors.Join(err, fmt.Errorf("%d pairs, %d regions and %d devices are left", len(n.pairs), len(n.regions), len(n.devices)))
	}
	return err
}

type softDevice struct {
	net    *softNet
	report func(error)
}

func (d *softDevice) name() string { return "soft0" }
func (d *softDevice) place() place {
	return place{ethernet: true, mtu: 3, gid: [16]byte{10: 0xff, 11: 0xff, 15: 1}}
}

func (d *softDevice) close() {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	delete(d.net.devices, d)
}

func (d *softDevice) watch(report func(error)) func() {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	d.report = report
	return func() {
		d.net.mu.Lock()
		defer d.net.mu.Unlock()
		d.report = nil
	}
}

// say lets all devices report.
func (n *softNet) say(err error) {
	n.mu.Lock()
	var reports []func(error)
	for d := range n.devices {
		if d.report != nil {
			reports = append(reports, d.report)
		}
	}
	n.mu.Unlock()
	for _, r := range reports {
		r(err)
	}
}

type softRegion struct {
	net    *softNet
	key    uint32
	base   uintptr
	mem    []byte
	rights rights
	device *softDevice
	unmap  func() error // of a dma-buf
}

// forbidden is the address of memory that no device takes.
var forbidden atomic.Uintptr

func bytesAt(addr uintptr, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

func (d *softDevice) register(addr uintptr, n int, may rights) (region, error) {
	if addr == forbidden.Load() || d.net.readable != nil && !d.net.readable(addr) {
		return nil, &DeviceError{Device: d.name(), Op: "register memory", Err: syscall.EFAULT}
	}
	return d.add(addr, n, may), nil
}

func (d *softDevice) registerDMABuf(fd int, offset uint64, addr uintptr, n int, may rights) (region, error) {
	if !d.net.dmabuf {
		return nil, &DeviceError{Device: d.name(), Op: "register dma-buf", Err: syscall.EOPNOTSUPP}
	}
	if fd < 0 {
		return nil, &DeviceError{Device: d.name(), Op: "register dma-buf", Err: syscall.EBADF}
	}
	if d.net.files != nil {
		file, unmap, err := d.net.files(fd, int(offset)+n)
		if err != nil {
			return nil, &DeviceError{Device: d.name(), Op: "register dma-buf", Err: err}
		}
		r := d.add(addr, n, may).(*softRegion)
		d.net.mu.Lock()
		defer d.net.mu.Unlock()
		r.mem, r.unmap = file[offset:], unmap
		return r, nil
	}
	return d.add(addr, n, may), nil
}

func (d *softDevice) add(addr uintptr, size int, may rights) region {
	n := d.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	r := &softRegion{net: n, key: n.last, base: addr, mem: bytesAt(addr, size), rights: may, device: d}
	n.regions[r.key] = r
	return r
}

func (r *softRegion) keys() (local, remote uint32) { return r.key, r.key }

func (r *softRegion) release() error {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	if r.net.regions[r.key] != r {
		r.net.fault("region %d released twice", r.key)
	}
	delete(r.net.regions, r.key)
	if r.unmap != nil {
		return r.unmap()
	}
	return nil
}

// find returns n bytes of a region, or nil if the key does not cover them. net.mu is held.
func (n *softNet) find(key uint32, addr uintptr, size int, want rights) []byte {
	r := n.regions[key]
	if r == nil || want&^r.rights != 0 || addr < r.base || addr+uintptr(size) > r.base+uintptr(len(r.mem)) {
		return nil
	}
	return r.mem[addr-r.base:][:size]
}

// isFile reports whether a region is of a file. net.mu is held.
func (n *softNet) isFile(key uint32) bool {
	r := n.regions[key]
	return r != nil && r.unmap != nil
}

type softQueue struct {
	net    *softNet
	device *softDevice
	mu     sync.Mutex
	wake   sync.Cond
	done   []completion
	depth  int
	armed  bool
	event  bool
	closed bool
}

func (d *softDevice) queue(depth int) (queue, error) {
	q := &softQueue{net: d.net, device: d, depth: depth}
	q.wake.L = &q.mu
	return q, nil
}

func (q *softQueue) push(c completion) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.done) == q.depth {
		q.net.fault("a completion queue of %d has overflowed", q.depth)
	}
	q.done = append(q.done, c)
	if q.armed {
		q.armed, q.event = false, true
		q.wake.Signal()
	}
}

func (q *softQueue) poll(into []completion) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := copy(into, q.done)
	q.done = append(q.done[:0], q.done[n:]...)
	return n, nil
}

func (q *softQueue) arm() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = true
	return nil
}

func (q *softQueue) wait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.event && !q.closed {
		q.wake.Wait()
	}
	q.event = false
	return !q.closed
}

func (q *softQueue) unblock() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Signal()
}

func (q *softQueue) close() {}

// softInline is odd on purpose: nothing must depend on what it is.
const softInline = 100

type softPair struct {
	net              *softNet
	q                *softQueue
	num              uint32
	sends, receives_ int
	wake             chan struct{}
	stopped          chan struct{}

	// Under net.mu.
	to      *route
	queued  []softWrite
	pending int // writes whose places in the send queue are taken
	places  int // for immediates
	broken  bool
	gone    bool
}

type softWrite struct {
	write
	read bool
	data [softInline]byte // of an inline write
}

func (q *softQueue) pair(sends, receives int) (pair, error) {
	n := q.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	p := &softPair{net: n, q: q, num: n.last, sends: sends, receives_: receives, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	n.pairs[p.num] = p
	go p.deliver()
	return p, nil
}

// A softReader is a pair that reads.
type softReader struct{ *softPair }

func (q *softQueue) reader(depth int) (reader, error) {
	if q.net.deaf != nil {
		return nil, q.net.deaf
	}
	p, err := q.pair(depth, 1)
	return softReader{p.(*softPair)}, err
}

func (r softReader) read(id uint64, addr uintptr, key uint32) error {
	return r.post(softWrite{write: write{id: id, to: addr, toKey: key, signaled: true}, read: true})
}

// fetch does a read. net.mu is held.
func (p *softPair) fetch(w *softWrite) Status {
	n := p.net
	if n.find(w.toKey, w.to, 1, selfReads) == nil || n.regions[w.toKey].device != p.q.device {
		return StatusRemoteAccess
	}
	n.reads.Add(1)
	if !n.dull {
		n.unpark(p.q.device)
	}
	return StatusOK
}

func (p *softPair) number() uint32 { return p.num }
func (p *softPair) inline() int    { return p.net.inline }

func (p *softPair) connect(r route) error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.to = &r
	return nil
}

func (p *softPair) receives(n int) error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if p.places += n; p.places > p.receives_ {
		p.net.fault("%d receives in a queue of %d", p.places, p.receives_)
	}
	return nil
}

func (p *softPair) write(w *write) error { return p.post(softWrite{write: *w}) }

func (p *softPair) post(s softWrite) error {
	n := p.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.pending++; p.pending > p.sends {
		n.fault("%d writes in a queue of %d", p.pending, p.sends)
		return syscall.ENOMEM
	}
	if s.inline {
		if s.headLength > softInline || s.bodyLength > 0 {
			n.fault("%d and %d bytes inline", s.headLength, s.bodyLength)
		}
		copy(s.data[:], bytesAt(s.head, s.headLength))
	}
	p.queued = append(p.queued, s)
	p.rouse()
	return nil
}

func (p *softPair) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *softPair) reset() {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.broken = true
	p.rouse()
}

func (p *softPair) destroy() {
	p.net.mu.Lock()
	p.gone = true
	delete(p.net.pairs, p.num)
	p.rouse()
	p.net.mu.Unlock()
	<-p.stopped
}

func (p *softPair) deliver() {
	defer close(p.stopped)
	unsignaled := 0 // places of the send queue that the next completion frees
	for {
		if p.net.unruly {
			for range rand.IntN(20) {
				runtime.Gosched()
			}
		}
		p.net.mu.Lock()
		if p.gone {
			p.net.mu.Unlock()
			return
		}
		if len(p.queued) == 0 {
			p.net.mu.Unlock()
			<-p.wake
			continue
		}
		w := p.queued[0]
		p.queued = slices.Delete(p.queued, 0, 1)
		unsignaled++
		s := StatusFlushed
		if !p.broken {
			if s = StatusRetryExceeded; w.read && !p.net.cut.Load() {
				s = p.fetch(&w)
			} else if !w.read {
				s = p.carry(&w)
			}
		}
		if s == unanswered {
			p.net.mu.Unlock()
			p.retry()
			p.net.mu.Lock()
			if s = StatusRetryExceeded; p.gone {
				p.net.mu.Unlock()
				return
			}
		}
		if s != StatusOK || w.signaled {
			p.pending -= unsignaled
			unsignaled = 0
			p.q.push(completion{id: w.id, status: s, pair: p.num})
		}
		p.broken = p.broken || s != StatusOK
		p.net.mu.Unlock()
	}
}

// unanswered is a write whose device goes on trying.
const unanswered Status = 1 << 31

// retries is for how long a device tries.
const retries = time.Second

// retry waits until a device gives up. It returns at once when the pair is destroyed.
func (p *softPair) retry() {
	timer := time.NewTimer(retries)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-p.wake:
			p.net.mu.Lock()
			gone := p.gone || p.broken
			p.net.mu.Unlock()
			if gone {
				return
			}
		}
	}
}

// carry does a write. net.mu is held.
func (p *softPair) carry(w *softWrite) Status {
	n := p.net
	if p.to == nil {
		n.fault("a write before the pair was connected")
		return StatusFlushed
	}
	peer := n.pairs[p.to.number]
	if n.cut.Load() {
		return StatusRetryExceeded
	}
	if peer == nil || peer.broken || peer.to == nil || peer.to.number != p.num || peer.to.psnIn != p.to.psnOut {
		return unanswered
	}
	body := n.find(w.bodyKey, w.body, w.bodyLength, 0)
	var head []byte
	if w.inline {
		head = w.data[:w.headLength]
	} else {
		head = n.find(w.headKey, w.head, w.headLength, 0)
	}
	if n.isFile(w.bodyKey) {
		n.direct.Add(int64(len(body)))
	}
	if !w.inline && n.isFile(w.headKey) {
		n.direct.Add(int64(len(head)))
	}
	if w.headLength > 0 && head == nil || w.bodyLength > 0 && body == nil {
		return StatusLocalProtection
	}
	if size := w.headLength + w.bodyLength; size > 0 {
		into := n.find(w.toKey, w.to, size, peersWrite)
		if into == nil {
			return StatusRemoteAccess
		}
		if n.isFile(w.toKey) {
			n.stored.Add(int64(size))
		}
		if n.isFile(w.toKey) && !n.prompt {
			n.parked = append(n.parked, softParked{n.regions[w.toKey].device, into, slices.Concat(head, body)})
		} else if size <= offerSize && size%8 == 0 && w.bodyLength == 0 && !w.withImm { // word by word, as a bus does it at the least
			for i := 0; i < size; i += 8 {
				atomic.StoreUint64((*uint64)(unsafe.Pointer(&into[i])), *(*uint64)(unsafe.Pointer(&head[i])))
				if n.unruly {
					runtime.Gosched()
				}
			}
		} else {
			copy(into, head)
			copy(into[len(head):], body)
		}
	}
	if w.withImm {
		if peer.places == 0 {
			n.fault("an immediate without a place for it")
			return StatusReceiverNotReady
		}
		peer.places--
		peer.q.push(completion{id: received, pair: peer.num, imm: w.imm, immediate: true, length: uint32(w.headLength + w.bodyLength)})
	}
	return StatusOK
}

var _ fabric = (*softDevice)(nil)
