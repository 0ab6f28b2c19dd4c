//go:build cgo

package rdma

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// inVM says that testvm.sh runs this test, so that nothing may be skipped for want of a device.
var inVM = os.Getenv("TESTVM") != ""

// quick makes software RoCE give up within a second; it takes seven retries for an endless number.
var quick = []Option{AckTimeout(14), Retries(3)}

func needDevice(t testing.TB) {
	t.Helper()
	if err := Available(); err != nil {
		if inVM {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func onVerbs(id transport.Identity) (transport.Transport, error) { return onTCP(id, quick...) }

// carriedBy fails unless a link is carried by name.
func carriedBy(t testing.TB, l transport.Link, name string) {
	t.Helper()
	if c := l.Caps(); c.Via != name {
		t.Fatalf("the link is carried by %q (%v), want %q", c.Via, c.Why, name)
	}
}

func TestVerbsConformance(t *testing.T) {
	needDevice(t)
	transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
		id := newIdentity(t)
		// An emulated machine registers some tens of megabytes a second.
		tr, err := onTCP(id, append(quick, QueuePairs(2), Window(4))...)
		if err != nil {
			t.Fatal(err)
		}
		return transporttest.NewGroupAs(t, tr, n, id.ID)
	})
}

func TestVerbsStrangers(t *testing.T) {
	needDevice(t)
	stripetest.Strangers(t, onVerbs)
}

// Another process is killed in the middle of a transfer.
func TestVerbsKilled(t *testing.T) {
	needDevice(t)
	stripetest.Killed(t, onVerbs, func(role string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), roleEnv+"="+role)
		cmd.Stderr = os.Stderr
		return cmd
	})
}

// The same while it stores into this process's memory.
func TestVerbsKilledPlacing(t *testing.T) {
	needDevice(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), roleEnv+"="+stripetest.RoleFlood)
	cmd.Stderr = os.Stderr
	killedWhilePlacing(t, stripetest.Start(t, onVerbs, cmd))
}

func TestVerbsWrongPlace(t *testing.T) {
	needDevice(t)
	testWrongPlace(t)
}

const roleEnv = "RINGTREE_RDMA_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := stripetest.Child(onVerbs, role, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestVerbsWrongKey(t *testing.T) {
	needDevice(t)
	testWrongKey(t)
}

