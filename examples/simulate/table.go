package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ringtree/ringtree/collective/interop"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// table runs all sizes and algorithms, and writes the results and all files that are asked for but pictures.
func (r *runner) table(out io.Writer) error {
	text := out
	if r.o.json == "-" || r.o.csv == "-" {
		text = io.Discard
	}
	if err := r.drawNetwork(); err != nil {
		return err
	}
	if err := r.writeHeader(text); err != nil {
		return err
	}
	var all []*timed
	for bytes := range r.o.sweep.All(element) {
		variants, err := r.variants(bytes)
		if err != nil {
			return err
		}
		for _, v := range variants {
			x, err := r.run(v, bytes)
			if err != nil {
				return err
			}
			r.progress.clear()
			all = append(all, x)
			if _, err := io.WriteString(text, r.row(x)); err != nil {
				return err
			}
			if r.o.explain {
				if err := r.explain(text, x); err != nil {
					return err
				}
			}
		}
	}
	return errors.Join(
		toFile(r.o.json, out, func(w io.Writer) error { return r.writeJSON(w, all) }),
		toFile(r.o.csv, out, func(w io.Writer) error { return writeCSV(w, all) }),
		r.export(out, all),
	)
}

func (r *runner) writeHeader(w io.Writer) error {
	g := r.g
	band, unit := "", ""
	if r.model != nil || r.spread > 0 {
		band, unit = fmt.Sprintf("  %25s", "nine of ten between"), fmt.Sprintf("  %25s", "(us)")
	}
	_, err := fmt.Fprintf(w, "# %s: %d ranks on %d hosts, %d racks, %d sites; %v at level %v\n"+
		"# %10s  %12s  %8s  %6s  %6s  %7s  %7s  %7s  %6s  %8s%s  %-15s %s\n"+
		"# %10s  %12s  %8s  %6s  %6s  %7s  %7s  %7s  %6s  %8s%s\n",
		r.o.topo, g.Size(), g.Hosts(), g.Racks(), g.Sites(), r.contract(), r.o.level,
		"size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong", "spread", band, "algorithm", "how",
		"(B)", "(elements)", "", "", "", "(us)", "(GB/s)", "(GB/s)", "", "(us)", unit)
	return err
}

// row is a line of the table: nccl-tests' columns, and what a simulation knows beside.
func (r *runner) row(x *timed) string {
	op, root, wrong := "none", -1, "0"
	if r.o.coll.Reduces() {
		op = "sum"
	}
	if r.o.coll.Rooted() {
		root = r.o.root
	}
	if x.Checked == sim.Unchecked {
		wrong = "N/A"
	}
	band := ""
	if x.high > 0 {
		band = fmt.Sprintf("  %12.2f %12.2f", x.low*1e6, x.high*1e6)
	} else if r.model != nil || r.spread > 0 {
		band = fmt.Sprintf("  %25s", "")
	}
	return fmt.Sprintf("%12d  %12d  %8s  %6s  %6d  %7s  %7.2f  %7.2f  %6s  %8s%s  %-15v %s\n",
		x.Bytes, x.Bytes/element, "float", op, root, micros(x.Time), x.AlgBW()/1e9, x.BusBW()/1e9, wrong, micros(x.Spread()), band, x.variant, x.Method)
}

// micros writes a time in microseconds with about five figures, as nccl-tests does.
func micros(t sim.Time) string {
	us := float64(t) / float64(sim.Microsecond)
	switch {
	case us < 10:
		return strconv.FormatFloat(us, 'f', 3, 64)
	case us < 1000:
		return strconv.FormatFloat(us, 'f', 2, 64)
	case us < 1e5:
		return strconv.FormatFloat(us, 'f', 1, 64)
	}
	return strconv.FormatFloat(us, 'f', 0, 64)
}

// explained is how many hops of a path are written one by one.
const explained = 24

