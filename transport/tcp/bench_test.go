package tcp

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/transport/internal/stripe"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

// rawRole makes the child the other side of a bare connection.
const rawRole = "raw"

func rawChild() error {
	return stripetest.RawTCP(os.Stdout, func(c net.Conn) io.ReadWriter {
		if os.Getenv(plainEnv) != "" {
			return c
		}
		id, err := transporttest.Identity()
		if err != nil {
			return nil
		}
		return tls.Server(c, stripe.ServerTLS(id, ""))
	})
}

func rawDial(plain bool) func(b *testing.B) io.ReadWriteCloser {
	return func(b *testing.B) io.ReadWriteCloser {
		cmd := command(plain)(rawRole)
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
		c, err := net.Dial("tcp", strings.TrimSpace(addr))
		if err != nil {
			b.Fatal(err)
		}
		if plain {
			return c
		}
		id, err := transporttest.Identity()
		if err != nil {
			b.Fatal(err)
		}
		return tls.Client(c, stripe.ServerTLS(id, ""))
	}
}

// BenchmarkLink measures links between two processes beside one bare connection of the same kind.
func BenchmarkLink(b *testing.B) {
	b.Run("tls", func(b *testing.B) { stripetest.Bench(b, onTLS, command(false)) })
	b.Run("rawtls", func(b *testing.B) { stripetest.BenchRaw(b, rawDial(false)) })
	b.Run("plain", func(b *testing.B) { stripetest.Bench(b, onPlain, command(true)) })
	b.Run("rawplain", func(b *testing.B) { stripetest.BenchRaw(b, rawDial(true)) })
}
