package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective/membership"
	"github.com/ringtree/ringtree/examples/internal/processes"
	"github.com/ringtree/ringtree/examples/internal/wan"
)

// newWAN makes hosts with a round trip of 10 ms that lose a packet of a thousand, or skips the test.
func newWAN(t *testing.T, hosts int) *wan.Network {
	t.Helper()
	n, err := wan.New(wan.Config{Hosts: hosts, Delay: 5 * time.Millisecond, Loss: 0.001})
	if errors.As(err, new(*wan.UnavailableError)) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("network: %v", n.Stats())
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func perfOn(t *testing.T, h *wan.Host, line string) *processes.Process {
	t.Helper()
	return processes.Start(t, perf(line), h.Start)
}

// spoiled returns the invitation with another secret.
func spoiled(t *testing.T, text string) string {
	t.Helper()
	inv, err := membership.ParseInvitation(text)
	if err != nil {
		t.Fatal(err)
	}
	inv.Secret[0] ^= 1
	if text, err = inv.Text(); err != nil {
		t.Fatal(err)
	}
	return text
}

// Three hosts that share nothing but a slow network that loses packets form a group by an invitation and compute. A fourth with
// another secret is refused, before the group has formed and while it runs, and does no harm.
func TestWAN(t *testing.T) {
	for _, transport := range []string{"quic", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			n := newWAN(t, 4)
			flags := "-transport " + transport + " -b 1K -e 64K -f 8 -n 2 -w 1 -N 0"
			first := perfOn(t, n.Host(0), "-invite 3 "+flags)
			invitation := first.Invitation()
			stranger := func(when string) {
				_, errs, err := perfOn(t, n.Host(3), "-timeout 20s -join "+spoiled(t, invitation)+" "+flags).End()
				if err == nil || !strings.Contains(errs, "refused") {
					t.Errorf("a stranger, %s: got %q, %v, want it refused", when, errs, err)
				}
			}
			stranger("before the group has formed")
			members := []*processes.Process{first}
			for i := 1; i < 3; i++ {
				members = append(members, perfOn(t, n.Host(i), "-join "+invitation+" "+flags))
			}
			first.Until("a row", func(out, _ string) bool { return tableRows(out) > 0 })
			stranger("while the group runs")
			var before int
			first.Until("the rows so far", func(out, _ string) bool { before = tableRows(out); return true })
			first.Until("more rows", func(out, _ string) bool { return tableRows(out) >= before+3 })
			for _, m := range members {
				m.Interrupt()
			}
			for i, m := range members {
				out, errs, err := m.End()
				// Who is interrupted second may learn of the first one's end before.
				if code := m.Cmd.ProcessState.ExitCode(); code != exitInterrupted && code != exitFailed {
					t.Errorf("%v: %v\n%s", m, err, errs)
				}
				if i == 0 {
					checkTable(t, out, transport)
				}
			}
		})
	}
}

// tableRows counts the rows of a table, whole or not.
func tableRows(text string) (n int) {
	for line := range strings.Lines(text) {
		if isRow(line) {
			n++
		}
	}
	return n
}

func isRow(line string) bool {
	return !strings.HasPrefix(line, "#") && strings.HasSuffix(line, "\n") && len(strings.Fields(line)) == 13
}

// checkTable holds that nothing was wrong in a table, whole or not, of three ranks by a transport.
func checkTable(t *testing.T, text, transport string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); isRow(line) && (f[8] != "0" || f[12] != "0") {
			t.Errorf("row %q: want 0 wrong", line)
		}
	}
	if pids := devicePids(text); len(pids) != 3 || strings.Count(text, "transport "+transport) != 3 {
		t.Errorf("processes %v, want three ranks by %s:\n%s", pids, transport, text)
	}
}

// Where one host's UDP is blocked the group forms all the same: over TCP there, and over QUIC between the others.
func TestWANBlockedUDP(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: finding out that UDP is blocked takes seconds")
	}
	n := newWAN(t, 3)
	n.Host(1).BlockUDP(true)
	flags := "-transport quic,tcp -algo direct -b 4K -e 16K -f 4 -n 2 -w 1 -explain"
	first := perfOn(t, n.Host(0), "-invite 3 "+flags)
	members := []*processes.Process{first}
	for i := 1; i < 3; i++ {
		members = append(members, perfOn(t, n.Host(i), "-join "+first.Invitation()+" "+flags))
	}
	for i, m := range members {
		out, errs, err := m.End()
		if err != nil {
			t.Errorf("%v: %v\n%s", m, err, errs)
		}
		if i > 0 {
			continue
		}
		checkTable(t, out, "quic,tcp")
		if tableRows(out) != 2 || !strings.Contains(out, "tcp to rank ") || !strings.Contains(out, "quic to 1 peer") && !strings.Contains(out, "quic to rank ") {
			t.Errorf("got\n%s\nwant 2 rows, quic to one peer, and tcp to the one whose UDP is blocked", out)
		}
	}
	if s := n.Host(1).Stats(); s.Blocked == 0 {
		t.Errorf("%v: nothing was blocked", s)
	}
}
