package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ringtree/ringtree/examples/internal/links"
)

const usage = `topo shows what a group of ranks looks like to the planner: hosts, processes, cores, the measured cost of the
links, and the schedule that an all-reduce would use. Processes of several machines take part by an invitation, or as torchrun,
mpirun, srun or an indexed job of Kubernetes starts them: then -np is left out.

    go run ./examples/topo -np 4 -size 1M -plot topo.png

Who takes part
  -np N              processes to start on this machine (default 4); with -topo PRESET the number of ranks
  -t N               ranks per process, as goroutines (default 1)
  -hosts H           count the processes (with -np 1: the goroutines) as if on H hosts (default 1)
  -transport NAME    auto (default: the best that reaches each peer), mem (with -np 1), shm, quic, tcp,
                     or quic,tcp (quic, and tcp to whom that does not reach)
  -conns N           connections between two ranks by quic or tcp (default 4, by quic more if they help)
  -invite N          make a group of N ranks on any machines, this process's among them, and print the invitation
  -join INVITATION   take part in the group of an invitation

What to show
  -size SIZE         bytes of the all-reduce to explain, with K, M, G for powers of 1024 (default 1M)
  -plot FILE         draw the ranks and their links to FILE, which ends in .png or .svg
  -topo DESCRIPTION  measure nothing, show this machine: a preset, with parameters as in wan:sites=3,per-host=4, or a file
  -cache             take the costs of an earlier run on this machine if it is not older than a day, and keep these
  -timeout DURATION  give up after that long (default 60s)
  -h                 this text
`

// options is the command line, checked.
type options struct {
	processes int
	counted   bool // -np was given
	threads   int
	hosts     int
	links.Flags
	size    int64
	plot    string
	topo    string
	cache   bool
	timeout time.Duration
}

// ranks is the size of the group, as far as the flags tell.
func (o *options) ranks() int {
	if n := o.Size(o.processes, o.threads); n > 0 {
		return n
	}
	return o.processes * o.threads
}

// maxRanks keeps a slip of the finger from starting a million processes.
const maxRanks = 1024

// parseOptions reads a command line, and finds the place in a launcher's job in an environment, nil if there is none to look
// at. The error is flag.ErrHelp when help was asked for.
func parseOptions(args []string, getenv func(string) string) (*options, error) {
	o := new(options)
	set := flag.NewFlagSet("topo", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	size := "1M"
	set.IntVar(&o.processes, "np", 4, "")
	set.IntVar(&o.threads, "t", 1, "")
	set.IntVar(&o.hosts, "hosts", 1, "")
	o.Flags.Add(set)
	set.StringVar(&size, "size", size, "")
	set.StringVar(&o.plot, "plot", "", "")
	set.StringVar(&o.topo, "topo", "", "")
	set.BoolVar(&o.cache, "cache", false, "")
	set.DurationVar(&o.timeout, "timeout", time.Minute, "")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	set.Visit(func(given *flag.Flag) { o.counted = o.counted || given.Name == "np" })
	if o.Invited() {
		if o.counted && o.processes != 1 {
			return nil, errors.New("-np starts processes here: with -invite and -join each process is started by hand")
		}
		o.processes = 1
	} else if !o.counted && o.topo == "" && getenv != nil {
		if err := o.InJob(getenv); err != nil {
			return nil, err
		}
		if o.Job != nil {
			o.processes = 1
		}
	}
	var err error
	if o.size, err = parseSize(size); err != nil {
		return nil, fmt.Errorf("-size %s: %w", size, err)
	}
	return o, o.check()
}

func (o *options) check() error {
	ext := strings.ToLower(filepath.Ext(o.plot))
	switch {
	case o.processes < 1 || o.threads < 1 || o.hosts < 1:
		return errors.New("-np, -t and -hosts are at least 1")
	case o.topo != "" && (o.threads != 1 || o.hosts != 1 || o.cache || o.Transport != "auto" || o.Alone()):
		return errors.New("-topo describes the machine: it goes with -np, -size and -plot only")
	case o.topo == "" && (o.processes > maxRanks || o.threads > maxRanks || o.ranks() > maxRanks):
		return fmt.Errorf("-np %d -t %d: at most %d ranks", o.processes, o.threads, maxRanks)
	case o.processes > 1 && o.hosts > o.processes:
		return fmt.Errorf("-hosts %d: there are %d processes, and the ranks of one are on one host", o.hosts, o.processes)
	case o.hosts > 1 && o.Join != "":
		return errors.New("-hosts needs to know the number of ranks: not with -join")
	case o.hosts > o.ranks():
		return fmt.Errorf("-hosts %d: there are %d ranks", o.hosts, o.ranks())
	case o.plot != "" && ext != ".png" && ext != ".svg":
		return fmt.Errorf("-plot %s: want a name that ends in .png or .svg", o.plot)
	case o.timeout <= 0:
		return fmt.Errorf("-timeout %v: want a duration such as 60s", o.timeout)
	}
	return o.Flags.Check(o.processes, o.threads)
}

// hostOf numbers the pretended host of a rank: contiguous blocks, as even as possible, of processes or, when this one starts
// no others, of ranks.
func (o *options) hostOf(rank int) int {
	if o.processes > 1 {
		return rank / o.threads * o.hosts / o.processes
	}
	return rank * o.hosts / o.ranks()
}

// parseSize reads a number of bytes such as 64K.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGkmg")
	shift := 0
	if suffix := s[len(digits):]; len(suffix) > 1 {
		return 0, errors.New("want a number of bytes such as 64K")
	} else if suffix != "" {
		shift = 10 * (1 + strings.Index("KMG", strings.ToUpper(suffix)))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, errors.New("want a number of bytes such as 64K")
	}
	return n << shift, nil
}
