package main

import (
	"bufio"
	"bytes"
	"fmt"
	"image/png"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport/shm"
)

// asProgram makes the test binary the program itself.
const asProgram = "TOPO_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// topo runs the program and returns its exit status and what it wrote.
func topo(t *testing.T, env []string, args ...string) (status int, out, errs string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the status says it
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func output(t *testing.T, env []string, args ...string) string {
	t.Helper()
	status, out, errs := topo(t, env, args...)
	if status != 0 || errs != "" {
		t.Fatalf("topo %v: status %d\n%s%s", args, status, out, errs)
	}
	return out
}

// holds fails unless text has a match for each pattern.
func holds(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(text) {
			t.Errorf("nothing matches %q in\n%s", p, text)
		}
	}
}

// Four processes on two pretended hosts, with everything that there is to show. The text that it prints can be given back
// to it.
func TestProcesses(t *testing.T) {
	if err := shm.Available(); err != nil {
		t.Skipf("processes need shared memory: %v", err)
	}
	dir := t.TempDir()
	picture := filepath.Join(dir, "p.png")
	text := output(t, nil, "-np", "4", "-t", "2", "-hosts", "2", "-size", "64K", "-plot", picture)
	holds(t, text, `^# topo: 8 ranks on 2 hosts, as measured, transports mem, shm`, `^Machine of rank 0: \S*/[0-9a-f]{32}$`, `^  cores   \d+ cores?`,
		`^  host0, rack r0, site s0: 4 ranks, `, `^  host1, rack r0, site s0: 4 ranks, `, `^    rank 7  process \d+  machine \S+$`,
		`^  device  mem +\S+ \S+ +\S+ GB/s .* \d+ %  +\d+ +\d+$`, `^  host    shm +`, `^  rack    shm +`,
		`all_reduce of 64 KiB over 8 ranks on 2 hosts: `, `^    \* .* predicted`, `^Plot written to `)
	pids := make(map[string]int)
	for _, m := range regexp.MustCompile(`process (\d+)`).FindAllStringSubmatch(text, -1) {
		pids[m[1]]++
	}
	if len(pids) != 4 {
		t.Errorf("got processes %v, want 4 with two ranks each", pids)
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 500 {
		t.Errorf("picture: %v, want one of more than 500 points' width", err)
	}

	_, described, ok := strings.Cut(text, "as -topo FILE reads it\n")
	described, _, _ = strings.Cut(described, "\n\n")
	file := filepath.Join(dir, "machine.topology")
	if err := os.WriteFile(file, []byte(described), 0o600); err != nil || !ok {
		t.Fatal(err, ok)
	}
	if g, err := topology.Parse(strings.NewReader(described)); err != nil || g.Size() != 8 || g.Hosts() != 2 || g.Devices() != 4 {
		t.Fatalf("the printed topology: %v in\n%s", err, described)
	}
	holds(t, output(t, nil, "-topo", file, "-size", "64K"), `^# topo: 8 ranks on 2 hosts, as described$`, `all_reduce of 64 KiB over 8 ranks on 2 hosts: `)
}

// Goroutines of one process need no shared memory. What is kept in the cache is not measured again.
func TestGoroutinesAndCache(t *testing.T) {
	dir := t.TempDir()
	env := []string{"XDG_CACHE_HOME=" + dir, "HOME=" + dir, "LocalAppData=" + dir}
	line := []string{"-np", "1", "-t", "3", "-transport", "mem", "-cache"}
	first := output(t, env, line...)
	holds(t, first, `^# topo: 3 ranks on 1 host, as measured, transports mem$`, `^Links$`, `^  device  mem `)
	files, err := filepath.Glob(filepath.Join(dir, "ringtree", "probe-*.json"))
	if err != nil || len(files) != 1 {
		if files, err = filepath.Glob(filepath.Join(dir, "*", "*", "ringtree", "probe-*.json")); err != nil || len(files) != 1 { // Library/Caches
			t.Fatalf("got cache files %v, %v, want one", files, err)
		}
	}
	tier := regexp.MustCompile(`(?m)^  tier device .*$`)
	second := output(t, env, line...)
	holds(t, second, `^Links \(from the cache\)$`)
	if got, want := tier.FindString(second), tier.FindString(first); got != want || want == "" {
		t.Errorf("from the cache: got %q, want %q", got, want)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, output(t, env, line...), `^Links \(measured anew: probe: cache file .*\)$`)
	holds(t, output(t, env, line...), `^Links \(from the cache\)$`)
}

func TestOneRank(t *testing.T) {
	holds(t, output(t, nil, "-np", "1"), `^# topo: 1 rank on 1 host`, `^  none$`, `over 1 ranks`)
}

func TestDescribed(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "p.svg")
	text := output(t, nil, "-topo", "wan:sites=3,per-host=2", "-np", "12", "-plot", picture)
	holds(t, text, `^# topo: 12 ranks on 6 hosts, as described$`, `^  world +50 ms +0.125 GB/s`, `^  h5, rack r2, site s2: 2 ranks$`)
	svg, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"12 ranks on 6 hosts", "world", "rack r2", "h5", "alpha 50 ms"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("the picture lacks %q", want)
		}
	}
	holds(t, output(t, nil, "-topo", "llama3", "-np", "4096", "-size", "1G"), `^  and 496 hosts more$`, `over 4096 ranks on 512 hosts`)
}

