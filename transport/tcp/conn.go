package tcp

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// batch is how many records are encrypted before they go to the kernel, and read from it, at once: enough to be worth a call, and few
// enough to stay in the second-level cache of a core.
const batch = 8

// secure sets the socket up and, unless plain, performs the handshake with who must be the identity want, ""
// anybody. It does not close raw when it fails.
func (t *Transport) secure(ctx context.Context, raw *net.TCPConn, want string, client bool) (stripe.Conn, error) {
	err := t.tune(raw)
	if err != nil {
		return nil, err
	}
	var c *conn
	if t.cfg.plain {
		c = &conn{TCPConn: raw, clear: true}
	} else if c, err = t.handshake(ctx, raw, want, client); err != nil {
		return nil, err
	}
	if t.cfg.wrap != nil {
		return t.cfg.wrap(c), nil
	}
	return c, nil
}

// begin prepares a socket that is going to connect, or to listen for others like it. Who the peer is, nobody knows yet.
func (t *Transport) begin(_, _ string, raw syscall.RawConn) error {
	if t.cfg.congestion == "" {
		return nil
	}
	if err := unpace(raw, t.cfg.congestion); err != nil && t.cfg.congestion != DefaultCongestion {
		t.warnChoice.Do(func() {
			t.cfg.Settings.Logger.Warn("congestion control not available", "name", t.cfg.congestion, "error", err)
		})
	}
	return nil
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
	if t.cfg.congestion != "" && !near(c.LocalAddr(), c.RemoteAddr()) {
		setCongestion(c, t.cfg.congestion) // if it is not available, begin has said so
	}
	return nil
}

// near reports whether two ends of a connection are on one host.
func near(a, b net.Addr) bool {
	x, ok := a.(*net.TCPAddr)
	y, too := b.(*net.TCPAddr)
	return ok && too && x.IP.Equal(y.IP)
}

// A conn is a connection, in records of TLS or in clear. One goroutine at a time reads, one writes.
type conn struct {
	*net.TCPConn
	clear bool
	peer  string
	// protocol is what the handshake negotiated.
	protocol string
	tries    tries

	// Reading.
	in    half
	rx    []byte // records as they come
	r, w  int    // what is in rx
	plain []byte // content of a record that has not been asked for yet, in rx
	idle  int    // records without content in a row

	// Writing.
	out     half
	tx      []byte // records
	sent    int    // of tx
	answer  atomic.Bool
	buffers net.Buffers // here, so that a write does not allocate it
}

// newSealed returns a connection whose handshake is over, with the secrets of its directions.
func newSealed(raw *net.TCPConn, s *suite, in, out []byte, peer string) (c *conn, err error) {
	c = &conn{TCPConn: raw, peer: peer, rx: make([]byte, batch*recordSpace), tx: make([]byte, 0, batch*recordSpace)}
	if c.in, err = newHalf(s, in); err != nil {
		return nil, err
	}
	if c.out, err = newHalf(s, out); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *conn) PeerID() string { return c.peer }

// Clear ends the encryption, in both directions.
func (c *conn) Clear() { c.clear, c.tx = true, nil }

// Close closes the connection without the farewell of TLS, which could block: a session has its own. Package net waits for those who are
// in a call of SyscallConn's, and one of them may be here, so nobody waits for that: reads and writes fail from now on.
func (c *conn) Close() error {
	go c.TCPConn.Close()
	return nil
}

// Read waits for data.
func (c *conn) Read(b []byte) (int, error) {
	for {
		if n, err := c.deliver(b); n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		if c.clear {
			return c.TCPConn.Read(b)
		}
		n, err := c.TCPConn.Read(c.space())
		if c.w += n; n == 0 && err != nil {
			return 0, c.cut(err)
		}
	}
}

// space returns where what comes from the kernel goes.
func (c *conn) space() []byte {
	c.w = copy(c.rx, c.rx[c.r:c.w])
	c.r = 0
	return c.rx[c.w:]
}

// cut turns an end within a record into an error.
func (c *conn) cut(err error) error {
	if err == io.EOF && c.w > c.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// deliver gives what has come, as far as it fits b; 0: there is nothing whole. It may use the capacity of b behind its length.
func (c *conn) deliver(b []byte) (n int, err error) {
	if c.clear {
		n = copy(b, c.rx[c.r:c.w])
		if c.r += n; c.r == c.w {
			c.rx, c.r, c.w = nil, 0, 0 // it was for records
		}
		return n, nil
	}
	for n < len(b) {
		if len(c.plain) > 0 {
			m := copy(b[n:], c.plain)
			n, c.plain = n+m, c.plain[m:]
			continue
		}
		if c.w-c.r < recordHeader {
			return n, nil
		}
		size, err := length(c.rx[c.r:])
		if err != nil {
			return n, err
		}
		if c.w-c.r < size {
			return n, nil
		}
		record := c.rx[c.r : c.r+size]
		inner := size - recordHeader - recordTag // content and its type
		direct := inner-1 <= len(b)-n && inner <= cap(b)-n
		if !direct && n > 0 {
			return n, nil
		}
		to := record[recordHeader:recordHeader]
		if direct {
			to = b[n:n]
		}
		c.r += size
		kind, content, err := c.in.open(to, record)
		switch {
		case err != nil:
			return n, err
		case kind != typeApplication:
			answer, err := c.in.attend(kind, content)
			if err != nil {
				return n, err
			}
			if answer {
				c.answer.Store(true)
			}
			fallthrough
		case len(content) == 0:
			if c.idle++; c.idle > useless {
				return n, errIdle
			}
		case direct:
			n += len(content)
			c.idle = 0
		default:
			c.plain, c.idle = content, 0
		}
	}
	return n, nil
}

// Write sends b.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.WriteBuffers([][]byte{b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// WriteBuffers sends the segments, in clear by one writev. It uses them up.
func (c *conn) WriteBuffers(segments [][]byte) error {
	if c.clear {
		c.buffers = segments
		_, err := c.buffers.WriteTo(c.TCPConn)
		return err
	}
	for {
		if c.sent < len(c.tx) {
			n, err := c.TCPConn.Write(c.tx[c.sent:])
			if c.sent += n; err != nil {
				return err
			}
		}
		var err error
		if segments, err = c.encrypt(segments); err != nil || len(c.tx) == 0 {
			return err
		}
	}
}

// encrypt makes records of segments as far as there is room, when all records have been sent. It returns the rest. A segment
// begins a record, so that a reader finds payload at the beginning of one.
func (c *conn) encrypt(segments [][]byte) (rest [][]byte, err error) {
	c.tx, c.sent = c.tx[:0], 0
	for len(segments) > 0 && cap(c.tx)-len(c.tx) >= recordSpace {
		if len(segments[0]) == 0 {
			segments = segments[1:]
			continue
		}
		if c.out.seq >= c.out.limit || c.answer.Load() {
			c.answer.Store(false)
			if c.tx, err = c.out.keyUpdate(c.tx); err != nil {
				return segments, err
			}
			continue
		}
		piece := segments[0][:min(len(segments[0]), recordPlain)]
		c.tx = c.out.seal(c.tx, typeApplication, piece)
		segments[0] = segments[0][len(piece):]
	}
	return segments, nil
}

var _ stripe.Conn = (*conn)(nil)
