package collective_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

// roleVariable is the environment variable that makes this test binary a process of ranks.
const roleVariable = "RINGTREE_COLLECTIVE_TEST_ROLE"

// A role is what a process of ranks does.
type role struct {
	Play      string // of plays
	Group     string
	Size      int
	Ranks     []int // that are goroutines of the process
	Host      string
	Algorithm plan.Algorithm
	Seed      uint64
	Bytes     int           // of a flood
	Stall     time.Duration // what the others get in a stall
	Over      string        // "quic" or "tcp": a launcher's job over that; "": shared memory
	Addr      string        // of rank 0, with Over
}

// An outcome is what one rank of a process reports.
type outcome struct {
	Rank     int
	Error    string // "" for none
	Named    int    // the rank that the error blames, or -1
	Lost     bool
	Aborted  bool
	Deadline bool
	Left     []string // what the process still holds after Close
	Sched    schedOutcome
}

// plays are what a rank does in a process of its own. announce tells the test that the rank has come so far; heard is
// closed when the test has answered, or is gone.
var plays = map[string]func(ctx context.Context, c *collective.Comm, r role, announce func(), heard <-chan struct{}) (schedOutcome, error){
	"check": playCheck,
	"flood": playFlood,
	"stall": playStall,
	"sched": playSched,
}

// playRole runs the ranks of a process and prints their outcomes.
func playRole(text string) int {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	heard := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(heard)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	base := collective.Config{Size: r.Size, Group: r.Group, Algorithm: r.Algorithm, Host: r.Host, Transports: []transport.Transport{mem.Default(), shm.New()}}
	if r.Over != "" {
		peer, err := overNetwork(ctx, r.Over, &base)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer peer.Close()
	}
	outcomes := make([]outcome, len(r.Ranks))
	ranksDo(len(r.Ranks), func(i int) error {
		rank := r.Ranks[i]
		outcomes[i] = outcome{Rank: rank, Named: -1}
		config := base
		config.Rank = rank
		if r.Over != "" {
			config.Launch = &membership.Launch{Launcher: "test", Rank: rank, Size: r.Size, LocalRank: -1, Addr: r.Addr, Job: r.Group}
		}
		c, err := collective.Join(ctx, config)
		if err == nil {
			outcomes[i].Sched, err = plays[r.Play](ctx, c, r, func() { fmt.Println("so far") }, heard)
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			o := &outcomes[i]
			o.Error = err.Error()
			o.Named, _ = named(err)
			o.Lost, o.Aborted = errors.Is(err, collective.ErrPeerLost), errors.Is(err, collective.ErrAborted)
			o.Deadline = errors.Is(err, context.DeadlineExceeded)
		}
		return nil
	})
	for i := range outcomes {
		if r.Over == "" { // the process's identity has sockets of its own
			outcomes[i].Left = holdings()
		}
		line, err := json.Marshal(outcomes[i])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Printf("%s\n", line)
	}
	return 0
}

// holdings returns the links' memory and sockets that this process has open or mapped.
func holdings() []string {
	var left []string
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.Contains(to, "ringtree") || strings.HasPrefix(to, "socket:") {
			left = append(left, to)
		}
	}
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		// Bells stay mapped until they are collected: somebody may be about to ring them.
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(f[5], "/memfd:ringtree") && !strings.Contains(f[5], "bell") {
			left = append(left, f[0]+" "+f[5])
		}
	}
	return left
}

// playCheck runs random operations against the oracle.
func playCheck(ctx context.Context, c *collective.Comm, r role, _ func(), _ <-chan struct{}) (schedOutcome, error) {
	for i, o := range everything(c.Size()) {
		o.seed += r.Seed
		m := plain
		if (i+c.Rank())%3 == 0 {
			m = registered
		}
		if err := o.run(ctx, c, m); err != nil {
			return schedOutcome{}, err
		}
	}
	return schedOutcome{}, nil
}

