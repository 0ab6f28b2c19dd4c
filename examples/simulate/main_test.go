package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/interop"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/topology"
)

// The first job is what the speed of kernels is fitted to; the others are predicted, within 4 % of what was published.
func TestLlama3(t *testing.T) {
	jobs := llama3Jobs[:3]
	if !testing.Short() {
		jobs = llama3Jobs[:4]
	}
	outcomes, a, err := llama3(jobs)
	if err != nil {
		t.Fatal(err)
	}
	if a.kernels < 0.4 || a.kernels > 0.8 {
		t.Errorf("kernels reach %.2f of the peak", a.kernels)
	}
	for i, o := range outcomes {
		if want := llama3Jobs[i].tflops; want > 0 && math.Abs(o.tflops/want-1) > 0.04 {
			t.Errorf("%s: %.0f TFLOP/s, published %.0f", o.name, o.tflops, want)
		}
		if o.gpus() == 16384 && o.goodput < 0.9 { // "more than 90 % effective training time"
			t.Errorf("%s: goodput %.3f, published above 0.9", o.name, o.goodput)
		}
		if sum := o.compute + o.bubble + o.exposed; math.Abs(sum/o.step-1) > 1e-9 || o.exposed <= 0 {
			t.Errorf("%s: %+v does not add up", o.name, o)
		}
		for _, x := range o.axes {
			if x.size > 1 && (!(x.rate > 1e9) || !(x.each > 0) || x.exposed > x.total()+1e-9) {
				t.Errorf("%s: axis %+v", o.name, x)
			}
		}
	}
	if last := outcomes[len(outcomes)-1]; !testing.Short() && (last.gpus() != 65536 || last.interrupt > 3600) {
		t.Errorf("the last job has %d GPUs, interrupted every %.0f s", last.gpus(), last.interrupt)
	}
}

func TestGoodput(t *testing.T) {
	a := llama3Assumptions()
	before := 0.0
	for _, between := range []float64{10, 1000, 1e5, 1e7, 1e9} {
		g := goodput(between, a)
		if g <= before || g >= 1 {
			t.Errorf("with an interruption every %g s the goodput is %g, after %g", between, g, before)
		}
		before = g
	}
}

func tell(t *testing.T, args ...string) string {
	t.Helper()
	var b bytes.Buffer
	if err := run(args, &b, nil); err != nil {
		t.Fatalf("simulate %s: %v", strings.Join(args, " "), err)
	}
	return b.String()
}

// rows returns the lines of a table, in columns.
func rows(text string) (out [][]string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.Fields(line))
		}
	}
	return out
}

// The program as users start it: what it prints where, and its exit status.
func TestProgram(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "simulate.exe")
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		args       string
		status     int
		says, errs string
	}{
		{"-ranks 8 -b 1K", 0, "float     sum      -1", ""},
		{"-h", 0, "-topo NAME", ""},
		{"-topo help", 0, "llama3: ", ""},
		{"-topo help,llama3", 0, "oversub=", ""},
		{"-ranks 8 -fault rank3", 1, "algbw", "dead"},
		{"-ranks -8", 2, "", "see -h"},
		{"-topo moon", 1, "", "not one of"},
	} {
		cmd := exec.Command(exe, strings.Fields(c.args)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(out.String(), c.says) || !strings.Contains(errs.String(), c.errs) || (c.status == 0) != (errs.Len() == 0) {
			t.Errorf("simulate %s: exit status %d, want %d\n%s%s", c.args, got, c.status, out.String(), errs.String())
		}
	}
}

// All algorithms and collectives make rows of nccl-tests' columns, every level gives the same time to a group without
// contention, and the algorithms' bandwidth is in order.
func TestTable(t *testing.T) {
	for _, coll := range []string{"all_reduce", "reduce_scatter", "all_gather", "broadcast", "reduce"} {
		out := tell(t, "-topo", "rail", "-ranks", "16", "-algo", "all", "-coll", coll, "-b", "1K", "-e", "1M", "-f", "32")
		got := rows(out)
		if len(got) < 3*5 {
			t.Errorf("%s: %d rows\n%s", coll, len(got), out)
		}
		for _, f := range got {
			us, err := strconv.ParseFloat(f[5], 64)
			size, err2 := strconv.ParseFloat(f[0], 64)
			alg, err3 := strconv.ParseFloat(f[6], 64)
			if err := errors.Join(err, err2, err3); err != nil || f[2] != "float" || f[8] != "0" || us <= 0 || math.Abs(alg-size/us/1e3) > 0.006+alg/100 {
				t.Errorf("%s: row %q, %v", coll, f, err)
			}
		}
	}
	same := map[string]bool{}
	for _, level := range []string{"auto", "classes", "messages"} {
		same[rows(tell(t, "-topo", "rail", "-ranks", "64", "-algo", "hd", "-b", "4M", "-level", level))[0][5]] = true
	}
	if len(same) != 1 {
		t.Errorf("times differ by level: %v", same)
	}
	if f := rows(tell(t, "-coll", "barrier", "-ranks", "8")); len(f) != 1 || f[0][0] != "0" {
		t.Errorf("a barrier: %v", f)
	}
	if f := rows(tell(t, "-ranks", "1", "-b", "0")); len(f) != 1 {
		t.Errorf("one rank: %v", f)
	}
}

