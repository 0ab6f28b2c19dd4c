package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// A socket is the UDP socket of all endpoints of the process that listen at one address with the same settings.
type socket struct {
	*port
	key      string // in sockets; "" if nobody shares it
	local    string // address without a port, at which connections go out
	listener *quicgo.Listener
	places   []string
	accepted sync.WaitGroup
	users    int // under socketsMu

	mu    sync.Mutex
	doors map[string]*door // by server name
}

// sockets are those in use, by address and settings.
var (
	socketsMu sync.Mutex
	sockets   = make(map[string]*socket)
)

// acquire returns the process's socket at the address of cfg.
func acquire(ctx context.Context, t *Transport) (*socket, error) {
	cfg := &t.cfg
	// What a socket accepts has the settings of the socket, so only equals share one.
	key := fmt.Sprintf("%s %v %d %v %t %t %t", cfg.listen, cfg.silent, cfg.packet, cfg.Settings.DialTimeout, cfg.gro, cfg.poll, cfg.repair)
	if cfg.wrap != nil || cfg.tap != nil {
		key = ""
	}
	socketsMu.Lock()
	defer socketsMu.Unlock()
	if s := sockets[key]; s != nil && key != "" {
		s.users++
		return s, nil
	}
	s, err := newSocket(ctx, t)
	if err != nil {
		return nil, err
	}
	s.users = 1
	if key != "" {
		s.key = key
		sockets[key] = s
	}
	return s, nil
}

// release closes the socket with its last user.
func (s *socket) release() {
	socketsMu.Lock()
	defer socketsMu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	if s.key != "" {
		delete(sockets, s.key)
	}
	s.close()
}

// A port is a UDP socket with quic-go on top.
type port struct {
	udp  net.PacketConn
	quic *quicgo.Transport
	logs backlogs
	fix  *repairer // nil: losses are QUIC's
}

// openPort binds addr.
func openPort(ctx context.Context, t *Transport, addr string) (*port, error) {
	cfg := &t.cfg
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	u := pc.(*net.UDPConn)
	sizeBuffers(u, cfg.Settings.Logger)
	p := &port{}
	sized := &sizedConn{UDPConn: u, tap: cfg.tap}
	var fix *repairer
	if cfg.repair {
		fix = &repairer{count: &t.fixed}
	}
	if cfg.wrap != nil {
		p.udp = unsized{cfg.wrap(sized)}
		if fix != nil {
			p.udp, p.fix = unsized{newRepairConn(p.udp, fix)}, fix
		}
	} else {
		p.udp = offload(sized, cfg, &p.logs)
		if r, ok := p.udp.(interface{ repairs(*repairer) }); ok && fix != nil {
			r.repairs(fix)
			p.fix = fix
		}
	}
	p.quic = &quicgo.Transport{Conn: p.udp}
	return p, nil
}

// watch keeps an eye on the backlog of a connection, and on its losses if both sides want that.
func (p *port) watch(qc *quicgo.Conn, client bool) {
	stop := p.logs.add(qc.RemoteAddr(), connWorker{qc})
	context.AfterFunc(qc.Context(), stop)
	state := qc.ConnectionState().TLS
	if p.fix == nil || state.NegotiatedProtocol != stripe.ALPN+repairSuffix {
		return
	}
	out, in, err := repairTags(state)
	if err != nil {
		return
	}
	if !client {
		out, in = in, out
	}
	context.AfterFunc(qc.Context(), p.fix.add(qc.RemoteAddr(), out, in, connWorker{qc}, qc.ConnectionStats().MinRTT))
}

// repairSuffix marks the protocol that those who can repair losses negotiate.
const repairSuffix = "+repair"

// protocols are those that a port can negotiate, best first.
func (p *port) protocols() []string {
	if p.fix != nil {
		return []string{stripe.ALPN + repairSuffix, stripe.ALPN}
	}
	return []string{stripe.ALPN}
}

func (p *port) close() {
	p.quic.Close()
	p.udp.Close()
}

func newSocket(ctx context.Context, t *Transport) (*socket, error) {
	p, err := openPort(ctx, t, t.cfg.listen)
	if err != nil {
		return nil, err
	}
	s := &socket{port: p, doors: make(map[string]*door)}
	tlsConfig := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: p.protocols(),
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			d := s.door(hello.ServerName)
			if d == nil {
				return nil, fmt.Errorf("quic: nobody here is %.60q", hello.ServerName)
			}
			c := stripe.ServerTLS(d.transport.id, "")
			c.NextProtos = p.protocols()
			return c, nil
		},
	}
	local, err := netip.ParseAddrPort(p.udp.LocalAddr().String())
	if err == nil {
		s.local = netip.AddrPortFrom(local.Addr(), 0).String()
		s.places, err = stripe.Places(local)
	}
	if err == nil {
		s.listener, err = s.quic.Listen(tlsConfig, t.quic)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	s.accepted.Add(1)
	go s.accept()
	return s, nil
}

