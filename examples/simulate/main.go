// Simulate answers questions about clusters that one does not have: how long a collective takes there and why, which algorithm is best
// where, what a broken part costs, what a training job says to whom, and how well a prediction agrees with what was measured.
//
//	go run ./examples/simulate -topo llama3 -ranks 65536 -b 1K -e 1G -f 32
//	go run ./examples/simulate -topo rail -ranks 1024 -algo all -b 64M -explain
//	go run ./examples/simulate -topo clos2,oversub=7 -ranks 512 -algo hd -b 64M -level congestion -flows 16
//	go run ./examples/simulate -topo rail -ranks 64 -fault rank5*0.5 -b 16M -trace trace.json
//	go run ./examples/simulate -topo rail -ranks 1024 -plot pictures
//	go run ./examples/simulate -validate all_reduce.txt                     half of the rows predict the other half
//	go run ./examples/simulate -validate perf.txt -topo measured.topology -algo ring
//	go run ./examples/simulate -scenario llama3
//
// The times are those of collective/sim: the schedules that the engine runs, under a virtual clock. -h explains every flag.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ringtree/ringtree/topology"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(status(run(os.Args[1:], os.Stdout, os.Stderr), os.Stderr)) }

// status says on w what went wrong, and returns the exit status of it.
func status(err error, w io.Writer) int {
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(w, "simulate: %v (see -h)\n", err)
		return exitUsage
	}
	fmt.Fprintf(w, "simulate: %v\n", err)
	return exitFailed
}

// run does what a command line asks for. terminal is where progress is shown, if it is one.
func run(args []string, out io.Writer, terminal *os.File) error {
	o, err := parseFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err := io.WriteString(out, usage)
		return err
	case err != nil:
		return err
	case o.topo == "help" || strings.HasPrefix(o.topo, "help,"):
		return helpTopology(out, o.topo)
	case o.scenario != "":
		return writeLlama3(out)
	case o.calibrate != "":
		return fitTable(o, out)
	case o.validate != "" && !o.given["topo"]:
		return validate(o, out)
	}
	r, err := newRunner(o, terminal)
	if err != nil {
		return err
	}
	defer r.progress.clear()
	switch {
	case o.validate != "":
		return r.validate(out)
	case o.draws():
		return r.draw(out)
	}
	return r.table(out)
}

// helpTopology lists the presets, or, after "help,", the parameters of one.
func helpTopology(out io.Writer, text string) error {
	_, name, one := strings.Cut(text, ",")
	names := topology.Presets()
	if one {
		names = []string{name}
	}
	for _, name := range names {
		about, err := topology.PresetHelp(name)
		if err != nil {
			return err
		}
		if !one {
			about, _, _ = strings.Cut(about, "\n")
			about += "\n"
		}
		if _, err := io.WriteString(out, about); err != nil {
			return err
		}
	}
	return nil
}