// time returns the microseconds of the only row.
func timeOf(t *testing.T, args ...string) float64 {
	t.Helper()
	f := rows(tell(t, args...))
	if len(f) != 1 {
		t.Fatalf("simulate %s: %d rows", strings.Join(args, " "), len(f))
	}
	us, err := strconv.ParseFloat(f[0][5], 64)
	if err != nil {
		t.Fatal(err)
	}
	return us
}

// What is wrong costs time: ranks that are late and slow, jitter, and, with congestion, switches that are dead.
func TestFaults(t *testing.T) {
	args := []string{"-topo", "clos2,hosts-per-rack=1,oversub=2", "-ranks", "32", "-algo", "hd", "-b", "16M"}
	whole := timeOf(t, args...)
	for _, fault := range []string{"rank5+1ms", "rank5*0.5"} {
		if got := timeOf(t, append(args, "-fault", fault)...); got < whole+100 {
			t.Errorf("%s: %.1f us, without %.1f", fault, got, whole)
		}
	}
	jitter := append(args, "-jitter", "0.5", "-seed", "7")
	if a, b := timeOf(t, jitter...), timeOf(t, jitter...); a <= whole || a != b {
		t.Errorf("with jitter %.1f and %.1f us, without %.1f", a, b, whole)
	}
	shared := append(args, "-level", "congestion", "-flows", "4")
	if a, b := timeOf(t, shared...), timeOf(t, append(shared, "-fault", "world0.0")...); b < 1.05*a {
		t.Errorf("without a switch %.1f us, with it %.1f", b, a)
	}
	var stuck *sim.StuckError
	if err := run(append(args, "-fault", "rank5>rank4"), io.Discard, nil); !errors.As(err, &stuck) || stuck.Lost == 0 {
		t.Errorf("messages that are lost: got %v, want a StuckError", err)
	}
	if err := run(append(args, "-fault", "rank5@10us"), io.Discard, nil); !errors.As(err, &stuck) {
		t.Errorf("a rank that dies: got %v, want a StuckError", err)
	}
}

// JSON, CSV and the trace say what the table says.
func TestResults(t *testing.T) {
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace.json")
	args := []string{"-topo", "clos2", "-ranks", "16", "-algo", "ring,hier/hd", "-b", "1M", "-level", "congestion", "-flows", "2"}
	us := rows(tell(t, args...))[1][5]
	var got struct {
		Ranks   int
		Results []struct {
			Algorithm string
			Path      *struct{ Hops int } `json:"critical_path"`
			Result    struct {
				Time   float64 `json:"time_us"`
				Tiers  []any
				Layers []any
			}
		}
	}
	text := tell(t, append(args, "-json", "-", "-explain", "-trace", trace)...)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if len(got.Results) != 2 || got.Ranks != 16 || got.Results[1].Algorithm != "hier/hd" || fmt.Sprintf("%.2f", got.Results[1].Result.Time) != us ||
		got.Results[1].Path == nil || got.Results[1].Path.Hops == 0 || len(got.Results[1].Result.Tiers) == 0 || len(got.Results[1].Result.Layers) == 0 {
		t.Errorf("JSON: %+v, want %s us in the second row", got, us)
	}
	table, err := csv.NewReader(strings.NewReader(tell(t, append(args, "-csv", "-")...))).ReadAll()
	if err != nil || len(table) != 3 || table[2][0] != "hier/hd" {
		t.Errorf("CSV: %v, %v", table, err)
	}
	var events struct{ TraceEvents []struct{ Ts, Dur float64 } }
	if b, err := os.ReadFile(trace); err != nil || json.Unmarshal(b, &events) != nil || len(events.TraceEvents) == 0 {
		t.Errorf("trace: %d bytes, %v", len(b), err)
	}
	for _, want := range []string{"critical path: ", "layer host", "port of rank", "wire ", "predicted"} {
		if out := tell(t, append(args, "-explain")...); !strings.Contains(out, want) {
			t.Errorf("-explain does not say %q:\n%s", want, out)
		}
	}
}

