package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/examples/internal/sizes"
	"github.com/ringtree/ringtree/topology"
)

// options is the command line, checked.
type options struct {
	topo                           string
	ranks                          int
	coll                           schedule.Collective
	root                           int
	algos                          []plan.Variant // none: auto, or all
	all                            bool
	sweep                          sizes.Sweep
	level                          sim.Level
	flows                          int
	spray                          bool
	seed                           uint64
	jitter                         float64
	faults                         []string
	explain                        bool
	json, csv, trace, plot, drawTo string
	goal, msccl, chakra            string
	calibrate, calibration, output string
	validate, group, scenario      string
	given                          map[string]bool
}

// A usageError is a command line that cannot be used.
type usageError struct{ flag, reason string }

func (e *usageError) Error() string {
	if e.flag == "" {
		return e.reason
	}
	return "-" + e.flag + " " + e.reason
}

func usagef(name, format string, args ...any) error {
	return &usageError{name, fmt.Sprintf(format, args...)}
}

// parseFlags reads a command line. The error is flag.ErrHelp when help was asked for, else a *usageError.
func parseFlags(args []string) (*options, error) {
	o := &options{
		topo: "rail", ranks: 64, coll: schedule.AllReduce, sweep: sizes.Sweep{First: 1 << 20, Step: 1 << 20, Factor: 2}, flows: 1, given: map[string]bool{},
	}
	set := flag.NewFlagSet("simulate", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	add := func(name string, f func(string) error) {
		set.Func(name, "", func(s string) error { o.given[name] = true; return f(s) })
	}
	for name, to := range map[string]*string{
		"topo": &o.topo, "json": &o.json, "csv": &o.csv, "trace": &o.trace, "plot": &o.plot, "draw": &o.drawTo, "goal": &o.goal, "msccl": &o.msccl,
		"chakra": &o.chakra, "calibrate": &o.calibrate, "calibration": &o.calibration, "o": &o.output, "validate": &o.validate, "group": &o.group,
		"scenario": &o.scenario,
	} {
		add(name, func(s string) error {
			if s == "" {
				return errors.New("want a name")
			}
			*to = s
			return nil
		})
	}
	number := func(to *int, least, most int) func(string) error {
		return func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < least || n > most {
				return fmt.Errorf("want a whole number from %d to %d", least, most)
			}
			*to = n
			return nil
		}
	}
	add("ranks", number(&o.ranks, 1, topology.MaxRanks))
	add("root", number(&o.root, 0, topology.MaxRanks))
	add("flows", number(&o.flows, 1, 1<<10))
	o.sweep.Flags(add)
	add("coll", func(s string) (err error) { o.coll, err = parseCollective(s); return err })
	add("algo", o.parseAlgorithms)
	add("level", func(s string) (err error) { o.level, err = sim.ParseLevel(s); return err })
	add("seed", func(s string) (err error) { o.seed, err = strconv.ParseUint(s, 10, 64); return err })
	add("jitter", func(s string) (err error) {
		o.jitter, err = strconv.ParseFloat(s, 64)
		if err != nil || !(o.jitter >= 0 && o.jitter <= 1000) {
			return errors.New("want a part from 0 to 1000")
		}
		return nil
	})
	add("fault", func(s string) error { o.faults = append(o.faults, s); return nil })
	set.BoolVar(&o.explain, "explain", false, "")
	set.BoolVar(&o.spray, "spray", false, "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, flag.ErrHelp
		}
		return nil, &usageError{reason: strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	if set.NArg() > 0 {
		return nil, &usageError{reason: fmt.Sprintf("unexpected argument %q", set.Arg(0))}
	}
	return o, o.check()
}

// check refuses what the flags cannot mean together, and completes them.
func (o *options) check() error {
	if !o.given["e"] {
		o.sweep.Last = o.sweep.First
	}
	if o.given["i"] && !o.given["f"] {
		o.sweep.Factor = 1
	}
	if o.coll == schedule.Barrier {
		o.sweep = sizes.Sweep{Factor: 1, Step: 1}
	}
	if (o.given["flows"] || o.spray) && !o.given["level"] {
		o.level = sim.Congestion
	}
	switch {
	case o.sweep.First > o.sweep.Last:
		return usagef("b", "%d is larger than -e %d", o.sweep.First, o.sweep.Last)
	case o.sweep.Factor == 1 && o.sweep.Step == 0:
		return usagef("f", "1 needs a step of at least 1 byte (-i)")
	case (o.given["flows"] || o.spray) && o.level != sim.Congestion:
		return usagef("level", "%v has no routes: -flows and -spray need congestion", o.level)
	case o.scenario != "" && o.scenario != "llama3":
		return usagef("scenario", "%s: there is llama3", o.scenario)
	case o.validate != "" && o.calibrate != "":
		return usagef("calibrate", "and -validate: one at a time")
	case o.output != "" && o.calibrate == "":
		return usagef("o", "is where -calibrate puts its model")
	case o.json == "-" && o.csv == "-":
		return usagef("json", "and -csv cannot both have standard output")
	}
	return nil
}

// draws reports whether pictures or files for other tools are wanted instead of a table.
func (o *options) draws() bool { return o.plot != "" }

func parseCollective(s string) (schedule.Collective, error) {
	plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
	var names []string
	for _, c := range schedule.Collectives() {
		if strings.ReplaceAll(c.String(), "_", "") == plain {
			return c, nil
		}
		names = append(names, c.String())
	}
	return 0, fmt.Errorf("want one of %s", strings.Join(names, ", "))
}

// variants are all that -algo can name.
var variants = map[string]plan.Variant{
	"ring": {Algorithm: plan.Ring}, "tree": {Algorithm: plan.Tree}, "hd": {Algorithm: plan.HalvingDoubling}, "direct": {Algorithm: plan.Direct},
	"one-shot": {Algorithm: plan.Direct, OneShot: true}, "hier": {Algorithm: plan.Hierarchical}, "hier/ring": {Algorithm: plan.Hierarchical, Between: plan.Ring},
	"hier/tree": {Algorithm: plan.Hierarchical, Between: plan.Tree}, "hier/hd": {Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling},
	"hier/direct": {Algorithm: plan.Hierarchical, Between: plan.Direct},
	"leaders/hd":  {Algorithm: plan.Hierarchical, Between: plan.HalvingDoubling, Leaders: true}, "leaders/direct": {Algorithm: plan.Hierarchical, Between: plan.Direct, Leaders: true},
}

func (o *options) parseAlgorithms(s string) error {
	o.algos, o.all = nil, false
	for name := range strings.SplitSeq(s, ",") {
		v, ok := variants[name]
		switch {
		case ok && !slices.Contains(o.algos, v):
			o.algos = append(o.algos, v)
		case (name == "all" || name == "auto") && s == name:
			o.all = name == "all"
		case ok:
			return fmt.Errorf("%s is named twice", name)
		default:
			return errors.New("want auto, all, or some of ring, tree, hd, direct, one-shot, hier, hier/ring, hier/tree, hier/hd, hier/direct, leaders/hd, leaders/direct")
		}
	}
	return nil
}
