package tcp

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// batch is how many bytes TLS records are collected to before they go to the kernel.
const batch = 128 << 10

// secure sets the socket up and, unless plain, performs the handshake with who must be the identity want, ""
// anybody. It does not close raw when it fails.
func (t *Transport) secure(ctx context.Context, raw *net.TCPConn, want string, client bool) (stripe.Conn, error) {
	if err := t.tune(raw); err != nil {
		return nil, err
	}
	if t.cfg.plain {
		return &plainConn{TCPConn: raw}, nil
	}
	under := &records{TCPConn: raw}
	c := &tlsConn{under: under}
	if client {
		c.Conn = tls.Client(under, negotiate(raw, stripe.ClientTLS(t.id, want)))
	} else {
		c.Conn = tls.Server(under, negotiate(raw, stripe.ServerTLS(t.id, want)))
	}
	if err := c.Conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	var err error
	if c.peer, err = stripe.Proved(t.id, c.Conn.ConnectionState(), want); err != nil {
		return nil, err
	}
	under.collect()
	return c, nil
}

// tune sets the options of a socket. Buffer sizes are left to the kernel, which adapts them to the path.
func (t *Transport) tune(c *net.TCPConn) error {
	if err := c.SetNoDelay(true); err != nil {
		return err
	}
	quarter := t.cfg.silent / 4
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: quarter, Interval: quarter, Count: 3}); err != nil {
		return err
	}
	if err := setSilentTimeout(c, t.cfg.silent); err != nil {
		return err
	}
	if t.cfg.congestion != "" {
		if err := setCongestion(c, t.cfg.congestion); err != nil && t.cfg.congestion != DefaultCongestion {
			t.warnChoice.Do(func() {
				t.cfg.Settings.Logger.Warn("congestion control not available", "name", t.cfg.congestion, "error", err)
			})
		}
	}
	return nil
}

// A plainConn is a connection without TLS.
type plainConn struct {
	*net.TCPConn
	buffers net.Buffers // here, so that a write does not allocate it
}

func (c *plainConn) PeerID() string { return "" }

// WriteBuffers writes the segments by one writev.
func (c *plainConn) WriteBuffers(segments [][]byte) error {
	c.buffers = segments
	_, err := c.buffers.WriteTo(c.TCPConn)
	return err
}

// A tlsConn is a connection with TLS.
type tlsConn struct {
	*tls.Conn
	under *records
	peer  string
}

func (c *tlsConn) PeerID() string { return c.peer }

// Flush sends the records that are collected.
func (c *tlsConn) Flush() error { return c.under.flush() }

// Close closes the connection without the farewell of TLS, which could block: a session has its own.
func (c *tlsConn) Close() error { return c.under.TCPConn.Close() }

// records stands between TLS and the kernel: TLS writes records of 16 KiB, and reads them in two calls each.
type records struct {
	*net.TCPConn
	mu sync.Mutex // TLS may write while it reads
	w  *bufio.Writer
	r  *bufio.Reader
}

// collect begins to collect what is written until flush, when the handshake is over. Nothing reads or writes
// meanwhile.
func (c *records) collect() {
	c.w, c.r = bufio.NewWriterSize(c.TCPConn, batch), bufio.NewReaderSize(c.TCPConn, batch)
}

func (c *records) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil {
		return c.TCPConn.Write(b)
	}
	return c.w.Write(b)
}

func (c *records) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Flush()
}

func (c *records) Read(b []byte) (int, error) {
	if c.r == nil {
		return c.TCPConn.Read(b)
	}
	return c.r.Read(b)
}

var (
	_ stripe.Conn = (*plainConn)(nil)
	_ stripe.Conn = (*tlsConn)(nil)
	_ net.Conn    = (*records)(nil)
)
