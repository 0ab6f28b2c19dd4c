package rdma

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/tcp"
)

func TestOptions(t *testing.T) {
	control, err := tcp.New(newIdentity(t))
	if err != nil {
		t.Fatal(err)
	}
	good := []Option{
		Device("x"), Port(2), GIDIndex(3), MTU(4096), QueuePairs(16), Window(256), TrafficClass(106), ServiceLevel(15), PKeyIndex(1),
		AckTimeout(31), Retries(0), SetupTimeout(time.Minute), PortGrace(time.Minute), Logger(slog.Default()),
	}
	if _, err := New(control, good...); err != nil {
		t.Errorf("good options: got %v", err)
	}
	for i, bad := range []Option{
		Port(0), Port(256), GIDIndex(-2), GIDIndex(maxGIDs), MTU(1500), MTU(128), QueuePairs(0), QueuePairs(17), Window(0), Window(257),
		TrafficClass(256), ServiceLevel(16), PKeyIndex(-1), AckTimeout(0), AckTimeout(32), Retries(8), SetupTimeout(0), PortGrace(0), Logger(nil),
	} {
		if _, err := New(control, bad); err == nil {
			t.Errorf("bad option %d: got no error", i)
		}
	}
	if _, err := New(nil); err == nil {
		t.Error("no control transport: got no error")
	}
	if _, err := New(mem.Default()); err == nil {
		t.Error("control within a process: got no error")
	}
	narrow, err := tcp.New(newIdentity(t), tcp.Window(controlWindow-1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(narrow); err == nil {
		t.Error("a narrow control link: got no error")
	}
}

// What is missing is said, and is one of the documented reasons.
func TestAvailable(t *testing.T) {
	err := Available()
	if err == nil {
		t.Log("there is a device")
		return
	}
	var device *DeviceError
	if !errors.Is(err, transport.ErrNotSupported) || !errors.Is(err, ErrNotBuilt) && !errors.Is(err, ErrNoLibrary) && !errors.Is(err, ErrNoDevice) && !errors.As(err, &device) {
		t.Errorf("got %v", err)
	}
	t.Log(err)
	doc, e := os.ReadFile("doc.go")
	if e != nil {
		t.Fatal(e)
	}
	text, _, _ := strings.Cut(err.Error(), ": function not implemented") // of a kernel that knows no RDMA at all
	if device == nil && !strings.Contains(string(doc), "  "+text+"\n") {
		t.Errorf("the documentation does not have %q", err)
	}
	if _, err := Devices(); err != nil && !strings.HasPrefix(err.Error(), "rdma: ") {
		t.Errorf("Devices: got %v", err)
	}
	if err := Available(Device("no such device")); !errors.Is(err, transport.ErrNotSupported) {
		t.Errorf("a device that is not there: got %v", err)
	}
	if err := Available(Port(0)); !errors.Is(err, transport.ErrNotSupported) {
		t.Errorf("a port that cannot be: got %v", err)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		text string
	}{
		{&DeviceError{Device: "mlx5_0", Op: "open", Err: ErrDeviceLost}, "rdma: mlx5_0: open: the device has failed or is gone"},
		{&DeviceError{Device: "mlx5_0", Port: 1, Op: "event", Err: ErrPortDown}, "rdma: mlx5_0 port 1: event: the port is not active"},
		{&CompletionError{Device: "mlx5_0", Status: StatusRetryExceeded, Vendor: 0x81}, "rdma: mlx5_0: transport retry counter exceeded (vendor error 0x81)"},
		{&CompletionError{Device: "mlx5_0", Status: 21}, "rdma: mlx5_0: status 21 (vendor error 0x0)"},
		{&BrokenError{Text: "a\nb"}, `rdma: the peer's end failed: "a\nb"`},
	} {
		if c.err.Error() != c.text {
			t.Errorf("got %q, want %q", c.err, c.text)
		}
	}
	if err := error(&DeviceError{Err: net.ErrClosed}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v does not unwrap", err)
	}
	for way := Way(0); way <= WayStaged+1; way++ {
		if way.String() == "" {
			t.Errorf("way %d has no text", way)
		}
	}
}

// The declarations by hand are those of the system's header.
func TestABI(t *testing.T) {
	const header = "/usr/include/infiniband/verbs.h"
	if _, err := os.Stat(header); err != nil {
		t.Skipf("no libibverbs-dev: %v", err)
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command(cc, "-fsyntax-only", "testdata/abi.c").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The check is one: a number that is wrong does not compile.
	wrong := `#include "testdata/abi.c"` + "\nVALUE(RT_QPS_RTS, IBV_QPS_RTR);\n"
	cmd := exec.Command(cc, "-fsyntax-only", "-x", "c", "-I.", "-")
	cmd.Stdin = strings.NewReader(wrong)
	if cmd.Run() == nil {
		t.Error("a wrong declaration compiles")
	}
}
