package quic

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ringtree/ringtree/transport/internal/stripe"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// rawRole makes the child the other side of a bare connection.
const rawRole = "raw"

// portMode has the bare connection use a socket of this package: what is left is the cost of quic-go and the kernel.
const portMode = "port"

// rawTransport returns the transport whose configuration a bare connection has, and what it runs on. Without a mode both are quic-go as it comes.
func rawTransport(mode string) (*Transport, *quicgo.Transport, error) {
	id, err := transporttest.Identity()
	if err != nil {
		return nil, nil, err
	}
	tr, err := New(id, onLoopback, patient, LossRepair(false))
	if err != nil {
		return nil, nil, err
	}
	if mode == portMode {
		p, err := openPort(context.Background(), tr, tr.cfg.listen)
		if err != nil {
			return nil, nil, err
		}
		return tr, p.quic, nil
	}
	tr.quic = &quicgo.Config{}
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	return tr, &quicgo.Transport{Conn: u}, err
}

func rawChild() error {
	tr, q, err := rawTransport(os.Getenv(modeEnv))
	if err != nil {
		return err
	}
	l, err := q.Listen(stripe.ServerTLS(tr.id, ""), tr.quic)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	c, err := l.Accept(context.Background())
	if err != nil {
		return err
	}
	s, err := c.AcceptStream(context.Background())
	if err != nil {
		return err
	}
	return stripetest.ServeRaw(s)
}

func rawDial(b *testing.B, mode string) io.ReadWriteCloser {
	cmd := command(rawRole)
	cmd.Env = append(cmd.Env, modeEnv+"="+mode)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	to, err := resolve(b.Context(), strings.TrimSpace(addr))
	if err != nil {
		b.Fatal(err)
	}
	tr, q, err := rawTransport(mode)
	if err != nil {
		b.Fatal(err)
	}
	c, err := q.Dial(b.Context(), to, stripe.ServerTLS(tr.id, ""), tr.quic)
	if err != nil {
		b.Fatal(err)
	}
	s, err := c.OpenStreamSync(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkLink measures links between two processes beside one bare stream of quic-go, over its own socket and over one of this package.
func BenchmarkLink(b *testing.B) {
	for _, mode := range []string{
		"conns=1 gro=on poll=on", "conns=4 gro=on poll=on", "conns=4 gro=on poll=off", "conns=4 gro=off poll=off", "conns=1 gro=off poll=off",
	} {
		b.Run(strings.ReplaceAll(mode, " ", ","), func(b *testing.B) {
			newTransport, command := inMode(mode)
			stripetest.Bench(b, newTransport, command)
		})
	}
	for _, raw := range []struct{ name, mode string }{{"raw", ""}, {"raw,gro=on", portMode}} {
		b.Run(raw.name, func(b *testing.B) {
			stripetest.BenchRaw(b, func(b *testing.B) io.ReadWriteCloser { return rawDial(b, raw.mode) })
		})
	}
}
