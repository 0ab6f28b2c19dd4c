package tcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// The keys of the server in RFC 8448, section 3.
func TestKeys(t *testing.T) {
	secret, _ := hex.DecodeString("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
	s := suites[tls.TLS_AES_128_GCM_SHA256]
	for label, want := range map[string]string{"key": "9f02283b6c9c07efc26bb9f2ac92e356", "iv": "cf782b88dd83549aadf1e984"} {
		got, err := s.expand(secret, label, len(want)/2)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: got %x, %v, want %s", label, got, err, want)
		}
	}
}

func TestSuites(t *testing.T) {
	for id, s := range suites {
		name := tls.CipherSuiteName(id)
		checkSuite(t, name, s, s)
		checkSuite(t, name+" to the standard library's", s, standardSuites[id])
		checkSuite(t, name+" from the standard library's", standardSuites[id], s)
	}
}

// checkSuite sends records from one end to the other.
func checkSuite(t *testing.T, name string, from, to *suite) {
	t.Helper()
	secret := make([]byte, from.hashLen)
	rand.Read(secret)
	out, err := newHalf(from, secret)
	if err != nil {
		t.Fatal(err)
	}
	in, err := newHalf(to, secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 17, recordPlain} {
		content := make([]byte, n)
		rand.Read(content)
		record := out.seal(make([]byte, 0, recordSpace), typeApplication, content)
		size, err := length(record)
		if err != nil || size != len(record) {
			t.Fatalf("%s: %d bytes: length %d, %v, want %d", name, n, size, err, len(record))
		}
		kind, got, err := in.open(make([]byte, 0, n+1), record)
		if err != nil || kind != typeApplication || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes: got type %d, %d bytes, %v", name, n, kind, len(got), err)
		}
	}
	if _, _, err := in.open(nil, out.seal(make([]byte, 0, recordSpace), 0, nil)); err == nil {
		t.Errorf("%s: a record of zeros only: got no error", name)
	}
	bad := out.seal(make([]byte, 0, recordSpace), typeApplication, []byte("x"))
	bad[len(bad)-1]++
	if _, _, err := in.open(nil, bad); err == nil {
		t.Errorf("%s: a forged record: got no error", name)
	}
}

// StandardCipher is what it says, and peers need not agree on it.
func TestStandardCipher(t *testing.T) {
	id := newIdentity(t)
	one, err := New(id, StandardCipher())
	if err != nil {
		t.Fatal(err)
	}
	two, err := New(id)
	if err != nil {
		t.Fatal(err)
	}
	a, b := sockets(t)
	type made struct {
		c   *conn
		err error
	}
	answered := make(chan made, 1)
	go func() {
		c, err := two.handshake(context.Background(), b, id.ID, false)
		answered <- made{c, err}
	}()
	client, err := one.handshake(context.Background(), a, id.ID, true)
	server := <-answered
	if err := errors.Join(err, server.err); err != nil {
		t.Fatal(err)
	}
	stock, err := standardGCM(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%T", client.out.aead), fmt.Sprintf("%T", stock); got != want && client.out.suite != standardSuites[tls.TLS_CHACHA20_POLY1305_SHA256] {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := exchange(client, server.c); err != nil {
		t.Error(err)
	}
}

// sockets returns a connection over loopback.
func sockets(t testing.TB) (one, two *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		d.Close()
	})
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// exchange sends data both ways at once, in pieces of many sizes.
func exchange(one, two io.ReadWriter) error {
	data := make([]byte, 3<<20)
	rand.Read(data)
	errs := make(chan error, 4)
	for _, way := range [][2]io.ReadWriter{{one, two}, {two, one}} {
		go func() {
			for at, n := 0, 1; at < len(data); n = n*3%99_991 + 1 {
				end := min(at+n, len(data))
				if _, err := way[0].Write(data[at:end]); err != nil {
					errs <- err
					return
				}
				at = end
			}
			errs <- nil
		}()
		go func() {
			got := make([]byte, len(data), len(data)+1)
			for at, n := 0, 7; at < len(data); n = n*5%199_999 + 1 {
				m, err := way[1].Read(got[at:min(at+n, len(got))])
				if at += m; err != nil {
					errs <- err
					return
				}
			}
			if !bytes.Equal(got, data) {
				errs <- errors.New("other data arrived than was sent")
				return
			}
			errs <- nil
		}()
	}
	return errors.Join(<-errs, <-errs, <-errs, <-errs)
}

// What goes over the wire is TLS 1.3: the other side may be crypto/tls, also when the keys change.
func TestStandard(t *testing.T) {
	id := newIdentity(t)
	tr, err := New(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []uint64{0, 5} {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("client=%v,limit=%d", client, limit), func(t *testing.T) {
				raw, other := sockets(t)
				var stock *tls.Conn
				if client {
					stock = tls.Server(other, stripe.ServerTLS(id, ""))
				} else {
					stock = tls.Client(other, stripe.ClientTLS(id, id.ID))
				}
				shaken := make(chan error, 1)
				go func() { shaken <- stock.Handshake() }()
				c, err := tr.handshake(context.Background(), raw, id.ID, client)
				if err := errors.Join(err, <-shaken); err != nil {
					t.Fatal(err)
				}
				if limit > 0 {
					c.out.limit = limit
				}
				if err := exchange(c, stock); err != nil {
					t.Error(err)
				}
				if limit > 0 && c.out.seq > limit {
					t.Errorf("%d records with one key, want at most %d", c.out.seq, limit)
				}
				stock.Close()
				if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("after the farewell: got %d bytes, %v, want EOF", n, err)
				}
			})
		}
	}
}

