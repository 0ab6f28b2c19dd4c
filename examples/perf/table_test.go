package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/examples/internal/sizes"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func sampleHeader(perIter bool) header {
	return header{
		version: "v0.1.0", goVersion: "go1.26.8", program: "perf", threads: 1, sweep: sizes.Sweep{First: 0, Last: 64 << 20, Step: 1 << 20, Factor: 2},
		warmup: 5, iters: 20, agg: 1, check: 1, perIter: perIter, experiment: "all_reduce", args: []string{"perf", "-b", "0"},
		env: []string{"GOMAXPROCS=2"}, ranks: 2, processes: 2, transport: "auto", algo: "ring", hosts: 1, alloc: "registered",
		start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		devices: []device{
			{Rank: 0, PID: 4711, Host: "alpha", Hex: "cpu", Info: "amd64, 2 cores, transport auto"},
			{Rank: 1, PID: 1234567, Host: "a-very-long-name", Hex: "cpu", Info: "amd64, 2 cores, transport auto"},
		},
	}
}

func sampleRows(perIter bool) []row {
	m := func(us, alg, bus float64, wrong int64) measurement {
		m := measurement{seconds: us / 1e6, algbw: alg, busbw: bus, checked: true, wrong: wrong}
		if perIter {
			m.times = [][]float64{{us / 1e6, us / 2e6, us / 1e6}, {us / 2e6, us / 1e6, us / 1e6}}
		}
		return m
	}
	rows := []row{
		{size: 0, dtype: "float", op: "sum", root: -1, outOfPlace: m(0.37, 0, 0, 0), inPlace: m(0.5, 0, 0, 0), iters: 20},
		{size: 1024, count: 256, dtype: "bfloat16", op: "prod", root: -1, outOfPlace: m(123.456, 0.0083, 0.0125, 3), inPlace: m(99999.9, 12.345, 18.5175, 1234567), iters: 20},
		{size: 67108864, count: 16777216, dtype: "int8", op: "none", root: 11, outOfPlace: m(12345678.9, 123.456, 1234.56, 0), inPlace: m(1e9, 123456, 1e9, 0), iters: 20},
	}
	rows[2].inPlace.checked = false
	return rows
}

