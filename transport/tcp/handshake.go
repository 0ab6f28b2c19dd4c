package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// handshake performs the handshake of crypto/tls with who must be the identity want, "" anybody. When it is over, the records
// are this package's: the bytes on the wire are those of TLS 1.3 all the same.
func (t *Transport) handshake(ctx context.Context, raw *net.TCPConn, want string, client bool) (*conn, error) {
	cfg := stripe.ServerTLS(t.id, want)
	if client {
		cfg = stripe.ClientTLS(t.id, want)
	}
	cfg = negotiate(raw, cfg)
	var keys secrets
	if others := cfg.KeyLogWriter; others != nil {
		cfg.KeyLogWriter = io.MultiWriter(&keys, others)
	} else {
		cfg.KeyLogWriter = &keys
	}
	var c *tls.Conn
	if under := (&recordwise{TCPConn: raw}); client {
		c = tls.Client(under, cfg)
	} else {
		c = tls.Server(under, cfg)
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := c.ConnectionState()
	peer, err := stripe.Proved(t.id, state, want)
	if err != nil {
		return nil, err
	}
	s := suites[state.CipherSuite]
	if t.cfg.standard {
		s = standardSuites[state.CipherSuite]
	}
	if s == nil || len(keys.client) != s.hashLen || len(keys.server) != s.hashLen {
		return nil, fmt.Errorf("no keys of %s", tls.CipherSuiteName(state.CipherSuite))
	}
	in, out := keys.client, keys.server
	if client {
		in, out = out, in
	}
	made, err := newSealed(raw, s, in, out, peer)
	if err != nil {
		return nil, err
	}
	made.protocol = state.NegotiatedProtocol
	return made, nil
}

// secrets takes the secrets of application data from the key log of one connection, which crypto/tls offers for debugging. They
// stay in this process's memory, where they are anyway.
type secrets struct{ client, server []byte }

func (s *secrets) Write(line []byte) (int, error) {
	words := bytes.Fields(line)
	if len(words) != 3 {
		return 0, errors.New("key log: want three words")
	}
	var to *[]byte
	switch string(words[0]) {
	case "CLIENT_TRAFFIC_SECRET_0":
		to = &s.client
	case "SERVER_TRAFFIC_SECRET_0":
		to = &s.server
	default:
		return len(line), nil
	}
	secret, err := hex.AppendDecode(nil, words[2])
	if err != nil {
		return 0, err
	}
	*to = secret
	return len(line), nil
}

// recordwise lets a handshake read no further than the record that it wants, so that what comes behind is not lost in it.
type recordwise struct {
	*net.TCPConn
	header [recordHeader]byte
	given  int // bytes of header that have been read
	left   int // bytes of the record's body that have not
}

func (c *recordwise) Read(b []byte) (int, error) {
	if c.left == 0 && c.given == 0 {
		if _, err := io.ReadFull(c.TCPConn, c.header[:]); err != nil {
			return 0, err
		}
		c.left = int(binary.BigEndian.Uint16(c.header[3:]))
	}
	if c.given < len(c.header) {
		n := copy(b, c.header[c.given:])
		if c.given += n; c.given == len(c.header) && c.left == 0 {
			c.given = 0
		}
		return n, nil
	}
	n, err := c.TCPConn.Read(b[:min(len(b), c.left)])
	if c.left -= n; c.left == 0 {
		c.given = 0
	}
	return n, err
}
