package stripetest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// A Maker makes the transport under test for a process with that identity.
type Maker func(id transport.Identity) (transport.Transport, error)

// LinkID is the link between the two processes of a test.
var LinkID = transport.LinkID{Comm: 5, Channel: 1}

// A Rank is one side of a test with two processes: rank 0 in the test, rank 1 in the child.
type Rank struct {
	Endpoint transport.Endpoint
	Bell     transport.Bell
	Link     transport.Link
	Peer     transport.Peer
}

// join listens, exchanges a line with the other process, and opens the link.
func join(newTransport Maker, self int, exchange func(line string) (string, error)) (*Rank, error) {
	id, err := transporttest.Identity()
	if err != nil {
		return nil, err
	}
	tr, err := newTransport(id)
	if err != nil {
		return nil, err
	}
	bell, err := tr.NewBell()
	if err != nil {
		return nil, err
	}
	ep, err := tr.Listen(context.Background(), "two processes", self, bell)
	if err != nil {
		return nil, err
	}
	line, err := exchange(id.ID + " " + ep.Addr())
	if err != nil {
		return nil, err
	}
	peerID, addr, _ := strings.Cut(strings.TrimSpace(line), " ")
	r := &Rank{Endpoint: ep, Bell: bell, Peer: transport.Peer{Rank: 1 - self, Addr: addr, ID: peerID}}
	ep.Admit([]transport.Peer{{Rank: self, ID: id.ID}, r.Peer})
	r.Link, err = ep.Open(r.Peer, LinkID)
	return r, err
}

// Close closes the endpoint and the bell.
func (r *Rank) Close() error { return errors.Join(r.Endpoint.Close(), r.Bell.Close()) }

// The roles of a child.
const (
	RoleExercise = "exercise" // both send and check
	RoleVerify   = "verify"   // the child checks StreamBytes of the test
	RoleFlood    = "flood"    // the child sends until it is killed, see [Killed]
	RoleEcho     = "echo"     // the child sends every frame back
	RoleSink     = "sink"     // the child releases every frame, and answers those whose Root is 1
)

// StreamBytes is how much RoleVerify checks.
const StreamBytes = 256 << 20

const (
	exerciseSeed   = 77
	exerciseFrames = 300
)

// Child is the other process of a test: rank 1. It says its address on out and reads rank 0's from in.
func Child(newTransport Maker, role string, in io.Reader, out io.Writer) error {
	r, err := join(newTransport, 1, func(line string) (string, error) {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return "", err
		}
		return bufio.NewReader(in).ReadString('\n')
	})
	if err != nil {
		return err
	}
	defer r.Close()
	switch role {
	case RoleExercise:
		return transporttest.Exercise(context.Background(), r.Link, r.Bell, exerciseSeed, exerciseFrames)
	case RoleVerify:
		return r.verify(StreamBytes)
	case RoleFlood:
		payload := make([]byte, transport.MaxPayload)
		for i := uint32(0); ; i++ {
			if err := r.Post(&transport.Header{Kind: transport.Data, Step: i, Length: uint32(len(payload))}, payload); err != nil {
				return err
			}
		}
	case RoleEcho, RoleSink:
		for {
			f, err := r.Receive()
			if errors.Is(err, transport.ErrPeerClosed) {
				return nil
			}
			if err != nil {
				return err
			}
			if role == RoleEcho {
				if err := r.Post(&f.Header, f.Payload); err != nil {
					return err
				}
			}
			answer := role == RoleSink && f.Root == 1
			r.Link.Release()
			if answer {
				if err := r.Post(&transport.Header{Kind: transport.Data}, nil); err != nil {
					return err
				}
			}
		}
	}
	return fmt.Errorf("unknown role %q", role)
}

// Post waits for room and posts a frame.
func (r *Rank) Post(h *transport.Header, payload []byte) (err error) {
	for {
		var ok bool
		if ok, err = r.Link.Post(h, payload); ok || err != nil {
			return err
		}
		r.Bell.Arm()
		if ok, err = r.Link.Post(h, payload); ok || err != nil {
			r.Bell.Disarm()
			return err
		}
		r.Bell.Sleep(context.Background(), 0)
	}
}

// Receive waits for a frame.
func (r *Rank) Receive() (f *transport.Frame, err error) {
	for {
		if f, err = r.Link.Poll(); f != nil || err != nil {
			return f, err
		}
		r.Bell.Arm()
		if f, err = r.Link.Poll(); f != nil || err != nil {
			r.Bell.Disarm()
			return f, err
		}
		r.Bell.Sleep(context.Background(), 0)
	}
}