// door returns the endpoint of that server name, or nil.
func (s *socket) door(name string) *door {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doors[name]
}

func (s *socket) add(d *door) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doors[serverName(d.nonce)] = d
}

func (s *socket) remove(d *door) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.doors, serverName(d.nonce))
}

// accept hands connections to the endpoints that they are for.
func (s *socket) accept() {
	defer s.accepted.Done()
	for {
		qc, err := s.listener.Accept(context.Background())
		if err != nil { // the listener is closed: nothing else ends it
			return
		}
		d := s.door(qc.ConnectionState().TLS.ServerName)
		if d == nil {
			qc.CloseWithError(0, "")
			continue
		}
		s.watch(qc, false)
		d.guests.Serve(closer{qc}, func() { d.serve(qc) })
	}
}

// from returns the port that a new connection goes out by: one of its own, because the packets that wait for a
// busy connection would be in the way of others, or the one that listens.
func (s *socket) from(ctx context.Context, t *Transport) (p *port, done func(), err error) {
	if cfg := &t.cfg; cfg.onePort || cfg.wrap != nil {
		return s.port, func() {}, nil
	}
	p, err = openPort(ctx, t, s.local)
	if err != nil {
		return nil, nil, err
	}
	return p, p.close, nil
}

func (s *socket) close() {
	s.listener.Close()
	s.accepted.Wait()
	s.port.close()
}

const (
	// wantedRead and wantedWrite are the sizes of the socket's buffers. The windows of all connections of a process may come in while it is
	// kept from the processors: a quarter of a second at 1 Gbit/s.
	wantedRead  = 32 << 20
	wantedWrite = 8 << 20
	// enoughBuffer is what makes no warning.
	enoughBuffer = 2 << 20
)

var warnBuffers sync.Once // in a process

// sizeBuffers enlarges the socket's buffers.
func sizeBuffers(u *net.UDPConn, log *slog.Logger) {
	err := errors.Join(sizeBuffer(u.SetReadBuffer, wantedRead), sizeBuffer(u.SetWriteBuffer, wantedWrite))
	read, write, known := forceBuffers(u)
	reportBuffers(&warnBuffers, log, read, write, known, err)
}

// sizeBuffer sets the size of a buffer to wanted, or less where the system refuses what it does not allow.
func sizeBuffer(set func(int) error, wanted int) (err error) {
	for size := wanted; size >= enoughBuffer; size /= 2 {
		if err = set(size); err == nil {
			break
		}
	}
	return err
}

// reportBuffers says once when the system does not allow the buffers to be large enough.
func reportBuffers(once *sync.Once, log *slog.Logger, read, write int, known bool, err error) {
	if err == nil && (!known || min(read, write) >= enoughBuffer) {
		return
	}
	once.Do(func() {
		log.Warn("UDP buffers are smaller than they should be, so packets may be lost at high rates",
			"receive", read, "send", write, "wanted receive", wantedRead, "wanted send", wantedWrite, "error", err,
			"remedy", "on Linux, set net.core.rmem_max and net.core.wmem_max to the wanted sizes")
	})
}

// A sizedConn is a UDP socket whose buffers have been set. quic-go would set them again, and print a warning of
// its own where it can look at the result: it gets to see the raw socket only after that.
type sizedConn struct {
	*net.UDPConn
	tap   func([]byte)
	mu    sync.Mutex
	sized bool
}

// WriteTo sends a packet.
func (c *sizedConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if c.tap != nil {
		c.tap(b)
	}
	return c.UDPConn.WriteTo(b, addr)
}

// WriteMsgUDP sends packets of one size.
func (c *sizedConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if c.tap != nil {
		c.tap(b)
	}
	return c.UDPConn.WriteMsgUDP(b, oob, addr)
}

// errEarly keeps quic-go from the raw socket.
var errEarly = errors.New("quic: the buffers of the socket are set already")

// SyscallConn returns the raw socket, once quic-go believes that it has set the buffers.
func (c *sizedConn) SyscallConn() (syscall.RawConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sized {
		return nil, errEarly
	}
	return c.UDPConn.SyscallConn()
}

// SetReadBuffer does nothing.
func (c *sizedConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing. It is the last that quic-go calls to set buffers.
func (c *sizedConn) SetWriteBuffer(int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sized = true
	return nil
}

// An unsized is a PacketConn of whoever wraps the socket, whose buffers are set already. Without these methods quic-go
// prints a warning.
type unsized struct{ net.PacketConn }

// SetReadBuffer does nothing.
func (unsized) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing.
func (unsized) SetWriteBuffer(int) error { return nil }
