package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/examples/internal/processes"
	"github.com/ringtree/ringtree/examples/internal/wan"
)

// What perf measures between hosts of an emulated network, 200 Mbit/s and 10 ms there and back, and what is simulated of it from the
// costs that the group measured when it formed. It takes minutes and a quiet machine, so it runs only when asked to:
//
//	RINGTREE_WAN=1 go test ./examples/simulate -run TestWANPrediction -v
//
// RINGTREE_WAN_TRANSPORTS and RINGTREE_WAN_ALGOS choose some of it.
func TestWANPrediction(t *testing.T) {
	if os.Getenv("RINGTREE_WAN") == "" {
		t.Skip("it measures for minutes: set RINGTREE_WAN=1")
	}
	list := func(name, all string) []string {
		if s := os.Getenv(name); s != "" {
			all = s
		}
		return strings.Split(all, ",")
	}
	exe := filepath.Join(t.TempDir(), "perf")
	if out, err := exec.Command("go", "build", "-o", exe, "../perf").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fmt.Printf("# %-9s %-4s %5s  %8s  %12s  %12s  %7s\n", "transport", "algo", "ranks", "size (B)", "measured us", "simulated us", "error")
	var errs []float64
	for _, transport := range list("RINGTREE_WAN_TRANSPORTS", "quic,tcp") {
		for _, n := range []int{2, 4} {
			for _, algo := range list("RINGTREE_WAN_ALGOS", "ring,tree,hd") {
				errs = append(errs, predictOne(t, exe, transport, algo, n)...)
			}
		}
	}
	median, p90 := quantiles(errs)
	fmt.Printf("# %d rows: median error %.1f %%, p90 %.1f %%\n", len(errs), 100*median, 100*p90)
	if median > 0.15 {
		t.Errorf("the median error is %.1f %%, want at most 15", 100*median)
	}
}

// predictOne measures one group and returns the relative errors of the simulation.
func predictOne(t *testing.T, exe, transport, algo string, n int) (errs []float64) {
	network, err := wan.New(wan.Config{Hosts: n, Rate: 200e6, Delay: 5 * time.Millisecond})
	if errors.As(err, new(*wan.UnavailableError)) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	machine, table := filepath.Join(dir, "machine.topology"), filepath.Join(dir, "table.txt")
	flags := fmt.Sprintf("-transport %s -algo %s -b 256K -e 16M -f 4 -n 5 -w 2", transport, algo)
	start := func(i int, more string) *processes.Process {
		return processes.Start(t, exec.Command(exe, strings.Fields(flags+" "+more)...), network.Host(i).Start)
	}
	members := []*processes.Process{start(0, fmt.Sprintf("-invite %d -topology %s", n, machine))}
	for i := 1; i < n; i++ {
		members = append(members, start(i, "-join "+members[0].Invitation()))
	}
	for i, m := range members {
		out, complaint, err := m.End()
		if err != nil {
			t.Errorf("%v: %v\n%s", m, err, complaint)
		}
		if i == 0 && err == nil {
			if err := os.WriteFile(table, []byte(out), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	if t.Failed() {
		return nil
	}
	if text, err := os.ReadFile(machine); err == nil {
		t.Logf("%s, %d ranks:\n%s", transport, n, text)
	}
	rows := regexp.MustCompile(`(?m)^ +(\d+) +([\d.]+) +([\d.]+) +.* +([-+][\d.]+) +(\S+)$`)
	for _, f := range rows.FindAllStringSubmatch(tell(t, "-topo", machine, "-algo", algo, "-validate", table), -1) {
		e, err := strconv.ParseFloat(f[4], 64)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("  %-9s %-4s %5d  %8s  %12s  %12s  %+6.1f%%\n", transport, algo, n, f[1], f[2], f[3], e)
		errs = append(errs, e/100)
	}
	if len(errs) != 4 {
		t.Errorf("%s by %s over %d ranks: %d rows, want 4", transport, algo, n, len(errs))
	}
	return errs
}

// quantiles returns the median and the 90th percentile of the absolute errors.
func quantiles(errs []float64) (median, p90 float64) {
	if len(errs) == 0 {
		return math.Inf(1), math.Inf(1)
	}
	var v []float64
	for _, e := range errs {
		v = append(v, math.Abs(e))
	}
	slices.Sort(v)
	return v[(len(v)-1)/2], v[(len(v)*9+9)/10-1]
}
