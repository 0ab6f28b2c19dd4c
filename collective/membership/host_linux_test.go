package membership

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestOnHost(t *testing.T) {
	testFormer(t, OnHost, func(name string) { knock(t, name, nil) })
}

func formAddr(name string) string { return fmt.Sprintf("@ringtree/form/%d/%s", os.Getuid(), name) }

// knock connects to rank 0 of a group as soon as it listens, and says something raw.
func knock(t *testing.T, name string, text []byte) *net.UnixConn {
	t.Helper()
	conn, err := dial(t.Context(), formAddr(name), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func helloText(t *testing.T, h hello) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeMessage(&b, h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// answerTo returns what rank 0 answers.
func answerTo(t *testing.T, conn net.Conn) answer {
	t.Helper()
	var a answer
	if err := readMessage(conn, maxMessage, &a); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return a
}

// startRank0 lets rank 0 form a group behind the test.
func startRank0(ctx context.Context, name string, size int) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := OnHost(ctx, name, size, testMember(0))
		done <- err
	}()
	return done
}

// joinRaw joins as a rank by hand, and returns when rank 0 has taken it: its process number, and what ends its connection.
// To know that, it joins twice: one of the two is refused because of the other, or because of an earlier one, and then
// both try again.
func joinRaw(t *testing.T, name string, size, rank, pid int) (int, <-chan error) {
	t.Helper()
	for ; ; pid += 2 {
		var conns [2]net.Conn
		ends := [2]chan error{make(chan error, 1), make(chan error, 1)}
		refused := make(chan string, 2)
		for i := range conns {
			m := testMember(rank)
			m.PID = pid + i
			conns[i] = knock(t, name, helloText(t, hello{Version, name, size, m}))
			go func() {
				var a answer
				err := readMessage(conns[i], maxMessage, &a)
				if err == nil {
					refused <- a.Refused
				}
				ends[i] <- err
			}()
		}
		why := <-refused
		for i := range conns {
			if strings.Contains(why, fmt.Sprintf("process %d has joined", pid+i)) {
				return pid + i, ends[i]
			}
		}
		for i := range conns {
			conns[i].Close()
			<-ends[i]
		}
	}
}

// What does not fit is refused with the reason, and the group forms all the same.
func TestOnHostRefusesMisfits(t *testing.T) {
	name := formName()
	done := startRank0(t.Context(), name, 2)
	for what, tc := range map[string]struct {
		h    hello
		want string
	}{
		"another size":    {hello{Version, name, 3, testMember(1)}, "it expects 3 ranks, the group has 2"},
		"rank 0 again":    {hello{Version, name, 2, testMember(0)}, "process 100 has joined with that rank"},
		"rank above":      {hello{Version, name, 2, testMember(2)}, "the group has ranks 0 to 1"},
		"rank below":      {hello{Version, name, 2, Member{Rank: -1}}, "the group has ranks 0 to 1"},
		"another version": {hello{Version + 1, name, 2, testMember(1)}, fmt.Sprintf("version %d, the group speaks %d", Version+1, Version)},
		"no version":      {hello{}, fmt.Sprintf("version 0, the group speaks %d", Version)},
	} {
		if a := answerTo(t, knock(t, name, helloText(t, tc.h))); a.Refused != tc.want || a.Group != nil {
			t.Errorf("%s: refused with %q, want %q", what, a.Refused, tc.want)
		}
	}
	// Through the front door the refusal is an error.
	var refused *RefusedError
	if _, err := OnHost(t.Context(), name, 3, testMember(1)); !errors.As(err, &refused) || refused.Rank != 1 || refused.Group != name {
		t.Errorf("another size: got %v, want a RefusedError", err)
	}
	if _, err := OnHost(t.Context(), name, 2, testMember(0)); !errors.As(err, &refused) || refused.Rank != 0 {
		t.Errorf("a second rank 0: got %v, want a RefusedError", err)
	}
	if _, err := OnHost(t.Context(), name, 2, testMember(1)); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Garbage on the socket, and silence, do not keep a group from forming.
func TestOnHostGarbage(t *testing.T) {
	name := formName()
	done := startRank0(t.Context(), name, 3)
	huge := binary.LittleEndian.AppendUint32(nil, 1<<31)
	for _, text := range [][]byte{
		nil, {1}, {0, 0, 0, 0}, huge, append(huge, "abc"...), []byte("GET / HTTP/1.1\r\n\r\n"), {5, 0, 0, 0, 'n', 'u', 'l', 'l', '!'},
		bytes.Repeat([]byte{0xff}, 1000), {2, 0, 0, 0, '{', '}'}, helloText(t, hello{Version, name, 3, testMember(1)})[:20],
	} {
		conn := knock(t, name, text)
		if len(text)%2 == 0 { // the others stay
			conn.Close()
		}
	}
	var wg sync.WaitGroup
	for r := 1; r < 3; r++ {
		wg.Go(func() {
			if _, err := OnHost(t.Context(), name, 3, testMember(r)); err != nil {
				t.Errorf("rank %d: %v", r, err)
			}
		})
	}
	wg.Wait()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// When rank 0 gives up it knows who is missing; those who have come hear of it.
func TestOnHostMissing(t *testing.T) {
	name := formName()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := startRank0(ctx, name, 5)
	_, end := joinRaw(t, name, 5, 3, 1000)
	why := errors.New("lunch")
	cancel(why)
	var incomplete *IncompleteError
	err := <-done
	if !errors.As(err, &incomplete) || !errors.Is(err, why) || !slices.Equal(incomplete.Missing, []int{1, 2, 4}) {
		t.Errorf("rank 0: got %v, want an IncompleteError of ranks 1, 2, 4, and %v", err, why)
	}
	if err := <-end; err != io.EOF {
		t.Errorf("the connection of rank 3 ends with %v, want %v", err, io.EOF)
	}
}

// A rank that gives up while others are missing says so, before rank 0 is there and after.
func TestOnHostVisitorGivesUp(t *testing.T) {
	name := formName()
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error, 1)
	go func() {
		_, err := OnHost(ctx, name, 3, testMember(1))
		cancelled <- err
	}()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("without rank 0: got %v, want %v", err, context.Canceled)
	}
	// The same with a rank 0 that listens and waits for one who never comes.
	hosting, stop := context.WithCancel(t.Context())
	done := startRank0(hosting, name, 3)
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, err := OnHost(ctx, name, 3, testMember(1))
		cancelled <- err
	}()
	knock(t, name, nil) // rank 0 listens
	cancel()
	var incomplete *IncompleteError
	if err := <-cancelled; !errors.Is(err, context.Canceled) || errors.As(err, &incomplete) && !errors.Is(err, ErrForming) {
		t.Errorf("with rank 0: got %v, want %v", err, context.Canceled)
	}
	stop()
	if err := <-done; !errors.As(err, &incomplete) {
		t.Errorf("rank 0: got %v, want an IncompleteError", err)
	}
}

