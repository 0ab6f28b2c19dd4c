package main

import (
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/examples/internal/sizes"
)

func TestParseFlags(t *testing.T) {
	with := func(f func(o *options)) *options {
		o := defaults()
		f(&o)
		return &o
	}
	tests := []struct {
		line string
		want *options
	}{
		{"", with(func(o *options) {})},
		{"-b 1K -e 2M -f 4 -n 7 -w 0 -m 3 -N 0 -c 2 -a 3 -t 2 -np 3", with(func(o *options) {
			o.sweep = sizes.Sweep{First: 1024, Last: 2 << 20, Step: 1 << 20, Factor: 4}
			o.iters, o.warmup, o.agg, o.cycles, o.check, o.average, o.threads, o.processes = 7, 0, 3, 0, 2, ofMax, 2, 3
		})},
		{"--minbytes 1K --maxbytes=2M --stepfactor 4 --iters 7 --warmup_iters 0 --agg_iters 3 --run_cycles 2 --check 0 --average 0 --nthreads 2", with(func(o *options) {
			o.sweep = sizes.Sweep{First: 1024, Last: 2 << 20, Step: 1 << 20, Factor: 4}
			o.iters, o.warmup, o.agg, o.cycles, o.check, o.average, o.threads = 7, 0, 3, 2, 0, ofRank0, 2
		})},
		{"-i 512 -e 1K", with(func(o *options) { o.sweep = sizes.Sweep{First: 8, Last: 1024, Step: 512, Factor: 1} })},
		{"-i 512 -f 3 -e 1K", with(func(o *options) { o.sweep = sizes.Sweep{First: 8, Last: 1024, Step: 512, Factor: 3} })},
		{"-o max -d half", with(func(o *options) { o.ops, o.dtypes = []buffer.Op{buffer.Max}, []buffer.DType{buffer.Float16} })},
		{"--op all --datatype all", with(func(o *options) { o.ops, o.dtypes = buffer.Ops(), buffer.DTypes() })},
		{"-coll broadcast -r all", with(func(o *options) { o.coll, o.root, o.ops = broadcast, -1, []buffer.Op{0} })},
		{"-coll reduce --root 1", with(func(o *options) { o.coll, o.root = reduce, 1 })},
		{"-coll barrier -b 8", with(func(o *options) {
			o.coll, o.ops, o.check, o.sweep = barrier, []buffer.Op{0}, 0, sizes.Sweep{Factor: 1, Step: 1}
		})},
		{"-I -J out.json", with(func(o *options) { o.perIter, o.json = true, "out.json" })},
		{"-I 1 --output_file out.json", with(func(o *options) { o.perIter, o.json = true, "out.json" })},
		{"--per_iter_timing 0", with(func(o *options) {})},
		{"-np 1 -t 4 -transport mem -hosts 2 -algo HD -alloc plain", with(func(o *options) {
			o.processes, o.threads, o.Transport, o.hosts, o.algo, o.alloc = 1, 4, "mem", 2, "hd", "plain"
		})},
		{"-plot a.PNG -explain -timeout 5 -g 1", with(func(o *options) { o.plot, o.explain, o.timeout = "a.PNG", true, 5*time.Second })},
		{"-device cuda", with(func(o *options) { o.placement = placement{cuda: true} })},
		{"-device CUDA:0,3 -staged -libcuda /lib/x", with(func(o *options) {
			o.placement, o.staged, o.libcuda = placement{true, []int{0, 3}}, true, "/lib/x"
		})},
		{"-device cpu", with(func(o *options) {})},
		{"-np 1 -t 65536 -transport mem", with(func(o *options) {
			o.processes, o.threads, o.Transport, o.timeout = 1, 65536, "mem", 65536*20*time.Millisecond
		})},
		{"-timeout 150ms", with(func(o *options) { o.timeout = 150 * time.Millisecond })},
	}
	for _, test := range tests {
		got, err := parseFlags(strings.Fields(test.line), nil)
		if err != nil {
			t.Errorf("%q: %v", test.line, err)
			continue
		}
		got.counted = false // whether -np was given, which every row shows
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{}, sizes.Sweep{}, placement{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.line, diff)
		}
	}
}

