package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/examples/internal/processes"
	"github.com/ringtree/ringtree/examples/internal/wan"
)

// Three hosts behind 10 ms and losses train together by an invitation alone, as three goroutines do: the weights end with the
// same bits, as the schedule is the same.
func TestWAN(t *testing.T) {
	const flags = "-epochs 1 -batch 256 -hidden 32 -algo ring -json"
	out, _ := program(t, 0, strings.Fields("-np 1 -t 3 -transport mem "+flags)...)
	want := readJSON(t, out)
	for _, transport := range []string{"quic", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			n, err := wan.New(wan.Config{Hosts: 3, Delay: 5 * time.Millisecond, Loss: 0.001})
			if errors.As(err, new(*wan.UnavailableError)) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			})
			start := func(host int, line string) *processes.Process {
				cmd := exec.Command(os.Args[0], strings.Fields(line+" -transport "+transport+" "+flags)...)
				cmd.Env = append(os.Environ(), asProgram+"=1")
				return processes.Start(t, cmd, n.Host(host).Start)
			}
			first := start(0, "-invite 3")
			members := []*processes.Process{first}
			for host := 1; host < 3; host++ {
				members = append(members, start(host, "-join "+first.Invitation()))
			}
			for i, m := range members {
				out, errs, err := m.End()
				if err != nil {
					t.Fatalf("%v: %v\n%s", m, err, errs)
				}
				if i > 0 {
					continue
				}
				if got := readJSON(t, out); got.weights != want.weights || got.right != want.right {
					t.Errorf("got weights %s and %d right, want %s and %d as over memory", got.weights, got.right, want.weights, want.right)
				}
			}
			if s := n.Stats(); s.Packets < 1000 {
				t.Errorf("%v: that was not the training", s)
			}
		})
	}
}