// explain writes what the planner thought and where the time went.
func (r *runner) explain(w io.Writer, x *timed) error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, "#     "+format+"\n", args...) }
	p, err := r.planner.Choose(plan.Auto, r.request(x.Bytes))
	if err != nil {
		return err
	}
	for line := range strings.Lines(r.planner.Explain(p)) {
		say("%s", strings.TrimRight(line, "\n"))
	}
	say("%d of %d ranks run, %d messages, schedule %s; no run can take less than %v", x.Classes, x.Ranks, x.Messages(), x.Checked, x.Bound)
	for l, t := range x.Tiers {
		if t.Messages > 0 {
			say("over %v: %d messages, %s", topology.Level(l), t.Messages, plan.Bytes(t.Bytes))
		}
	}
	for _, p := range x.Ports {
		port := "network"
		if p.Near {
			port = "host"
		}
		say("port of rank %d, %s: busy %v, %.0f %% of the time", p.Rank, port, p.Busy, 100*float64(p.Busy)/float64(max(x.Time, 1)))
	}
	for _, l := range x.Layers {
		say("layer %v: %d of %d wires used, %s, busy %.0f %% of the time on average and %.0f %% at most", l.Layer.Span, l.Used, l.Wires, plan.Bytes(l.Bytes), 100*l.Mean, 100*l.Most)
	}
	for _, l := range x.Wires {
		say("wire %s to %s: %s, busy %.0f %% of the time", l.From, l.To, plan.Bytes(l.Bytes), 100*l.Busy)
	}
	res, err := r.recorded(x)
	if err != nil {
		return err
	}
	if res == nil || res.Path() == nil {
		say("critical path: not kept, of more than %d messages", recordLimit)
	} else {
		path := res.Path()
		say("critical path: %v", path)
		for i, h := range path.Hops {
			if i == explained {
				say("  and %d more", len(path.Hops)-i)
				break
			}
			say("  rank %d to %d over %v: %s, waits %v, for its port %v, on the way %v, there at %v", h.From, h.To, h.Level, plan.Bytes(h.Bytes), h.Idle, h.Queued, h.Network, h.Arrive)
		}
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// jsonRow is a result in JSON: [sim.Result] writes its own part.
type jsonRow struct {
	Algorithm string      `json:"algorithm"`
	Spread    float64     `json:"spread_us"`
	Low       float64     `json:"low_us,omitempty"`
	High      float64     `json:"high_us,omitempty"`
	Path      *jsonPath   `json:"critical_path,omitempty"`
	Result    *sim.Result `json:"result"`
}

type jsonPath struct {
	Hops    int     `json:"hops"`
	Network float64 `json:"on_links_us"`
	Queued  float64 `json:"waiting_for_ports_us"`
	Ranks   float64 `json:"on_ranks_us"`
}

func (r *runner) writeJSON(w io.Writer, all []*timed) error {
	rows := []jsonRow{}
	for _, x := range all {
		row := jsonRow{x.variant.String(), float64(x.Spread()) / 1e6, x.low * 1e6, x.high * 1e6, nil, x.Result}
		if r.o.explain {
			res, err := r.recorded(x)
			if err != nil {
				return err
			}
			if res != nil && res.Path() != nil {
				p := res.Path()
				row.Path = &jsonPath{Hops: len(p.Hops)}
				ranks := p.Tail
				for _, h := range p.Hops {
					row.Path.Network += float64(h.Network) / 1e6
					row.Path.Queued += float64(h.Queued) / 1e6
					ranks += h.Idle
				}
				row.Path.Ranks = float64(ranks) / 1e6
			}
		}
		rows = append(rows, row)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Topology string    `json:"topology"`
		Ranks    int       `json:"ranks"`
		Hosts    int       `json:"hosts"`
		Racks    int       `json:"racks"`
		Sites    int       `json:"sites"`
		Results  []jsonRow `json:"results"`
	}{r.o.topo, r.g.Size(), r.g.Hosts(), r.g.Racks(), r.g.Sites(), rows})
}

func writeCSV(w io.Writer, all []*timed) error {
	c := csv.NewWriter(w)
	_ = c.Write(append([]string{"algorithm", "spread_us", "low_us", "high_us"}, sim.CSVHeader()...))
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', 9, 64) }
	for _, x := range all {
		_ = c.Write(append([]string{x.variant.String(), f(float64(x.Spread()) / 1e6), f(x.low * 1e6), f(x.high * 1e6)}, x.CSV()...))
	}
	c.Flush()
	return c.Error()
}

// export writes the last schedule for other tools, and the trace of the last run.
func (r *runner) export(out io.Writer, all []*timed) error {
	if len(all) == 0 {
		return nil
	}
	x := all[len(all)-1]
	s, err := r.planner.Build(x.variant, r.request(x.Bytes))
	if err != nil {
		return err
	}
	vector := interop.Vector{Length: int(x.Bytes / element), Element: element, Reduce: r.g.Reduce() * 1e9}
	err = errors.Join(
		toFile(r.o.goal, out, func(w io.Writer) error { return interop.WriteGOAL(w, s, vector) }),
		toFile(r.o.msccl, out, func(w io.Writer) error {
			return interop.WriteMSCCL(w, s, schedule.Contract{Collective: r.o.coll, Root: r.contract().Root}, x.variant.String())
		}),
	)
	if r.o.chakra != "" {
		for rank := range topology.Rank(r.g.Size()) {
			err = errors.Join(err, toFile(fmt.Sprintf("%s.%d.et", r.o.chakra, rank), out, func(w io.Writer) error { return interop.WriteChakra(w, s, rank, vector) }))
		}
	}
	if r.o.trace == "" || err != nil {
		return err
	}
	res, err := r.recorded(x)
	if err == nil && res == nil {
		err = fmt.Errorf("-trace %s: %d messages, of which at most %d are kept", r.o.trace, x.Messages(), recordLimit)
	}
	if err != nil {
		return err
	}
	return toFile(r.o.trace, out, res.WriteTrace)
}

func (r *runner) drawNetwork() error {
	if r.o.drawTo == "" {
		return nil
	}
	n, err := r.g.Network()
	if err != nil {
		return err
	}
	return os.WriteFile(r.o.drawTo, []byte(n.Picture()), 0o666)
}

// toFile makes a file, or writes to out where the name is "-". Without a name it does nothing.
func toFile(name string, out io.Writer, write func(w io.Writer) error) error {
	switch name {
	case "":
		return nil
	case "-":
		return write(out)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
