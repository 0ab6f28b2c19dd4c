package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// mainVar makes the test binary be perf itself, as parent and as ranks.
const mainVar = "PERF_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVar) != "" {
		os.Exit(under(func() int { return run(os.Args[1:], os.Stdout, os.Stderr) }))
	}
	os.Exit(m.Run())
}

// under runs perf; where there is a stand-in for the driver, that is started first and may find fault with it.
var under = func(perf func() int) int { return perf() }

func perf(line string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], strings.Fields(line)...)
	cmd.Env = append(os.Environ(), mainVar+"=1")
	return cmd
}

// output runs perf to its end and returns standard output.
func output(t *testing.T, line string) string {
	t.Helper()
	cmd := perf(line)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("perf %s: %v\n%s%s", line, err, out, errs.String())
	}
	if errs.Len() > 0 {
		t.Errorf("perf %s: standard error: got %q, want nothing", line, errs.String())
	}
	return string(out)
}

// A tableRow is a row as programs in the field read it: split at white space, told from the rest by 13 columns.
type tableRow struct {
	size, count, root int
	dtype, op         string
	half              [2]struct{ time, algbw, busbw, wrong float64 }
}

func parseTable(t *testing.T, text string) (rows []tableRow, wrong int, average float64) {
	t.Helper()
	average = math.NaN()
	wrong = -1
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if m := regexp.MustCompile(`^# Out of bounds values : (\d+) (OK|FAILED)$`).FindStringSubmatch(line); m != nil {
			wrong, _ = strconv.Atoi(m[1])
			if (wrong == 0) != (m[2] == "OK") {
				t.Errorf("%q contradicts itself", line)
			}
		}
		if m := regexp.MustCompile(`^# Avg bus bandwidth    : (\S+) $`).FindStringSubmatch(line); m != nil {
			average, _ = strconv.ParseFloat(m[1], 64)
		}
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 13 {
			t.Fatalf("row %q: got %d columns, want 13", line, len(f))
		}
		var r tableRow
		var err error
		number := func(i int) float64 {
			x, e := strconv.ParseFloat(f[i], 64)
			if f[i] == "N/A" {
				x, e = math.NaN(), nil
			}
			if e != nil {
				err = e
			}
			return x
		}
		r.size, r.count, r.root, r.dtype, r.op = int(number(0)), int(number(1)), int(number(4)), f[2], f[3]
		for h := range r.half {
			i := 5 + 4*h
			r.half[h].time, r.half[h].algbw, r.half[h].busbw, r.half[h].wrong = number(i), number(i+1), number(i+2), number(i+3)
		}
		if err != nil {
			t.Fatalf("row %q: %v", line, err)
		}
		rows = append(rows, r)
	}
	if wrong < 0 || math.IsNaN(average) {
		t.Fatalf("no footer in\n%s", text)
	}
	return rows, wrong, average
}

func TestTwoProcesses(t *testing.T) {
	text := output(t, "-np 2 -b 0 -e 64K -f 16 -n 4 -w 1")
	rows, wrong, average := parseTable(t, text)
	var sizes []int
	sum := 0.0
	for _, r := range rows {
		sizes = append(sizes, r.size)
		if r.count*4 != r.size || r.dtype != "float" || r.op != "sum" || r.root != -1 {
			t.Errorf("row %+v: want a float sum with 4 bytes an element and no root", r)
		}
		for _, h := range r.half {
			if h.wrong != 0 || h.time <= 0 {
				t.Errorf("size %d: got %g wrong in %g us, want 0 and a time", r.size, h.wrong, h.time)
			}
			// algbw = bytes/time; both are rounded to two decimals in the table, which is much of a time below a microsecond.
			lo, hi := float64(r.size)/(h.time+0.0051)/1e3, float64(r.size)/(h.time-0.0051)/1e3
			if h.algbw < lo-0.0051 || h.algbw > hi+0.0051 {
				t.Errorf("size %d: algbw %g, want %g to %g for %g us", r.size, h.algbw, lo, hi, h.time)
			}
			if math.Abs(h.busbw-h.algbw) > 0.011 { // 2(n-1)/n is 1 for two ranks
				t.Errorf("size %d: busbw %g, want %g", r.size, h.busbw, h.algbw)
			}
			sum += h.busbw
		}
	}
	if got, want := fmt.Sprint(sizes), "[0 4 64 1024 16384]"; got != want {
		t.Errorf("sizes: got %s, want %s", got, want)
	}
	if wrong != 0 {
		t.Errorf("out of bounds: got %d, want 0", wrong)
	}
	if mean := sum / float64(2*len(rows)); math.Abs(mean-average) > 0.006 {
		t.Errorf("average: got %g, want %g", average, mean)
	}
	pids := devicePids(text)
	if len(pids) != 2 || pids[0] == pids[1] {
		t.Errorf("devices: got processes %v, want two", pids)
	}
}

var deviceLine = regexp.MustCompile(`(?m)^#  Rank +(\d+) Group +0 Pid +(\d+) on +\S+ device +\d+ \[cpu\] \S`)

