package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// The test binary is also the program that the tests start; modeVar says which part it plays.
const (
	modeVar = "LAUNCH_TEST_MODE"
	addrVar = "LAUNCH_TEST_ADDR"
)

func TestMain(m *testing.M) {
	switch os.Getenv(modeVar) {
	case "":
		os.Exit(m.Run())
	case "hello":
		rank, size, group, ok := FromEnv()
		fmt.Printf("rank %d of %d in %s: %v\n", rank, size, group, ok)
		fmt.Fprintf(os.Stderr, "said it, rank %d", rank)
	case "fail-1":
		if rank, _, _, _ := FromEnv(); rank == 1 {
			os.Exit(3)
		}
		select {}
	case "report": // tied to the parent by the pipe
		FromEnv()
		report()
	case "report-deaf": // tied to the parent by the kernel alone
		report()
	case "parent":
		os.Setenv(modeVar, os.Getenv("LAUNCH_TEST_CHILD"))
		if err := Local(context.Background(), Options{NP: 2}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// report tells the test that this rank is there and stays: its connection ends with the process.
func report() {
	conn, err := net.Dial("tcp", os.Getenv(addrVar))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(conn, "%s\n", os.Getenv(EnvRank))
	_, _ = io.Copy(io.Discard, conn)
}

// ranks accepts n ranks in mode report and returns a wait for the end of all of them.
func ranks(t *testing.T, l net.Listener, n int) (wait func()) {
	t.Helper()
	var conns []net.Conn
	for range n {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return func() {
		for _, c := range conns {
			_, _ = io.Copy(io.Discard, c) // ends when the process has
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLocal(t *testing.T) {
	var out, errs bytes.Buffer
	err := Local(t.Context(), Options{NP: 3, Group: "g7", Env: []string{modeVar + "=hello"}, Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("Local: %v\n%s", err, errs.String())
	}
	if got, want := out.String(), "rank 0 of 3 in g7: true\n"; got != want {
		t.Errorf("stdout: got %q, want %q", got, want)
	}
	text := strings.Replace(errs.String(), "said it, rank 0", "", 1) // rank 0's is passed on as it is
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	sort.Strings(lines)
	want := []string{"[rank 1] rank 1 of 3 in g7: true", "[rank 1] said it, rank 1", "[rank 2] rank 2 of 3 in g7: true", "[rank 2] said it, rank 2"}
	if fmt.Sprint(lines) != fmt.Sprint(want) || text == errs.String() {
		t.Errorf("stderr: got %q, want %q and rank 0's line", lines, want)
	}
}

func TestLocalOneRankFails(t *testing.T) {
	err := Local(t.Context(), Options{NP: 3, Grace: time.Millisecond, Env: []string{modeVar + "=fail-1"}})
	var rank *RankError
	if !errors.As(err, &rank) || rank.Rank != 1 || rank.Code != 3 || rank.PID == 0 {
		t.Fatalf("Local: got %v, want rank 1 with status 3", err)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("%v does not hold an *exec.ExitError", err)
	}
}

func TestLocalCancelled(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	var gone sync.WaitGroup
	gone.Go(func() {
		wait := ranks(t, l, 2)
		cancel(cause)
		wait()
	})
	var pids []int
	err := Local(ctx, Options{
		NP: 2, Env: []string{modeVar + "=report", addrVar + "=" + l.Addr().String()},
		Started: func(p []int) { pids = p },
	})
	if !errors.Is(err, cause) {
		t.Errorf("Local: got %v, want %v", err, cause)
	}
	if len(pids) != 2 || pids[0] <= 0 || pids[1] <= 0 || pids[0] == pids[1] {
		t.Errorf("Started: got %v, want two process ids", pids)
	}
	gone.Wait()
}

func TestLocalErrors(t *testing.T) {
	var options *OptionsError
	if err := Local(t.Context(), Options{}); !errors.As(err, &options) || options.Field != "NP" {
		t.Errorf("no ranks: got %v, want an OptionsError of NP", err)
	}
	if err := Local(t.Context(), Options{NP: 1, Grace: -1}); !errors.As(err, &options) || options.Field != "Grace" {
		t.Errorf("negative grace: got %v, want an OptionsError of Grace", err)
	}
	var rank *RankError
	err := Local(t.Context(), Options{NP: 2, Path: t.TempDir() + "/nothing"})
	if !errors.As(err, &rank) || rank.Rank != 0 || rank.PID != 0 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such program: got %v, want a RankError that Is os.ErrNotExist", err)
	}
	if !strings.Contains(err.Error(), "rank 0 did not start") {
		t.Errorf("no such program: %q does not say that rank 0 did not start", err)
	}
	t.Setenv(EnvParent, "1")
	if err := Local(t.Context(), Options{NP: 1}); !errors.Is(err, ErrNested) {
		t.Errorf("within a rank: got %v, want %v", err, ErrNested)
	}
}

// testOrphans kills a parent and waits until its ranks are gone too.
func testOrphans(t *testing.T, mode string) {
	l := listen(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), modeVar+"=parent", "LAUNCH_TEST_CHILD="+mode, addrVar+"="+l.Addr().String())
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	wait := ranks(t, l, 2)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("parent: ended with status 0, want it killed")
	}
	wait()
}

func TestNoOrphansByPipe(t *testing.T) { testOrphans(t, "report") }

func TestParse(t *testing.T) {
	tests := []struct {
		name, rank, size, group string
		ok                      bool
	}{
		{"first", "0", "1", "g", true},
		{"last", "7", "8", "g", true},
		{"unset", "", "", "", false},
		{"no group", "0", "1", "", false},
		{"rank = size", "4", "4", "g", false},
		{"negative", "-1", "4", "g", false},
		{"not a number", "one", "4", "g", false},
		{"no size", "0", "many", "g", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rank, size, group, ok := parse(func(key string) string {
				return map[string]string{EnvRank: test.rank, EnvSize: test.size, EnvGroup: test.group}[key]
			})
			if ok != test.ok {
				t.Fatalf("ok: got %v, want %v", ok, test.ok)
			}
			if ok && (fmt.Sprint(rank) != test.rank || fmt.Sprint(size) != test.size || group != test.group) {
				t.Errorf("got %d %d %q, want %s %s %q", rank, size, group, test.rank, test.size, test.group)
			}
		})
	}
}

func TestExitAtEOF(t *testing.T) {
	got := -1
	exitAtEOF(strings.NewReader("ignored"), func(code int) { got = code })
	if got != ExitOrphaned {
		t.Errorf("status: got %d, want %d", got, ExitOrphaned)
	}
}

// FuzzPrefixer holds that the lines that come out do not depend on how the writes cut the text.
func FuzzPrefixer(f *testing.F) {
	f.Add([]byte("one\ntwo"), 2)
	f.Add([]byte("\n\n"), 1)
	f.Add(bytes.Repeat([]byte("x"), maxLine-1), 1000)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		if cut < 1 || len(text) >= maxLine {
			return
		}
		var out bytes.Buffer
		p := &prefixer{mu: new(sync.Mutex), out: &out, prefix: "> "}
		for rest := text; len(rest) > 0; {
			n, err := p.Write(rest[:min(cut, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		p.flush()
		var want strings.Builder
		for line := range strings.Lines(string(text)) {
			want.WriteString("> " + strings.TrimSuffix(line, "\n") + "\n")
		}
		if got := out.String(); got != want.String() {
			t.Errorf("cut %d: got %q, want %q", cut, got, want.String())
		}
	})
}

func TestPrefixerBoundsALine(t *testing.T) {
	var out bytes.Buffer
	p := &prefixer{mu: new(sync.Mutex), out: &out, prefix: "> "}
	for range 4 {
		if _, err := p.Write(bytes.Repeat([]byte("x"), maxLine/2)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("lines: got %d, want 2", got)
	}
}
