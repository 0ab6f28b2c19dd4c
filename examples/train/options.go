package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/examples/internal/links"
)

// options are the command line. The zero value is not useful; parseOptions makes them.
type options struct {
	processes int // of this host
	threads   int // ranks in each process
	links.Flags
	counted   bool // -np was given
	algorithm plan.Algorithm
	epochs    int
	timed     int   // steps with and without communication, instead of a training; 0: train
	batch     int   // samples of a step, over all ranks
	hidden    []int // widths of the hidden layers
	optimizer string
	rate      float64
	seed      uint64
	bucket    int // bytes
	json      bool
	plot      string
}

// widths are those of all layers of the model, input and output included.
func (o *options) widths() []int {
	return append(append([]int{pixels}, o.hidden...), classes)
}

const usage = `usage: go run ./examples/train [flags]

Trains a small neural network on handwritten digits, data-parallel: every rank has the whole model and computes
the gradients of its share of each batch; collective/bucket sums them over the ranks while the layers below are
still being computed. At the end the ranks compare their weights, which must be equal bit for bit.

example: go run ./examples/train -np 4 -plot digits.png

Processes of several machines train together by an invitation (-invite, -join), or as torchrun, mpirun, srun or an indexed job of
Kubernetes starts them: then -np is left out.

flags:
`

const outputHelp = `
output, a line an epoch:
  loss       cross-entropy in nats, mean over the training samples of the epoch as they came
  accuracy   share of the test samples (one in five, the same in every run) that the model has right
  step       time of a training step in µs, mean over steps and ranks; it is the sum of
  compute    forward, backward and optimizer, with the communication that they hide, and
  exposed    communication, and waiting for slower ranks, that computing did not hide
With -time: medians of a step without communication, of one with it, and of the difference, which is the communication that
computing did not hide; each of the rank on which it is largest.

The same -batch and -seed give the same training whatever -np and -t are, up to the rounding of sums.

exit status: 0 success, 1 failure (also if weights differ between ranks), 2 wrong flags

data: ` + attribution + "\n"

// errHelp means that the user asked for help and got it.
var errHelp = errors.New("help")

// parseOptions reads the command line. Help goes to out, and then the error is errHelp; every other error is
// one line for the user.
func parseOptions(args []string, out io.Writer) (*options, error) {
	o := &options{}
	var algorithm, hidden, bucketSize string
	f := flag.NewFlagSet("train", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&o.processes, "np", 2, "`processes` on this host; 1: everything in this one")
	f.IntVar(&o.threads, "t", 1, "`ranks` in each process, as goroutines")
	o.Flags.Add(f)
	f.StringVar(&algorithm, "algo", "auto", "`name` of the all-reduce algorithm: auto, ring, tree, hd, direct or hier")
	f.IntVar(&o.epochs, "epochs", 20, "`passes` over the training samples")
	f.IntVar(&o.timed, "time", 0, "`steps`: instead of training, time so many without communication and so many with it, in turn")
	f.IntVar(&o.batch, "batch", 64, "`samples` of a step over all ranks, which share them as evenly as possible")
	f.StringVar(&hidden, "hidden", "256,128", "`widths` of the hidden layers, separated by commas; \"\": none")
	f.StringVar(&o.optimizer, "optimizer", "sgd", "`name` of the optimizer: sgd (with momentum 0.9) or adam")
	f.Float64Var(&o.rate, "lr", 0, "initial learning `rate`, falling to 0 by a cosine; 0: 0.1 for sgd, 0.002 for adam")
	f.Uint64Var(&o.seed, "seed", 1, "`number` that fixes the first weights and the order of samples")
	f.StringVar(&bucketSize, "bucket", "64K", "`bytes` of gradients that are summed as one operation (K, M and G are powers of 1024)")
	f.BoolVar(&o.json, "json", false, "print a JSON object a line instead of the table")
	f.StringVar(&o.plot, "plot", "", "draw loss and accuracy by epoch into this `file`, .png or .svg")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			f.SetOutput(out)
			f.PrintDefaults()
			fmt.Fprint(out, outputHelp)
			return nil, errHelp
		}
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	f.Visit(func(given *flag.Flag) { o.counted = o.counted || given.Name == "np" })
	if o.Invited() {
		if o.counted && o.processes != 1 {
			return nil, errors.New("-np starts processes here: with -invite and -join each process is started by hand")
		}
		o.processes = 1
	}
	var err error
	if o.algorithm, err = plan.ParseAlgorithm(algorithm); err != nil {
		return nil, fmt.Errorf("-algo: %w", err)
	}
	if o.hidden, err = parseWidths(hidden); err != nil {
		return nil, fmt.Errorf("-hidden: %w", err)
	}
	if o.bucket, err = parseBytes(bucketSize); err != nil {
		return nil, fmt.Errorf("-bucket: %w", err)
	}
	return o, o.check()
}

// check completes the options and returns what is wrong with them.
func (o *options) check() error {
	if o.timed < 0 || o.timed > 1<<20 {
		return fmt.Errorf("-time: %d is not a number from 0 to %d", o.timed, 1<<20)
	}
	if o.timed > 0 && o.plot != "" {
		return errors.New("-time trains nothing that -plot could draw")
	}
	for _, v := range []struct {
		flag       string
		value, max int
	}{{"-np", o.processes, 1024}, {"-t", o.threads, 1024}, {"-epochs", o.epochs, 1 << 20}, {"-batch", o.batch, 1 << 20}} {
		if v.value < 1 || v.value > v.max {
			return fmt.Errorf("%s: %d is not a number from 1 to %d", v.flag, v.value, v.max)
		}
	}
	if err := o.Flags.Check(o.processes, o.threads); err != nil {
		return err
	}
	usual, ok := optimizers[o.optimizer]
	if !ok {
		return fmt.Errorf("-optimizer: unknown optimizer %q", o.optimizer)
	}
	if o.rate == 0 {
		o.rate = usual.rate
	}
	if !(o.rate > 0) || math.IsInf(o.rate, 0) {
		return fmt.Errorf("-lr: %v is not a positive number", o.rate)
	}
	if ext := strings.ToLower(filepath.Ext(o.plot)); o.plot != "" && ext != ".png" && ext != ".svg" {
		return fmt.Errorf("-plot: %q ends neither in .png nor in .svg", o.plot)
	}
	return nil
}

// parseWidths reads positive numbers separated by commas; the empty string has none.
func parseWidths(s string) ([]int, error) {
	const limit = 1 << 14
	if s == "" {
		return nil, nil
	}
	var out []int
	for field := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 || n > limit {
			return nil, fmt.Errorf("%q is not a width from 1 to %d", field, limit)
		}
		out = append(out, n)
	}
	if len(out) > 16 {
		return nil, fmt.Errorf("%d layers are more than 16", len(out))
	}
	return out, nil
}

// parseBytes reads a positive number of bytes, at most 1 GiB, with an optional K, M or G for powers of 1024.
func parseBytes(s string) (int, error) {
	digits, shift := s, 0
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
		if shift > 0 {
			digits = s[:n-1]
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n < 1 || n > 1<<30>>shift {
		return 0, fmt.Errorf("%q is not a size from 1 to 1G", s)
	}
	return int(n) << shift, nil
}
