//go:build linux && cgo && (amd64 || arm64)

package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/cudabridge/cudatest"
)

// standInVar tells perf, in a test, where the stand-in for the driver is.
const standInVar = "PERF_TEST_STANDIN"

func init() {
	under = func(perf func() int) int {
		path := os.Getenv(standInVar)
		if path == "" {
			return perf()
		}
		if err := cudatest.Start(path, cudatest.Options{Devices: 2, Delay: 20, Seed: 3, Memory: 1 << 28}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		status := perf()
		if n, text := cudatest.Violations(); n > 0 {
			fmt.Fprintf(os.Stderr, "the stand-in noted %d violations: %s\n", n, text)
			return exitFailed
		}
		if n := cudatest.Live(); n > 0 {
			fmt.Fprintf(os.Stderr, "%d bytes of device memory are left\n", n)
			return exitFailed
		}
		return status
	}
}

var copyLine = regexp.MustCompile(`(?m)^# Copy on the device   : \S+ GB/s; the best busbw, \S+ GB/s, is \S+ of it$`)

// TestCUDA measures on the stand-in's devices: processes on one and on two, by handles and staged, and goroutines.
func TestCUDA(t *testing.T) {
	library := cudatest.Build(t)
	t.Setenv(standInVar, library)
	for _, test := range []struct {
		line    string
		rows    int
		devices string // of the ranks
	}{
		{"-np 2 -device cuda:0 -b 4 -e 16K -f 64", 3, "0 0"},
		{"-np 2 -device cuda -coll all_gather -alloc plain -b 4K -e 4K", 1, "0 1"},
		{"-np 2 -device cuda -staged -coll reduce_scatter -o max -d bfloat16 -b 4K -e 4K -I", 1, "0 1"},
		{"-np 1 -t 3 -device cuda:1,0 -coll broadcast -r 2 -b 4K -e 4K -explain", 1, "1 0 1"},
		{"-np 1 -t 2 -device cuda -coll barrier", 1, "0 1"},
	} {
		if testing.Short() && !strings.HasPrefix(test.line, "-np 2 -device cuda:0") {
			continue
		}
		text := output(t, "-n 2 -w 1 -libcuda "+library+" "+test.line)
		rows := 0
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				rows++
			}
		}
		var devices []string
		for _, m := range regexp.MustCompile(`(?m)^#  Rank +\d+ .* device +(\d) \[0000:1[01]:00\.0\] Stand-in \d, sm_\d\d, driver for CUDA 12\.\d`).FindAllStringSubmatch(text, -1) {
			devices = append(devices, m[1])
		}
		if rows != test.rows || strings.Join(devices, " ") != test.devices || !strings.Contains(text, "# Out of bounds values : 0 OK\n") || !copyLine.MatchString(text) {
			t.Errorf("perf %s: got %d rows on %v, want %d on %s, none wrong and the device's own copy in\n%s", test.line, rows, devices, test.rows, test.devices, text)
		}
	}
	for line, want := range map[string]string{
		"-device cuda:5 -libcuda " + library:          "the driver has 2 devices, so no number 5",
		"-device cuda -libcuda no-such-library.so.1":  "cudabridge: no NVIDIA driver: no-such-library.so.1: cannot open shared object file",
		"-np 1 -device cuda -libcuda libcuda-nowhere": "perf: -device cuda: cudabridge: no NVIDIA driver",
	} {
		cmd := perf(line)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		_ = cmd.Run()
		if text := errs.String(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(text, want) || strings.Count(text, "\n") != 1 {
			t.Errorf("perf %s: got status %d and %q, want %d and one line with %q", line, cmd.ProcessState.ExitCode(), text, exitFailed, want)
		}
	}
}

// TestChecksDevice lets a device hold something else than was computed: the check sees it.
func TestChecksDevice(t *testing.T) {
	library := cudatest.Build(t)
	if err := cudatest.Start(library, cudatest.Options{Devices: 2, Delay: 20, Seed: 3, Memory: 1 << 28}); err != nil {
		t.Fatal(err)
	}
	o, err := parseFlags(strings.Fields("-np 1 -device cuda:0 -alloc plain -libcuda "+library), nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := o.openGPU(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuffers(nil, g, o.alloc, 4096, 4096)
	if err != nil {
		t.Fatal(err)
	}
	s := shape{1024, 1024, 1024}
	p := newPattern(o.dtypes[0], o.ops[0], 1, 9)
	l := layoutOf(b, allReduce, s, o.dtypes[0], 0, false)
	at := b.operands(&l, allReduce, s, o.dtypes[0], 0)
	steps := func(steps ...error) {
		t.Helper()
		for _, err := range steps {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func(want int64) {
		t.Helper()
		steps(b.download(&l))
		if n, err := l.wrong(&p, allReduce, 0, 0, nil); err != nil || n != want {
			t.Errorf("got %d wrong, %v, want %d", n, err, want)
		}
	}
	steps(l.prepare(&p, 0), b.upload(&l), g.stream.Copy(at.dst.Data, at.src.Data), g.stream.Synchronize())
	count(0)
	steps(g.stream.Fill(at.dst.Data[4:12], 0x55), g.stream.Fill(at.guards[1][:3], 1), g.stream.Synchronize())
	count(2 + 3)
	steps(g.stream.Fill(at.src.Data[:4], 0x55), g.stream.Synchronize())
	count(3 + 3)
	steps(b.free(), g.close())
	if n, text := cudatest.Violations(); n > 0 {
		t.Errorf("the stand-in noted %d violations: %s", n, text)
	}
}
