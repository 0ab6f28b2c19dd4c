// Simulate answers questions about clusters that one does not have: what a network looks like, which algorithm is best where, what a
// training job says to whom, and how well a model of a library agrees with what was measured of it.
//
//	go run ./examples/simulate -topo llama3,oversub=2.8 -ranks 65536 -draw network.svg
//	go run ./examples/simulate -topo rail -ranks 65536 -plot pictures
//	go run ./examples/simulate -topo rail -ranks 64 -algo tree -goal tree.goal -msccl tree.xml -chakra tree
//	go run ./examples/simulate -validate all_reduce.txt                     half of the rows predict the other half
//	go run ./examples/simulate -calibrate all_reduce.txt -o machine.json    fit all rows
//	go run ./examples/simulate -validate other.txt -calibration machine.json
//	go run ./examples/simulate -scenario llama3
//
// Tables are the output of nccl-tests or of examples/perf, as text or JSON, or comma-separated values such as those of
// collective/calibrate/testdata. -group 16x2 says 16 ranks on 2 hosts where the table does not.
// Pictures are drawn by the planner's model of costs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ringtree/ringtree/collective/interop"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "simulate: %v\n", err)
		}
		os.Exit(1)
	}
}

type options struct {
	topo, coll, algo               string
	ranks, bytes                   int
	draw, plot                     string
	goal, msccl, chakra            string
	calibrate, calibration, output string
	validate, group, scenario      string
}

func run(args []string, out, complaint io.Writer) error {
	var o options
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	f.SetOutput(complaint)
	f.StringVar(&o.topo, "topo", "rail", "preset `NAME[,key=value…]`: "+strings.Join(topology.Presets(), ", ")+"; or a file of topology's text form")
	f.IntVar(&o.ranks, "ranks", 64, "number of ranks")
	f.StringVar(&o.coll, "coll", "all_reduce", "collective")
	f.StringVar(&o.algo, "algo", "auto", "algorithm: auto, ring, tree, hd, direct, hier")
	f.IntVar(&o.bytes, "b", 1<<20, "bytes of the vector")
	f.StringVar(&o.draw, "draw", "", "draw the network into an SVG `file`")
	f.StringVar(&o.plot, "plot", "", "draw choice.svg, ranks.svg and heat.svg into a `folder`")
	f.StringVar(&o.goal, "goal", "", "write the schedule as GOAL to a `file`")
	f.StringVar(&o.msccl, "msccl", "", "write the schedule as MSCCL XML to a `file`")
	f.StringVar(&o.chakra, "chakra", "", "write the schedule as Chakra traces to `prefix`.RANK.et")
	f.StringVar(&o.calibrate, "calibrate", "", "fit a model to a table of measurements in a `file`")
	f.StringVar(&o.output, "o", "", "write the fitted model to a `file`, not to standard output")
	f.StringVar(&o.calibration, "calibration", "", "`file` of the model that -validate holds against the table")
	f.StringVar(&o.validate, "validate", "", "compare with a table of measurements in a `file`")
	f.StringVar(&o.group, "group", "", "`RANKSxHOSTS` that a table was measured on")
	f.StringVar(&o.scenario, "scenario", "", "predict a training job: llama3")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	switch {
	case o.scenario == "llama3":
		return writeLlama3(out)
	case o.scenario != "":
		return fmt.Errorf("-scenario %s: there is llama3", o.scenario)
	case o.calibrate != "":
		return fitTable(o, out)
	case o.validate != "":
		return validate(o, out)
	}
	return about(o, out)
}

// about draws, writes and tells what the options ask for about one graph and schedule.
func about(o options, out io.Writer) error {
	g, err := graph(o.topo, o.ranks)
	if err != nil {
		return err
	}
	if o.draw != "" {
		n, err := g.Network()
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.draw, []byte(n.Picture()), 0o666); err != nil {
			return err
		}
	}
	if o.plot != "" {
		if err := plots(o, g); err != nil {
			return err
		}
	}
	req := plan.Request{Bytes: int64(o.bytes)}
	for _, c := range schedule.Collectives() {
		if c.String() == o.coll {
			req.Collective = c
		}
	}
	if req.Collective == 0 {
		return fmt.Errorf("-coll %s: not a collective", o.coll)
	}
	a, err := plan.ParseAlgorithm(o.algo)
	if err != nil {
		return err
	}
	p, err := plan.New(g).Choose(a, req)
	if err != nil {
		return err
	}
	vector := interop.Vector{Length: o.bytes / 4, Element: 4, Reduce: g.Reduce() * 1e9}
	for _, x := range []struct {
		file  string
		write func(w io.Writer) error
	}{
		{o.goal, func(w io.Writer) error { return interop.WriteGOAL(w, p.Schedule, vector) }},
		{o.msccl, func(w io.Writer) error {
			return interop.WriteMSCCL(w, p.Schedule, schedule.Contract{Collective: req.Collective}, p.Variant.String())
		}},
	} {
		if err := toFile(x.file, x.write); err != nil {
			return err
		}
	}
	if o.chakra != "" {
		for r := range topology.Rank(g.Size()) {
			err := toFile(fmt.Sprintf("%s.%d.et", o.chakra, r), func(w io.Writer) error { return interop.WriteChakra(w, p.Schedule, r, vector) })
			if err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "# %s: %d ranks on %d hosts, %d racks, %d sites\n", o.topo, g.Size(), g.Hosts(), g.Racks(), g.Sites())
	for _, c := range p.Candidates {
		mark := " "
		if c.Chosen {
			mark = "*"
		}
		fmt.Fprintf(out, "%s %-16v %12s\n", mark, c.Variant, plan.Seconds(c.Seconds))
	}
	return nil
}

// graph is a preset, or what a file says.
func graph(text string, ranks int) (*topology.Graph, error) {
	f, err := os.Open(text)
	if err != nil {
		return topology.PresetFor(text, ranks)
	}
	defer f.Close()
	return topology.Parse(f)
}

func toFile(name string, write func(w io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
