package tcp

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/transport"
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

// begin starts a process in a role, and returns the address that it says.
func begin(b *testing.B, plain bool, role string) (addr string) {
	cmd := command(plain)(role)
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
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func rawDial(plain bool) func(b *testing.B) io.ReadWriteCloser {
	return func(b *testing.B) io.ReadWriteCloser {
		c, err := net.Dial("tcp", begin(b, plain, rawRole))
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

// mirrorRole makes the child the other side of BenchmarkExchange.
const mirrorRole = "mirror"

// secured returns c with the encryption that the environment asks for.
func secured(c net.Conn, client bool) (net.Conn, error) {
	if os.Getenv(plainEnv) != "" {
		return c, nil
	}
	id, err := transporttest.Identity()
	if err != nil {
		return nil, err
	}
	if client {
		return tls.Client(c, stripe.ServerTLS(id, "")), nil
	}
	return tls.Server(c, stripe.ServerTLS(id, "")), nil
}

// mirror sends as many bytes as it receives, at the same time, on any number of connections.
func mirror() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		raw, err := l.Accept()
		if err != nil {
			return err
		}
		c, err := secured(raw, false)
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var size [8]byte
			for {
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				if err := swap(c, int(binary.LittleEndian.Uint64(size[:]))); err != nil {
					return
				}
			}
		}()
	}
}

// swap sends and receives n bytes.
func swap(c net.Conn, n int) error {
	wrote := make(chan error, 1)
	go func() {
		out := make([]byte, transport.MaxPayload)
		for at := 0; at < n; at += len(out) {
			if _, err := c.Write(out[:min(len(out), n-at)]); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	in := make([]byte, transport.MaxPayload)
	for rest := n; rest > 0; {
		m, err := c.Read(in[:min(len(in), rest)])
		if err != nil {
			return err
		}
		rest -= m
	}
	return <-wrote
}

// BenchmarkExchange sends as many bytes each way between two processes as an all-reduce of two ranks does, over bare connections
// of crypto/tls and of the kernel, and sums nothing.
func BenchmarkExchange(b *testing.B) {
	for _, plain := range []bool{false, true} {
		kind := map[bool]string{false: "tls", true: "tcp"}[plain]
		for _, conns := range []int{1, 3} {
			for _, size := range stripetest.BenchSizes {
				b.Run(fmt.Sprintf("%s/conns=%d/%d", kind, conns, size>>20), func(b *testing.B) {
					if plain {
						b.Setenv(plainEnv, "1")
					}
					addr := begin(b, plain, mirrorRole)
					var all []net.Conn
					for range conns {
						raw, err := net.Dial("tcp", addr)
						if err != nil {
							b.Fatal(err)
						}
						c, err := secured(raw, true)
						if err != nil {
							b.Fatal(err)
						}
						defer c.Close()
						all = append(all, c)
					}
					once := func(n int) {
						errs := make(chan error, len(all))
						for _, c := range all {
							go func() {
								_, err := c.Write(binary.LittleEndian.AppendUint64(nil, uint64(n/len(all))))
								if err == nil {
									err = swap(c, n/len(all))
								}
								errs <- err
							}()
						}
						for range all {
							if err := <-errs; err != nil {
								b.Fatal(err)
							}
						}
					}
					once(64) // the handshake
					b.SetBytes(int64(size))
					for b.Loop() {
						once(size)
					}
				})
			}
		}
	}
}
