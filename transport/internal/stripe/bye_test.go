package stripe

import (
	"slices"
	"syscall"
	"testing"
)

// A ledger is a prompt connection that keeps what is written, and takes it at once.
type ledger struct{ said []kind }

func (c *ledger) TryRead(a, b []byte) (int, error)      { return 0, nil }
func (c *ledger) SyscallConn() (syscall.RawConn, error) { return ready{}, nil }

// ready is a raw connection that is always ready.
type ready struct{ syscall.RawConn }

func (ready) Write(f func(fd uintptr) (done bool)) error {
	for !f(0) {
	}
	return nil
}

func (c *ledger) TryWrite(segments [][]byte) ([][]byte, bool, error) {
	for b := slices.Concat(segments...); len(b) > 0; b = b[messageSize:] {
		var m message
		if err := m.parse(b); err != nil {
			return nil, true, err
		}
		c.said = append(c.said, m.kind)
	}
	return nil, true, nil
}

// What is queued behind a bye is not written, and has not lost the peer: it may have hung up, and how the session ended, its bye says.
func TestBehindBye(t *testing.T) {
	v := newVictim(t, Defaults(), 0)
	p := newPeer(v.ep, 1, "", NewNonce())
	w, c := p.wires[0], &ledger{}
	w.prompt, w.readiness = c, ready{}
	w.attached.Store(true)
	w.control(control{kind: kindPulse})
	w.bye = 1
	if err := w.write(); err != nil {
		t.Fatal(err)
	}
	w.control(control{kind: kindPulse})
	w.push()
	if want := []kind{kindPulse, kindBye}; !slices.Equal(c.said, want) {
		t.Errorf("wrote messages of kinds %v, want %v", c.said, want)
	}
	if p.state == over {
		t.Errorf("the peer is lost: %v", p.end.err)
	}
}
