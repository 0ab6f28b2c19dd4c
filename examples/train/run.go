package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/all"
)

// runProcess runs the ranks of one process. Rank 0 reports to out, and draws the plot.
func runProcess(ctx context.Context, o *options, process int, group string, out io.Writer) error {
	everything, err := loadDigits()
	if err != nil {
		return err
	}
	train, test := split(everything)
	transports, err := pickTransports(o.transport, o.processes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, o.threads)
	var wg sync.WaitGroup
	for i := range o.threads {
		rank := process*o.threads + i
		wg.Go(func() {
			if err := runRank(ctx, o, rank, group, transports, train, test, out); err != nil {
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

func runRank(ctx context.Context, o *options, rank int, group string, transports []transport.Transport, train, test *samples, out io.Writer) (err error) {
	c, err := collective.Join(ctx, collective.Config{
		Rank: rank, Size: o.ranks(), Group: group, Transports: transports, Algorithm: o.algorithm,
	})
	if err != nil {
		return err
	}
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
	report.begin(o, train.len(), test.len(), countParameters(t.tensors))
	r, err := t.run(ctx, report.epoch)
	if err != nil {
		return err
	}
	report.end(o, r)
	if rank == 0 && o.plot != "" {
		if err := plotFile(o.plot, o, r); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return t.close()
}

// pickTransports returns the transports to use: the one of that name, or for auto all that this machine has.
func pickTransports(name string, processes int) ([]transport.Transport, error) {
	var picked []transport.Transport
	var names []string
	widest := transport.ScopeProcess
	for _, t := range all.Transports() {
		names = append(names, t.Name())
		if name == "auto" || name == t.Name() {
			picked = append(picked, t)
			widest = max(widest, t.Caps().Scope)
		}
	}
	switch {
	case picked == nil:
		return nil, fmt.Errorf("-transport: this machine has no %q, but auto and %v", name, names)
	case processes > 1 && widest == transport.ScopeProcess:
		return nil, errors.New("no transport between processes on this machine: use -np 1 and -t")
	}
	return picked, nil
}

func countParameters(tensors []tensor) int {
	n := 0
	for _, t := range tensors {
		n += len(t.data)
	}
	return n
}
