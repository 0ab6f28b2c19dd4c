package membership_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/transport/p2p"
)

// The variables that make TestProcess a member of a group.
const (
	childInvitation = "RINGTREE_TEST_INVITATION"
	childLaunched   = "RINGTREE_TEST_LAUNCHED"
)

// TestProcess is what the processes run that other tests start; by itself it does nothing.
func TestProcess(t *testing.T) {
	text, launched := os.Getenv(childInvitation), os.Getenv(childLaunched) != ""
	if text == "" && !launched {
		return
	}
	ctx := testContext(t)
	host, err := p2p.New(ctx, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	self := membership.Member{Rank: membership.AnyRank, Host: "host", Process: membership.ProcessID(), PID: os.Getpid()}
	var g *membership.Group
	var rank int
	if launched {
		launch, ok, err := membership.FromEnv(os.Getenv)
		if err != nil || !ok {
			t.Fatalf("from the environment: %v, %v", ok, err)
		}
		if g, rank, err = membership.Launched(ctx, host, launch, self, membership.Options{}); err != nil {
			t.Fatal(err)
		}
	} else {
		inv, err := membership.ParseInvitation(text)
		if err != nil {
			t.Fatal(err)
		}
		if g, rank, err = membership.Over(ctx, host, inv, self, membership.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("member %d %d %d %d\n", g.ID, rank, len(g.Members), g.Members[rank].PID)
	if err := host.Close(); err != nil {
		t.Error(err)
	}
}

// A process is a child that runs TestProcess.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func startProcess(t testing.TB, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestProcess$", "-test.v")
	cmd.Env = append(os.Environ(), append(env, "GOMAXPROCS=1")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, bufio.NewReader(out)}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // may have ended meanwhile
			_ = cmd.Wait()
		}
	})
	return p
}

// member is what a process says of the group.
type said struct {
	group            uint64
	rank, size, self int
}

// wait returns what the process has said when it has ended.
func (p *process) wait() (said, error) {
	var s said
	var log strings.Builder
	found := false
	for {
		line, err := p.out.ReadString('\n')
		log.WriteString(line)
		if n, _ := fmt.Sscanf(line, "member %d %d %d %d", &s.group, &s.rank, &s.size, &s.self); n == 4 {
			found = true
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return s, err
			}
			break
		}
	}
	if err := p.cmd.Wait(); err != nil || !found {
		return s, fmt.Errorf("process %d: %w\n%s", p.cmd.Process.Pid, err, log.String())
	}
	return s, nil
}

// checkProcesses holds that the processes have formed one group of that size, in which taken ranks are others'.
func checkProcesses(t *testing.T, size int, taken []int, processes []*process) {
	t.Helper()
	seen := make(map[int]bool)
	for _, r := range taken {
		seen[r] = true
	}
	var group uint64
	for i, p := range processes {
		s, err := p.wait()
		if err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
		if group == 0 {
			group = s.group
		}
		if s.group != group || s.size != size || s.self != p.cmd.Process.Pid || seen[s.rank] {
			t.Errorf("member %d (process %d) says %+v, want group %d of %d", i, p.cmd.Process.Pid, s, group, size)
		}
		seen[s.rank] = true
	}
	if len(seen) != size {
		t.Errorf("%d ranks, want %d", len(seen), size)
	}
}

// 64 processes of this machine form within seconds.
func TestOverProcesses(t *testing.T) {
	n := 64
	if testing.Short() {
		n = 4
	}
	ctx := testContext(t)
	host := newHost(t)
	inv := invite(t, host, n)
	text, err := inv.Text()
	if err != nil {
		t.Fatal(err)
	}
	var processes []*process
	start := time.Now()
	for range n - 1 {
		processes = append(processes, startProcess(t, childInvitation+"="+text))
	}
	started := time.Since(start)
	_, rank, err := membership.Over(ctx, host, inv, anyRank("here"), membership.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d processes: started in %v, formed %v after the first start; the invitation has %d characters",
		n, started.Round(time.Millisecond), time.Since(start).Round(time.Millisecond), len(text))
	checkProcesses(t, n, []int{rank}, processes)
}

// A member that is killed while the group forms is replaced.
func TestOverProcessKilled(t *testing.T) {
	ctx := testContext(t)
	host := newHost(t)
	inv := invite(t, host, 3)
	text, err := inv.Text()
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 8)
	coordinator := join(ctx, host, inv, anyRank("h"), membership.Options{Admit: func(id string) bool { asked <- id; return true }})
	victim := startProcess(t, childInvitation+"="+text)
	<-asked
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := victim.wait(); err == nil {
		t.Fatal("the victim has formed a group")
	}
	others := []*process{startProcess(t, childInvitation+"="+text), startProcess(t, childInvitation+"="+text)}
	o := <-coordinator
	if o.err != nil {
		t.Fatal(o.err)
	}
	checkProcesses(t, 3, []int{o.rank}, others)
}

// Processes that a launcher has started find each other by rank 0's host and port.
func TestLaunchedProcesses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const n = 4
	var processes []*process
	for r := n - 1; r >= 0; r-- { // rank 0 comes last
		processes = append(processes, startProcess(t, childLaunched+"=1", "RINGTREE_RANK="+strconv.Itoa(r), "RINGTREE_SIZE="+strconv.Itoa(n),
			"RINGTREE_MASTER=127.0.0.1:"+port, "RINGTREE_JOB="+t.Name()+port, "RINGTREE_SECRET=only for this test"))
	}
	checkProcesses(t, n, nil, processes)
}

// A launch without an address is one host's.
func TestLaunchedOnHost(t *testing.T) {
	ctx := testContext(t)
	launch := membership.Launch{Launcher: "test", Size: 2, Job: t.Name() + strconv.Itoa(os.Getpid())}
	results := make(chan outcome, 2)
	for r := range 2 {
		l := launch
		l.Rank = r
		go func() {
			g, rank, err := membership.Launched(ctx, nil, l, membership.Member{}, membership.Options{})
			results <- outcome{g, rank, err}
		}()
	}
	a, b := <-results, <-results
	if errors.Is(a.err, membership.ErrForming) && !onHostWorks() {
		t.Skipf("this system has no formation on one host: %v", a.err)
	}
	checkGroup(t, 2, []outcome{a, b})
}

func onHostWorks() bool {
	_, err := membership.OnHost(context.Background(), "probe"+strconv.Itoa(os.Getpid()), 1, membership.Member{})
	return err == nil
}

func TestLaunchedMistakes(t *testing.T) {
	for name, l := range map[string]membership.Launch{
		"no size":   {Rank: 0, Size: 0},
		"bad rank":  {Rank: 3, Size: 2},
		"no job":    {Rank: 0, Size: 2, Addr: "a:1"},
		"bad place": {Rank: 0, Size: 2, Addr: "a", Job: "j"},
	} {
		_, _, err := membership.Launched(context.Background(), newHost(t), l, membership.Member{}, membership.Options{})
		if !errors.As(err, new(*membership.LaunchError)) {
			t.Errorf("%s: got %v, want a LaunchError", name, err)
		}
	}
}
