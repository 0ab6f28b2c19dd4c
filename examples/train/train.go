package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/bucket"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/schedule"
)

// An epoch is what one pass over the training samples gave, the same on every rank.
type epoch struct {
	Epoch    int     `json:"epoch"`
	Loss     float64 `json:"loss"`     // nats, mean over the training samples
	Right    int     `json:"right"`    // test samples
	Accuracy float64 `json:"accuracy"` // Right over all test samples
	Step     float64 `json:"step_us"`  // mean over steps and ranks
	Compute  float64 `json:"compute_us"`
	Exposed  float64 `json:"exposed_us"`
}

// A result is the outcome of a training, the same on every rank.
type result struct {
	Epochs  []epoch `json:"-"`
	Tests   int     `json:"test_samples"`
	Digest  string  `json:"weights"` // of the weights of every rank
	Buckets int     `json:"buckets"`
	Bytes   int64   `json:"bytes_per_step"` // of gradients, on each rank
}

func (r *result) last() epoch { return r.Epochs[len(r.Epochs)-1] }

// A trainer is one rank's part in a training.
type trainer struct {
	comm    *collective.Comm
	options *options
	train   *samples
	test    *samples

	model     *model
	tensors   []tensor
	optimizer optimizer
	reducer   *bucket.Reducer[float32]
	params    []*bucket.Param[float32]
	grads     [][]float32
	ready     func(param int) error

	x    []float32 // this rank's share of a batch
	y    []uint8
	step int // over all epochs
}

// newTrainer builds the model and meets the other ranks, who must call it too: they take rank 0's weights and
// agree on the layout of the gradients.
func newTrainer(ctx context.Context, c *collective.Comm, o *options, train, test *samples) (*trainer, error) {
	share := (o.batch + c.Size() - 1) / c.Size()
	t := &trainer{
		comm: c, options: o, train: train, test: test,
		model: newModel(o.widths(), share, o.seed),
		x:     make([]float32, share*pixels),
		y:     make([]uint8, share),
	}
	t.tensors = t.model.params()
	var err error
	if t.optimizer, err = newOptimizer(o.optimizer, t.tensors); err != nil {
		return nil, err
	}
	// Gradients are scaled by the size of the whole batch and summed, so that shares of unequal size weigh what
	// they should.
	if t.reducer, err = bucket.New[float32](c, bucket.Config{BucketBytes: o.bucket, Op: buffer.Sum}); err != nil {
		return nil, err
	}
	for _, v := range t.tensors {
		if err := collective.Broadcast(ctx, c, v.data, 0); err != nil {
			return nil, fmt.Errorf("broadcasting %s: %w", v.name, err)
		}
		p, err := t.reducer.Register(v.name, len(v.data))
		if err != nil {
			return nil, err
		}
		t.params = append(t.params, p)
	}
	if err := t.reducer.Seal(ctx); err != nil {
		return nil, err
	}
	for _, p := range t.params {
		t.grads = append(t.grads, p.Grad())
	}
	t.ready = func(i int) error { return t.reducer.Ready(t.params[i]) }
	return t, nil
}

// run trains, calls report after each epoch, and checks at the end that all ranks have the same weights.
func (t *trainer) run(ctx context.Context, report func(epoch)) (*result, error) {
	stats := t.reducer.Stats()
	r := &result{Tests: t.test.len(), Buckets: stats.Buckets, Bytes: stats.Bytes}
	for i := range t.options.epochs {
		e, err := t.epoch(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("epoch %d: %w", i+1, err)
		}
		r.Epochs = append(r.Epochs, e)
		report(e)
	}
	var err error
	r.Digest, err = sameWeights(ctx, t.comm, t.tensors)
	return r, err
}

// close gives the gradients' memory back.
func (t *trainer) close() error { return t.reducer.Close() }

func (t *trainer) epoch(ctx context.Context, index int) (epoch, error) {
	order := epochOrder(t.options.seed, index, t.train.len())
	exposed := t.reducer.Stats().Exposed
	began := time.Now()
	var loss float64
	steps := 0
	for batch := range batches(order, t.options.batch) {
		l, err := t.learn(ctx, batch, t.ready, t.reducer.Wait)
		if err != nil {
			return epoch{}, err
		}
		loss += l
		steps++
	}
	whole := time.Since(began)
	exposed = t.reducer.Stats().Exposed - exposed

	// One sum over the ranks for all that an epoch reports. Counts of samples are exact in float64.
	sums := []float64{loss, float64(t.evaluate()), whole.Seconds(), exposed.Seconds()}
	if err := collective.AllReduce(ctx, t.comm, sums, buffer.Sum); err != nil {
		return epoch{}, fmt.Errorf("adding up the report: %w", err)
	}
	if math.IsNaN(sums[0]) || math.IsInf(sums[0], 0) {
		return epoch{}, fmt.Errorf("the loss is no longer a number; try a smaller -lr than %v", t.options.rate)
	}
	perStep := 1e6 / float64(steps*t.comm.Size())
	e := epoch{
		Epoch:    index + 1,
		Loss:     sums[0] / float64(t.train.len()),
		Right:    int(sums[1]),
		Accuracy: sums[1] / float64(t.test.len()),
		Step:     sums[2] * perStep,
		Exposed:  sums[3] * perStep,
	}
	e.Compute = e.Step - e.Exposed
	return e, nil
}

// batches cuts order into pieces of size indices; the last may be shorter.
func batches(order []int, size int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		for lo := 0; lo < len(order); lo += size {
			if !yield(order[lo:min(lo+size, len(order))]) {
				return
			}
		}
	}
}

// learn does one step on this rank's share of a batch and returns the sum of its losses. ready is told of every gradient
// that is final, and after wait all are what they are on every rank.
func (t *trainer) learn(ctx context.Context, batch []int, ready func(param int) error, wait func(context.Context) error) (loss float64, err error) {
	lo, hi := schedule.Split(len(batch), t.comm.Size(), t.comm.Rank())
	share := batch[lo:hi]
	for i, sample := range share {
		copy(t.x[i*pixels:], t.train.image(sample))
		t.y[i] = t.train.y[sample]
	}
	loss, _ = t.model.forward(t.x, t.y[:len(share)])
	if err := t.model.backward(1/float32(len(batch)), t.grads, ready); err != nil {
		return 0, err
	}
	if err := wait(ctx); err != nil {
		return 0, err
	}
	perEpoch := (t.train.len() + t.options.batch - 1) / t.options.batch
	rate := cosine(t.options.rate, t.step, perEpoch*t.options.epochs)
	t.optimizer.next()
	for i, v := range t.tensors {
		t.optimizer.step(i, v.data, t.grads[i], rate)
	}
	t.step++
	return loss, nil
}

// evaluate returns how many of this rank's share of the test samples the model has right.
func (t *trainer) evaluate() int {
	lo, hi := schedule.Split(t.test.len(), t.comm.Size(), t.comm.Rank())
	total := 0
	for lo < hi {
		end := min(lo+t.model.capacity, hi)
		_, right := t.model.forward(t.test.x[lo*pixels:end*pixels], t.test.y[lo:end])
		total += right
		lo = end
	}
	return total
}
