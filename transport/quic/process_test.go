package quic

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
)

// childEnv makes this test binary the other process of a test: its value names a role.
const childEnv = "RINGTREE_QUIC_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		newTransport := patientLoop
		if role == stripetest.RoleFlood {
			newTransport = onLoop
		}
		if role == rawRole {
			if err := rawChild(); err != nil {
				fmt.Fprintln(os.Stderr, "child:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
		if err := stripetest.Child(newTransport, role, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// onLoop never takes silence for death. patientLoop hardly ever does.
func onLoop(id transport.Identity) (transport.Transport, error) {
	return New(id, onLoopback, SilentTimeout(time.Hour))
}

func patientLoop(id transport.Identity) (transport.Transport, error) {
	return New(id, onLoopback, patient)
}

func command(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestProcesses(t *testing.T) {
	stripetest.Processes(t, patientLoop, command)
}

// Only its host can tell that the process is gone: nobody waits for an hour of silence.
func TestKilled(t *testing.T) { stripetest.Killed(t, onLoop, command) }

func TestStrangers(t *testing.T) { stripetest.Strangers(t, patientLoop) }

func TestDifferentSettings(t *testing.T) {
	for name, other := range map[string]Option{"conns": Conns(2), "window": Window(9)} {
		t.Run(name, func(t *testing.T) {
			stripetest.Settings(t, patientLoop, func(id transport.Identity) (transport.Transport, error) {
				return New(id, onLoopback, patient, other)
			})
		})
	}
}
