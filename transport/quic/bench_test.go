package quic

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ringtree/ringtree/transport/internal/stripe"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// rawRole makes the child the other side of a bare connection.
const rawRole = "raw"

// rawConfig is the transport's.
func rawConfig() (*quicgo.Config, error) {
	id, err := transporttest.Identity()
	if err != nil {
		return nil, err
	}
	tr, err := New(id, patient)
	if err != nil {
		return nil, err
	}
	return tr.quic, nil
}

func rawChild() error {
	id, err := transporttest.Identity()
	if err != nil {
		return err
	}
	cfg, err := rawConfig()
	if err != nil {
		return err
	}
	l, err := quicgo.ListenAddr("127.0.0.1:0", stripe.ServerTLS(id, ""), cfg)
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

func rawDial(b *testing.B) io.ReadWriteCloser {
	cmd := command(rawRole)
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
	id, err := transporttest.Identity()
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := rawConfig()
	if err != nil {
		b.Fatal(err)
	}
	c, err := quicgo.DialAddr(b.Context(), strings.TrimSpace(addr), stripe.ServerTLS(id, ""), cfg)
	if err != nil {
		b.Fatal(err)
	}
	s, err := c.OpenStreamSync(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkLink measures links between two processes beside one bare stream of quic-go.
func BenchmarkLink(b *testing.B) {
	for _, mode := range []string{
		"conns=1 gro=on poll=on", "conns=4 gro=on poll=on", "conns=4 gro=on poll=off", "conns=4 gro=off poll=off", "conns=1 gro=off poll=off",
	} {
		b.Run(strings.ReplaceAll(mode, " ", ","), func(b *testing.B) {
			newTransport, command := inMode(mode)
			stripetest.Bench(b, newTransport, command)
		})
	}
	b.Run("raw", func(b *testing.B) { stripetest.BenchRaw(b, rawDial) })
}
