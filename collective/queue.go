package collective

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringtree/ringtree/collective/internal/engine"
)

// A queue runs one operation at a time in the order of the calls. A blocking call that finds it empty runs in its
// own goroutine, without another; the rest run on one goroutine that lives while there is work.
type queue struct {
	state   atomic.Uint32
	mu      sync.Mutex
	busy    bool    // an operation runs
	waiting []*Work // started or blocking calls, in order
	closed  bool
	idle    chan struct{} // made by close, closed when nothing runs any more
}

// The states of a queue. As long as operations do not meet, they enter and leave by an exchange each, and the fields are not
// looked at.
const (
	queueIdle   uint32 = iota // nothing runs, nothing waits, and it is open
	queueBusy                 // the same, but for one operation that its caller runs
	queueLocked               // the fields under mu say
)

// tryEnter lets the caller run an operation itself if nothing else is there.
func (q *queue) tryEnter() bool { return q.state.CompareAndSwap(queueIdle, queueBusy) }

// lock makes the fields say what is.
func (q *queue) lock() {
	q.mu.Lock()
	if old := q.state.Swap(queueLocked); old != queueLocked {
		q.busy = old == queueBusy
	}
}

// unlock goes back to the quick states when there is nothing to say.
func (q *queue) unlock() {
	if !q.busy && !q.closed && len(q.waiting) == 0 {
		q.state.Store(queueIdle)
	}
	q.mu.Unlock()
}

// enter lets the caller run an operation itself. If it may not, because others are before it, the work is queued.
func (q *queue) enter(make func() *Work) (inline bool, w *Work, err error) {
	q.lock()
	defer q.unlock()
	if q.closed {
		return false, nil, ErrClosed
	}
	if !q.busy {
		q.busy = true
		return true, nil, nil
	}
	w = make()
	q.waiting = append(q.waiting, w)
	return false, w, nil
}

// start queues an operation.
func (q *queue) start(w *Work) error {
	q.lock()
	defer q.unlock()
	if q.closed {
		return ErrClosed
	}
	q.waiting = append(q.waiting, w)
	if !q.busy {
		q.busy = true
		go q.drain()
	}
	return nil
}

// leave ends an operation that the caller ran itself.
func (q *queue) leave() {
	if q.state.CompareAndSwap(queueBusy, queueIdle) {
		return
	}
	q.lock()
	defer q.unlock()
	if len(q.waiting) > 0 {
		go q.drain()
		return
	}
	q.rest()
}

// rest notes that nothing runs. The caller holds mu.
func (q *queue) rest() {
	q.busy = false
	if q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

// drain runs queued operations until there is none.
func (q *queue) drain() {
	for {
		q.lock()
		if len(q.waiting) == 0 {
			q.rest()
			q.unlock()
			return
		}
		w := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.unlock()
		w.run()
	}
}

// close refuses new operations and waits until none runs; when patience is over it calls abort and waits on. It
// returns false if the queue was closed before.
func (q *queue) close(patience time.Duration, abort func()) bool {
	q.lock()
	if q.closed {
		q.unlock()
		return false
	}
	q.closed = true
	if !q.busy {
		q.unlock()
		return true
	}
	idle := make(chan struct{})
	q.idle = idle
	q.unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
		abort()
		<-idle
	}
	return true
}

// A Work is an operation that was started. Its methods may be called from any goroutine.
type Work struct {
	ctx     context.Context
	do      func(context.Context) error
	unwatch func() bool // ends the watch over ctx
	done    chan struct{}
	err     error
}

func newWork(ctx context.Context, do func(context.Context) error) *Work {
	return &Work{ctx: ctx, do: do, done: make(chan struct{})}
}

func (w *Work) run() {
	w.unwatch()
	w.err = w.do(w.ctx)
	w.do = nil
	close(w.done)
}

// Done is closed when the operation has ended.
func (w *Work) Done() <-chan struct{} { return w.done }

// Err returns the operation's error once Done is closed, before that nil.
func (w *Work) Err() error {
	select {
	case <-w.done:
		return w.err
	default:
		return nil
	}
}

// Wait returns the operation's error when it has ended, or the context's when that ends first: giving up waiting does
// not cancel the operation.
func (w *Work) Wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.err
	default:
	}
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return engine.Ended(ctx)
	}
}
