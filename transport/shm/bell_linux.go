package shm

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
)

// The values of a futex word. A peer may write anything else: it reads as idle.
const (
	wordIdle uint32 = iota
	wordArmed
)

// The futex operations. The word is shared between processes, so neither is FUTEX_PRIVATE.
const (
	futexWait = 0
	futexWake = 1
)

// sleepSlice bounds one futex wait of a Sleep whose context can end, because a context cannot ring a futex.
const sleepSlice = 10 * time.Millisecond

// A futexWord is the shared half of a bell: the rank's own view of it or a peer's.
type futexWord struct{ m *mapping }

func (w *futexWord) addr() *uint32 { return w.m.word32(0) }

func (w *futexWord) ring() {
	p := w.addr()
	if atomic.LoadUint32(p) == wordArmed && atomic.CompareAndSwapUint32(p, wordArmed, wordIdle) {
		// A wake never blocks, so it need not tell Go's scheduler.
		unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexWake, 1)
	}
	runtime.KeepAlive(w.m)
}

func (w *futexWord) store(v uint32) {
	atomic.StoreUint32(w.addr(), v)
	runtime.KeepAlive(w.m)
}

// bell is a transport.Bell on a futex. Its word stays mapped as long as anybody can reach the bell, so a
// ring after Close is harmless.
type bell struct {
	word   futexWord
	wait   unix.Timespec // of the futex call; a field, so that Sleep allocates nothing
	closed atomic.Bool

	mu sync.Mutex
	fd int // -1 once closed
}

var _ transport.Bell = (*bell)(nil)

func newBell() (transport.Bell, error) { return newFutexBell() }

func newFutexBell() (*bell, error) {
	m, fd, err := newMapping("ringtree-bell", os.Getpagesize(), unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", transport.ErrNotSupported, err)
	}
	return &bell{word: futexWord{m}, fd: fd}, nil
}

func (b *bell) Ring()   { b.word.ring() }
func (b *bell) Arm()    { b.word.store(wordArmed) }
func (b *bell) Disarm() { b.word.store(wordIdle) }

func (b *bell) Sleep(ctx context.Context, limit time.Duration) {
	p := b.word.addr()
	done := ctx.Done()
	var start time.Time
	if limit > 0 {
		start = time.Now()
	}
	for atomic.LoadUint32(p) == wordArmed && !b.closed.Load() {
		slice := time.Duration(0) // without end
		if done != nil {
			select {
			case <-done:
				b.word.store(wordIdle)
				return
			default:
			}
			slice = sleepSlice
		}
		if limit > 0 {
			left := limit - time.Since(start)
			if left <= 0 {
				break
			}
			if slice == 0 || left < slice {
				slice = left
			}
		}
		b.futexWait(p, slice)
	}
	b.word.store(wordIdle)
}

// futexWait blocks while the word is armed, for slice at most (0: without end). It is a call that Go's
// scheduler knows of, because it blocks a thread.
func (b *bell) futexWait(p *uint32, slice time.Duration) {
	var timeout unsafe.Pointer
	if slice > 0 {
		b.wait = unix.NsecToTimespec(int64(slice))
		timeout = unsafe.Pointer(&b.wait)
	}
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(p)), futexWait, uintptr(wordArmed), uintptr(timeout), 0, 0)
	runtime.KeepAlive(b)
}

// dup returns a file descriptor of the word for a peer.
func (b *bell) dup() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		return -1, fmt.Errorf("shm: bell: %w", transport.ErrClosed)
	}
	return dupFD(b.fd)
}

func (b *bell) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		return nil
	}
	b.closed.Store(true)
	b.word.ring() // a rank that still sleeps, against the rules, is let go
	err := unix.Close(b.fd)
	b.fd = -1
	return err
}

func dupFD(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("shm: dup: %w", err)
	}
	return n, nil
}

// A relay sleeps on a futex bell and rings another one, for endpoints whose rank sleeps on something else.
type relay struct {
	inner *bell
	outer transport.Bell
	stop  atomic.Bool
	ended chan struct{}
}

func startRelay(outer transport.Bell) (*relay, error) {
	inner, err := newFutexBell()
	if err != nil {
		return nil, err
	}
	r := &relay{inner: inner, outer: outer, ended: make(chan struct{})}
	go r.run()
	return r, nil
}

func (r *relay) run() {
	defer close(r.ended)
	for {
		r.inner.Arm()
		if r.stop.Load() {
			return
		}
		// Whatever came while the inner bell was not armed is passed on here.
		r.outer.Ring()
		r.inner.Sleep(context.Background(), 0)
	}
}

// close ends the goroutine and frees the inner bell.
func (r *relay) close() {
	r.stop.Store(true)
	r.inner.Ring()
	<-r.ended
	r.inner.Close()
}
