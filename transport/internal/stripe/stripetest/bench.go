package stripetest

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

// BenchSizes are the messages of the benchmarks, in bytes.
var BenchSizes = []int{1 << 20, 16 << 20, 64 << 20}

// Bench measures a link to another process: 8 bytes to and fro, and messages whose end is answered, after a first one.
func Bench(b *testing.B, newTransport Maker, command func(role string) *exec.Cmd) {
	b.Run("PingPong/8B", func(b *testing.B) {
		p := Start(b, newTransport, command(RoleEcho))
		h, payload := transport.Header{Kind: transport.Data, Length: 8}, make([]byte, 8)
		b.ReportAllocs()
		for b.Loop() {
			if err := p.Post(&h, payload); err != nil {
				b.Fatal(err)
			}
			if _, err := p.Receive(); err != nil {
				b.Fatal(err)
			}
			p.Link.Release()
		}
	})
	for _, size := range BenchSizes {
		b.Run(fmt.Sprintf("Stream/%dMiB", size>>20), func(b *testing.B) {
			p := Start(b, newTransport, command(RoleSink))
			payload := make([]byte, size)
			h := transport.Header{Kind: transport.Data, Length: transport.MaxPayload}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			transfer := func() {
				for at := 0; at < size; at += transport.MaxPayload {
					h.Root = 0
					if at+transport.MaxPayload == size {
						h.Root = 1
					}
					if err := p.Post(&h, payload[at:at+transport.MaxPayload]); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := p.Receive(); err != nil {
					b.Fatal(err)
				}
				p.Link.Release()
			}
			transfer() // windows open, memory is there
			for b.Loop() {
				transfer()
			}
		})
	}
}

// BenchRaw is Bench on a bare stream, for comparison: dial starts a process that runs ServeRaw and connects to
// it.
func BenchRaw(b *testing.B, dial func(b *testing.B) io.ReadWriteCloser) {
	b.Run("PingPong/8B", func(b *testing.B) {
		c := dial(b)
		defer c.Close()
		request := rawRequest(8)
		var answer [8]byte
		for b.Loop() {
			if _, err := c.Write(request); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, answer[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, size := range BenchSizes {
		b.Run(fmt.Sprintf("Stream/%dMiB", size>>20), func(b *testing.B) {
			c := dial(b)
			defer c.Close()
			payload := make([]byte, size)
			copy(payload, rawRequest(size))
			var answer [8]byte
			b.SetBytes(int64(size))
			transfer := func() {
				for at := 0; at < size; at += transport.MaxPayload {
					if _, err := c.Write(payload[at : at+transport.MaxPayload]); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := io.ReadFull(c, answer[:]); err != nil {
					b.Fatal(err)
				}
			}
			transfer() // as Bench does
			for b.Loop() {
				transfer()
			}
		})
	}
}

// rawRequest is the first 8 bytes of a message of BenchRaw: its length.
func rawRequest(size int) []byte { return fmt.Appendf(nil, "%08x", size) }

// ServeRaw is the other side of BenchRaw: it reads messages and answers each with 8 bytes, until c ends.
func ServeRaw(c io.ReadWriter) error {
	buf := make([]byte, transport.MaxPayload)
	for {
		if _, err := io.ReadFull(c, buf[:8]); err != nil {
			return nil // the other side has hung up
		}
		var size int
		if _, err := fmt.Sscanf(string(buf[:8]), "%08x", &size); err != nil {
			return err
		}
		for rest := size - 8; rest > 0; {
			n, err := c.Read(buf[:min(rest, len(buf))])
			if err != nil {
				return err
			}
			rest -= n
		}
		if _, err := c.Write(buf[:8]); err != nil {
			return err
		}
	}
}

// RawTCP is the child's side of a bare TCP connection: it says its address on out and serves one connection.
func RawTCP(out io.Writer, wrap func(net.Conn) io.ReadWriter) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, l.Addr())
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	return ServeRaw(wrap(c))
}