// sealedPair returns two ends that share secrets.
func sealedPair(t testing.TB) (one, two *conn) {
	t.Helper()
	a, b := sockets(t)
	s := suites[tls.TLS_AES_128_GCM_SHA256]
	secrets := [2][]byte{make([]byte, s.hashLen), make([]byte, s.hashLen)}
	rand.Read(secrets[0])
	rand.Read(secrets[1])
	one, err := newSealed(a, s, secrets[0], secrets[1], "two")
	if err != nil {
		t.Fatal(err)
	}
	if two, err = newSealed(b, s, secrets[1], secrets[0], "one"); err != nil {
		t.Fatal(err)
	}
	return one, two
}

// A side that is asked for new keys takes them before it says anything more.
func TestKeyUpdateAsked(t *testing.T) {
	one, two := sealedPair(t)
	record := one.out.seal(make([]byte, 0, recordSpace), typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, 1})
	if err := one.out.update(); err != nil {
		t.Fatal(err)
	}
	if _, err := one.TCPConn.Write(one.out.seal(record, typeApplication, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(two, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before := two.out.secret
	if err := exchange(one, two); err != nil {
		t.Error(err)
	}
	if bytes.Equal(before, two.out.secret) || !bytes.Equal(one.in.secret, two.out.secret) {
		t.Error("the keys are the old ones, or differ")
	}
}

// When both sides stop encrypting, nothing between is lost.
func TestClear(t *testing.T) {
	one, two := sealedPair(t)
	if _, err := one.Write([]byte("sealed")); err != nil {
		t.Fatal(err)
	}
	one.Clear()
	if _, err := one.Write([]byte("clear")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(two, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	two.Clear()
	got := make([]byte, 5)
	if _, err := io.ReadFull(two, got); err != nil || string(got) != "clear" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := exchange(one, two); err != nil {
		t.Error(err)
	}
}

// Records that no honest peer sends end the connection with an error.
func TestBadRecords(t *testing.T) {
	for name, make := range map[string]func(out *half) []byte{
		"alert":               func(out *half) []byte { return out.seal(nil, typeAlert, []byte{2, 42}) },
		"session ticket":      func(out *half) []byte { return out.seal(nil, typeHandshake, []byte{4, 0, 0, 1, 1}) },
		"half a key update":   func(out *half) []byte { return out.seal(nil, typeHandshake, []byte{messageKeyUpdate, 0}) },
		"unknown type":        func(out *half) []byte { return out.seal(nil, 99, []byte{1}) },
		"too much content":    func(out *half) []byte { return out.seal(nil, typeApplication, make([]byte, recordPlain+1)) },
		"not TLS":             func(out *half) []byte { return []byte("GET / HTTP/1.1\r\n") },
		"end within a record": func(out *half) []byte { return out.seal(nil, typeApplication, []byte("xy"))[:9] },
		"nothing, often":      func(out *half) []byte { return empties(out, useless+1) },
	} {
		one, two := sealedPair(t)
		if _, err := one.TCPConn.Write(make(&one.out)); err != nil {
			t.Fatal(err)
		}
		one.Close()
		var buf [recordPlain + 100]byte
		if n, err := two.Read(buf[:]); n != 0 || err == nil || err == io.EOF {
			t.Errorf("%s: got %d bytes, %v, want an error", name, n, err)
		}
	}
}

func empties(out *half, n int) (b []byte) {
	for range n {
		b = append(b, out.seal(nil, typeApplication, nil)...)
	}
	return b
}

// FuzzRecords delivers anything.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{typeApplication, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, true)
	f.Add([]byte{1, 2, 3}, false)
	s := suites[tls.TLS_AES_128_GCM_SHA256]
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		secret := make([]byte, s.hashLen)
		c, err := newSealed(nil, s, secret, secret, "")
		if err != nil {
			t.Fatal(err)
		}
		if sealed { // what is authentic is delivered
			b = b[:min(len(b), recordPlain)]
			c.w = copy(c.rx, c.out.seal(make([]byte, 0, recordSpace), typeApplication, b))
		} else {
			c.w = copy(c.rx, b)
		}
		got := make([]byte, len(b), len(b)+1)
		n, err := c.deliver(got)
		switch {
		case sealed && (err != nil || !bytes.Equal(got[:n], b)):
			t.Fatalf("%x: got %x, %v", b, got[:n], err)
		case !sealed && n > 0:
			t.Fatalf("%x: a forgery is delivered", b)
		}
	})
}

// TestSecrets holds the reader of the key log against lines that are none.
func TestSecrets(t *testing.T) {
	for _, line := range []string{"", "CLIENT_TRAFFIC_SECRET_0 00", "SERVER_TRAFFIC_SECRET_0 00 xy"} {
		var s secrets
		if _, err := s.Write([]byte(line)); err == nil {
			t.Errorf("%q: got no error", line)
		}
	}
}
