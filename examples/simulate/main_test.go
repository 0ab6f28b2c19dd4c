package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/interop"
	"github.com/ringtree/ringtree/collective/schedule"
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
	if err := run(args, &b, io.Discard); err != nil {
		t.Fatalf("simulate %s: %v", strings.Join(args, " "), err)
	}
	return b.String()
}

// What is written for other tools is read back and does what it should.
func TestExports(t *testing.T) {
	dir := t.TempDir()
	goal, xml := filepath.Join(dir, "x.goal"), filepath.Join(dir, "x.xml")
	out := tell(t, "-topo", "rail", "-ranks", "16", "-algo", "tree", "-goal", goal, "-msccl", xml, "-chakra", filepath.Join(dir, "x"))
	if !strings.Contains(out, "\n* tree ") {
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
	tell(t, "-topo", "llama3,racks-per-pod=2", "-ranks", "128", "-plot", dir, "-draw", filepath.Join(dir, "network.svg"))
	tell(t, "-topo", "nvlink", "-ranks", "2", "-plot", t.TempDir())
	for _, name := range []string{"choice.svg", "ranks.svg", "heat.svg", "network.svg"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(text, []byte("<svg")) {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
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
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-x"}, {"more"}, {"-scenario", "moon"}, {"-topo", "moon"}, {"-topo", empty}, {"-ranks", "0"}, {"-coll", "x"}, {"-algo", "x"}, {"-b", "-1"},
		{"-goal", filepath.Join(empty, "x")}, {"-draw", filepath.Join(empty, "x")}, {"-plot", empty}, {"-chakra", filepath.Join(empty, "x")},
		{"-calibrate", empty}, {"-calibrate", empty + "x"}, {"-calibrate", "main.go"}, {"-calibrate", "../../collective/calibrate/testdata/published.csv"},
		{"-validate", empty}, {"-validate", empty, "-group", "x"}, {"-validate", "../../collective/calibrate/testdata/published.csv", "-calibration", empty},
	} {
		if err := run(args, io.Discard, io.Discard); err == nil {
			t.Errorf("simulate %q: no error", args)
		}
	}
}
