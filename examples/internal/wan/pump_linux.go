package wan

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A pump moves frames between the devices and the fabric, on a thread of its own.
type pump struct {
	fabric  *fabric
	clock   clock
	devices []device
	tap     func(from int, frame []byte)
	epoll   int
	timer   int
	stop    int // an eventfd
	gone    chan struct{}
	err     error // valid after gone
}

// What an event of epoll is about, beside the number of a host.
const (
	ofTimer = -1
	ofStop  = -2
)

func newPump(f *fabric, devices []device, tap func(int, []byte)) (*pump, error) {
	p := &pump{fabric: f, clock: newClock(), devices: devices, tap: tap, epoll: -1, timer: -1, stop: -1, gone: make(chan struct{})}
	if err := p.open(); err != nil {
		p.closeFiles()
		return nil, fmt.Errorf("wan: %w", err)
	}
	go p.run()
	return p, nil
}

func (p *pump) open() (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return err
	}
	if p.stop, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return err
	}
	watch := func(fd int, what int32) error {
		return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: what})
	}
	if err := watch(p.timer, ofTimer); err != nil {
		return err
	}
	if err := watch(p.stop, ofStop); err != nil {
		return err
	}
	for i, d := range p.devices {
		if err := watch(d.fd, int32(i)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pump) closeFiles() {
	for _, fd := range []int{p.epoll, p.timer, p.stop} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// close ends the pump and waits for it.
func (p *pump) close() error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.stop, one[:]) // cannot be full
	<-p.gone
	p.closeFiles()
	return p.err
}

// A clock is CLOCK_MONOTONIC, as the timer has it, read without a system call.
type clock struct {
	start time.Time
	at    int64
}

func newClock() clock {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return clock{time.Now(), t.Nano()}
}

func (c clock) now() int64 { return c.at + int64(time.Since(c.start)) }

// batch is how many frames are taken from one device before the others have their turn.
const batch = 64

func (p *pump) run() {
	defer close(p.gone)
	runtime.LockOSThread() // ends with the goroutine, and its priority with it
	// A switch waits for no processor. It works without the priority, a little late under load.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -15)
	var events [maxHosts + 2]unix.EpollEvent
	var armed int64 // what the timer is set to; 0: nothing
	for {
		k, err := unix.EpollWait(p.epoll, events[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			p.err = fmt.Errorf("wan: epoll: %w", err)
			return
		}
		for _, e := range events[:k] {
			switch e.Fd {
			case ofStop:
				return
			case ofTimer:
				var ticks [8]byte
				_, _ = unix.Read(p.timer, ticks[:])
				armed = 0
			default:
				p.take(int(e.Fd))
			}
		}
		p.fabric.advance(p.clock.now(), p.deliver)
		if due, any := p.fabric.next(); any && (armed == 0 || due < armed) {
			spec := unix.ItimerSpec{Value: unix.NsecToTimespec(due)}
			if err := unix.TimerfdSettime(p.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
				p.err = fmt.Errorf("wan: timer: %w", err)
				return
			}
			armed = due
		}
	}
}

// take reads what a host has sent.
func (p *pump) take(from int) {
	for range batch {
		pool := &p.fabric.pool
		b := pool.get(largeFrame)
		n := transfer(unix.SYS_READ, p.devices[from].fd, b[:largeFrame])
		if n <= 0 {
			pool.put(b)
			return
		}
		if p.tap != nil && n > vnetHeader {
			p.tap(from, b[vnetHeader:n])
		}
		if n <= smallFrame { // a large buffer would be a waste while it waits
			s := pool.get(n)
			copy(s[:n], b[:n])
			pool.put(b)
			b = s
		}
		p.fabric.enter(p.clock.now(), from, b[:n])
	}
}

func (p *pump) deliver(to int, data []byte) bool {
	return transfer(unix.SYS_WRITE, p.devices[to].fd, data) == len(data)
}

// transfer reads or writes a frame; it returns -1 where there is none or no room. The device never blocks, so the
// scheduler need not know of the call, which saves a tenth of the time.
func transfer(call uintptr, fd int, b []byte) int {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1
	}
	return int(n)
}
