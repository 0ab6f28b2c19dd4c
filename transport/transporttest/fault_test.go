package transporttest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// faultEnv names a fault; TestSuite then runs the suite on a transport that has it, and is to fail.
const faultEnv = "RINGTREE_TRANSPORTTEST_FAULT"

// faults are the planted faults, with a case that must find each.
var faults = map[string]string{
	"":                      "",
	"payload":               "Exercise",
	"header":                "Order",
	"lost ring":             "NoLostWakeUp",
	"completed at once":     "Borrowed",
	"completed never":       "Exercise",
	"release not seen":      "Window",
	"held frame changes":    "HeldFrameAfterEnd",
	"open twice":            "OpenErrors",
	"allocates":             "NoAllocs",
	"silent fail":           "Fail",
	"close loses":           "Close",
	"no error after Close":  "UseAfterClose",
	"endpoint close silent": "EndpointClose",
	"alloc not page":        "Alloc",
	"free of anything":      "AllocErrors",
}

// TestSuite runs the suite in bubbles, where a wait without end ends at once.
func TestSuite(t *testing.T) {
	fault := os.Getenv(faultEnv)
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.Run(t, func(t testing.TB, n int) *Group {
					return NewGroup(t, faultyTransport{mem.New(), fault}, n)
				})
			})
		})
	}
}

// TestFaultsAreFound runs TestSuite with each fault in a process of its own.
func TestFaultsAreFound(t *testing.T) {
	if os.Getenv(faultEnv) != "" {
		t.Skip("this is the inner run")
	}
	for fault, by := range faults {
		if fault == "" || fault == "allocates" && raceEnabled {
			continue // the race detector allocates
		}
		t.Run(fault, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestSuite$/^"+by+"$")
			cmd.Env = append(os.Environ(), faultEnv+"="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("case %s does not find it", by)
			} else if !strings.Contains(string(out), "--- FAIL: TestSuite/"+by) && !strings.Contains(string(out), "panic") {
				t.Errorf("case %s: %v\n%s", by, err, out)
			}
		})
	}
}

type faultyTransport struct {
	*mem.Network
	fault string
}

func (f faultyTransport) Listen(ctx context.Context, group string, rank int, bell transport.Bell) (transport.Endpoint, error) {
	if f.fault == "lost ring" {
		bell = &faultyBell{Bell: bell}
	}
	ep, err := f.Network.Listen(ctx, group, rank, bell)
	if err != nil {
		return nil, err
	}
	return &faultyEndpoint{Endpoint: ep, fault: f.fault}, nil
}

// A faultyBell loses one ring in 101.
type faultyBell struct {
	transport.Bell
	rings atomic.Int64
}

func (b *faultyBell) Ring() {
	if b.rings.Add(1)%101 != 0 {
		b.Bell.Ring()
	}
}

type faultyEndpoint struct {
	transport.Endpoint
	fault string
}

func (e *faultyEndpoint) Open(peer transport.Peer, id transport.LinkID) (transport.Link, error) {
	l, err := e.Endpoint.Open(peer, id)
	if err != nil && e.fault == "open twice" {
		id.Comm += 1 << 60
		l, err = e.Endpoint.Open(peer, id)
	}
	if err != nil {
		return nil, err
	}
	return &faultyLink{Link: l, fault: e.fault}, nil
}

func (e *faultyEndpoint) Alloc(size int) ([]byte, error) {
	if e.fault == "alloc not page" && size > 0 {
		return make([]byte, size+1)[1:], nil
	}
	return e.Endpoint.Alloc(size)
}

func (e *faultyEndpoint) Free(mem []byte) error {
	if e.fault == "free of anything" {
		return nil
	}
	return e.Endpoint.Free(mem)
}

func (e *faultyEndpoint) Close() error {
	if e.fault == "endpoint close silent" {
		return nil
	}
	return e.Endpoint.Close()
}

type faultyLink struct {
	transport.Link
	fault  string
	posted uint64
	polled int
	frame  transport.Frame
	held   bool
	copied []byte
	closed bool
	waste  *[64]byte
}

func (l *faultyLink) Post(h *transport.Header, payload []byte) (bool, error) {
	if l.fault == "allocates" {
		l.waste = new([64]byte)
	}
	if l.fault == "completed at once" || l.fault == "completed never" {
		ok, err := l.Link.Post(h, payload)
		if ok {
			l.posted++
		}
		return ok, err
	}
	if l.fault == "no error after Close" && l.closed {
		return false, nil
	}
	return l.Link.Post(h, payload)
}

func (l *faultyLink) Completed() uint64 {
	switch l.fault {
	case "completed at once":
		return l.posted
	case "completed never":
		return 0
	}
	return l.Link.Completed()
}

func (l *faultyLink) Poll() (*transport.Frame, error) {
	f, err := l.Link.Poll()
	if f == nil || l.held {
		return f, err
	}
	l.held = true
	l.polled++
	l.frame = *f
	switch l.fault {
	case "payload":
		if l.polled%50 == 0 && len(f.Payload) > 0 {
			l.copied = append(l.copied[:0], f.Payload...)
			l.copied[len(l.copied)-1]++
			l.frame.Payload = l.copied
		}
	case "header":
		if l.polled%1000 == 0 {
			l.frame.Algo++
		}
	case "held frame changes":
		l.copied = append(l.copied[:0], f.Payload...)
		l.frame.Payload = l.copied
	}
	return &l.frame, err
}

func (l *faultyLink) Release() {
	l.held = false
	if l.fault == "release not seen" && l.polled%7 == 0 {
		// The sender never learns of this one: the frame is given back only with the next.
		l.polled++
		return
	}
	l.Link.Release()
}

func (l *faultyLink) Fail(reason []byte) {
	if l.fault == "silent fail" {
		reason = nil
	}
	l.Link.Fail(reason)
}

func (l *faultyLink) Close() error {
	l.closed = true
	if l.fault == "close loses" {
		l.Link.Fail(nil)
		return nil
	}
	if l.fault == "held frame changes" {
		clear(l.copied)
	}
	return l.Link.Close()
}
