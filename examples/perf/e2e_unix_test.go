//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// running starts perf without an end and returns when its first row is there.
func running(t *testing.T, line string) (cmd *exec.Cmd, pids []int, errs *bytes.Buffer) {
	t.Helper()
	cmd = perf(line)
	errs = new(bytes.Buffer)
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	var head strings.Builder
	for {
		text, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("perf %s ended early: %v\n%s%s", line, err, head.String(), errs.String())
		}
		head.WriteString(text)
		if !strings.HasPrefix(text, "#") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // rows must not block the ranks
	return cmd, devicePids(head.String()), errs
}

// gone fails the test when one of the processes is still there.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for rank, pid := range pids {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("rank %d (pid %d): got %v, want it gone", rank, pid, err)
		}
	}
}

func TestRankKilled(t *testing.T) {
	cmd, pids, errs := running(t, "-np 3 -N 0 -b 1K -e 1K -n 2")
	if len(pids) != 3 {
		t.Fatalf("got processes %v, want 3", pids)
	}
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitFailed {
		t.Errorf("status: got %d, want %d", got, exitFailed)
	}
	text := errs.String()
	if want := fmt.Sprintf("rank 1 (pid %d) failed: signal: killed", pids[1]); !strings.Contains(text, want) {
		t.Errorf("the launcher: got %q, want it to say %q", text, want)
	}
	for _, survivor := range []string{"perf: rank 0: ", "[rank 2] perf: rank 2: "} {
		at := strings.Index(text, survivor)
		if at < 0 {
			t.Errorf("%q is missing in %q", survivor, text)
			continue
		}
		line, _, _ := strings.Cut(text[at+len(survivor):], "\n")
		if !strings.Contains(line, "rank 1") && !strings.Contains(line, "peer 1") {
			t.Errorf("%s: got %q, want it to name rank 1", survivor, line)
		}
	}
	gone(t, pids)
}

func TestInterrupted(t *testing.T) {
	cmd, pids, errs := running(t, "-np 2 -N 0 -b 1K -e 1K -n 2")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
		t.Errorf("status: got %d, want %d", got, exitInterrupted)
	}
	if got, want := errs.String(), "perf: interrupted; all 2 ranks have been ended\n"; got != want {
		t.Errorf("standard error: got %q, want %q", got, want)
	}
	gone(t, pids)

	cmd, _, errs = running(t, "-np 1 -t 2 -N 0 -b 1K -e 1K -n 2")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitInterrupted || errs.String() != "perf: interrupted\n" {
		t.Errorf("one process: got status %d and %q, want %d and a line that says interrupted", got, errs.String(), exitInterrupted)
	}
}