// word is the content of the stream of RoleVerify at word i: a hash (D. Steele, G. Lea, C. Flood, "Fast
// Splittable Pseudorandom Number Generators", OOPSLA 2014), so that nothing repeats.
func word(i uint64) uint64 {
	x := (i + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (r *Rank) verify(total int) error {
	for at := 0; at < total; {
		f, err := r.Receive()
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", at, err)
		}
		for i := 0; i+8 <= len(f.Payload); i += 8 {
			if got, want := binary.LittleEndian.Uint64(f.Payload[i:]), word(uint64(at+i)/8); got != want {
				return fmt.Errorf("word at byte %d: got %#x, want %#x", at+i, got, want)
			}
		}
		at += len(f.Payload)
		r.Link.Release()
	}
	// One frame back says that all is well.
	return r.Post(&transport.Header{Kind: transport.Data, Step: 1}, nil)
}

// A Process is a running child and this side of the link to it.
type Process struct {
	*Rank
	Exited chan error
	Kill   func() error
}

// Start starts cmd, which must run Child, and joins it.
func Start(t testing.TB, newTransport Maker, cmd *exec.Cmd) *Process {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{Exited: make(chan error, 1), Kill: cmd.Process.Kill}
	p.Rank, err = join(newTransport, 0, func(line string) (string, error) {
		if _, err := fmt.Fprintln(stdin, line); err != nil {
			return "", err
		}
		return bufio.NewReader(stdout).ReadString('\n')
	})
	go func() { p.Exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if p.Rank != nil {
			p.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Processes runs the tests that need two processes. command returns one that runs Child in a role.
func Processes(t *testing.T, newTransport Maker, command func(role string) *exec.Cmd) {
	t.Run("Exercise", func(t *testing.T) {
		p := Start(t, newTransport, command(RoleExercise))
		ctx, cancel := context.WithTimeout(t.Context(), 2*transporttest.Patience)
		defer cancel()
		if err := transporttest.Exercise(ctx, p.Link, p.Bell, exerciseSeed, exerciseFrames); err != nil {
			t.Fatal(err)
		}
		if err := <-p.Exited; err != nil {
			t.Fatalf("the other rank: %v", err)
		}
		if _, err := p.Receive(); !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("after the other rank ended in good order: got %v, want ErrPeerClosed", err)
		}
	})
	t.Run("Stream", func(t *testing.T) {
		p := Start(t, newTransport, command(RoleVerify))
		// A payload is filled again only when Completed has counted its frame.
		window := p.Link.Caps().Window
		buffers := payloads(window)
		for i := range StreamBytes / transport.MaxPayload {
			b := buffers[i%window]
			if err := transporttest.Await(p.Bell, "completion", func() bool {
				return p.Link.Completed()+uint64(window) > uint64(i) || p.Link.Err() != nil
			}); err != nil {
				t.Fatal(err)
			}
			for k := 0; k < len(b); k += 8 {
				binary.LittleEndian.PutUint64(b[k:], word(uint64(i*len(b)+k)/8))
			}
			if err := p.Post(&transport.Header{Kind: transport.Data, Step: uint32(i), Length: uint32(len(b))}, b); err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
		}
		if f, err := p.Receive(); err != nil || f.Step != 1 {
			t.Fatalf("got %v, %v, want the child's word that all is well", f, err)
		}
		p.Link.Release()
		if err := <-p.Exited; err != nil {
			t.Fatalf("the other rank: %v", err)
		}
	})
}

// Killed kills the child in the middle of a transfer.
func Killed(t *testing.T, newTransport Maker, command func(role string) *exec.Cmd) {
	p := Start(t, newTransport, command(RoleFlood))
	for range 20 {
		if _, err := p.Receive(); err != nil {
			t.Fatal(err)
		}
		p.Link.Release()
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Exited
	var err error
	for err == nil {
		if _, err = p.Receive(); err == nil {
			p.Link.Release()
		}
	}
	wantLost(t, "Poll", err)
	wantLost(t, "Err", p.Link.Err())
	_, err = p.Link.Post(&transport.Header{Kind: transport.Data}, nil)
	wantLost(t, "Post", err)
	later, err := p.Endpoint.Open(p.Peer, transport.LinkID{Comm: 6})
	if err != nil {
		t.Fatal(err)
	}
	wantLost(t, "Err of a link opened later", later.Err())
}

func payloads(n int) [][]byte {
	b := make([][]byte, n)
	for i := range b {
		b[i] = make([]byte, transport.MaxPayload)
	}
	return b
}

func wantLost(t *testing.T, what string, err error) {
	t.Helper()
	var lost *transport.LostError
	if !errors.As(err, &lost) || lost.Peer != 1 || !errors.Is(err, transport.ErrPeerLost) {
		t.Errorf("%s of a link to a killed process: got %v, want a LostError of rank 1", what, err)
	}
}