// A rank dies while the group forms, and another takes its number.
func TestOnHostSuccessor(t *testing.T) {
	name := formName()
	done := startRank0(t.Context(), name, 3)
	knock(t, name, helloText(t, hello{Version, name, 3, testMember(1)})).Close()
	pid, _ := joinRaw(t, name, 3, 1, 1000)
	g, err := OnHost(t.Context(), name, 3, testMember(2))
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Members[1].PID; got != pid {
		t.Errorf("rank 1 is process %d, want %d", got, pid)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Who sits at the name of a group and is no rank 0 gets nobody anywhere, but an error.
func TestOnHostImpostor(t *testing.T) {
	group := func(n int) []byte {
		var b bytes.Buffer
		if err := writeMessage(&b, answer{Group: &Group{ID: 1, Members: make([]Member, n)}}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for what, text := range map[string][]byte{
		"nothing": nil, "half a length": {1, 0}, "garbage": []byte("garbage and more of it"), "empty": {2, 0, 0, 0, '{', '}'},
		"too long": binary.LittleEndian.AppendUint32(nil, maxMessage+1), "a smaller group": group(2), "a larger group": group(4),
		"a refusal": append([]byte{17, 0, 0, 0}, `{"refused":"no!"}`...),
	} {
		name := formName()
		l, err := net.Listen("unix", formAddr(name))
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			var h hello
			_ = readMessage(conn, maxHello, &h)
			_, _ = conn.Write(text)
		}()
		if _, err := OnHost(t.Context(), name, 3, testMember(1)); !errors.Is(err, ErrForming) {
			t.Errorf("%s: got %v, want %v", what, err, ErrForming)
		}
		l.Close()
		<-over
	}
}

func TestOnHostNameTooLong(t *testing.T) {
	var refused *RefusedError
	if _, err := OnHost(t.Context(), strings.Repeat("n", 100), 1, testMember(0)); !errors.As(err, &refused) {
		t.Errorf("got %v, want a RefusedError", err)
	}
}

// Whatever comes over the socket is a message or an error, and costs no more memory than was sent.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{4, 0, 0, 0, 'n', 'u', 'l', 'l'})
	f.Add([]byte{255, 255, 255, 255, '{'})
	var b bytes.Buffer
	if err := writeMessage(&b, hello{Version, "g", 3, testMember(1)}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		var h hello
		if err := readMessage(bytes.NewReader(text), maxHello, &h); err == nil {
			// What was understood can be said again.
			var b bytes.Buffer
			if err := writeMessage(&b, h); err != nil {
				t.Fatalf("%q: read, but not to be written: %v", text, err)
			}
			var again hello
			if err := readMessage(&b, 10*maxHello, &again); err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", h) {
				t.Fatalf("%q: got %+v again, want %+v, %v", text, again, h, err)
			}
		} else if n := len(text); n >= 4 && int64(binary.LittleEndian.Uint32(text)) > maxHello && errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%q: a message over the limit was read", text)
		}
		var a answer
		_ = readMessage(bytes.NewReader(text), maxMessage, &a)
	})
}