func TestExitStatus(t *testing.T) {
	for _, test := range []struct {
		args   string
		status int
		out    string // on standard output
		errs   string // on standard error
	}{
		{"-h", 0, "-topo DESCRIPTION", ""},
		{"-np 0", 2, "", "at least 1"},
		{"-topo nowhere", 1, "", "neither a file nor one of the presets clos2, clos3"},
		{"-topo wan:sites", 1, "", "not parameter=value"},
		{"-topo wan:sites=x", 1, "", `parameter "sites"`},
		{"-topo local -plot /no/such/folder/p.png", 1, "", "/no/such/folder/p.png"},
		{"-np 1 -t 2 -transport mem -plot /no/such/folder/p.png", 1, "", "/no/such/folder/p.png"},
		{"-np 1 -t 2 -transport mem -timeout 1ns", 1, "", "not done within 1ns"},
	} {
		status, out, errs := topo(t, nil, strings.Fields(test.args)...)
		if status != test.status || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
			t.Errorf("topo %s: got status %d, %q and %q, want %d, %q and %q", test.args, status, out, errs, test.status, test.out, test.errs)
		}
	}
}

// Processes that a launcher has started are told by their environment who they are; on pretended hosts they measure a
// network, over whichever of quic and tcp gets through.
func TestTorchrun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port - 1 // the next one is used
	l.Close()
	const size = 4
	var outs [size]string
	var wait sync.WaitGroup
	for rank := range size {
		wait.Go(func() {
			status, out, errs := topo(t, []string{
				fmt.Sprint("RANK=", rank), fmt.Sprint("WORLD_SIZE=", size), "MASTER_ADDR=127.0.0.1", fmt.Sprint("MASTER_PORT=", port),
			}, "-hosts", "2")
			if status != 0 || errs != "" {
				t.Errorf("rank %d: status %d\n%s%s", rank, status, out, errs)
			}
			outs[rank] = out
		})
	}
	wait.Wait()
	holds(t, outs[0], `^# topo: 4 ranks on 2 hosts, as measured, transports .*network$`, `^  host0, rack r\d, site s\d: 2 ranks`,
		`^  (rack|world) +(quic|tcp) .* \d+ %  +1 +\d+$`, `all_reduce of 1 MiB over 4 ranks on 2 hosts: `)
	if out := outs[1] + outs[2] + outs[3]; out != "" {
		t.Errorf("the other ranks said\n%s", out)
	}
}

// Two processes that share nothing but an invitation.
func TestInvited(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-invite", "2", "-transport", "tcp")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var out bytes.Buffer
	cmd.Stdout = &out
	terminal, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended unless the test failed
	invitation := ""
	lines := bufio.NewScanner(terminal)
	for invitation == "" && lines.Scan() {
		_, invitation, _ = strings.Cut(lines.Text(), "topo -join ")
	}
	if status, out, errs := topo(t, nil, "-join", invitation, "-transport", "tcp"); status != 0 || out != "" {
		t.Errorf("joining: status %d\n%s%s", status, out, errs)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	holds(t, out.String(), `^# topo: 2 ranks on 1 host, as measured, transports tcp$`, `^  host +tcp `)
}
