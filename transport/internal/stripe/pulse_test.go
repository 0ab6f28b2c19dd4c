package stripe

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// An asked is a connection whose peer's host answers.
type asked struct {
	pipeConn
	refuse *atomic.Bool
	asks   *atomic.Int32
}

func (a asked) Refused(context.Context) bool {
	a.asks.Add(1)
	return a.refuse.Load()
}

// silentPeer connects a peer to an endpoint with a silent timeout of an hour. It returns the peer's end of the
// connection, and this side's link.
func silentPeer(t *testing.T, refuse *atomic.Bool, asks *atomic.Int32) (net.Conn, transport.Link) {
	t.Helper()
	settings := Defaults()
	settings.Conns = 1
	v := newVictim(t, settings, time.Hour)
	mine, theirs := net.Pipe()
	go v.ep.serve(0, asked{pipeConn{theirs}, refuse, asks})
	from := NewNonce()
	if got := v.greet(mine, v.hello(from, 0)); got != welcome {
		t.Fatalf("got answer %d, want welcome", got)
	}
	l, err := v.ep.Open(transport.Peer{Rank: 1, Addr: FormatAddr(from, []Place{{At: "nobody:1"}})}, transport.LinkID{Comm: 1})
	if err != nil {
		t.Fatal(err)
	}
	return mine, l
}

// pulses reads what the endpoint says, and answers each pulse while speak is set.
func pulses(conn net.Conn, speak *atomic.Bool) {
	buf := make([]byte, messageSize)
	for {
		if _, err := io.ReadFull(conn, buf); err != nil {
			return
		}
		if speak.Load() {
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	}
}

// A peer that is silent is lost when its host says that the process is gone, long before its time, and not before.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse, speak atomic.Bool
		var asks atomic.Int32
		speak.Store(true)
		conn, l := silentPeer(t, &refuse, &asks)
		go pulses(conn, &speak)
		defer conn.Close()
		<-time.After(20 * beatTime)
		if n := asks.Load(); n != 1 || l.Err() != nil {
			t.Fatalf("a peer that speaks: asked for %d times, %v; want once, in the beginning", n, l.Err())
		}
		speak.Store(false) // starved, say
		<-time.After(time.Minute)
		if n := asks.Load(); n < 100 || l.Err() != nil {
			t.Fatalf("a peer that is silent for a minute and there: asked for %d times, %v; want often, and no loss", n, l.Err())
		}
		refuse.Store(true)
		began := time.Now()
		<-time.After(3 * beatTime)
		if err := l.Err(); !errors.Is(err, errGone) || !errors.Is(err, transport.ErrPeerLost) {
			t.Errorf("%v after its host has refused: got %v, want a loss because it is gone", time.Since(began), err)
		}
	})
}

// A host that refuses although the peer speaks, as firewalls do, is not believed when the peer is silent later.
func TestRefusedByFirewall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse, speak atomic.Bool
		var asks atomic.Int32
		refuse.Store(true)
		speak.Store(true)
		conn, l := silentPeer(t, &refuse, &asks)
		go pulses(conn, &speak)
		defer conn.Close()
		<-time.After(20 * beatTime)
		speak.Store(false)
		<-time.After(time.Minute)
		if n := asks.Load(); n != 1 || l.Err() != nil {
			t.Errorf("asked for %d times, %v; want once, and no loss", n, l.Err())
		}
		<-time.After(time.Hour)
		if err := l.Err(); !errors.Is(err, errSilence) {
			t.Errorf("after an hour: got %v, want a loss because of silence", err)
		}
	})
}
