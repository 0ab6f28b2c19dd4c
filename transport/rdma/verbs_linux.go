//go:build cgo

package rdma

/*
#cgo LDFLAGS: -ldl
#cgo CFLAGS: -D_GNU_SOURCE -O2 -Wno-unused-function
#cgo noescape rt_poll
#cgo nocallback rt_poll
#cgo noescape rt_post_write
#cgo nocallback rt_post_write
#cgo nocallback rt_post_receives
#cgo nocallback rt_arm
#include "verbs_shim.h"
#include <stdlib.h>
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var load = sync.OnceValue(func() error {
	const size = 512
	text := (*C.char)(C.malloc(size))
	defer C.free(unsafe.Pointer(text))
	if C.rt_load(text, size) != 0 {
		return fmt.Errorf("%w: %s", ErrNoLibrary, C.GoString(text))
	}
	return nil
})

// verbsDevices returns the names of the devices.
func verbsDevices() ([]string, error) {
	if err := load(); err != nil {
		return nil, err
	}
	var names []string
	err := eachDevice(func(d *C.struct_rt_device, name string) bool {
		names = append(names, name)
		return false
	})
	return names, err
}

func eachDevice(f func(d *C.struct_rt_device, name string) (stop bool)) error {
	var n C.int
	list, err := C.rt_devices(&n)
	if list == nil {
		return fmt.Errorf("%w: %w", ErrNoDevice, err)
	}
	defer C.rt_free_devices(list)
	for _, d := range unsafe.Slice(list, int(n)) {
		if f(d, C.GoString(C.rt_device_name(d))) {
			break
		}
	}
	return nil
}

// verbs is an opened port.
type verbs struct {
	device  string
	cfg     *config
	context *C.struct_rt_context
	pd      *C.struct_rt_pd
	at      place
	sgid    int // index of the GID
}

// openVerbs opens the port that the options name, or the first that is active.
func openVerbs(cfg *config) (fabric, error) {
	if err := load(); err != nil {
		return nil, err
	}
	var v *verbs
	var failed error
	found := false
	err := eachDevice(func(d *C.struct_rt_device, name string) bool {
		if cfg.device != "" && name != cfg.device {
			return false
		}
		found = true
		v, failed = openPort(d, name, cfg)
		return failed == nil
	})
	switch {
	case err != nil:
		return nil, err
	case !found && cfg.device != "":
		return nil, fmt.Errorf("%w named %q", ErrNoDevice, cfg.device)
	case !found:
		return nil, ErrNoDevice
	case failed != nil:
		return nil, failed
	}
	return v, nil
}

func openPort(d *C.struct_rt_device, name string, cfg *config) (*verbs, error) {
	v := &verbs{device: name, cfg: cfg}
	if e := C.rt_open(d, &v.context, &v.pd); e != 0 {
		return nil, &DeviceError{Device: name, Op: "open", Err: syscall.Errno(e)}
	}
	if err := v.query(); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// query finds out where the port is.
func (v *verbs) query() error {
	var a C.struct_rt_port_attr
	port := C.int(v.cfg.port)
	if e := C.rt_query_port(v.context, port, &a); e != 0 {
		return &DeviceError{Device: v.device, Port: v.cfg.port, Op: "query port", Err: syscall.Errno(e)}
	}
	if a.state != C.RT_PORT_ACTIVE {
		return &DeviceError{Device: v.device, Port: v.cfg.port, Op: "query port", Err: ErrPortDown}
	}
	v.at = place{ethernet: a.link_layer == C.RT_LINK_LAYER_ETHERNET, lid: uint16(a.lid), mtu: uint8(a.active_mtu)}
	if m := mtuCode(v.cfg.mtu); m != 0 {
		v.at.mtu = min(v.at.mtu, m)
	}
	var gids []gid
	for i := range min(int(a.gid_tbl_len), maxGIDs) {
		var g C.union_rt_gid
		if C.rt_query_gid(v.context, port, C.int(i), &g) != 0 {
			continue
		}
		raw := *(*[16]byte)(unsafe.Pointer(&g))
		if raw == ([16]byte{}) {
			continue
		}
		gids = append(gids, gid{index: i, raw: raw, kind: gidKind(os.DirFS("/sys"), v.device, v.cfg.port, i)})
	}
	g, err := chooseGID(gids, v.at.ethernet, v.cfg.gid)
	if err != nil {
		return &DeviceError{Device: v.device, Port: v.cfg.port, Op: "choose GID", Err: err}
	}
	v.at.gid, v.sgid = g.raw, g.index
	return nil
}

func (v *verbs) name() string { return v.device }
func (v *verbs) place() place { return v.at }
func (v *verbs) close()       { C.rt_close(v.context, v.pd) }

type verbsRegion struct{ mr *C.struct_rt_mr }

func (r verbsRegion) keys() (local, remote uint32) { return uint32(r.mr.lkey), uint32(r.mr.rkey) }

func (r verbsRegion) release() error {
	if e := C.rt_dereg(r.mr); e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

func access(r rights) C.int {
	a := C.int(C.RT_ACCESS_LOCAL_WRITE)
	if r&peersWrite != 0 {
		a |= C.RT_ACCESS_REMOTE_WRITE
	}
	if r&selfReads != 0 {
		a |= C.RT_ACCESS_REMOTE_READ
	}
	return a
}

func (v *verbs) register(addr uintptr, n int, may rights) (region, error) {
	var r verbsRegion
	if e := C.rt_reg(v.pd, C.uint64_t(addr), C.size_t(n), access(may), &r.mr); e != 0 {
		return nil, &DeviceError{Device: v.device, Op: "register memory", Err: syscall.Errno(e)}
	}
	return r, nil
}

func (v *verbs) registerDMABuf(fd int, offset uint64, addr uintptr, n int, may rights) (region, error) {
	var r verbsRegion
	if e := C.rt_reg_dmabuf(v.pd, C.uint64_t(offset), C.size_t(n), C.uint64_t(addr), C.int(fd), access(may), &r.mr); e != 0 {
		return nil, &DeviceError{Device: v.device, Op: "register dma-buf", Err: syscall.Errno(e)}
	}
	return r, nil
}

// pollBatch is how many completions one call takes.
const pollBatch = 32

type verbsQueue struct {
	v       *verbs
	cq      *C.struct_rt_cq
	channel *C.struct_rt_comp_channel
	done    *C.struct_rt_done // of pollBatch
	events  *waiter
}

func (v *verbs) queue(depth int) (queue, error) {
	q := &verbsQueue{v: v}
	if e := C.rt_create_cq(v.context, C.int(depth), &q.channel, &q.cq); e != 0 {
		return nil, &DeviceError{Device: v.device, Op: "create completion queue", Err: syscall.Errno(e)}
	}
	var err error
	if q.events, err = newWaiter(int(q.channel.fd)); err != nil {
		C.rt_destroy_cq(q.channel, q.cq)
		return nil, &DeviceError{Device: v.device, Op: "create completion queue", Err: err}
	}
	q.done = (*C.struct_rt_done)(C.calloc(pollBatch, C.sizeof_struct_rt_done))
	return q, nil
}

func (q *verbsQueue) poll(into []completion) (int, error) {
	n := int(C.rt_poll(q.cq, q.done, C.int(min(len(into), pollBatch))))
	if n < 0 {
		return 0, &DeviceError{Device: q.v.device, Op: "poll", Err: syscall.EIO}
	}
	for i, d := range unsafe.Slice(q.done, n) {
		into[i] = completion{
			id: uint64(d.id), status: Status(d.status), imm: ntohl(uint32(d.imm)), length: uint32(d.length), pair: uint32(d.qp),
			vendor: uint32(d.vendor), immediate: d.immediate != 0,
		}
	}
	return n, nil
}

// ntohl turns the four bytes of an immediate, which the device leaves as they are on the wire, into a number; and a
// number into such bytes.
func ntohl(x uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return bits.ReverseBytes32(x)
	}
	return x
}

func (q *verbsQueue) arm() error {
	if e := C.rt_arm(q.cq); e != 0 {
		return &DeviceError{Device: q.v.device, Op: "request an event", Err: syscall.Errno(e)}
	}
	return nil
}

func (q *verbsQueue) wait() bool {
	return q.events.wait(func() bool { return C.rt_take_event(q.channel) != 0 })
}

func (q *verbsQueue) unblock() { q.events.unblock() }

func (q *verbsQueue) close() {
	q.events.close()
	C.rt_destroy_cq(q.channel, q.cq)
	C.free(unsafe.Pointer(q.done))
}

type verbsPair struct {
	q       *verbsQueue
	qp      *C.struct_rt_qp
	qpn     uint32
	inlined int
	w       C.struct_rt_write
}

// wantInline is how much a write should carry in its own entry: a header and some two hundred bytes.
const wantInline = 256

func (q *verbsQueue) pair(sends, receives int) (pair, error) {
	return q.newPair(sends, receives, C.RT_ACCESS_LOCAL_WRITE|C.RT_ACCESS_REMOTE_WRITE)
}

// newPair makes a pair with what its peer may do.
func (q *verbsQueue) newPair(sends, receives int, allowed C.int) (*verbsPair, error) {
	p := &verbsPair{q: q}
	inlined, number := C.uint32_t(wantInline), C.uint32_t(0)
	if e := C.rt_create_qp(q.v.pd, q.cq, C.uint32_t(sends), C.uint32_t(receives), &inlined, &p.qp, &number); e != 0 {
		return nil, &DeviceError{Device: q.v.device, Op: "create queue pair", Err: syscall.Errno(e)}
	}
	p.qpn, p.inlined = uint32(number), int(inlined)
	if e := C.rt_qp_init(p.qp, C.int(q.v.cfg.port), C.int(q.v.cfg.pkey), allowed); e != 0 {
		C.rt_destroy_qp(p.qp)
		return nil, &DeviceError{Device: q.v.device, Op: "initialise queue pair", Err: syscall.Errno(e)}
	}
	return p, nil
}

func (p *verbsPair) number() uint32 { return p.qpn }
func (p *verbsPair) inline() int    { return p.inlined }

func (p *verbsPair) connect(r route) error {
	v := p.q.v
	c := C.struct_rt_route{
		qpn: C.uint32_t(r.number), psn_in: C.uint32_t(r.psnIn), psn_out: C.uint32_t(r.psnOut), lid: C.uint16_t(r.to.lid),
		sgid: C.uint8_t(v.sgid), hops: 64, traffic_class: C.uint8_t(v.cfg.trafficClass), service_level: C.uint8_t(v.cfg.serviceLevel),
		port: C.uint8_t(v.cfg.port), mtu: C.uint8_t(r.mtu), timeout: C.uint8_t(v.cfg.ackTimeout), retries: C.uint8_t(v.cfg.retries),
	}
	*(*[16]byte)(unsafe.Pointer(&c.gid)) = r.to.gid
	// On InfiniBand the local identifier does within a subnet.
	if v.at.ethernet || r.to.lid == 0 {
		c.global = 1
	}
	if e := C.rt_qp_connect(p.qp, &c); e != 0 {
		return &DeviceError{Device: v.device, Op: "connect queue pair", Err: syscall.Errno(e)}
	}
	return nil
}

func (p *verbsPair) receives(n int) error {
	if e := C.rt_post_receives(p.qp, received, C.int(n)); e != 0 {
		return &DeviceError{Device: p.q.v.device, Op: "post receive", Err: syscall.Errno(e)}
	}
	return nil
}

func (p *verbsPair) write(w *write) error {
	p.w = C.struct_rt_write{
		id: C.uint64_t(w.id), head: C.uint64_t(w.head), body: C.uint64_t(w.body), to: C.uint64_t(w.to),
		head_length: C.uint32_t(w.headLength), body_length: C.uint32_t(w.bodyLength), head_key: C.uint32_t(w.headKey),
		body_key: C.uint32_t(w.bodyKey), to_key: C.uint32_t(w.toKey), imm: C.uint32_t(ntohl(w.imm)),
	}
	if w.withImm {
		p.w.with_imm = 1
	}
	if w.inline {
		p.w.flags |= C.RT_SEND_INLINE
	}
	if w.signaled {
		p.w.flags |= C.RT_SEND_SIGNALED
	}
	if e := C.rt_post_write(p.qp, &p.w); e != 0 {
		return &DeviceError{Device: p.q.v.device, Op: "post write", Err: syscall.Errno(e)}
	}
	return nil
}

// A verbsReader is a queue pair that is connected to itself, as NCCL's is for the same purpose.
type verbsReader struct {
	*verbsPair
	sink   []byte // where what is read goes
	region region
}

func (q *verbsQueue) reader(depth int) (reader, error) {
	sink, err := newPages(os.Getpagesize())
	if err != nil {
		return nil, err
	}
	r := &verbsReader{sink: sink}
	if r.region, err = q.v.register(addressOf(sink), len(sink), 0); err != nil {
		return nil, errors.Join(err, freePages(sink))
	}
	if r.verbsPair, err = q.newPair(depth, 1, C.RT_ACCESS_LOCAL_WRITE|C.RT_ACCESS_REMOTE_READ); err == nil {
		if err = r.connect(route{to: q.v.at, number: r.qpn, mtu: q.v.at.mtu}); err == nil {
			return r, nil
		}
		r.verbsPair.destroy()
	}
	return nil, errors.Join(err, r.region.release(), freePages(sink))
}

func (r *verbsReader) read(id uint64, addr uintptr, key uint32) error {
	local, _ := r.region.keys()
	if e := C.rt_post_read(r.qp, C.uint64_t(id), C.uint64_t(addressOf(r.sink)), C.uint32_t(local), C.uint64_t(addr), C.uint32_t(key)); e != 0 {
		return &DeviceError{Device: r.q.v.device, Op: "post read", Err: syscall.Errno(e)}
	}
	return nil
}

func (r *verbsReader) destroy() {
	r.verbsPair.reset()
	r.verbsPair.destroy()
	_ = r.region.release() // nothing can be done about it
	_ = freePages(r.sink)
}

func (p *verbsPair) reset()   { C.rt_qp_reset(p.qp) }
func (p *verbsPair) destroy() { C.rt_destroy_qp(p.qp) }

// watch reads the events of the device.
func (v *verbs) watch(report func(error)) (stop func()) {
	events, err := newWaiter(int(v.context.async_fd))
	if err != nil {
		report(&DeviceError{Device: v.device, Op: "watch", Err: err})
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var kind, port C.int
		for events.wait(func() bool { return C.rt_take_async(v.context, &kind, &port) != 0 }) {
			switch kind {
			case C.RT_EVENT_DEVICE_FATAL:
				report(&DeviceError{Device: v.device, Op: "event", Err: ErrDeviceLost})
			case C.RT_EVENT_PORT_ERR:
				if int(port) == v.cfg.port {
					report(&DeviceError{Device: v.device, Port: v.cfg.port, Op: "event", Err: ErrPortDown})
				}
			case C.RT_EVENT_PORT_ACTIVE:
				if int(port) == v.cfg.port {
					report(nil)
				}
			}
		}
	}()
	return func() {
		events.unblock()
		<-done
		events.close()
	}
}

// A waiter waits for a file descriptor of the library in the runtime's poller, so that no thread is bound.
type waiter struct {
	file *os.File // a duplicate: the library closes its own
	raw  syscall.RawConn
	once sync.Once
}

func newWaiter(fd int) (*waiter, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &waiter{file: os.NewFile(uintptr(own), "verbs events")}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

// wait returns true when take has, and false when unblock was called.
func (w *waiter) wait(take func() bool) bool {
	err := w.raw.Read(func(uintptr) bool { return take() })
	return err == nil
}

// unblock ends all waits, now and later.
func (w *waiter) unblock() { w.once.Do(func() { w.file.SetReadDeadline(past) }) }

func (w *waiter) close() { w.file.Close() }
