package shm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// childEnv makes this test binary a rank of a test in another process: its value names a role.
const childEnv = "RINGTREE_SHM_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := runChild(role); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var testID = transport.LinkID{Comm: 5, Channel: 1}

// A rank is one side of a test with two processes: rank 0 in the test, rank 1 in the child.
type rank struct {
	bell transport.Bell
	ep   transport.Endpoint
	link transport.Link
}

// join listens, exchanges addresses and opens the link.
func join(group string, self int, exchange func(addr string) (string, error)) (*rank, error) {
	bell, err := NewBell()
	if err != nil {
		return nil, err
	}
	ep, err := New().Listen(context.Background(), group, self, bell)
	if err != nil {
		return nil, err
	}
	addr, err := exchange(ep.Addr())
	if err != nil {
		return nil, err
	}
	l, err := ep.Open(transport.Peer{Rank: 1 - self, Host: "h", Process: fmt.Sprint(1 - self), Addr: addr}, testID)
	return &rank{bell, ep, l}, err
}

func (r *rank) close() error { return errors.Join(r.ep.Close(), r.bell.Close()) }

// runChild is rank 1. It prints its address and reads rank 0's.
func runChild(role string) error {
	if role == "raw" {
		return rawChild()
	}
	in := bufio.NewReader(os.Stdin)
	r, err := join("two processes", 1, func(addr string) (string, error) {
		fmt.Println(addr)
		peer, err := in.ReadString('\n')
		return strings.TrimSpace(peer), err
	})
	if err != nil {
		return err
	}
	defer r.close()
	switch role {
	case "exercise":
		return transporttest.Exercise(context.Background(), r.link, r.bell, 77, exerciseFrames)
	case "echo":
		return ignoreClose(echo(r))
	case "sink":
		return ignoreClose(sink(r))
	case "stream":
		return stream(r)
	case "post-and-close":
		h := transport.Header{Kind: transport.Data, Length: 5000}
		_, err := r.link.Post(&h, make([]byte, 5000))
		return err
	}
	return fmt.Errorf("unknown role %q", role)
}

const exerciseFrames = 400

func ignoreClose(err error) error {
	if errors.Is(err, transport.ErrPeerClosed) {
		return nil
	}
	return err
}

// A child is a running process of this test binary.
type child struct {
	cmd    *exec.Cmd
	exited chan error
}

