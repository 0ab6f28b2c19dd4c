package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ringtree/ringtree/examples/internal/launch"
)

// Exit statuses; the package comment explains them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitWrong       = 4 // of a rank that its launcher turns into exitFailed: rank 0's table has said what is wrong
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout io.Writer, stderr *os.File) int {
	rank, size, group, launched := launch.FromEnv()
	environment := os.Getenv
	if launched {
		environment = nil // it has been read
	}
	o, err := parseFlags(args, environment)
	if err == nil && launched {
		o.processes = size
		o, err = o.checked()
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "perf: %v (see -h)\n", err)
		return exitUsage
	}
	ctx := context.Background()
	if !launched {
		interrupted, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(interrupted, stop) // a second signal ends the process at once
		ctx = interrupted
		group = fmt.Sprintf("perf-%d", os.Getpid())
	}
	if launched && o.bind {
		if _, err := launch.Bind(rank, size); err != nil {
			fmt.Fprintf(stderr, "perf: %v\n", err)
			return exitFailed
		}
	}
	if o.placement.cuda && !launched {
		if _, err := o.driver(); err != nil { // once, not from every rank
			fmt.Fprintf(stderr, "perf: %v\n", err)
			return exitFailed
		}
	}
	if !launched && o.processes > 1 {
		return start(ctx, o, args, stdout, stderr)
	}
	if o.Job != nil {
		rank = o.Job.Rank
	}
	p := process{o: o, index: rank, group: group, out: stdout, terminal: stderr}
	got, ended := untilInterrupted(ctx, p.run)
	switch {
	case !ended:
		fmt.Fprintf(stderr, "perf: interrupted; after %v not all %d ranks of this process had come to an end\n", patience, o.threads)
		return exitInterrupted
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "perf: interrupted")
		return exitInterrupted
	case got.err != nil:
		fmt.Fprintf(stderr, "perf: %v\n", got.err)
		return exitFailed
	}
	return statusOf(got.wrong, launched)
}

// statusOf is the exit status of a run that came to its end with so many wrong elements.
func statusOf(wrong int64, launched bool) int {
	switch {
	case wrong == 0:
		return 0
	case launched:
		return exitWrong
	}
	return exitFailed
}

// start runs the ranks as processes of this machine.
func start(ctx context.Context, o *options, args []string, stdout io.Writer, stderr *os.File) int {
	err := launch.Local(ctx, launch.Options{NP: o.processes, Args: args, Stdout: stdout, Stderr: stderr})
	var rank *launch.RankError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "perf: interrupted; all %d ranks have been ended\n", o.processes)
		return exitInterrupted
	case errors.As(err, &rank) && rank.Code == exitWrong:
		return exitFailed
	}
	fmt.Fprintf(stderr, "perf: %v\n", err)
	return exitFailed
}
