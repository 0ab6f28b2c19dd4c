package wan

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// newNetwork makes a network, or skips the test where there can be none.
func newNetwork(t testing.TB, c Config) *Network {
	t.Helper()
	n, err := New(c)
	if e := new(UnavailableError); errors.As(err, &e) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// serve takes one connection on a host and sends back how many bytes came.
func serve(t testing.TB, h *Host, received chan<- []byte) net.Listener {
	t.Helper()
	var l net.Listener
	err := h.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(h.Addr(), 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			received <- nil
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		received <- b
	}()
	return l
}

func dial(t testing.TB, h *Host, network string, addr net.Addr) net.Conn {
	t.Helper()
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = net.Dial(network, addr.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What one host sends over TCP through losses is what the other reads, and the tap has seen it.
func TestTCP(t *testing.T) {
	for _, offload := range []bool{true, false} {
		seen := 0
		n := newNetwork(t, Config{Hosts: 2, Delay: time.Millisecond, Loss: 0.01, NoOffload: !offload,
			Tap: func(from int, frame []byte) {
				if from == 0 {
					seen += len(frame)
				}
			}})
		received := make(chan []byte, 1)
		l := serve(t, n.Host(1), received)
		c := dial(t, n.Host(0), "tcp", l.Addr())
		payload := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
		if _, err := c.Write(payload); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-received; !bytes.Equal(got, payload) {
			t.Fatalf("offload %v: %d bytes arrived, want the %d that were sent", offload, len(got), len(payload))
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		s := n.Host(0).Stats()
		if s.Lost == 0 || s.Packets < uint64(len(payload)/1448) || seen < len(payload) {
			t.Errorf("offload %v: %v, %d bytes seen: want losses, and all of %d bytes", offload, s, seen, len(payload))
		}
		if offload && s.Frames > s.Packets/2 {
			t.Errorf("%v: want frames of many packets", s)
		}
		if !offload && s.Frames < s.Packets {
			t.Errorf("%v: want a frame a packet", s)
		}
	}
}

func TestUDP(t *testing.T) {
	n := newNetwork(t, Config{Hosts: 2})
	var l net.PacketConn
	if err := n.Host(1).Do(func() (err error) {
		l, err = net.ListenPacket("udp", netip.AddrPortFrom(n.Host(1).Addr(), 0).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := dial(t, n.Host(0), "udp", l.LocalAddr())
	defer c.Close()
	n.Host(1).BlockUDP(true)
	if _, err := io.WriteString(c, "blocked"); err != nil {
		t.Fatal(err)
	}
	// The device hands frames over in order, so the block is lifted when the first has been counted.
	for n.Host(1).Stats().Blocked == 0 {
		if err := l.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if k, _, err := l.ReadFrom(make([]byte, 10)); err == nil {
			t.Fatalf("%d bytes came through the block", k)
		}
	}
	n.Host(1).BlockUDP(false)
	if _, err := io.WriteString(c, "free"); err != nil {
		t.Fatal(err)
	}
	if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if k, _, err := l.ReadFrom(b); err != nil || string(b[:k]) != "free" {
		t.Errorf("got %q, %v, want free", b[:k], err)
	}
}

// A process on a host sees the host's device alone, and dies with the network.
func TestStart(t *testing.T) {
	n := newNetwork(t, Config{Hosts: 2})
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("cat", "/proc/net/dev")
	cmd.Stdout = out
	if err := n.Host(1).Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil || strings.Count(string(text), ":") != 2 || !strings.Contains(string(text), "wan0:") {
		t.Errorf("devices: %q, %v, want lo and wan0", text, err)
	}
	if target, err := os.Readlink(n.Host(1).Namespace()); err != nil || !strings.HasPrefix(target, "net:") {
		t.Errorf("namespace: %q, %v", target, err)
	}
	stays := exec.Command("sleep", "1000")
	if err := n.Host(0).Start(stays); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stays.Wait(); err == nil || stays.ProcessState.Exited() {
		t.Errorf("got %v, want the process killed", stays.ProcessState)
	}
	if err := n.Host(0).Start(exec.Command("true")); !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, ErrClosed)
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func TestNewErrors(t *testing.T) {
	if n, err := New(Config{}); !errors.As(err, new(*ConfigError)) {
		t.Errorf("got %v, %v, want a ConfigError", n, err)
	}
	newNetwork(t, Config{Hosts: 1})
	if n, err := New(Config{Hosts: 1, Congestion: "no-such"}); !errors.As(err, new(*ConfigError)) || !strings.Contains(err.Error(), "allows") {
		t.Errorf("got %v, %v, want a ConfigError that says what there is", n, err)
	}
}

// BenchmarkTCP sends over a line of 1 Gbit/s with a round trip of 10 ms.
func BenchmarkTCP(b *testing.B) {
	n := newNetwork(b, Config{Hosts: 2, Delay: 5 * time.Millisecond})
	received := make(chan []byte, 1)
	l := serve(b, n.Host(1), received)
	c := dial(b, n.Host(0), "tcp", l.Addr())
	chunk := make([]byte, 1<<20)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := c.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-received
}
