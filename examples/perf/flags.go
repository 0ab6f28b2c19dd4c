package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/examples/internal/links"
	"github.com/ringtree/ringtree/examples/internal/sizes"
)

// options is the command line, checked.
type options struct {
	coll      collKind
	sweep     sizes.Sweep
	ops       []buffer.Op // {0} for a collective that reduces nothing
	dtypes    []buffer.DType
	root      int // -1: every rank in turn
	iters     int
	warmup    int
	agg       int
	cycles    int // 0: without end
	check     int // checked calls per measurement
	average   combination
	perIter   bool
	processes int
	threads   int // ranks per process
	hosts     int // 0: one
	links.Flags
	algo      string
	alloc     string
	placement placement
	staged    bool   // device memory goes through the host
	libcuda   string // "": the usual
	json      string
	topology  string
	plot      string
	explain   bool
	bind      bool
	counted   bool // -np was given
	timeout   time.Duration
}

// ranks is the size of the communicator, as far as the flags tell: of a group that it joins by invitation, the
// invitation does.
func (o *options) ranks() int {
	if n := o.Size(o.processes, o.threads); n > 0 {
		return n
	}
	return o.processes * o.threads
}

// A combination makes one time of the times of all ranks.
type combination int

const (
	ofRank0 combination = iota
	ofMean
	ofMin
	ofMax
)

var (
	transportNames = links.Names()
	algoNames      = []string{"auto", "ring", "tree", "hd", "direct", "hier"}
	allocNames     = []string{"registered", "plain"}
)

// A usageError is a command line that cannot be used.
type usageError struct{ reason string }

func (e *usageError) Error() string { return e.reason }

// defaults is what an empty command line means.
func defaults() options {
	return options{
		coll: allReduce, sweep: sizes.Sweep{First: 8, Last: 64 << 20, Step: 1 << 20, Factor: 2},
		ops: []buffer.Op{buffer.Sum}, dtypes: []buffer.DType{buffer.Float32},
		iters: 20, warmup: 5, agg: 1, cycles: 1, check: 1, average: ofMean,
		processes: 2, threads: 1, Flags: links.Flags{Transport: "auto"}, algo: "auto", alloc: "registered", timeout: time.Minute,
	}
}

// timeoutPerRank is what each rank of a process adds to how long a call may take. Ten thousands of ranks on a few cores need minutes for
// what a few ranks do at once, and none of them is stuck.
const timeoutPerRank = 20 * time.Millisecond

// flagNames maps every flag to the short name under which it is handled here.
var flagNames = map[string]string{
	"minbytes": "b", "maxbytes": "e", "stepbytes": "i", "stepfactor": "f", "iters": "n", "warmup_iters": "w",
	"agg_iters": "m", "run_cycles": "N", "check": "c", "op": "o", "datatype": "d", "root": "r", "average": "a",
	"per_iter_timing": "I", "output_file": "J", "nthreads": "t", "ngpus": "g", "help": "h",
}

// parseFlags reads a command line, and finds the place in a launcher's job in an environment, nil if there is none to look at.
// The error is flag.ErrHelp when help was asked for, else a usageError.
func parseFlags(args []string, getenv func(string) string) (*options, error) {
	o := defaults()
	set := flag.NewFlagSet("perf", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	given := map[string]bool{}
	add := func(name string, f func(string) error) {
		handle := func(s string) error { given[name] = true; return f(s) }
		set.Func(name, "", handle)
		for long, short := range flagNames {
			if short == name {
				set.Func(long, "", handle)
			}
		}
	}
	number := func(to *int, least int) func(string) error {
		return func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < least {
				return fmt.Errorf("want a whole number from %d", least)
			}
			*to = n
			return nil
		}
	}
	word := func(to *string, among []string) func(string) error {
		return func(s string) error {
			if *to = strings.ToLower(s); !slices.Contains(among, *to) {
				return fmt.Errorf("want %s", strings.Join(among, ", "))
			}
			return nil
		}
	}
	o.sweep.Flags(add)
	add("n", number(&o.iters, 1))
	add("w", number(&o.warmup, 0))
	add("m", number(&o.agg, 1))
	add("N", number(&o.cycles, 0))
	add("c", number(&o.check, 0))
	add("t", number(&o.threads, 1))
	add("np", number(&o.processes, 1))
	add("hosts", number(&o.hosts, 1))
	add("a", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < int(ofRank0) || n > int(ofMax) {
			return errors.New("want 0, 1, 2 or 3")
		}
		o.average = combination(n)
		return nil
	})
	add("o", func(s string) (err error) { o.ops, err = listOf(s, buffer.Ops(), buffer.ParseOp); return err })
	add("d", func(s string) (err error) { o.dtypes, err = listOf(s, buffer.DTypes(), buffer.ParseDType); return err })
	add("r", func(s string) error {
		if strings.EqualFold(s, "all") {
			s = "-1"
		}
		return number(&o.root, -1)(s)
	})
	add("coll", func(s string) (err error) { o.coll, err = parseColl(s); return err })
	add("transport", word(&o.Transport, transportNames))
	add("conns", number(&o.Conns, 0))
	add("invite", number(&o.Invite, 1))
	add("join", func(s string) error { o.Join = s; return nil })
	add("algo", word(&o.algo, algoNames))
	add("alloc", word(&o.alloc, allocNames))
	add("device", func(s string) (err error) { o.placement, err = parsePlacement(s); return err })
	add("libcuda", file(&o.libcuda))
	add("J", file(&o.json))
	add("topology", file(&o.topology))
	add("plot", func(s string) error {
		if ext := strings.ToLower(filepath.Ext(s)); ext != ".png" && ext != ".svg" {
			return errors.New("want a name that ends in .png or .svg")
		}
		return file(&o.plot)(s)
	})
	add("timeout", func(s string) error { return parseTimeout(s, &o.timeout) })
	add("g", func(s string) error {
		if s != "1" {
			return errors.New("a rank has one device: only 1 means something (for one rank a device of this host: -np N -device cuda)")
		}
		return nil
	})
	set.BoolVar(&o.perIter, "I", false, "")
	set.BoolVar(&o.perIter, "per_iter_timing", false, "")
	set.BoolVar(&o.explain, "explain", false, "")
	set.BoolVar(&o.staged, "staged", false, "")
	set.BoolVar(&o.PlainData, "plaindata", false, "")
	set.BoolVar(&o.bind, "bind", false, "")

	if err := set.Parse(joinSwitch(args)); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, flag.ErrHelp
		}
		return nil, &usageError{strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	if set.NArg() > 0 {
		return nil, &usageError{fmt.Sprintf("unexpected argument %q", set.Arg(0))}
	}
	if given["i"] && !given["f"] {
		o.sweep.Factor = 1
	}
	if !given["timeout"] {
		o.timeout = max(o.timeout, time.Duration(o.threads)*timeoutPerRank)
	}
	o.counted = given["np"]
	if o.Invited() {
		if given["np"] && o.processes != 1 {
			return nil, &usageError{"-np starts processes here: with -invite and -join each process is started by hand"}
		}
		o.processes = 1
	} else if !o.counted && getenv != nil {
		if err := o.InJob(getenv); err != nil {
			return nil, &usageError{err.Error()}
		}
		if o.Job != nil {
			o.processes = 1
		}
	}
	return o.checked()
}

