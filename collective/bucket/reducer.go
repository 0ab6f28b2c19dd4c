package bucket

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
)

// Elem is an element type that gradients have.
type Elem interface {
	float32 | float64 | buffer.F16 | buffer.BF16
}

// A Reducer reduces one model's gradients over one communicator, step after step. Register and Seal belong to
// one goroutine; after that Ready may be called from any number of goroutines, and Wait from one when they are
// done.
type Reducer[T Elem] struct {
	comm  *collective.Comm
	cfg   Config
	alloc func(n int) ([]T, error)

	mu      sync.Mutex
	state   state
	err     error // why the reducer is unusable, if it is
	params  []*Param[T]
	byName  map[string]struct{}
	buckets []batch[T]
	next    int // the first bucket not started in this step
	waiting bool
	began   time.Time // when the first bucket of this step started
	stats   Stats
}

type state uint8

const (
	open state = iota
	sealed
	closed
)

// A Param is one registered gradient.
type Param[T Elem] struct {
	reducer *Reducer[T]
	name    string
	length  int
	grad    []T
	bucket  int
	ready   bool // in this step; guarded by Reducer.mu
}

// A batch is one bucket: gradients that are reduced as one operation.
type batch[T Elem] struct {
	data    []T
	params  []*Param[T]
	pending int // gradients not yet ready in this step
	work    *collective.Work
}

// Stats counts what a Reducer did since Seal. Durations are sums over the steps, by this rank's clock.
type Stats struct {
	Steps   int           // steps that Wait completed
	Buckets int           // operations a step
	Bytes   int64         // bytes reduced a step, padding included
	Total   time.Duration // from the start of the first bucket to the return of Wait
	Exposed time.Duration // the part of Total that was spent inside Wait: communication, and waiting for slower ranks, that no computing hid
}

// Hidden is the part of the communication window in which this rank computed, from 0 to 1.
func (s Stats) Hidden() float64 {
	if s.Total <= 0 {
		return 0
	}
	return 1 - float64(s.Exposed)/float64(s.Total)
}