// playFlood reduces a long vector again and again, and announces the first time.
func playFlood(ctx context.Context, c *collective.Comm, r role, announce func(), _ <-chan struct{}) (schedOutcome, error) {
	data := make([]float32, r.Bytes/4)
	for i := 0; ; i++ {
		if err := collective.AllReduce(ctx, c, data, buffer.Sum); err != nil {
			return schedOutcome{}, err
		}
		if i == 0 {
			announce()
		}
	}
}

// playStall works for a while, waits to hear from the test, and then gives others little time.
func playStall(ctx context.Context, c *collective.Comm, r role, announce func(), heard <-chan struct{}) (schedOutcome, error) {
	for range 10 {
		if err := gather(ctx, c); err != nil {
			return schedOutcome{}, err
		}
	}
	announce()
	<-heard
	for {
		if err := collective.Barrier(ctx, c, collective.WithTimeout(r.Stall)); err != nil {
			return schedOutcome{}, err
		}
	}
}

// A process is a running process of ranks.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	talk     *os.File
	said     chan struct{} // closed when the ranks have announced
	outcomes chan []outcome
}

// start starts a process that plays a role; it is killed when the test ends.
func start(t *testing.T, r role) *process {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, said: make(chan struct{}), outcomes: make(chan []outcome, 1)}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, talk, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdin, p.talk = in, talk
	// A death signal is for the end of the thread that started the process, so that thread must not end.
	started := make(chan error)
	over := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- p.cmd.Start()
		<-over
	}()
	err = <-started
	in.Close()
	if err != nil {
		close(over)
		talk.Close()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(over)
		var all []outcome
		left := len(r.Ranks)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "so far" {
				if left--; left == 0 {
					close(p.said)
				}
				continue
			}
			var o outcome
			if err := json.Unmarshal(lines.Bytes(), &o); err == nil {
				all = append(all, o)
			}
		}
		_ = p.cmd.Wait() // a killed one has an error here
		p.outcomes <- all
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may be over
		<-ended
		talk.Close()
	})
	return p
}

// wait waits for something of a process.
func wait[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		t.Fatalf("no %s in time", what)
	}
	panic("not reached")
}

// tell lets the ranks of p go on.
func (p *process) tell() {
	p.t.Helper()
	if _, err := p.talk.WriteString("go on\n"); err != nil {
		p.t.Fatal(err)
	}
}

func needShm(t *testing.T) {
	t.Helper()
	if err := shm.Available(); err != nil {
		t.Skip(err)
	}
}

// Processes with several goroutine ranks each: by reference inside a process, through shared memory between them.
func TestProcessesMixed(t *testing.T) {
	needShm(t)
	parts := [][]int{{0, 3}, {1}, {4, 2, 5}}
	for _, a := range short(1, plan.Auto, plan.Hierarchical, plan.Direct) {
		group := groupName()
		var all []*process
		for i, ranks := range parts {
			all = append(all, start(t, role{Play: "check", Group: group, Size: 6, Ranks: ranks, Host: fmt.Sprint("h", i/2), Algorithm: a, Seed: 9}))
		}
		for i, p := range all {
			outcomes := wait(t, "outcome", p.outcomes)
			if len(outcomes) != len(parts[i]) {
				t.Fatalf("%v: process %d reports %d ranks, want %d", a, i, len(outcomes), len(parts[i]))
			}
			for _, o := range outcomes {
				if o.Error != "" {
					t.Errorf("%v: rank %d: %s", a, o.Rank, o.Error)
				}
				if len(o.Left) > 0 {
					t.Errorf("%v: rank %d leaves %q", a, o.Rank, o.Left)
				}
			}
		}
		nothingLeft(t, group)
	}
}

// nothingLeft checks that no trace of a group is on this machine.
func nothingLeft(t *testing.T, group string) {
	t.Helper()
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		if strings.Contains(line, group) {
			t.Errorf("group %s leaves the socket %s", group, line)
		}
	}
	files, err := filepath.Glob("/dev/shm/*ringtree*")
	if err != nil || len(files) > 0 {
		t.Errorf("in /dev/shm there are %q, %v; want nothing", files, err)
	}
}

