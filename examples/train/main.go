// Train is data-parallel training on real data: a small network learns handwritten digits on several ranks,
// which are processes of this host or of several, goroutines, or both.
//
//	go run ./examples/train -np 4
//
// See -h.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/ringtree/ringtree/examples/internal/launch"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command runs the program and returns its exit status.
func command(args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "train: %v (-h explains the flags)\n", err)
		return 2
	}
	if err := start(o, args, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "train: %v\n", err)
		return 1
	}
	return 0
}

// start runs the ranks: those of this process if it is one of several or the only one, else in processes of
// their own.
func start(o *options, args []string, stdout, stderr io.Writer) error {
	ctx := context.Background()
	if process, size, group, ok := launch.FromEnv(); ok {
		// Whoever started this process knows how many there are.
		o.processes = size
		if err := o.check(); err != nil {
			return err
		}
		return runProcess(ctx, o, process, group, stdout, stderr)
	}
	if !o.Invited() && !o.counted {
		if err := o.InJob(os.Getenv); err != nil {
			return err
		}
		if o.Job != nil {
			o.processes = 1
			if err := o.check(); err != nil {
				return err
			}
		}
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if o.processes == 1 {
		return runProcess(ctx, o, 0, fmt.Sprint("train-", os.Getpid()), stdout, stderr)
	}
	return launch.Local(ctx, launch.Options{NP: o.processes, Args: args, Stdout: stdout, Stderr: stderr})
}
