package main

import (
	"bytes"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plotRows look like a run: a latency of 3 us and 5 GB/s.
func plotRows(dtype string, slower float64) []row {
	var rows []row
	for size := int64(8); size <= 64<<20; size *= 2 {
		m := func(f float64) measurement {
			seconds := f * slower * (3e-6 + float64(size)/5e9*(1+0.5*math.Sin(float64(size%97))/3))
			bw := float64(size) / 1e9 / seconds
			return measurement{seconds: seconds, algbw: bw, busbw: bw * 1.5}
		}
		rows = append(rows, row{size: size, dtype: dtype, op: "sum", root: -1, outOfPlace: m(1), inPlace: m(1.2)})
	}
	return rows
}

func TestDrawPlot(t *testing.T) {
	dir := t.TempDir()
	one := append([]row{{dtype: "float", op: "sum", root: -1}}, plotRows("float", 1)...)
	two := append(plotRows("float", 1), plotRows("half", 3)...)
	if keep := os.Getenv("PERF_KEEP_PLOTS"); keep != "" {
		dir = keep
	}
	for name, rows := range map[string][]row{
		"one.png": one, "two.svg": two, "one.svg": one, "empty.svg": nil, "zero.svg": one[:1], "single.svg": one[5:6], "rooted.svg": {{size: 8, dtype: "int8", op: "none", root: 3, outOfPlace: one[3].outOfPlace}},
	} {
		path := filepath.Join(dir, name)
		if err := drawPlot(path, "all_reduce, float sum, 4 ranks", rows); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".png") {
			img, err := png.Decode(bytes.NewReader(data))
			if err != nil || img.Bounds().Dx() != 1350 || img.Bounds().Dy() != 1350 {
				t.Errorf("%s: got %v, want a picture of 1350 x 1350", name, err)
			}
			continue
		}
		for _, want := range []string{"size (bytes)", "bus bandwidth (GB/s)", "time of one call (µs)"} {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s: lacks %q", name, want)
			}
		}
	}
	if err := drawPlot(filepath.Join(dir, "no", "such", "folder.png"), "", one); err == nil {
		t.Error("in a folder that is not there: got nil, want an error")
	}
}

func TestSeries(t *testing.T) {
	rows := plotRows("float", 1)
	if got := seriesOf(rows); len(got) != 2 || got[0].label != "out of place" || got[1].label != "in place" || !got[1].inPlace {
		t.Errorf("one type: got %+v, want out of place and in place", got)
	}
	twice := append(rows, plotRows("float", 3)...) // a second cycle
	lines := seriesOf(twice)
	if len(lines) != 2 || len(lines[0].rows) != len(rows) {
		t.Fatalf("two cycles: got %d lines of %d rows, want 2 of %d", len(lines), len(lines[0].rows), len(rows))
	}
	if got, want := lines[0].rows[4].outOfPlace.seconds, 2*rows[4].outOfPlace.seconds; math.Abs(got/want-1) > 1e-9 {
		t.Errorf("mean of two cycles: got %g s, want %g", got, want)
	}
	rooted := []row{{size: 8, dtype: "int8", op: "none", root: 0}, {size: 8, dtype: "int8", op: "none", root: 1}}
	if got := seriesOf(rooted); len(got) != 4 || got[2].label != "int8 root 1, out of place" {
		t.Errorf("two roots: got %+v, want four lines named by their root", got)
	}
}

func TestTicks(t *testing.T) {
	named := func(lo, hi float64) string {
		var out []string
		for _, tick := range (sizeTicks{}).Ticks(lo, hi) {
			if tick.Label != "" {
				out = append(out, tick.Label)
			}
		}
		return strings.Join(out, ",")
	}
	if got, want := named(8, 64<<20), "8 B,64 B,512 B,4 KiB,32 KiB,256 KiB,2 MiB,16 MiB"; got != want {
		t.Errorf("8 B to 64 MiB: got %s, want %s", got, want)
	}
	if got, want := named(700, 1500), "1 KiB"; got != want {
		t.Errorf("one size: got %s, want %s", got, want)
	}
	labels := map[string]bool{}
	for _, tick := range (decimalTicks{}).Ticks(0.1, 1e7) {
		labels[tick.Label] = true
	}
	for _, want := range []string{"0.1", "1", "10", "1000", "1e+06"} {
		if !labels[want] {
			t.Errorf("decades: %s is not named: %v", want, labels)
		}
	}
}
