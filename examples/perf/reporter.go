package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/ringtree/ringtree/collective"
)

// A reporter writes what rank 0 has to say: the table as it grows, and at the end the JSON and the picture. On other
// ranks it is nil.
type reporter struct {
	o        *options
	out      io.Writer
	progress *progress
	header   header
	rows     []row
	json     *os.File
	saved    time.Time
}

// newReporter makes the files and writes the head of the table.
func newReporter(o *options, out io.Writer, terminal *os.File, devices []device) (*reporter, error) {
	r := &reporter{o: o, out: out, header: makeHeader(o, devices)}
	total := 0
	for _, d := range o.dtypes {
		total += 2 * o.cycles * o.sweep.Count(int64(d.Size())) * len(o.ops) * len(o.roots())
	}
	r.progress = newProgress(terminal, total)
	if o.json != "" {
		f, err := createReport(o.json)
		if err != nil {
			return nil, err
		}
		r.json = f
		if _, err := fmt.Fprintf(out, "# Writing JSON output to %s\n", f.Name()); err != nil {
			return nil, err
		}
		if err := r.save(nil); err != nil {
			return nil, err
		}
	}
	return r, writeHeader(out, r.header)
}

func makeHeader(o *options, devices []device) header {
	return header{
		version: version(), goVersion: runtime.Version(), program: programName(), threads: o.threads, sweep: o.sweep,
		warmup: o.warmup, iters: o.iters, agg: o.agg, check: o.check, perIter: o.perIter, devices: devices,
		experiment: o.coll.String(), args: os.Args, env: knownEnv(os.Environ()), ranks: o.ranks(), processes: o.processes,
		transport: o.Transport, algo: o.algo, hosts: max(1, o.hosts), alloc: o.alloc, placement: o.placement, start: time.Now(),
	}
}

// knownEnv keeps the variables that can explain a result. nccl-tests writes all of them, secrets included.
func knownEnv(env []string) []string {
	known := []string{}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch {
		case name == "GOMAXPROCS", name == "GOGC", name == "GOMEMLIMIT", name == "GODEBUG", strings.HasPrefix(name, "RINGTREE_"):
			known = append(known, e)
		}
	}
	return known
}

// measuring shows what comes next.
func (r *reporter) measuring(s subject, inPlace bool) {
	if r == nil {
		return
	}
	half := "out of place"
	if inPlace {
		half = "in place"
	}
	r.progress.next(fmt.Sprintf("%v, %v, %s", r.o.coll, s, half))
}

// explain writes the planner's reasons as comment lines.
func (r *reporter) explain(text string) error {
	r.progress.clear()
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintf(r.out, "# %s\n", strings.TrimRight(line, "\n")); err != nil {
			return err
		}
	}
	return nil
}

// row writes a line of the table at once.
func (r *reporter) row(x row) error {
	if r == nil {
		return nil
	}
	r.progress.clear()
	r.rows = append(r.rows, x)
	if err := writeRow(r.out, x); err != nil {
		return err
	}
	if time.Since(r.saved) > time.Second {
		return r.save(nil) // so that a run that is cut short leaves its results
	}
	return nil
}

// save writes the JSON as things stand.
func (r *reporter) save(failure error) error {
	if r.json == nil {
		return nil
	}
	r.saved = time.Now()
	return writeJSON(r.json, makeJSON(r.header, r.rows, failure, r.saved))
}

// finish writes what stands below the table, or, after a failure, only what the files can still hold.
func (r *reporter) finish(failure error) error {
	if r == nil {
		return nil
	}
	r.progress.clear()
	err := r.save(failure)
	if r.json != nil {
		if err2 := r.json.Close(); err == nil {
			err = err2
		}
	}
	if failure != nil || err != nil {
		return err
	}
	if copied := r.header.copied; copied > 0 {
		best := bestBus(r.rows)
		if _, err := fmt.Fprintf(r.out, "# %-20s : %.6g GB/s; the best busbw, %.6g GB/s, is %.3g of it\n", "Copy on the device", copied, best, best/copied); err != nil {
			return err
		}
	}
	if err := writeFooter(r.out, r.header.program, totalWrong(r.rows), averageBus(r.rows)); err != nil {
		return err
	}
	if r.o.plot == "" {
		return nil
	}
	if err := drawPlot(r.o.plot, r.o.title(), r.rows); err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "# Plot written to %s\n", r.o.plot)
	return err
}