func sampleTable(t *testing.T, perIter bool) string {
	t.Helper()
	var out bytes.Buffer
	rows := sampleRows(perIter)
	err := writeHeader(&out, sampleHeader(perIter))
	for _, r := range rows {
		err = errors.Join(err, writeRow(&out, r))
	}
	if err = errors.Join(err, writeFooter(&out, "perf", totalWrong(rows), averageBus(rows))); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTable(t *testing.T) {
	golden(t, "table.txt", sampleTable(t, false))
	golden(t, "table_per_iter.txt", sampleTable(t, true))
}

// TestHeadAsInNcclTests holds the two lines that name the columns to what nccl-tests prints, character by character.
func TestHeadAsInNcclTests(t *testing.T) {
	want := "#                                                              out-of-place                       in-place          \n" +
		"#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong \n" +
		"#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)         \n"
	if got := columns(false); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestNumber(t *testing.T) {
	tests := []struct {
		value float64
		width int
		want  string
	}{
		{0, 7, "   0.00"}, {0.004, 7, "   0.00"}, {0.37, 7, "   0.37"}, {9.999, 7, "  10.00"}, {99.99, 7, "  99.99"},
		{1234.56, 7, "1234.56"}, {9999.99, 7, "9999.99"}, {12345.67, 7, "12345.7"}, {123456.7, 7, " 123457"},
		{1234567, 7, "1234567"}, {12345678, 7, "1.2e+07"}, {1e12, 7, "1.0e+12"},
		{0, 6, "  0.00"}, {1.005, 6, "  1.00"}, {123.456, 6, "123.46"}, {1234.56, 6, "1234.6"}, {12345.6, 6, " 12346"},
		{123456, 6, "123456"}, {1234567, 6, " 1e+06"}, {math.Inf(1), 7, "   +Inf"},
	}
	for _, test := range tests {
		if got := number(test.value, test.width); got != test.want {
			t.Errorf("number(%g, %d): got %q, want %q", test.value, test.width, got, test.want)
		}
	}
}

func FuzzNumber(f *testing.F) {
	f.Add(0.0)
	f.Add(99999.95)
	f.Add(math.MaxFloat64)
	f.Fuzz(func(t *testing.T, value float64) {
		if value < 0 || math.IsNaN(value) || value > 1e99 {
			return // no time is negative, and three digits of exponent do not fit nccl-tests' columns either
		}
		for _, width := range []int{6, 7} {
			// Rounding up may add a digit, as it does in nccl-tests.
			if got := number(value, width); len(got) < width || len(got) > width+1 || strings.TrimSpace(got) == "" {
				t.Errorf("number(%g, %d) = %q, want %d characters", value, width, got, width)
			}
		}
	})
}

func TestStats(t *testing.T) {
	times := make([]float64, 200)
	for i := range times {
		times[i] = float64(200 - i)
	}
	s := summarise(times)
	want := iterStats{min: 1, max: 200, avg: 100.5, p50: 101, p95: 190, p99: 198, stdev: 57.7343}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"min", s.min, want.min}, {"max", s.max, want.max}, {"avg", s.avg, want.avg}, {"p50", s.p50, want.p50},
		{"p95", s.p95, want.p95}, {"p99", s.p99, want.p99}, {"stdev", s.stdev, want.stdev}, {"cv", s.cv(), 57.4471},
	} {
		if math.Abs(c.got-c.want) > 1e-4 {
			t.Errorf("%s: got %g, want %g", c.name, c.got, c.want)
		}
	}
	if times[0] != 200 {
		t.Error("summarise sorted its argument")
	}
	if cv := summarise([]float64{0}).cv(); cv != 0 {
		t.Errorf("cv of no time: got %g, want 0", cv)
	}
	if got := slowest([][]float64{{1, 5}, {2, 4}}); got[0] != 2 || got[1] != 5 {
		t.Errorf("slowest: got %v, want [2 5]", got)
	}
}

func TestJSON(t *testing.T) {
	end := time.Date(2026, 1, 2, 3, 4, 15, 0, time.UTC)
	for name, perIter := range map[string]bool{"report.json": false, "report_per_iter.json": true} {
		r := makeJSON(sampleHeader(perIter), sampleRows(perIter), nil, end)
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, string(text)+"\n")
	}
	r := makeJSON(sampleHeader(false), nil, errors.New("rank 1 is gone"), end)
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), `"errors":["rank 1 is gone"]`) || !strings.Contains(string(text), `"results":[]`) {
		t.Errorf("failed run: got %s, %v", text, err)
	}
	if text, err := json.Marshal(decimal(math.NaN())); err != nil || string(text) != `"NaN"` {
		t.Errorf("NaN: got %s, %v", text, err)
	}
	step := sampleHeader(false)
	step.sweep.Factor = 1
	if text, err = json.Marshal(makeJSON(step, nil, nil, end)); err != nil || !strings.Contains(string(text), `"step_bytes":1048576,"warmup`) {
		t.Errorf("sweep by steps: got %s, %v", text, err)
	}
}

func TestReportFileIsNotOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	for _, want := range []string{path, path + ".0", path + ".1"} {
		f, err := createReport(path)
		if err != nil || f.Name() != want {
			t.Fatalf("got %v, %v, want %s", f, err, want)
		}
		for _, rows := range [][]row{sampleRows(false), nil} { // the second is shorter
			if err := writeJSON(f, makeJSON(sampleHeader(false), rows, nil, time.Time{})); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(want); err != nil || !json.Valid(text) {
			t.Errorf("%s: not JSON: %q, %v", want, text, err)
		}
	}
	if _, err := createReport(filepath.Join(path, "below-a-file")); err == nil {
		t.Error("in a folder that is none: got nil, want an error")
	}
}