// A report of topology/probe replaces the costs of the graph, and its residual makes a band; a model of measurements stands beside.
func TestCalibration(t *testing.T) {
	dir := t.TempDir()
	file, model, table := filepath.Join(dir, "report.json"), filepath.Join(dir, "model.json"), filepath.Join(dir, "table.txt")
	report := `{"tiers":[{"level":"rack","alpha":1e-3,"beta":1e-8,"pairs":1,"probes":10,"residual":0.1}],"paths":[]}`
	if err := os.WriteFile(file, []byte(report), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"-topo", "hosts,hosts=2", "-ranks", "2", "-algo", "ring", "-b", "2M"}
	got := rows(tell(t, append(args, "-calibration", file)...))
	us, _ := strconv.ParseFloat(got[0][5], 64)
	if least := 1000 + 0.01*2097152; us < least || us > 1.1*least { // every rank sends the length of the vector
		t.Errorf("at 1 ms and 100 MB/s it takes %.0f us", us)
	}
	low, _ := strconv.ParseFloat(got[0][10], 64)
	high, _ := strconv.ParseFloat(got[0][11], 64)
	if !(low < us && us < high && high < 1.2*us) {
		t.Errorf("a band from %v to %v around %v", low, high, us)
	}
	measured := ""
	for k := 10; k <= 26; k++ {
		at := timeOf(t, append(args, "-calibration", file, "-b", fmt.Sprint(1<<k))...)
		measured += fmt.Sprintf("%d 1 float sum -1 %.2f 0 0 0 %.2f 0 0 0\n", 1<<k, 1.1*at, 1.2*at)
	}
	if err := os.WriteFile(table, []byte(measured), 0o666); err != nil {
		t.Fatal(err)
	}
	out := tell(t, append(args, "-calibration", file, "-validate", table, "-group", "2x2")...)
	if !strings.Contains(out, "simulated at level auto") || strings.Count(out, " -9.1  ring") < 16 {
		t.Errorf("tables that are a tenth slower:\n%s", out)
	}
	tell(t, "-calibrate", table, "-group", "2x2", "-o", model)
	if out := tell(t, append(args, "-calibration", model)...); !strings.Contains(out, "nine of ten between") {
		t.Errorf("beside a model:\n%s", out)
	}
}

// What is written for other tools is read back and does what it should.
func TestExports(t *testing.T) {
	dir := t.TempDir()
	goal, xml := filepath.Join(dir, "x.goal"), filepath.Join(dir, "x.xml")
	out := tell(t, "-topo", "rail", "-ranks", "16", "-algo", "tree", "-goal", goal, "-msccl", xml, "-chakra", filepath.Join(dir, "x"))
	if !strings.Contains(out, " tree ") {
		t.Errorf("the tree is not chosen in\n%s", out)
	}
	want := schedule.Contract{Collective: schedule.AllReduce}
	text, err := os.ReadFile(goal)
	if err != nil {
		t.Fatal(err)
	}
	s, err := interop.ReadGOAL(bytes.NewReader(text), want)
	if err == nil {
		err = schedule.Verify(s, want)
	}
	if err != nil {
		t.Errorf("GOAL: %v", err)
	}
	if text, err = os.ReadFile(xml); err != nil {
		t.Fatal(err)
	}
	s, got, err := interop.ReadMSCCL(bytes.NewReader(text))
	if err == nil {
		err = schedule.Verify(s, got)
	}
	if err != nil || got != want {
		t.Errorf("MSCCL: %v, %v", got, err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "x.*.et")); err != nil || len(files) != 16 {
		t.Errorf("%d traces, %v, want 16", len(files), err)
	}
}