// Memory of another device that this one cannot reach is copied; dma-bufs and addresses without memory are refused as
// hardware refuses them.
func TestVerbsDeviceMemory(t *testing.T) {
	needDevice(t)
	id := newIdentity(t)
	tr, err := onTCP(id, quick...)
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	mem, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mem)
	content := make([]byte, len(mem))
	for i := range content {
		content[i] = byte(i * 7)
	}
	r, err := g.Endpoints[0].(*Endpoint).Register(Memory{
		Addr: addressOf(mem), Length: len(mem), Device: true,
		DMABuf: func() (int, uint64, error) { return -1, 0, nil },
		Read: func(dst []byte, addr uintptr) error {
			copy(dst, content[addr-addressOf(mem):])
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Way != WayStaged || len(r.Tried) != 2 || !errors.Is(r.Tried[1], syscall.EFAULT) {
		t.Errorf("way %v after %v, want staged, because memory that is not there is EFAULT", r.Way, r.Tried)
	}
	t.Logf("tried: %v", r.Tried)
	sendAndCheck(t, g, a, b, mem[5000:5000+transport.MaxPayload], content[5000:5000+transport.MaxPayload])
	carriedBy(t, a, "rdma")
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// What is stored in memory of another device, for which the host's stands here, is handed out behind a read over a queue pair that
// is connected to itself.
func TestVerbsReadBack(t *testing.T) {
	needDevice(t)
	id := newIdentity(t)
	tr, err := onTCP(id, quick...)
	if err != nil {
		t.Fatal(err)
	}
	g := transporttest.NewGroupAs(t, tr, 2, id.ID)
	a, b := g.Pair(t, stripetest.LinkID)
	far := newFarMemory(t, 1<<21)
	far.DeviceMemory.Addr, far.place, far.DMABuf = addressOf(far.content), far.content, nil
	ep := g.Endpoints[1].(*Endpoint)
	way, err := ep.RegisterDevice(far.DeviceMemory)
	if err != nil || way.How != WayPeerMem.String() || !way.Receives || way.Settles != settlesByRead.String() {
		t.Fatalf("got %+v, %v", way, err)
	}
	stored, early := receiveFar(t, g, a, b, far)
	if reads := ep.back.done.Load(); stored == 0 || early || reads == 0 || reads > uint64(stored) {
		t.Errorf("%d frames were stored there, too early: %t, %d reads", stored, early, reads)
	} else {
		t.Logf("%d reads for %d frames", reads, stored)
	}
	carriedBy(t, b, "rdma")
	if err := way.Forget(); err != nil {
		t.Error(err)
	}
}

// host is one of two machines.
type host struct {
	rank  int
	conn  net.Conn
	lines *bufio.Reader
}

// say gives the other machine a line, and returns its.
func (h *host) say(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintln(h.conn, line); err != nil {
		t.Fatal(err)
	}
	got, err := h.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(got)
}

// twoHosts joins the machines.
func twoHosts(t *testing.T) *host {
	t.Helper()
	if os.Getenv("TESTVM_SIZE") != "2" {
		t.Skip("needs two machines: testvm.sh -n 2")
	}
	needDevice(t)
	h := &host{}
	var err error
	if os.Getenv("TESTVM_RANK") == "0" {
		l, err := net.Listen("tcp", os.Getenv("TESTVM_IP")+":7700")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if h.conn, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	} else {
		h.rank = 1
		for limit := time.Now().Add(time.Minute); ; { // the other machine may start later
			if h.conn, err = net.DialTimeout("tcp", os.Getenv("TESTVM_PEER")+":7700", time.Second); err == nil {
				break
			}
			if time.Now().After(limit) {
				t.Fatal(err)
			}
		}
	}
	h.lines = bufio.NewReader(h.conn)
	t.Cleanup(func() { h.conn.Close() })
	return h
}

// joinHosts opens a link between the machines.
func joinHosts(t *testing.T, h *host, group string, newTransport func(transport.Identity) (transport.Transport, error)) (transport.Link, transport.Bell) {
	t.Helper()
	id := newIdentity(t)
	tr, err := newTransport(id)
	if err != nil {
		t.Fatal(err)
	}
	bell, err := tr.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	ep, err := tr.Listen(t.Context(), group, h.rank, bell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ep.Close(); bell.Close() })
	theirs, addr, _ := strings.Cut(h.say(t, id.ID+" "+ep.Addr()), " ")
	peer := transport.Peer{Rank: 1 - h.rank, Addr: addr, ID: theirs}
	ep.Admit([]transport.Peer{{Rank: h.rank, ID: id.ID}, peer})
	l, err := ep.Open(peer, stripetest.LinkID)
	if err != nil {
		t.Fatal(err)
	}
	return l, bell
}

func onWire(options ...Option) func(transport.Identity) (transport.Transport, error) {
	return func(id transport.Identity) (transport.Transport, error) {
		control, err := quic.New(id, quic.ListenOn(os.Getenv("TESTVM_IP")+":0"), quic.SilentTimeout(20*time.Second))
		if err != nil {
			return nil, err
		}
		return New(control, append(options, quick...)...)
	}
}

// Two machines exchange frames; then RoCE's packets are dropped while the control session goes on.
func TestTwoHosts(t *testing.T) {
	h := twoHosts(t)
	l, bell := joinHosts(t, h, "two hosts", onWire(QueuePairs(2)))
	if err := transporttest.Exercise(t.Context(), l, bell, 3, 60); err != nil {
		t.Fatal(err)
	}
	carriedBy(t, l, "rdma")
	h.say(t, "exercised")
	// The wire is cut for RoCE only: rank 0 drops what goes out to its port.
	if h.rank == 0 {
		cut(t)
	}
	h.say(t, "cut")
	start := time.Now()
	header := transport.Header{Kind: transport.Data, Length: 5}
	if _, err := l.Post(&header, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := transporttest.Await(bell, "the link to break", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	err := l.Err()
	var failed *CompletionError
	var told *BrokenError
	if !errors.Is(err, transport.ErrPeerLost) || !errors.As(err, &failed) && !errors.As(err, &told) ||
		failed != nil && failed.Status != StatusRetryExceeded {
		t.Errorf("got %v, want a LostError because of retries", err)
	}
	t.Logf("after %v: %v", time.Since(start).Round(time.Millisecond), err)
	h.say(t, "broken")
	// A link that is set up now goes by the control transport.
	again, bell := joinHosts(t, h, "around", onWire(SetupTimeout(20*time.Second)))
	if err := transporttest.Exercise(t.Context(), again, bell, 4, 20); err != nil {
		t.Fatal(err)
	}
	carriedBy(t, again, "quic")
	t.Logf("a new link is carried by quic: %v", again.Caps().Why)
	h.say(t, "done")
}

// cut drops the packets of RoCE v2 that leave this machine.
func cut(t *testing.T) {
	t.Helper()
	dev := os.Getenv("TESTVM_NETDEV")
	for _, args := range []string{
		"qdisc add dev " + dev + " root handle 1: prio",
		"qdisc add dev " + dev + " parent 1:3 handle 30: netem loss 100%",
		"filter add dev " + dev + " parent 1: protocol ip u32 match ip dport 4791 0xffff flowid 1:3",
	} {
		if out, err := exec.Command("tc", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("tc %s: %v: %s", args, err, out)
		}
	}
}