// title says what the picture shows.
func (o *options) title() string {
	s := o.coll.String()
	if len(o.dtypes) == 1 && len(o.ops) == 1 && o.coll != barrier {
		s += ", " + o.dtypes[0].String()
		if o.ops[0] != 0 {
			s += " " + o.ops[0].String()
		}
	}
	s += fmt.Sprintf(", %d ranks", o.ranks())
	if o.processes > 1 && o.threads > 1 {
		s += fmt.Sprintf(" in %d processes", o.processes)
	} else if o.threads > 1 {
		s += " in one process"
	}
	if o.hosts > 1 {
		s += fmt.Sprintf(", as if on %d hosts", o.hosts)
	}
	if o.placement.cuda {
		s += fmt.Sprintf(", on %v", o.placement)
	}
	return s + fmt.Sprintf(", algorithm %s, transport %s", o.algo, o.Transport)
}

// deviceRecord is the room that a rank has to describe itself, in bytes of JSON padded with spaces.
const deviceRecord = 512

// describe is how a rank describes itself.
func (o *options) describe(rank int, g *gpu) device {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if o.hosts > 1 {
		host = fmt.Sprintf("%s/%d", host, o.hostOf(rank))
	}
	if len(host) > 128 {
		host = host[:128]
	}
	d := device{
		Rank: rank, PID: os.Getpid(), Host: host, Device: rank % o.threads, Hex: "cpu",
		Info: fmt.Sprintf("%s, %d cores, transport %s", runtime.GOARCH, runtime.NumCPU(), o.Transport),
	}
	if g != nil {
		info := g.device.Info()
		d.Device, d.Hex = g.device.Index(), info.PCI
		d.Info = fmt.Sprintf("%s, sm_%d%d, driver for CUDA %d.%d, transport %s", info.Name, info.Major, info.Minor, g.version/1000, g.version%1000/10, o.Transport)
	}
	return d
}

// alone says whether all ranks are of this process.
func (o *options) alone() bool { return o.processes == 1 && !o.Invited() && o.Job == nil }

// gatherDevices tells rank 0 how all ranks describe themselves; the others get nil.
func gatherDevices(ctx context.Context, comm *collective.Comm, o *options, g *gpu) ([]device, error) {
	if o.alone() && g == nil { // what rank 0 knows without asking
		if comm.Rank() != 0 {
			return nil, nil
		}
		devices := make([]device, comm.Size())
		for r := range devices {
			devices[r] = o.describe(r, nil)
		}
		return devices, nil
	}
	self, err := json.Marshal(o.describe(comm.Rank(), g))
	if err != nil {
		return nil, err
	}
	if len(self) > deviceRecord {
		return nil, fmt.Errorf("description of rank %d: %d bytes, want at most %d", comm.Rank(), len(self), deviceRecord)
	}
	src := []byte(fmt.Sprintf("%-*s", deviceRecord, self))
	dst := make([]byte, deviceRecord*comm.Size())
	if err := collective.AllGather(ctx, comm, dst, src); err != nil {
		return nil, err
	}
	if comm.Rank() != 0 {
		return nil, nil
	}
	devices := make([]device, comm.Size())
	for i := range devices {
		if err := json.Unmarshal(dst[i*deviceRecord:(i+1)*deviceRecord], &devices[i]); err != nil {
			return nil, fmt.Errorf("description of rank %d: %w", i, err)
		}
	}
	return devices, nil
}
