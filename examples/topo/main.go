package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/ringtree/ringtree/examples/internal/launch"
)

// Exit statuses; the package comment explains them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout io.Writer, stderr *os.File) int {
	index, size, group, launched := launch.FromEnv()
	environment := os.Getenv
	if launched {
		environment = nil // it has been read
	}
	o, err := parseOptions(args, environment)
	if err == nil && launched {
		o.processes = size
		err = o.check()
	}
	if err == nil && o.Job != nil {
		index = o.Job.Rank
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "topo: %v (see -h)\n", err)
		return exitUsage
	}
	ctx := context.Background()
	if !launched {
		interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		ctx = interrupted
		group = fmt.Sprintf("topo-%d", os.Getpid())
	}
	switch {
	case o.topo != "":
		err = describe(o, stdout)
	case !launched && o.processes > 1:
		err = launch.Local(ctx, launch.Options{NP: o.processes, Args: args, Stdout: stdout, Stderr: stderr})
	default:
		err = process(ctx, o, index, group, stdout, stderr)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "topo: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "topo: %v\n", err)
		return exitFailed
	}
	return 0
}

// process is one of those that take part, with its ranks as goroutines. It returns the errors of those that failed.
// An invitation goes to terminal.
func process(ctx context.Context, o *options, index int, group string, out, terminal io.Writer) (err error) {
	l, err := o.Meet(ctx, "topo", o.hosts > 1, terminal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done within %v", o.timeout))
	defer cancel()
	errs := make([]error, o.threads)
	var wait sync.WaitGroup
	for t := range o.threads {
		rank := index*o.threads + t
		wait.Go(func() {
			if err := runRank(ctx, o, l, rank, group, out); err != nil {
				errs[t] = fmt.Errorf("rank %d: %w", rank, err)
			}
		})
	}
	wait.Wait()
	err = errors.Join(errs...)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
