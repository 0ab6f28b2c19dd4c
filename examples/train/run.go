package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/examples/internal/links"
)

// runProcess runs the ranks of one process. Rank 0 reports to out, and draws the plot; an invitation goes to terminal.
func runProcess(ctx context.Context, o *options, process int, group string, out, terminal io.Writer) error {
	everything, err := loadDigits()
	if err != nil {
		return err
	}
	train, test := split(everything)
	l, err := o.Meet(ctx, "train", false, terminal)
	if err != nil {
		return err
	}
	defer l.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, o.threads)
	var wg sync.WaitGroup
	for i := range o.threads {
		rank := process*o.threads + i
		wg.Go(func() {
			if err := runRank(ctx, o, rank, group, l, train, test, out); err != nil {
				errs[i] = fmt.Errorf("rank %d: %w", rank, err)
				cancel(errs[i])
			}
		})
	}
	wg.Wait()
	// The first failure is the cause of the others, which say no more than that they were told to stop.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func runRank(ctx context.Context, o *options, rank int, group string, l *links.Links, train, test *samples, out io.Writer) (err error) {
	config := l.Config(rank, o.Size(o.processes, o.threads), group)
	config.Algorithm = o.algorithm
	c, err := collective.Join(ctx, config)
	if err != nil {
		return err
	}
	rank = c.Rank()
	defer func() {
		if err != nil {
			c.Abort(err)
		}
		err = errors.Join(err, c.Close())
	}()
	t, err := newTrainer(ctx, c, o, train, test)
	if err != nil {
		return err
	}
	report := newReporter(o, io.Discard)
	if rank == 0 {
		report = newReporter(o, out)
	}
	report.begin(o, c.Size(), train.len(), test.len(), countParameters(t.tensors))
	if o.timed > 0 {
		r, err := t.time(ctx, o.timed)
		if err != nil {
			return err
		}
		report.timing(c.Size(), r)
		return t.close()
	}
	r, err := t.run(ctx, report.epoch)
	if err != nil {
		return err
	}
	report.end(c.Size(), r)
	if rank == 0 && o.plot != "" {
		if err := plotFile(o.plot, c.Size(), o, r); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return t.close()
}

func countParameters(tensors []tensor) int {
	n := 0
	for _, t := range tensors {
		n += len(t.data)
	}
	return n
}