// A process that is killed in the middle of a long operation: the others get an error that names it, and nothing of it is
// left.
func TestProcessKilled(t *testing.T) {
	needShm(t)
	for _, a := range short(1, plan.Auto, plan.Ring, plan.Tree) {
		killOne(t, role{Play: "flood", Algorithm: a, Bytes: 64 << 20})
	}
}

// killOne kills one of four processes that play what.
func killOne(t *testing.T, what role) {
	t.Helper()
	const n, victim = 4, 2
	what.Group, what.Size = groupName(), n
	var all []*process
	for r := range n {
		what.Ranks = []int{r}
		all = append(all, start(t, what))
	}
	for _, p := range all {
		wait(t, "operation", p.said)
	}
	if err := all[victim].cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for r, p := range all {
		outcomes := wait(t, "outcome", p.outcomes)
		if r == victim {
			if len(outcomes) != 0 {
				t.Errorf("%v: the killed rank reports %+v", what.Algorithm, outcomes)
			}
			continue
		}
		if len(outcomes) != 1 {
			t.Errorf("%v: rank %d reports %+v, want one outcome", what.Algorithm, r, outcomes)
			continue
		}
		if o := outcomes[0]; !o.Lost || o.Named != victim {
			t.Errorf("%v: rank %d: %q names rank %d, lost %v; want the loss of rank %d", what.Algorithm, r, o.Error, o.Named, o.Lost, victim)
		}
		if left := outcomes[0].Left; len(left) > 0 {
			t.Errorf("%v: rank %d leaves %q", what.Algorithm, r, left)
		}
	}
	nothingLeft(t, what.Group)
}

// A process that is stopped is not lost: the others' deadlines end the operation and name it, their Close does not wait
// for it, and when it goes on it hears of the end.
func TestProcessStopped(t *testing.T) {
	needShm(t)
	stopOne(t, role{Play: "stall", Algorithm: plan.Direct, Stall: shortTime})
}

// stopOne stops one of three processes that play what.
func stopOne(t *testing.T, what role) {
	t.Helper()
	const n, victim = 3, 1
	what.Group, what.Size = groupName(), n
	var all []*process
	for r := range n {
		what.Ranks = []int{r}
		all = append(all, start(t, what))
	}
	for _, p := range all {
		wait(t, "operation", p.said)
	}
	stopped := all[victim].cmd.Process
	if err := stopped.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, stopped.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	for r, p := range all {
		if r != victim {
			p.tell()
		}
	}
	late := 0
	for r, p := range all {
		if r == victim {
			continue
		}
		outcomes := wait(t, "outcome", p.outcomes)
		if len(outcomes) != 1 {
			t.Fatalf("rank %d reports %+v, want one outcome", r, outcomes)
		}
		o := outcomes[0]
		switch {
		case o.Deadline && o.Named == victim:
			late++
		case !o.Aborted:
			t.Errorf("rank %d: %q, want a deadline that names rank %d, or another rank's abort for it", r, o.Error, victim)
		}
		if len(o.Left) > 0 {
			t.Errorf("rank %d leaves %q", r, o.Left)
		}
	}
	if late == 0 {
		t.Errorf("no rank's deadline names rank %d", victim)
	}
	if err := stopped.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	all[victim].tell()
	outcomes := wait(t, "outcome", all[victim].outcomes)
	if len(outcomes) != 1 || outcomes[0].Error == "" {
		t.Fatalf("the stopped rank reports %+v, want an error", outcomes)
	}
	if o := outcomes[0]; o.Named == victim || !o.Aborted && !o.Lost {
		t.Errorf("the stopped rank: %q, want an abort or a loss of another rank", o.Error)
	}
	nothingLeft(t, what.Group)
}