// What one machine can be asked for; it keeps a slip of the finger from starting a million processes.
const (
	maxProcesses = 1024
	maxThreads   = 65536
)

// checked refuses what the flags cannot mean together.
func (o *options) checked() (*options, error) {
	ranks := o.ranks()
	refuse := func(format string, a ...any) (*options, error) { return nil, &usageError{fmt.Sprintf(format, a...)} }
	switch {
	case o.processes > maxProcesses || o.threads > maxThreads:
		return refuse("-np %d -t %d: at most %d processes of %d ranks", o.processes, o.threads, maxProcesses, maxThreads)
	case o.sweep.First > o.sweep.Last:
		return refuse("-b %d is larger than -e %d", o.sweep.First, o.sweep.Last)
	case o.sweep.Factor == 1 && o.sweep.Step == 0:
		return refuse("-f 1 needs a step of at least 1 byte (-i)")
	case o.Join != "" && (o.root > 0 || o.hosts > 0):
		return refuse("-r and -hosts need to know the number of ranks: not with -join")
	case o.Join == "" && o.root >= ranks:
		return refuse("-r %d: there are %d ranks", o.root, ranks)
	case o.hosts > o.processes && o.processes > 1:
		return refuse("-hosts %d: there are %d processes, and the ranks of one are on one host", o.hosts, o.processes)
	case !o.placement.cuda && (o.staged || o.libcuda != ""):
		return refuse("-staged and -libcuda are for -device cuda")
	case o.hosts > ranks:
		return refuse("-hosts %d: there are %d ranks", o.hosts, ranks)
	}
	if err := o.Flags.Check(o.processes, o.threads); err != nil {
		return nil, &usageError{err.Error()}
	}
	if !o.coll.reduces() {
		o.ops = []buffer.Op{0}
	}
	if o.coll == barrier {
		o.sweep = sizes.Sweep{Factor: 1, Step: 1}
		o.dtypes = o.dtypes[:1]
		o.check = 0
	}
	return o, nil
}

// hostOf numbers the pretended host of a rank: contiguous blocks, as even as possible, of processes or, when this one starts
// no others, of ranks.
func (o *options) hostOf(rank int) int {
	at, units := rank, o.ranks()
	if o.processes > 1 {
		at, units = rank/o.threads, o.processes
	}
	if o.hosts < 2 {
		return 0
	}
	size, larger := units/o.hosts, units%o.hosts
	if at < larger*(size+1) {
		return at / (size + 1)
	}
	return larger + (at-larger*(size+1))/size
}

// local numbers the ranks of this host, from 0, as far as the flags and a launcher tell.
func (o *options) local(rank int) int {
	if o.Job != nil && o.Job.LocalRank >= 0 {
		return o.Job.LocalRank
	}
	return rank
}

func listOf[T any](s string, all []T, parse func(string) (T, error)) ([]T, error) {
	if strings.EqualFold(s, "all") {
		return all, nil
	}
	one, err := parse(s)
	if err != nil {
		return nil, err
	}
	return []T{one}, nil
}

func file(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errors.New("want a file name")
		}
		*to = s
		return nil
	}
}

// parseTimeout reads a duration such as 90s or, as nccl-tests has it, a plain number of seconds.
func parseTimeout(s string, to *time.Duration) error {
	if n, err := strconv.Atoi(s); err == nil {
		s = fmt.Sprintf("%ds", n)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a duration such as 60s")
	}
	*to = d
	return nil
}

// joinSwitch lets -I take 0 or 1 as the next argument, as nccl-tests has it; for package flag a switch takes none.
func joinSwitch(args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		if name != args[i] && (name == "I" || name == "per_iter_timing") && i+1 < len(args) && (args[i+1] == "0" || args[i+1] == "1") {
			out = append(out, args[i]+"="+args[i+1])
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}
