package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/topology/probe"
)

// facts are what there is to tell. door, apart and report are nil when the machine is only described.
type facts struct {
	host   probe.HostInfo
	door   *door
	apart  *topology.Graph // that was measured
	graph  *topology.Graph // that came out
	report *probe.Report
	note   string
}

// shownHosts and shownRanks keep large machines readable.
const (
	shownHosts = 16
	shownRanks = 16
)

// tell writes everything, the picture included. What cannot be written fails at the end, once.
func tell(o *options, out io.Writer, f facts) error {
	text, err := explain(f.graph, o.size)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	f.writeMachine(w)
	f.writeHosts(w)
	f.writeLinks(w)
	fmt.Fprintf(w, "\nPlan\n%s", indent(text))
	if f.report != nil {
		fmt.Fprintf(w, "\nTopology, as -topo FILE reads it\n%s", indent(f.graph.String()))
	}
	if o.plot != "" {
		if err := draw(o.plot, f.title(), f.graph); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nPlot written to %s\n", o.plot)
	}
	return w.Flush()
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// title is the picture's.
func (f *facts) title() string {
	how := "as described"
	if f.report != nil {
		how = "as measured"
	}
	return fmt.Sprintf("%s on %s, %s", counted(f.graph.Size(), "rank"), counted(f.graph.Hosts(), "host"), how)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// writeMachine tells what rank 0's machine is.
func (f *facts) writeMachine(w io.Writer) {
	if f.door == nil {
		fmt.Fprintf(w, "# topo: %s\n", f.title())
		return
	}
	h := &f.host
	var names []string
	for _, t := range f.door.transports {
		names = append(names, t.Name())
	}
	fmt.Fprintf(w, "# topo: %s, transports %s\n\nMachine of rank 0: %s\n", f.title(), strings.Join(names, ", "), h.Identity())
	quota := ""
	if h.Quota > 0 {
		quota = fmt.Sprintf(", %g by the control group's quota", h.Quota)
	}
	fmt.Fprintf(w, "  cores   %s%s\n", counted(h.Cores, "core"), quota)
	type kind struct {
		level int
		kind  string
		bytes int64
	}
	var kinds []kind
	count, shared := make(map[kind]int), make(map[kind]int)
	for _, c := range h.Caches {
		k := kind{c.Level, c.Type, c.Bytes}
		if count[k]++; count[k] == 1 {
			kinds = append(kinds, k)
		}
		shared[k] = len(c.CPUs)
	}
	for _, k := range kinds {
		fmt.Fprintf(w, "  cache   L%d %s, %d × %s, shared by %s\n", k.level, strings.ToLower(k.kind), count[k], plan.Bytes(k.bytes), counted(shared[k], "CPU"))
	}
	for _, n := range h.Nodes {
		fmt.Fprintf(w, "  memory  node %d, %s, %s near it\n", n.Number, plan.Bytes(n.Bytes), counted(len(n.CPUs), "CPU"))
	}
}

// writeHosts tells which rank is where.
func (f *facts) writeHosts(w io.Writer) {
	g := f.graph
	fmt.Fprintf(w, "\nHosts\n")
	for h := range min(g.Hosts(), shownHosts) {
		first := g.HostRank(h, 0)
		fmt.Fprintf(w, "  %s, rack %s, site %s: %s", g.HostName(h), g.RackName(g.Rack(first)), g.SiteName(g.Site(first)), counted(g.HostSize(h), "rank"))
		if c := g.Cores(); c > 0 {
			fmt.Fprintf(w, ", %s", counted(c, "core"))
		}
		fmt.Fprintln(w)
		if f.door == nil {
			last := g.HostRank(h, g.HostSize(h)-1)
			fmt.Fprintf(w, "    ranks %d … %d\n", first, last)
			continue
		}
		n := 0
		for r := range g.HostRanks(h) {
			if n++; n > shownRanks {
				fmt.Fprintf(w, "    and %d more\n", g.HostSize(h)-shownRanks)
				break
			}
			m := &f.door.group.Members[r]
			fmt.Fprintf(w, "    rank %d  process %d  machine %s\n", r, m.PID, m.Host)
		}
	}
	if more := g.Hosts() - shownHosts; more > 0 {
		fmt.Fprintf(w, "  and %s more\n", counted(more, "host"))
	}
}

// writeLinks tells what each tier costs.
func (f *facts) writeLinks(out io.Writer) {
	measured := f.graph
	if f.report != nil {
		measured = f.apart
	}
	pairs := probe.Pairs(measured)
	how := ""
	if f.note != "" {
		how = " (" + f.note + ")"
	}
	fmt.Fprintf(out, "\nLinks%s\n", how)
	if len(pairs) == 0 {
		fmt.Fprintf(out, "  none\n")
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := "  tier\talpha\tbandwidth\t1 MiB takes"
	if f.report != nil {
		head = "  tier\tover\talpha\tbandwidth\t1 MiB takes\tresidual\tpairs\tprobes"
	}
	fmt.Fprintln(w, head)
	seen := make(map[topology.Level]bool)
	for _, p := range pairs {
		if seen[p.Level] {
			continue
		}
		seen[p.Level] = true
		if f.report == nil {
			fmt.Fprintf(w, "  %v\t%s\n", p.Level, costText(f.graph.Tier(p.Level)))
			continue
		}
		for _, c := range f.report.Tiers {
			if c.Level == p.Level {
				// Between hosts, what was measured is what the planner takes it for.
				level := f.graph.Link(p.A, p.B).Level
				fmt.Fprintf(w, "  %v\t%s\t%s\t%.0f %%\t%d\t%d\n", level, f.door.over(int(p.A), int(p.B)), costText(c.Link), 100*c.Residual, c.Pairs, c.Probes)
			}
		}
	}
	_ = w.Flush() // its writer keeps the error
	if f.door != nil {
		for _, text := range f.door.detours() {
			fmt.Fprintf(out, "  %s\n", text)
		}
	}
	n := 0
	for p := range f.graph.Paths() {
		if n++; n > shownHosts {
			fmt.Fprintf(out, "  and more paths\n")
			break
		}
		fmt.Fprintf(out, "  path %s -> %s: alpha %s, %s\n", p.From, p.To, plan.Seconds(p.Alpha), rate(p.Beta))
	}
}

func costText(l topology.Link) string {
	return fmt.Sprintf("%s\t%s\t%s", plan.Seconds(l.Alpha), rate(l.Beta), plan.Seconds(l.Time(1<<20)))
}

func rate(beta float64) string {
	if beta <= 0 {
		return "no limit"
	}
	return fmt.Sprintf("%.3g GB/s", 1e-9/beta)
}