func TestParseFlagsErrors(t *testing.T) {
	tests := []struct{ line, want string }{
		{"-b 1X", "not a number of bytes"},
		{"-b 1IB", "unknown unit"},
		{"-np 100000", "at most"},
		{"-device tpu", "want cpu, cuda"},
		{"-device cpu:0", "want cpu, cuda"},
		{"-device cuda:", "number of a device"},
		{"-device cuda:0,16", "number of a device"},
		{"-device cuda:-1", "number of a device"},
		{"-staged", "are for -device cuda"},
		{"-device cpu -libcuda x", "are for -device cuda"},
		{"-t 100000", "at most"},
		{"-b", "needs an argument"},
		{"-e 4 -b 8", "larger than"},
		{"-f 0", "from 1"},
		{"-f x", "from 1"},
		{"-f 1 -i 0", "-i"},
		{"-n 0", "from 1"},
		{"-np 0", "from 1"},
		{"-w -1", "from 0"},
		{"-a 4", "0, 1, 2 or 3"},
		{"-o mulsum", "mulsum"},
		{"-d float8", "float8"},
		{"-r 2", "there are 2 ranks"},
		{"-r -2", "from -1"},
		{"-coll alltoall", "unknown collective"},
		{"-transport pigeon", "auto, mem, shm"},
		{"-transport mem", "use -np 1 -t 2"},
		{"-algo best", "ring"},
		{"-alloc gpu", "registered, plain"},
		{"-hosts 3", "2 processes"},
		{"-np 1 -t 2 -hosts 3", "2 ranks"},
		{"-plot a.pdf", ".png or .svg"},
		{"-timeout 0", "duration"},
		{"-timeout never", "duration"},
		{"-g 2", "only 1"},
		{"-zzz", "-zzz"},
		{"8M", "unexpected argument"},
	}
	for _, test := range tests {
		got, err := parseFlags(strings.Fields(test.line), nil)
		var bad *usageError
		if !errors.As(err, &bad) {
			t.Errorf("%q: got %+v, %v, want a usageError", test.line, got, err)
			continue
		}
		if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %q, want one line with %q", test.line, err, test.want)
		}
	}
	for _, line := range []string{"-h", "--help", "-b 8 -h"} {
		if _, err := parseFlags(strings.Fields(line), nil); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q: got %v, want %v", line, err, flag.ErrHelp)
		}
	}
	if _, err := parseFlags([]string{"-J", ""}, nil); err == nil {
		t.Error("-J without a name: got nil, want an error")
	}
}

func TestUsageNamesEveryFlag(t *testing.T) {
	for long, short := range flagNames {
		for _, name := range []string{"--" + long, "-" + short + ","} {
			if !strings.Contains(usage, name) {
				t.Errorf("the help text lacks %s", name)
			}
		}
	}
	for _, name := range []string{"-coll", "-np", "-transport", "-algo", "-hosts", "-alloc", "-plot", "-explain", "-timeout"} {
		if !strings.Contains(usage, "\n  "+name+" ") {
			t.Errorf("the help text lacks %s", name)
		}
	}
}

func FuzzParseFlags(f *testing.F) {
	f.Add("-b 8 -e 1M -f 2 -np 2")
	f.Add("-np 1 -t 3 -hosts 3 -coll reduce -r all")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := parseFlags(strings.Fields(line), nil)
		if err != nil {
			return
		}
		if o.iters < 1 || o.agg < 1 || o.ranks() < 1 || len(o.ops) == 0 || len(o.dtypes) == 0 ||
			o.root < -1 || o.sweep.First > o.sweep.Last || o.timeout <= 0 {
			t.Errorf("%q: accepted %+v", line, o)
		}
	})
}

func TestHostOf(t *testing.T) {
	tests := []struct {
		processes, threads, hosts int
		want                      []int
	}{
		{4, 1, 0, []int{0, 0, 0, 0}},
		{4, 1, 2, []int{0, 0, 1, 1}},
		{5, 1, 2, []int{0, 0, 0, 1, 1}},
		{2, 3, 2, []int{0, 0, 0, 1, 1, 1}},
		{1, 5, 3, []int{0, 0, 1, 1, 2}},
	}
	for _, test := range tests {
		o := options{processes: test.processes, threads: test.threads, hosts: test.hosts}
		for rank, want := range test.want {
			if got := o.hostOf(rank); got != want {
				t.Errorf("%d x %d ranks on %d hosts: rank %d is on host %d, want %d", test.processes, test.threads, test.hosts, rank, got, want)
			}
		}
	}
}

// In a launcher's job the ranks are the job's, on as many pretended hosts as they can fill.
func TestFlagsInJob(t *testing.T) {
	env := map[string]string{"RANK": "5", "WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
	getenv := func(name string) string { return env[name] }
	o, err := parseFlags(strings.Fields("-hosts 4"), getenv)
	if err != nil {
		t.Fatal(err)
	}
	if o.Job == nil || o.ranks() != 8 || o.processes != 1 || o.hostOf(5) != 2 {
		t.Errorf("got job %v, %d ranks, %d processes, rank 5 on host %d; want 8, 1 and 2", o.Job, o.ranks(), o.processes, o.hostOf(5))
	}
	if o, err := parseFlags(strings.Fields("-np 4 -hosts 4"), getenv); err != nil || o.Job != nil || o.ranks() != 4 {
		t.Errorf("with -np: got %+v, %v, want four processes of this host", o, err)
	}
	for line, want := range map[string]string{"-hosts 9": "-hosts 9", "-t 2": "one a process"} {
		if _, err := parseFlags(strings.Fields(line), getenv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error about %q", line, err, want)
		}
	}
	env["RANK"] = "x"
	if _, err := parseFlags(nil, getenv); !errors.As(err, new(*usageError)) {
		t.Errorf("rank x: got %v, want a usageError", err)
	}
}
