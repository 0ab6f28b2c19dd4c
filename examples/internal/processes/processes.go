// Package processes starts the processes of a test one by one, as people and launchers do, and reads what they say.
package processes

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a process may take to say or do what a test waits for.
const Patience = 2 * time.Minute

// A Process is a command that has been started. It does not outlive its test.
type Process struct {
	Cmd *exec.Cmd
	t   testing.TB

	mu      sync.Mutex
	grown   chan struct{} // closed and replaced when output comes, or ends
	out     strings.Builder
	errs    strings.Builder
	open    int // streams
	waited  sync.Once
	waitErr error
}

// Start starts a command; start is its Start method, or one that starts it elsewhere.
func Start(t testing.TB, cmd *exec.Cmd, start func(*exec.Cmd) error) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, t: t, grown: make(chan struct{}), open: 2}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	go p.read(out, &p.out)
	go p.read(errs, &p.errs)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = p.Wait()
	})
	return p
}

func (p *Process) read(r io.Reader, to *strings.Builder) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		to.WriteString(line)
		if err != nil {
			p.open--
		}
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Until waits until found is true of what the process has said, and fails the test when the process ends before.
func (p *Process) Until(what string, found func(out, errs string) bool) {
	p.t.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		out, errs, open, grown := p.out.String(), p.errs.String(), p.open, p.grown
		p.mu.Unlock()
		if found(out, errs) {
			return
		}
		if open == 0 {
			p.t.Fatalf("%s ended before %s:\n%s%s", p, what, out, errs)
		}
		select {
		case <-grown:
		case <-late.C:
			p.t.Fatalf("%s: no %s after %v:\n%s%s", p, what, Patience, out, errs)
		}
	}
}

// invitation matches an invitation.
var invitation = regexp.MustCompile(`rt1:[a-z2-7]+`)

// Invitation waits for the invitation that the process prints.
func (p *Process) Invitation() (text string) {
	p.t.Helper()
	p.Until("an invitation", func(out, errs string) bool {
		text = invitation.FindString(errs + out)
		return text != ""
	})
	return text
}

// Wait waits until the process has ended.
func (p *Process) Wait() error {
	p.waited.Do(func() {
		for {
			p.mu.Lock()
			open, grown := p.open, p.grown
			p.mu.Unlock()
			if open == 0 {
				break
			}
			<-grown
		}
		p.waitErr = p.Cmd.Wait()
	})
	return p.waitErr
}

// End waits until the process has ended, kills it when it does not, and returns what it said.
func (p *Process) End() (out, errs string, err error) {
	late := time.AfterFunc(Patience, func() {
		p.t.Errorf("%s has not ended after %v", p, Patience)
		_ = p.Cmd.Process.Kill() // it may have ended now
	})
	defer late.Stop()
	err = p.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String(), p.errs.String(), err
}

// Interrupt asks the process to end, as Ctrl-C does.
func (p *Process) Interrupt() {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Error(err)
	}
}

// String names the process.
func (p *Process) String() string {
	return fmt.Sprintf("process %d (%s)", p.Cmd.Process.Pid, strings.Join(p.Cmd.Args[1:], " "))
}
