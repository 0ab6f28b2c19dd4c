package calibrate_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ringtree/ringtree/collective/calibrate"
)

const text = `# nccl-tests version 2.19.6 nccl-headers=23007 nccl-library=23007
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 1 minBytes 8 maxBytes 17179869184 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0 unalign: 0
#
# Using devices
#  Rank  0 Group  0 Pid   4711 on      alpha device  0 [0000:19:00] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid   4712 on      alpha device  1 [0000:3b:00] NVIDIA H100 80GB HBM3
#  Rank  2 Group  0 Pid    815 on       beta device  0 [0000:19:00] NVIDIA H100 80GB HBM3
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)
           0             0     float     sum      -1     0.37    0.00    0.00       0     0.50    0.00    0.00       0
        1024           256     float     sum      -1    30.25    0.03    0.05       0    29.10    0.04    0.05       0
alpha:4711:4711 [0] NCCL INFO something said in between
        2048           512     float     sum      -1    31.00    0.07    0.09     N/A    1.2e+02    0.02    0.03     N/A
         512           128     float     sum      -1    28.00    0.02    0.02       0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 0.05
`

func TestParseText(t *testing.T) {
	got, err := calibrate.ParseTable(strings.NewReader(text), calibrate.Shape{})
	want := &calibrate.Table{
		Name: "all_reduce_perf", Shape: calibrate.Shape{Ranks: 3, Hosts: 2},
		Rows: []calibrate.Row{{Bytes: 512, Seconds: 28e-6}, {Bytes: 1024, Seconds: 29.1e-6}, {Bytes: 2048, Seconds: 31e-6}},
	}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Abs(b) })
	if err != nil || !cmp.Equal(got, want, near) {
		t.Errorf("got %+v, %v: %s", got, err, cmp.Diff(want, got, near))
	}
	if got, err := calibrate.ParseTable(strings.NewReader(text), calibrate.Shape{Ranks: 16, Hosts: 4}); err != nil || got.Shape != (calibrate.Shape{Ranks: 16, Hosts: 4}) {
		t.Errorf("told of 16 ranks on 4 hosts: %+v, %v", got, err)
	}
}

func TestParseJSON(t *testing.T) {
	const report = `{"version":2,"config":{"devices":[{"rank":0,"hostname":"a"},{"rank":1,"hostname":"b"}]},
		"results":[{"size":2048,"out_of_place":{"time":41.5,"alg_bw":0.1},"in_place":{"time":40.000000}},
		{"size":1024,"out_of_place":{"cpu_time":39},"in_place":{}}]}`
	got, err := calibrate.ParseTable(strings.NewReader(report), calibrate.Shape{})
	if err != nil || got.Shape != (calibrate.Shape{Ranks: 2, Hosts: 2}) || len(got.Rows) != 2 || got.Rows[0].Bytes != 1024 || math.Abs(got.Rows[1].Seconds-40e-6) > 1e-12 {
		t.Errorf("got %+v, %v", got, err)
	}
	const own = `{"config":{"devices":[{"hostname":"a"}],"ringtree":{"ranks":4,"hosts":2}},"results":[{"size":8,"out_of_place":{"time":1},"in_place":{"time":2}}]}`
	if got, err := calibrate.ParseTable(strings.NewReader(own), calibrate.Shape{}); err != nil || got.Shape != (calibrate.Shape{Ranks: 4, Hosts: 2}) {
		t.Errorf("the report of one process of four ranks: %+v, %v", got, err)
	}
}

// What perf of this module writes, as text and as JSON, is read.
func TestParsePerf(t *testing.T) {
	for name, rows := range map[string]int{"table.txt": 2, "report.json": 2} {
		f, err := os.Open("../../examples/perf/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := calibrate.ParseTable(f, calibrate.Shape{})
		f.Close()
		if err != nil || got.Shape.Ranks < 2 || len(got.Rows) < rows-1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTableErrors(t *testing.T) {
	row := "1024 256 float sum -1 30 0.1 0.1 0\n"
	for name, text := range map[string]string{
		"nothing":        "",
		"no rows":        "# Rank 0 Group 0 Pid 1 on a device\n",
		"no group":       row,
		"a word":         strings.Replace(row, "30", "x", 1),
		"negative time":  strings.Replace(row, "30", "-1", 1),
		"negative bytes": "-" + row,
		"bad JSON":       "{",
		"JSON bytes":     `{"results":[{"size":-1}]}`,
		"JSON time":      `{"results":[{"size":1,"in_place":{"time":-1}}]}`,
		"long line":      strings.Repeat("x", 2<<20),
	} {
		got, err := calibrate.ParseTable(strings.NewReader(text), calibrate.Shape{})
		var te *calibrate.TableError
		if !errors.As(err, &te) || got != nil || !strings.Contains(err.Error(), te.Reason) {
			t.Errorf("%s: got %v, %v, want a TableError", name, got, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":  "",
		"columns":  "case,ranks\n",
		"no rows":  "case,ranks,nodes,bytes,time_us\n",
		"ranks":    "case,ranks,nodes,bytes,time_us\na,x,1,1,1\n",
		"group":    "case,ranks,nodes,bytes,time_us\na,1,1,1,1\n",
		"bytes":    "case,ranks,nodes,bytes,time_us\na,2,1,x,1\n",
		"time":     "case,ranks,nodes,bytes,time_us\na,2,1,1,NaN\n",
		"a column": "case,ranks,nodes,bytes,time_us\na,2,1\n",
	} {
		got, err := calibrate.ParseTables(strings.NewReader(text))
		var te *calibrate.TableError
		if !errors.As(err, &te) || got != nil {
			t.Errorf("tables, %s: got %v, %v, want a TableError", name, got, err)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add([]byte(text))
	f.Add([]byte(`{"config":{"ringtree":{"ranks":4,"hosts":2}},"results":[{"size":8,"out_of_place":{"time":1}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range []calibrate.Shape{{}, {Ranks: 4, Hosts: 2}} {
			got, err := calibrate.ParseTable(bytes.NewReader(text), s)
			if err != nil {
				var te *calibrate.TableError
				if !errors.As(err, &te) || got != nil {
					t.Fatalf("got %v, %v", got, err)
				}
				continue
			}
			for i, r := range got.Rows {
				if r.Bytes <= 0 || !(r.Seconds > 0) || i > 0 && r.Bytes <= got.Rows[i-1].Bytes {
					t.Fatalf("rows %v", got.Rows)
				}
			}
		}
		if tables, err := calibrate.ParseTables(bytes.NewReader(text)); (err == nil) != (len(tables) > 0) {
			t.Fatalf("%d tables, %v", len(tables), err)
		}
	})
}