// New makes a Reducer over c. It does not communicate. The error Is ErrConfig.
func New[T Elem](c *collective.Comm, cfg Config) (*Reducer[T], error) {
	if c == nil {
		return nil, fmt.Errorf("%w: no communicator", ErrConfig)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Reducer[T]{
		comm:   c,
		cfg:    cfg,
		alloc:  func(n int) ([]T, error) { return collective.Alloc[T](c, n) },
		byName: make(map[string]struct{}),
	}, nil
}

// Register adds a gradient of n elements. Every rank registers the same gradients in the same order, from the
// model's input to its output. Errors: ErrSealed, ErrClosed, or a *ParamError with ErrDuplicate or ErrLength.
func (r *Reducer[T]) Register(name string, n int) (*Param[T], error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(open); err != nil {
		return nil, err
	}
	if _, taken := r.byName[name]; taken {
		return nil, &ParamError{Name: name, Err: ErrDuplicate}
	}
	if limit := maxLength(buffer.TypeOf[T]().Size()); n <= 0 || n > limit {
		return nil, &ParamError{Name: name, Err: fmt.Errorf("%w %d", ErrLength, n)}
	}
	p := &Param[T]{reducer: r, name: name, length: n}
	r.params = append(r.params, p)
	r.byName[name] = struct{}{}
	return p, nil
}

// Seal fixes the layout. Every rank calls it: they compare what they registered, and allocate. Errors, on every
// rank: a *LayoutError if the ranks differ, an *AllocError if one has no memory, or that of the communicator.
// A Reducer whose Seal failed keeps returning that error.
func (r *Reducer[T]) Seal(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(open); err != nil {
		return err
	}
	if err := r.seal(ctx); err != nil {
		r.err = err
		return err
	}
	r.state = sealed
	r.byName = nil
	return nil
}

func (r *Reducer[T]) seal(ctx context.Context) error {
	dtype := buffer.TypeOf[T]()
	lengths := make([]int, len(r.params))
	entries := make([]string, 1, len(r.params)+1)
	entries[0] = r.cfg.words(dtype)
	for i, p := range r.params {
		lengths[i] = p.length
		// The length comes first: it is the part that must survive cutting.
		entries = append(entries, fmt.Sprintf("%d elements named %q", p.length, p.name))
	}
	if err := agree(ctx, r.comm, entries); err != nil {
		return err
	}

	l := assign(lengths, dtype.Size(), r.cfg.FirstBucketBytes, r.cfg.BucketBytes)
	if err := r.allocate(ctx, l); err != nil {
		return err
	}
	for i := len(r.params) - 1; i >= 0; i-- {
		p, s := r.params[i], l.spans[i]
		b := &r.buckets[s.bucket]
		p.bucket = s.bucket
		p.grad = b.data[s.lo:s.hi:s.hi]
		b.params = append(b.params, p)
		b.pending++
	}
	r.stats.Buckets = len(r.buckets)
	for i, n := range l.sizes {
		r.stats.Bytes += int64(n) * int64(dtype.Size())
		r.cfg.Logger.DebugContext(ctx, "bucket", "rank", r.comm.Rank(), "index", i,
			"gradients", len(r.buckets[i].params), "bytes", int64(n)*int64(dtype.Size()))
	}
	return nil
}

// allocate makes r.buckets, or gives an error on every rank.
func (r *Reducer[T]) allocate(ctx context.Context, l layout) error {
	r.buckets = make([]batch[T], len(l.sizes))
	var failed error
	flag := make([]uint64, 1) // a rank that failed, plus one
	for i, n := range l.sizes {
		data, err := r.alloc(n)
		if err != nil {
			failed = err
			flag[0] = uint64(r.comm.Rank()) + 1
			break
		}
		r.buckets[i].data = data
	}
	if err := collective.AllReduce(ctx, r.comm, flag, buffer.Max); err != nil {
		return fmt.Errorf("bucket: allocating: %w", err)
	}
	if flag[0] == 0 {
		return nil
	}
	if err := r.free(); err != nil && failed == nil {
		failed = err
	}
	return &AllocError{Rank: int(flag[0]) - 1, Err: failed}
}

// Name returns the name that the gradient was registered with.
func (p *Param[T]) Name() string { return p.name }

// Grad returns the gradient, of the length given to Register; nil before Seal and after Close. It belongs to the
// caller except from Ready to the return of Wait, and holds the reduced values after Wait.
func (p *Param[T]) Grad() []T { return p.grad }

// Ready says that this rank's value of a gradient is final in this step, and starts the operations that this
// allows: those of every bucket, in order, whose gradients are all ready and before which no bucket waits. It
// does not wait for them. Errors: a *ParamError with ErrTwice or ErrForeign, ErrNotSealed, ErrClosed, or that of
// a failed communicator.
func (r *Reducer[T]) Ready(p *Param[T]) error {
	if p == nil {
		return &ParamError{Err: ErrForeign}
	}
	if p.reducer != r {
		return &ParamError{Name: p.name, Err: ErrForeign}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(sealed); err != nil {
		return err
	}
	if p.ready {
		return &ParamError{Name: p.name, Err: ErrTwice}
	}
	r.mark(p)
	return r.start()
}

func (r *Reducer[T]) mark(p *Param[T]) {
	p.ready = true
	r.buckets[p.bucket].pending--
}

// start issues what may start now. The lock that its callers hold is what keeps the order.
func (r *Reducer[T]) start() error {
	// An operation that can only fail would tell so in Wait: say it while backward can still be cut short.
	if err := r.comm.Err(); err != nil {
		r.err = fmt.Errorf("bucket: %w", err)
		return r.err
	}
	for ; r.next < len(r.buckets) && r.buckets[r.next].pending == 0; r.next++ {
		b := &r.buckets[r.next]
		if r.next == 0 {
			r.began = time.Now()
		}
		// The operation outlives this call and is not the caller's to cancel: giving up on one bucket is
		// giving up on the step, which is what aborting the communicator is for.
		w, err := collective.StartAllReduce(context.Background(), r.comm, b.data, r.cfg.Op)
		if err != nil {
			r.err = fmt.Errorf("bucket: starting bucket %d: %w", r.next, err)
			return r.err
		}
		b.work = w
	}
	return nil
}

// Wait returns when every bucket of this step is reduced; then the next step may begin. If ctx ends first it
// returns that error, the operations go on, and Wait may be called again. Errors: a *MissingError if Ready was
// not called for all gradients, ErrNotSealed, ErrBusy, ErrClosed, or that of a failed communicator.
func (r *Reducer[T]) Wait(ctx context.Context) error {
	entered := time.Now()
	if err := r.beginWait(); err != nil {
		return err
	}
	err := r.waitAll(ctx)
	left := time.Now()

	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = false
	r.stats.Exposed += left.Sub(entered)
	if err != nil {
		return err
	}
	if len(r.buckets) > 0 {
		r.stats.Total += left.Sub(r.began)
	}
	r.stats.Steps++
	r.next = 0
	for i := range r.buckets {
		b := &r.buckets[i]
		b.pending = len(b.params)
		b.work = nil
		for _, p := range b.params {
			p.ready = false
		}
	}
	return nil
}

// beginWait starts what Ready was not called for, if that is allowed, and claims the step.
func (r *Reducer[T]) beginWait() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.check(sealed); err != nil {
		return err
	}
	if r.waiting {
		return ErrBusy
	}
	if r.next < len(r.buckets) {
		if !r.cfg.AllowUnused {
			return r.missing()
		}
		for _, p := range r.params {
			if !p.ready {
				clear(p.grad)
				r.mark(p)
			}
		}
		if err := r.start(); err != nil {
			return err
		}
	}
	r.waiting = true
	return nil
}

func (r *Reducer[T]) missing() error {
	e := &MissingError{}
	for _, p := range r.params {
		if !p.ready {
			e.Names = append(e.Names, p.name)
		}
	}
	return e
}

// waitAll waits for the operations without holding the lock: nobody else changes them while waiting is set.
func (r *Reducer[T]) waitAll(ctx context.Context) error {
	for i := range r.buckets {
		w := r.buckets[i].work
		if err := w.Wait(ctx); err != nil {
			err = fmt.Errorf("bucket: reducing bucket %d: %w", i, err)
			if w.Err() != nil {
				r.mu.Lock()
				r.err = err
				r.mu.Unlock()
			}
			return err
		}
	}
	return nil
}

// Stats returns the counts so far. It may be called at any time.
func (r *Reducer[T]) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Close gives the buckets' memory back; Grad of every parameter is nil from then on. It does not communicate
// and is idempotent. While operations run it returns ErrBusy and does nothing: Wait, or abort the communicator,
// first. Closing the communicator frees the memory too.
func (r *Reducer[T]) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == closed {
		return nil
	}
	if r.waiting {
		return ErrBusy
	}
	for i := range r.buckets {
		if w := r.buckets[i].work; w != nil {
			select {
			case <-w.Done():
			default:
				return ErrBusy
			}
		}
	}
	r.state = closed
	return r.free()
}

// free returns the memory of all buckets and forgets them.
func (r *Reducer[T]) free() error {
	var first error
	for i := range r.buckets {
		if data := r.buckets[i].data; data != nil {
			if err := collective.Free(r.comm, data); err != nil && first == nil {
				first = fmt.Errorf("bucket: freeing: %w", err)
			}
		}
	}
	for _, p := range r.params {
		p.grad = nil
	}
	r.buckets = nil
	return first
}

// check returns nil if the reducer is in the given state.
func (r *Reducer[T]) check(want state) error {
	switch {
	case r.state == closed:
		return ErrClosed
	case r.err != nil:
		return r.err
	case r.state == want:
		return nil
	case want == open:
		return ErrSealed
	default:
		return ErrNotSealed
	}
}
