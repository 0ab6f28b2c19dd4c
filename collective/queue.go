package collective

import (
	"context"
	"sync"
	"time"

	"github.com/ringtree/ringtree/collective/internal/engine"
)

// A queue runs one operation at a time in the order of the calls. A blocking call that finds it empty runs in its
// own goroutine, without another; the rest run on one goroutine that lives while there is work.
type queue struct {
	mu      sync.Mutex
	busy    bool    // an operation runs
	waiting []*Work // started or blocking calls, in order
	closed  bool
	idle    chan struct{} // made by close, closed when nothing runs any more
}

// enter lets the caller run an operation itself. If it may not, because others are before it, the work is queued.
func (q *queue) enter(make func() *Work) (inline bool, w *Work, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
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
	q.mu.Lock()
	defer q.mu.Unlock()
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
	q.mu.Lock()
	defer q.mu.Unlock()
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
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.rest()
			q.mu.Unlock()
			return
		}
		w := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		w.run()
	}
}

// close refuses new operations and waits until none runs; when patience is over it calls abort and waits on. It
// returns false if the queue was closed before.
func (q *queue) close(patience time.Duration, abort func()) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.closed = true
	if !q.busy {
		q.mu.Unlock()
		return true
	}
	idle := make(chan struct{})
	q.idle = idle
	q.mu.Unlock()
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