// devicePids are the process ids by rank as the table names them.
func devicePids(text string) (pids []int) {
	for _, m := range deviceLine.FindAllStringSubmatch(text, -1) {
		pid, _ := strconv.Atoi(m[2])
		if m[1] == strconv.Itoa(len(pids)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestGoroutineRanks(t *testing.T) {
	for _, test := range []struct {
		line string
		rows int
	}{
		{"-coll all_reduce -b 4 -e 16K -f 64", 3},
		{"-coll reduce_scatter -b 64 -e 16K -f 16", 3},
		{"-coll all_gather -b 64 -e 16K -f 16 -c 3", 3},
		{"-coll broadcast -r all -b 4K -e 4K", 4},
		{"-coll reduce -r 3 -o max -b 4K -e 8K", 2},
		{"-coll barrier", 1},
		{"-o all -d all -b 1K -e 1K", 60},
		{"-algo ring -alloc plain -b 100 -e 300 -i 100 -m 2 -N 2 -a 0", 6},
		{"-hosts 2 -b 4K -e 4K -d half -o avg -a 3", 1},
		{"-c 0 -b 4K -e 4K -a 2", 1},
	} {
		t.Run(test.line, func(t *testing.T) {
			rows, wrong, _ := parseTable(t, output(t, "-np 1 -t 4 -transport mem -n 2 -w 1 "+test.line))
			if len(rows) != test.rows || wrong != 0 {
				t.Errorf("got %d rows, %d wrong, want %d and 0", len(rows), wrong, test.rows)
			}
			unchecked := strings.Contains(test.line, "-c 0") || strings.Contains(test.line, "barrier")
			for _, r := range rows {
				for _, h := range r.half {
					if math.IsNaN(h.wrong) != unchecked || h.wrong > 0 {
						t.Errorf("row %+v: #wrong is %g, want 0, or N/A when nothing is checked (%v)", r, h.wrong, unchecked)
					}
				}
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	report, picture := filepath.Join(dir, "r.json"), filepath.Join(dir, "p.svg")
	text := output(t, fmt.Sprintf("-np 1 -t 2 -b 1K -e 4K -n 5 -I -J %s -plot %s -explain", report, picture))
	if !strings.Contains(text, "# Writing JSON output to "+report+"\n") || !strings.Contains(text, "# Plot written to "+picture+"\n") {
		t.Errorf("the files are not named in\n%s", text)
	}
	rows := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			rows++
			if n := len(strings.Fields(line)); n != 21 {
				t.Errorf("row %q: got %d columns, want 13 and 4 of iterations for each half", line, n)
			}
		}
	}
	if rows != 3 {
		t.Errorf("got %d rows, want 3", rows)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Config  struct{ Iterations int }
		Results []struct {
			Size    int
			InPlace struct {
				Time   float64
				NWrong *float64
			} `json:"in_place"`
			PerIter struct {
				Times []float64 `json:"times_us"`
				Min   float64   `json:"min_us"`
			} `json:"in_place_per_iter"`
		}
		Bounds struct{ Okay string } `json:"out_of_bounds"`
		End    string                `json:"end_time"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	if got.Config.Iterations != 5 || len(got.Results) != 3 || got.Bounds.Okay != "true" || got.End == "" {
		t.Errorf("report: got %+v, want 5 iterations, 3 results, all in order", got)
	}
	for _, r := range got.Results {
		if len(r.PerIter.Times) != 5 || r.PerIter.Min <= 0 || r.InPlace.Time <= 0 || r.InPlace.NWrong == nil || *r.InPlace.NWrong != 0 {
			t.Errorf("result %+v: want 5 times, all positive, none wrong", r)
		}
	}
	if data, err := os.ReadFile(picture); err != nil || !bytes.Contains(data, []byte("bus bandwidth (GB/s)")) {
		t.Errorf("picture: got %d bytes, %v", len(data), err)
	}
}

func TestExitStatus(t *testing.T) {
	for _, test := range []struct {
		line   string
		status int
		out    string // on standard output
		errs   string // on standard error
	}{
		{"-h", 0, "Example:", ""},
		{"-b nonsense", 2, "", `perf: invalid value "nonsense" for flag -b`},
		{"-np 2 -transport mem", 2, "", "perf: -transport mem"},
		{"-np 1 -plot /no/such/folder/p.png -b 8 -e 8 -n 1", 1, "Avg bus", "/no/such/folder/p.png"},
		{"-np 1 -J /no/such/folder/r.json", 1, "", "/no/such/folder/r.json"},
	} {
		cmd := perf(test.line)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != test.status {
			t.Errorf("perf %s: status %d, want %d\n%s", test.line, got, test.status, errs.String())
		}
		if !strings.Contains(out.String(), test.out) || !strings.Contains(errs.String(), test.errs) {
			t.Errorf("perf %s: got %q and %q, want %q and %q", test.line, out.String(), errs.String(), test.out, test.errs)
		}
		if strings.Count(errs.String(), "\n") > 1 {
			t.Errorf("perf %s: standard error: got %q, want one line", test.line, errs.String())
		}
	}
}