func TestPictures(t *testing.T) {
	dir := t.TempDir()
	out := tell(t, "-topo", "llama3,racks-per-pod=2", "-ranks", "64", "-b", "1M", "-plot", dir, "-draw", filepath.Join(dir, "network.svg"))
	for _, name := range []string{"choice.svg", "ranks.svg", "heat.svg", "size.svg", "chart.svg", "network.svg"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(text, []byte("<svg")) {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		if name != "network.svg" && !strings.Contains(out, name) {
			t.Errorf("%s is not named in\n%s", name, out)
		}
	}
	tell(t, "-topo", "nvlink", "-ranks", "2", "-plot", filepath.Join(dir, "made", "here"))
	tell(t, "-ranks", "1", "-plot", t.TempDir())
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	for k := 3; k <= 31; k += 4 { // a table of ten microseconds and 100 GB/s
		fmt.Fprintf(&b, "%d 1 float sum -1 %.2f 0 0 0 %.2f 0 0 0\n", 1<<k, 10+float64(int(1)<<k)/1e5, 11+float64(int(1)<<k)/1e5)
	}
	file, model := filepath.Join(dir, "table.txt"), filepath.Join(dir, "model.json")
	if err := os.WriteFile(file, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	out := tell(t, "-validate", file, "-group", "8x1")
	if !strings.Contains(out, "over 8 ranks on 1 hosts: every other row") || !strings.Contains(out, "# all ") {
		t.Errorf("half against half:\n%s", out)
	}
	tell(t, "-calibrate", file, "-group", "8x1", "-o", model)
	if out := tell(t, "-validate", file, "-group", "8x1", "-calibration", model); !strings.Contains(out, model) {
		t.Errorf("by a model:\n%s", out)
	}
	if out := tell(t, "-validate", "../../collective/calibrate/testdata/published.csv", "-calibration", model); strings.Count(out, "# all ") != 4 {
		t.Errorf("four tables:\n%s", out)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	empty, file := filepath.Join(dir, "empty"), filepath.Join(dir, "x.topology")
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	text, err := topology.Local(3).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-x"}, {"more"}, {"-scenario", "moon"}, {"-ranks", "0"}, {"-ranks", "x"}, {"-coll", "x"}, {"-algo", "x"}, {"-algo", "ring,ring"}, {"-algo", "all,ring"},
		{"-b", "-1"}, {"-b", "1M", "-e", "1K"}, {"-f", "0"}, {"-f", "1", "-i", "0"}, {"-level", "x"}, {"-level", "classes", "-flows", "2"}, {"-flows", "0"}, {"-seed", "x"},
		{"-jitter", "-1"}, {"-jitter", "NaN"}, {"-root", "-1"}, {"-coll", "reduce", "-root", "64"}, {"-fault", "rank64"}, {"-fault", "rank1%2"}, {"-fault", "rank1*2"},
		{"-fault", "rank1+x"}, {"-fault", "rank1>rank64"}, {"-fault", "rank1>world0.1"}, {"-fault", "rank1-world0.1"}, {"-fault", "world0.1"}, {"-fault", ""},
		{"-fault", "moon0.1", "-level", "congestion"}, {"-topo", file, "-ranks", "4"}, {"-o", "x"}, {"-json", "-", "-csv", "-"}, {"-json", ""},
		{"-validate", "x", "-calibrate", "y"},
	} {
		var usage *usageError
		if err := run(args, io.Discard, nil); !errors.As(err, &usage) {
			t.Errorf("simulate %q: got %v, want a usageError", args, err)
		}
	}
	const published = "../../collective/calibrate/testdata/published.csv"
	for _, args := range [][]string{
		{"-topo", "moon"}, {"-topo", empty}, {"-topo", "help,moon"}, {"-topo", dir},
		{"-goal", filepath.Join(empty, "x")}, {"-draw", filepath.Join(empty, "x")}, {"-plot", empty}, {"-chakra", filepath.Join(empty, "x")}, {"-trace", filepath.Join(empty, "x")},
		{"-json", filepath.Join(empty, "x")}, {"-csv", filepath.Join(empty, "x")}, {"-level", "classes", "-jitter", "1"},
		{"-calibrate", empty}, {"-calibrate", empty + "x"}, {"-calibrate", "main.go"}, {"-calibrate", published}, {"-calibration", empty}, {"-calibration", empty + "x"},
		{"-validate", empty}, {"-validate", empty, "-group", "x"}, {"-validate", published, "-calibration", empty}, {"-validate", published, "-topo", file},
	} {
		if err := run(args, io.Discard, nil); err == nil {
			t.Errorf("simulate %q: no error", args)
		}
	}
	if out := tell(t, "-topo", file, "-b", "4"); !strings.Contains(out, "3 ranks") {
		t.Errorf("a file:\n%s", out)
	}
}
