package quic

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"

	"github.com/ringtree/ringtree/transport/internal/stripe"
)

// A sleeper keeps a connection of quic-go from doing anything, as other processes do that have the processors, and counts the packets that it
// throws away for want of room. It is told what the connection does before it does it.
type sleeper struct {
	armed   atomic.Bool
	asleep  chan struct{}
	wake    chan struct{}
	dropped atomic.Int64
}

func (s *sleeper) AddProducer() qlogwriter.Recorder { return s }
func (s *sleeper) SupportsSchemas(string) bool      { return true }
func (s *sleeper) Close() error                     { return nil }

func (s *sleeper) RecordEvent(e qlogwriter.Event) {
	if d, ok := e.(qlog.PacketDropped); ok && d.Trigger == qlog.PacketDropDOSPrevention {
		s.dropped.Add(1)
		return // the reader's doing
	}
	if s.armed.CompareAndSwap(true, false) {
		close(s.asleep)
		<-s.wake
	}
}

// A parrot keeps the last packet of an established connection.
type parrot struct {
	*net.UDPConn
	last atomic.Pointer[[]byte]
}

func (p *parrot) keep(b []byte) {
	if b[0]&0x80 == 0 {
		b = bytes.Clone(b)
		p.last.Store(&b)
	}
}

func (p *parrot) WriteTo(b []byte, to net.Addr) (int, error) {
	p.keep(b)
	return p.UDPConn.WriteTo(b, to)
}

func (p *parrot) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	p.keep(b)
	return p.UDPConn.WriteMsgUDP(b, oob, to)
}

// A connection that is kept from running, while more small packets come than quic-go has room for, loses none of them.
func TestBusyConnectionDropsNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tr, err := New(newIdentity(t), LossRepair(false))
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPort(ctx, tr, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s := &sleeper{asleep: make(chan struct{}), wake: make(chan struct{})}
	listener, err := p.quic.Listen(stripe.ServerTLS(tr.id, ""), &quicgo.Config{
		Tracer: func(context.Context, bool, quicgo.ConnectionID) qlogwriter.Trace { return s },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	client := &parrot{UDPConn: u}
	dialler := &quicgo.Transport{Conn: client}
	defer u.Close()
	defer dialler.Close()
	wake := sync.OnceFunc(func() { close(s.wake) })
	defer wake() // or nothing can be closed
	qc, err := dialler.Dial(ctx, p.udp.LocalAddr(), stripe.ClientTLS(tr.id, ""), &quicgo.Config{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := qc.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	say := func() {
		if _, err := out.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	say()
	there, err := listener.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.watch(there, false)
	in, err := there.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	deadline, _ := ctx.Deadline()
	in.SetReadDeadline(deadline)
	hear := func() {
		if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for hear(); client.last.Load() == nil; hear() { // the first may travel with the end of the handshake
		say()
	}

	again := func(n int) {
		for range n {
			if _, err := u.WriteTo(*client.last.Load(), p.udp.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.armed.Store(true)
	again(1)
	select {
	case <-s.asleep:
	case <-ctx.Done():
		t.Fatal("the connection goes on")
	}
	at, _ := addrPort(u.LocalAddr())
	l := p.logs.of[at]
	before, began := l.tally(&p.logs), time.Now()
	const packets = 400 // what a socket's buffer holds everywhere
	again(packets)
	// Until the reader has waited for so long that it has asked why, it may not have come to the end of what there is.
	for asked := false; !asked && s.dropped.Load() == 0; runtime.Gosched() {
		p.logs.mu.Lock()
		asked = l.asked
		p.logs.mu.Unlock()
		if ctx.Err() != nil {
			t.Fatal("the reader neither waits nor goes on")
		}
	}
	wake()
	slept := time.Since(began)
	const more = 1 << 20
	go out.Write(make([]byte, more))
	if _, err := io.CopyN(io.Discard, in, more); err != nil {
		t.Fatal(err)
	}
	if n := s.dropped.Load(); n > 0 && slept > gone {
		t.Skipf("the machine stood still for %v", slept)
	} else if n > 0 {
		t.Errorf("%d packets were dropped", n)
	}
	if got := l.tally(&p.logs).packets - before.packets; got < packets {
		t.Errorf("%d packets were handed out, want %d and more", got, packets)
	}
}

func (b *backlog) tally(of *backlogs) tally {
	of.mu.Lock()
	defer of.mu.Unlock()
	return b.given
}