// startChild starts rank 1 and joins as rank 0.
func startChild(tb testing.TB, role string) (*rank, *child) {
	tb.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	c := &child{cmd, make(chan error, 1)}
	r, err := join("two processes", 0, func(addr string) (string, error) {
		if _, err := io.WriteString(stdin, addr+"\n"); err != nil {
			return "", err
		}
		peer, err := bufio.NewReader(stdout).ReadString('\n')
		return strings.TrimSpace(peer), err
	})
	go func() { c.exited <- cmd.Wait() }()
	tb.Cleanup(func() {
		cmd.Process.Kill()
		if r != nil {
			r.close()
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r, c
}

func TestTwoProcesses(t *testing.T) {
	r, c := startChild(t, "exercise")
	ctx, cancel := context.WithTimeout(t.Context(), transporttest.Patience)
	defer cancel()
	if err := transporttest.Exercise(ctx, r.link, r.bell, 77, exerciseFrames); err != nil {
		t.Fatal(err)
	}
	if err := <-c.exited; err != nil {
		t.Fatalf("the other rank: %v", err)
	}
	if err := transporttest.Await(r.bell, "the peer's end", func() bool { return r.link.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.link.Err(); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("after the peer's process ended in good order: got %v, want ErrPeerClosed", err)
	}
}

// The peer posts, closes and exits; its frame outlives it.
func TestFrameOfExitedProcess(t *testing.T) {
	r, c := startChild(t, "post-and-close")
	if err := <-c.exited; err != nil {
		t.Fatal(err)
	}
	var f *transport.Frame
	var err error
	if e := transporttest.Await(r.bell, "a frame", func() bool { f, err = r.link.Poll(); return f != nil || err != nil }); e != nil {
		t.Fatal(e)
	}
	if err != nil || len(f.Payload) != 5000 {
		t.Fatalf("got %v, %v, want a frame of 5000 bytes", f, err)
	}
	r.link.Release()
	if _, err := r.link.Poll(); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("after the last frame: got %v, want ErrPeerClosed", err)
	}
}

// stream posts frames of every kind until the link ends: it runs until it is killed.
func stream(r *rank) error {
	registered, err := r.ep.Alloc(transport.MaxPayload)
	if err != nil {
		return err
	}
	staged, inline := make([]byte, 10000), make([]byte, 8)
	payloads := [][]byte{registered, staged, inline}
	for i := 0; ; i++ {
		p := payloads[i%len(payloads)]
		h := transport.Header{Kind: transport.Data, Step: uint32(i), Length: uint32(len(p))}
		err := transporttest.Await(r.bell, "room", func() bool {
			ok, e := r.link.Post(&h, p)
			err = e
			return ok || e != nil
		})
		if err != nil {
			return err
		}
	}
}

// TestKilledPeer kills a process in the middle of a transfer.
func TestKilledPeer(t *testing.T) {
	r, c := startChild(t, "stream")
	pid := c.cmd.Process.Pid
	frames := 0
	recv := func() error {
		var err error
		if e := transporttest.Await(r.bell, "a frame or the loss of the peer", func() bool {
			var f *transport.Frame
			f, err = r.link.Poll()
			if f != nil {
				frames++
				if int(f.Step) != frames-1 {
					t.Fatalf("frame %d has step %d", frames-1, f.Step)
				}
				var sum byte
				for _, b := range f.Payload {
					sum |= b
				}
				if sum != 0 {
					t.Fatalf("frame %d is not what was sent", f.Step)
				}
			}
			return f != nil || err != nil
		}); e != nil {
			return e
		}
		return err
	}
	for range 100 {
		if err := recv(); err != nil {
			t.Fatal(err)
		}
		r.link.Release()
	}
	checkNoFiles(t, pid)
	if err := recv(); err != nil { // a frame is held while the peer dies
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.exited
	r.link.Release()
	var err error
	for err == nil {
		if err = recv(); err == nil {
			r.link.Release()
		}
	}
	checkLost := func(what string, err error) {
		t.Helper()
		var lost *transport.LostError
		if !errors.As(err, &lost) || lost.Peer != 1 || !errors.Is(err, transport.ErrPeerLost) {
			t.Errorf("%s of a link to a killed process: got %v, want a LostError of rank 1", what, err)
		}
	}
	checkLost("Poll", err)
	checkLost("Err", r.link.Err())
	_, err = r.link.Post(&transport.Header{Kind: transport.Data}, nil)
	checkLost("Post", err)
	peer := transport.Peer{Rank: 1, Addr: r.link.(*link).peer.addr}
	later, err := r.ep.Open(peer, transport.LinkID{Comm: 6})
	if err != nil {
		t.Fatal(err)
	}
	checkLost("Err of a link opened later", later.Err())

	addrs := []string{peer.Addr, r.ep.Addr()}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if strings.Contains(string(sockets), a) {
			t.Errorf("socket %s is left behind", a)
		}
	}
}

// checkNoFiles looks at what a process has mapped and open: there must be memfds and nothing that has a name.
func checkNoFiles(t *testing.T, pid int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(maps), "/memfd:ringtree-link") {
		t.Errorf("process %d maps no segment:\n%s", pid, maps)
	}
	var names []string
	for line := range strings.Lines(string(maps)) {
		if i := strings.IndexByte(line, '/'); i >= 0 {
			names = append(names, strings.TrimSpace(line[i:]))
		}
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if name != self && (strings.HasPrefix(name, "/dev/shm") || strings.HasPrefix(name, os.TempDir())) {
			t.Errorf("process %d uses the file %s", pid, name)
		}
	}
}

// echo sends every frame back.
func echo(r *rank) error {
	for {
		f, err := r.spinPoll()
		if err != nil {
			return err
		}
		if ok, err := r.link.Post(&f.Header, f.Payload); !ok {
			return fmt.Errorf("echo of %d bytes refused: %w", f.Length, err)
		}
		r.link.Release()
	}
}

// sink copies every frame out, as a receiver without a use for it in place would.
func sink(r *rank) error {
	buf := make([]byte, transport.MaxPayload)
	for {
		f, err := r.spinPoll()
		if err != nil {
			return err
		}
		copyPayload(buf, f.Payload)
		r.link.Release()
	}
}

// linkSpins is how often a waiting link is polled before its rank yields: about two microseconds.
const linkSpins = 200

// spinPoll waits as an engine with a core of its own does: it yields when nothing comes for a while.
func (r *rank) spinPoll() (*transport.Frame, error) {
	for i := 1; ; i++ {
		f, err := r.link.Poll()
		if f != nil || err != nil {
			return f, err
		}
		if i%linkSpins == 0 {
			yield()
		}
	}
}

func yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// BenchmarkPingPong passes 8 bytes to and fro between two processes that spin, beside the least that could
// do it: a word each way in the same kind of memory.
func BenchmarkPingPong(b *testing.B) {
	b.Run("link", func(b *testing.B) {
		r, c := startChild(b, "echo")
		h := transport.Header{Kind: transport.Data, Length: 8}
		payload := make([]byte, 8)
		b.ReportAllocs()
		for b.Loop() {
			if ok, err := r.link.Post(&h, payload); !ok {
				b.Fatal("post refused: ", err)
			}
			if _, err := r.spinPoll(); err != nil {
				b.Fatal(err)
			}
			r.link.Release()
		}
		r.close()
		if err := <-c.exited; err != nil {
			b.Fatal(err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		m, fd, err := newMapping("ringtree-raw", segmentSize, 0)
		if err != nil {
			b.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "raw")
		defer f.Close()
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"=raw")
		cmd.ExtraFiles = []*os.File{f}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		there, back := m.word64(0), m.word64(4096)
		n := uint64(0)
		for b.Loop() {
			n++
			atomic.StoreUint64(there, n)
			spinUntil(back, n)
		}
		atomic.StoreUint64(there, rawStop)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		m.release()
	})
}

const rawStop = ^uint64(0)

// rawSpins is how often the raw ping-pong looks before it yields. A look costs it a tenth of what a Poll costs
// a link, so it looks ten times as often: with a like count it would yield, a system call, within the very time
// that a message takes, and come out slower than the link that it is the bound of.
const rawSpins = 10 * linkSpins

func spinUntil(word *uint64, n uint64) {
	for i := 1; atomic.LoadUint64(word) != n; i++ {
		if i%rawSpins == 0 {
			yield()
		}
	}
}

func rawChild() error {
	m, err := mapFD(3, segmentSize, 0)
	if err != nil {
		return err
	}
	defer m.release()
	there, back := m.word64(0), m.word64(4096)
	last := uint64(0)
	for i := 1; ; i++ {
		switch n := atomic.LoadUint64(there); n {
		case last:
			if i%rawSpins == 0 {
				yield()
			}
		case rawStop:
			return nil
		default:
			last = n
			atomic.StoreUint64(back, n)
		}
	}
}

// streamed is how much memory BenchmarkStream goes through: more than caches hold, as gradients are.
const streamed = 64 << 20

// BenchmarkStream sends frames of 256 KiB, which the receiver copies out, from plain memory (one more copy) and
// from memory of Alloc. "copy" is the bound of the latter: the same copy within one process.
func BenchmarkStream(b *testing.B) {
	frame := func(mem []byte, i int) []byte {
		at := i * transport.MaxPayload % streamed
		return mem[at : at+transport.MaxPayload]
	}
	b.Run("copy", func(b *testing.B) {
		mem, buf := make([]byte, streamed), make([]byte, transport.MaxPayload)
		for i := range mem {
			mem[i] = byte(i)
		}
		b.SetBytes(transport.MaxPayload)
		for i := 0; b.Loop(); i++ {
			copyPayload(buf, frame(mem, i))
		}
	})
	for _, registered := range []bool{false, true} {
		b.Run(fmt.Sprintf("registered=%v", registered), func(b *testing.B) {
			r, c := startChild(b, "sink")
			mem := make([]byte, streamed)
			if registered {
				var err error
				if mem, err = r.ep.Alloc(len(mem)); err != nil {
					b.Fatal(err)
				}
			}
			for i := range mem {
				mem[i] = byte(i)
			}
			h := transport.Header{Kind: transport.Data, Length: transport.MaxPayload}
			b.SetBytes(transport.MaxPayload)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for spin := 1; ; spin++ {
					ok, err := r.link.Post(&h, frame(mem, i))
					if err != nil {
						b.Fatal(err)
					}
					if ok {
						break
					}
					if spin%linkSpins == 0 {
						yield()
					}
				}
			}
			r.close()
			if err := <-c.exited; err != nil {
				b.Fatal(err)
			}
		})
	}
}
