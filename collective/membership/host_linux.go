package membership

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hello is what a rank says to rank 0, answer what it hears.
type hello struct {
	Version int    `json:"version"`
	Group   string `json:"group"`
	Size    int    `json:"size"`
	Member  Member `json:"member"`
}

type answer struct {
	Refused string `json:"refused,omitempty"`
	Group   *Group `json:"group,omitempty"`
}

// maxMessage bounds what either side reads: some hundred bytes a member.
const maxMessage = 64 << 20

// maxHello bounds what a rank may say of itself.
const maxHello = 64 << 10

// OnHost forms a group of processes and goroutines of this host and user: it returns when size ranks have called it with
// the same name. Rank 0 listens on an abstract unix socket, which vanishes with its process; the others may come
// before it and wait.
func OnHost(ctx context.Context, name string, size int, self Member) (*Group, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if size < 1 || self.Rank < 0 || self.Rank >= size {
		return nil, &RefusedError{Group: name, Rank: self.Rank, Reason: fmt.Sprintf("the group has %d ranks", size)}
	}
	addr := fmt.Sprintf("@ringtree/form/%d/%s", os.Getuid(), name)
	if len(addr) > 107 {
		return nil, &RefusedError{Group: name, Rank: self.Rank, Reason: "the group's name is too long for a socket"}
	}
	if self.Rank == 0 {
		return host(ctx, addr, name, size, self)
	}
	return visit(ctx, addr, name, size, self)
}

// visit is the part of a rank other than 0.
func visit(ctx context.Context, addr, name string, size int, self Member) (*Group, error) {
	conn, err := dial(ctx, addr, name)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	defer stop()
	var a answer
	err = checkUser(conn)
	if err == nil {
		err = writeMessage(conn, hello{Version, name, size, self})
	}
	if err == nil {
		err = readMessage(conn, maxMessage, &a)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, &IncompleteError{Group: name, Cause: context.Cause(ctx)}
	case err != nil:
		return nil, fmt.Errorf("%w: rank 0 of group %q is gone: %w", ErrForming, name, err)
	case a.Refused != "":
		return nil, &RefusedError{Group: name, Rank: self.Rank, Reason: a.Refused}
	case a.Group == nil || len(a.Group.Members) != size:
		return nil, fmt.Errorf("%w: rank 0 of group %q sent no group", ErrForming, name)
	}
	return a.Group, nil
}

// dial connects to rank 0 as soon as it listens.
func dial(ctx context.Context, addr, name string) (*net.UnixConn, error) {
	var d net.Dialer
	pause := time.Millisecond
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		conn, err := d.DialContext(ctx, "unix", addr)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		// Refused: nobody listens yet. Busy: rank 0 has not accepted those before us.
		if ctx.Err() == nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("%w: %w", ErrForming, err)
		}
		timer.Reset(pause)
		pause = min(2*pause, 50*time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, &IncompleteError{Group: name, Missing: []int{0}, Cause: context.Cause(ctx)}
		}
	}
}

// host is the part of rank 0: it collects everybody and tells everybody.
func host(ctx context.Context, addr, name string, size int, self Member) (*Group, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, &RefusedError{Group: name, Rank: 0, Reason: "another group of that name is forming on this host"}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForming, err)
	}
	r := newRoster(name, size)
	if err := r.add(self, size); err != nil {
		return nil, err
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		conns = make(map[net.Conn]bool) // that are served
		group *Group
		over  bool // rank 0 has taken its decision: who comes later is too late
		ready = make(chan struct{})
	)
	settle := func() { // with mu held
		if group == nil && r.complete() {
			group = r.group()
			close(ready)
		}
	}
	serve := func(conn *net.UnixConn) {
		defer wg.Done()
		defer func() {
			_ = conn.Close()
			mu.Lock()
			defer mu.Unlock()
			delete(conns, conn)
		}()
		refuse := func(reason string) { _ = writeMessage(conn, answer{Refused: reason}) }
		if err := checkUser(conn); err != nil {
			refuse(err.Error())
			return
		}
		var h hello
		if err := readMessage(conn, maxHello, &h); err != nil {
			return
		}
		if h.Version != Version {
			refuse(fmt.Sprintf("version %d, the group speaks %d", h.Version, Version))
			return
		}
		mu.Lock()
		err := error(nil)
		if group != nil {
			err = &RefusedError{Reason: "the group is complete"}
		} else if over {
			err = &RefusedError{Reason: "rank 0 has given up"}
		} else if err = r.add(h.Member, h.Size); err == nil {
			settle()
		}
		mu.Unlock()
		if err != nil {
			var refused *RefusedError
			errors.As(err, &refused)
			refuse(refused.Reason)
			return
		}
		// A member says nothing more: a read ends when it is gone, or when the group is complete or given up.
		var b [1]byte
		_, _ = conn.Read(b[:])
		mu.Lock()
		g := group
		if g == nil {
			r.remove(h.Member.Rank)
		}
		mu.Unlock()
		if g != nil {
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_ = writeMessage(conn, answer{Group: g})
		}
	}
	mu.Lock()
	settle()
	mu.Unlock()
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of file descriptors, say: that may pass
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			mu.Lock()
			conns[conn] = true
			if over {
				_ = conn.SetReadDeadline(time.Now())
			}
			mu.Unlock()
			wg.Add(1)
			go serve(conn.(*net.UnixConn))
		}
	})
	select {
	case <-ready:
	case <-ctx.Done():
	}
	_ = l.Close()
	mu.Lock()
	over = true
	for conn := range conns { // ends the reads
		_ = conn.SetReadDeadline(time.Now())
	}
	g := group
	missing := r.missing()
	mu.Unlock()
	wg.Wait()
	if g == nil {
		return nil, &IncompleteError{Group: name, Missing: missing, Cause: context.Cause(ctx)}
	}
	return g, nil
}

// checkUser refuses a peer that runs as another user.
func checkUser(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(cerr, err); err != nil {
		return err
	}
	if int(cred.Uid) != os.Getuid() {
		return fmt.Errorf("user %d is not user %d", cred.Uid, os.Getuid())
	}
	return nil
}

func writeMessage(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readMessage reads one message of at most limit bytes into v.
func readMessage(r io.Reader, limit int, v any) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(n[:])
	if int64(size) > int64(limit) {
		return fmt.Errorf("membership: message of %d bytes", size)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	if len(b) < int(size) {
		return io.ErrUnexpectedEOF
	}
	return json.Unmarshal(b, v)
}
