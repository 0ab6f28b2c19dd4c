package membership

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// The rendezvous of a launched job. A launcher says at which host and port rank 0 is, but not who it is. So rank 0
// answers there, over plain TCP, with the addresses and the identity of its host, which are no secret, and the proof
// that it knows the job's secret; everything else is said over streams to that identity.
//
//	question:  "rt1?", challenge (16 bytes)
//	answer:    length (uint16), addresses (uvarint number; texts with a uvarint length), HMAC-SHA256 (32 bytes)

const rendezvousMagic = "rt1?"

// maxAnswer bounds an answer in bytes.
const maxAnswer = 16 << 10

// invitation returns the invitation of a launched job, without addresses. The secret is derived from RINGTREE_SECRET and
// the job's name.
func (l Launch) invitation() *Invitation {
	inv := &Invitation{Size: l.Size}
	group := sha256.Sum256([]byte("ringtree group " + l.Name()))
	copy(inv.Group[:], group[:])
	mac := hmac.New(sha256.New, []byte(l.Secret))
	mac.Write([]byte("ringtree job " + l.Name()))
	copy(inv.Secret[:], mac.Sum(nil))
	return inv
}

// check reports what cannot be.
func (l Launch) check() error {
	switch {
	case l.Size < 1 || l.Size > MaxSize:
		return &LaunchError{"size", fmt.Sprintf("%d ranks: a group has 1 to %d", l.Size, MaxSize)}
	case l.Rank < 0 || l.Rank >= l.Size:
		return &LaunchError{"rank", fmt.Sprintf("%d is no rank of %d", l.Rank, l.Size)}
	case l.Addr != "" && l.Job == "":
		return &LaunchError{"RINGTREE_JOB", "is not set, and the launcher tells no name of the job that all hosts share"}
	}
	return nil
}

// Launched forms the group of a launched job: [OnHost] if all ranks are on this host, else [Over], with rank 0 as the
// coordinator, whose address is asked for at launch.Addr. host may be nil in the first case. self.Rank is set from the
// launch. Errors are those of OnHost and Over, and [*LaunchError].
//
// Without a secret in the launch, only the job's name tells its members from others. That keeps jobs apart; it
// keeps nobody out who means to get in, so set RINGTREE_SECRET where the network is not yours alone.
func Launched(ctx context.Context, host Host, launch Launch, self Member, opts Options) (*Group, int, error) {
	if err := launch.check(); err != nil {
		return nil, 0, err
	}
	self.Rank = launch.Rank
	if launch.Addr == "" {
		g, err := OnHost(ctx, launch.Name(), launch.Size, self)
		return g, self.Rank, err
	}
	inv := launch.invitation()
	if launch.Rank != 0 {
		addrs, err := askAt(ctx, launch.Addr, inv)
		if err != nil {
			return nil, 0, err
		}
		inv.Addrs = addrs
		return Over(ctx, host, inv, self, opts)
	}
	inv.Addrs = host.Addrs()
	if len(inv.Addrs) > maxAddrs {
		inv.Addrs = inv.Addrs[:maxAddrs]
	}
	_, port, err := net.SplitHostPort(launch.Addr)
	if err != nil {
		return nil, 0, &LaunchError{"address", err.Error()}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", port))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrForming, err)
	}
	stop := answerAt(l, inv)
	defer stop()
	return Over(ctx, host, inv, self, opts)
}

// answerAt answers questions at a listener until stop, which also waits.
func answerAt(l net.Listener, inv *Invitation) (stop func()) {
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, 256) // questions at one time
	)
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			conn, err := l.Accept()
			if err != nil && !errors.Is(err, net.ErrClosed) {
				<-slots
				select { // out of files, mostly: others may give some back
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { <-slots }()
				defer conn.Close()
				undo := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
				defer undo()
				_ = conn.SetDeadline(time.Now().Add(greetingTime))
				_ = answer1(conn, inv) // who asks badly learns nothing
			})
		}
	})
	return func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	}
}

// answer1 answers one question.
func answer1(conn io.ReadWriter, inv *Invitation) error {
	var q [len(rendezvousMagic) + nonceSize]byte
	if _, err := io.ReadFull(conn, q[:]); err != nil {
		return err
	}
	if string(q[:len(rendezvousMagic)]) != rendezvousMagic {
		return errors.New("membership: not a question")
	}
	b := binary.AppendUvarint(nil, uint64(len(inv.Addrs)))
	for _, a := range inv.Addrs {
		b = appendText(b, a)
	}
	b = append(b, rendezvousProof(inv, q[len(rendezvousMagic):], b)...)
	if len(b) > maxAnswer {
		return fmt.Errorf("membership: answer of %d bytes", len(b))
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

func rendezvousProof(inv *Invitation, nonce, addrs []byte) []byte {
	mac := hmac.New(sha256.New, inv.Secret[:])
	mac.Write([]byte("ringtree rendezvous"))
	mac.Write(inv.Group[:])
	mac.Write(nonce)
	mac.Write(addrs)
	return mac.Sum(nil)
}

// askAt asks for rank 0's addresses until it answers or the context ends.
func askAt(ctx context.Context, addr string, inv *Invitation) ([]string, error) {
	var d net.Dialer
	pause := 10 * time.Millisecond
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		one, cancel := context.WithTimeout(ctx, greetingTime)
		conn, err := d.DialContext(one, "tcp", addr)
		cancel()
		if err == nil {
			var addrs []string
			addrs, err = ask1(ctx, conn, inv)
			var refused *RefusedError
			if err == nil || errors.As(err, &refused) {
				return addrs, err
			}
		}
		timer.Reset(pause)
		pause = min(2*pause, time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, &IncompleteError{Group: inv.Name(), Missing: []int{0}, Cause: errors.Join(context.Cause(ctx), err)}
		}
	}
}

// ask1 asks over one connection, and closes it.
func ask1(ctx context.Context, conn net.Conn, inv *Invitation) ([]string, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(greetingTime))
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	if _, err := conn.Write(append([]byte(rendezvousMagic), nonce...)); err != nil {
		return nil, err
	}
	addrs, err := readAnswer(conn, inv, nonce)
	if errors.Is(err, errProof) {
		err = &RefusedError{Group: inv.Name(), Rank: AnyRank, Code: WrongSecret,
			Reason: WrongSecret.String() + ": " + conn.RemoteAddr().String() + " does not know this job's secret"}
	}
	return addrs, err
}

var errProof = errors.New("membership: wrong proof")

// readAnswer reads an answer and checks it.
func readAnswer(r io.Reader, inv *Invitation, nonce []byte) ([]string, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(head[:]))
	if len(b) > maxAnswer || len(b) < sha256.Size {
		return nil, fmt.Errorf("membership: answer of %d bytes", len(b))
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	b, proof := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(proof, rendezvousProof(inv, nonce, b)) {
		return nil, errProof
	}
	d := decoder{b: bytes.Clone(b)}
	var addrs []string
	for range d.number(maxAddrs) {
		addrs = append(addrs, strings.Clone(d.text(maxAddr)))
	}
	if d.bad || len(d.b) > 0 {
		return nil, errors.New("membership: bad answer")
	}
	answered := *inv
	answered.Addrs = addrs
	if err := answered.check(); err != nil {
		return nil, err
	}
	return addrs, nil
}
