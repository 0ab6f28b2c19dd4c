package engine

import (
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
)

// An echo is a link to a peer that does the same as this rank, at the same time. It writes down what happens.
type echo struct {
	transport.Link
	frames []transport.Frame
	posted uint64
	events strings.Builder
}

func (l *echo) Caps() transport.Caps { return transport.Caps{Scope: transport.ScopeNetwork} }

func (l *echo) Post(h *transport.Header, payload []byte) (bool, error) {
	l.frames = append(l.frames, transport.Frame{Header: *h, Payload: append([]byte(nil), payload...)})
	l.posted++
	l.events.WriteByte('s')
	return true, nil
}

func (l *echo) Completed() uint64 { return l.posted }

func (l *echo) Poll() (*transport.Frame, error) {
	if len(l.frames) == 0 {
		return nil, nil
	}
	return &l.frames[0], nil
}

func (l *echo) Release() {
	l.frames = l.frames[1:]
	l.events.WriteByte('r')
}

func (l *echo) Err() error   { return nil }
func (l *echo) Close() error { return nil }

// In long operations a slice is received after each that is sent, in short ones, and where ranks outnumber the cores, all are sent first.
func TestTurns(t *testing.T) {
	for _, tt := range []struct {
		bytes   int
		crowded bool
		turns   bool
	}{
		{turnsFrom, false, true},
		{turnsFrom / 2, false, false},
		{turnsFrom, true, false},
	} {
		l := new(echo)
		g := newGroup(t, 2, func(_ int, c *Config) {
			c.Crowded = tt.crowded
			c.Open = func(int, uint16) (transport.Link, error) { return l, nil }
		})
		if err := g.allReduce(t.Context(), 0, plan.Ring, make([]int32, tt.bytes/4)); err != nil {
			t.Fatal(err)
		}
		if got := strings.HasPrefix(l.events.String(), "srsr"); got != tt.turns {
			t.Errorf("%d bytes, crowded %v: %s", tt.bytes, tt.crowded, l.events.String())
		}
	}
}
