package tcp

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
)

// childEnv makes this test binary the other process of a test: its value names a role.
const childEnv = "RINGTREE_TCP_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		newTransport := onTLS
		if os.Getenv(plainEnv) != "" {
			newTransport = onPlain
		}
		if role == rawRole {
			if err := rawChild(); err != nil {
				fmt.Fprintln(os.Stderr, "child:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
		if role == mirrorRole {
			fmt.Fprintln(os.Stderr, "child:", mirror())
			os.Exit(1)
		}
		if err := stripetest.Child(newTransport, role, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// plainEnv makes the child go without TLS.
const plainEnv = "RINGTREE_TCP_TEST_PLAIN"

func onTLS(id transport.Identity) (transport.Transport, error) { return New(id, onLoopback) }

func onPlain(transport.Identity) (transport.Transport, error) {
	return New(transport.Identity{}, onLoopback, Plain())
}

func command(plain bool) func(role string) *exec.Cmd {
	return func(role string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childEnv+"="+role)
		if plain {
			cmd.Env = append(cmd.Env, plainEnv+"=1")
		}
		cmd.Stderr = os.Stderr
		return cmd
	}
}

func TestProcesses(t *testing.T) {
	t.Run("TLS", func(t *testing.T) { stripetest.Processes(t, onTLS, command(false)) })
	t.Run("Plain", func(t *testing.T) { stripetest.Processes(t, onPlain, command(true)) })
}

func TestKilled(t *testing.T) {
	t.Run("TLS", func(t *testing.T) { stripetest.Killed(t, onTLS, command(false)) })
	t.Run("Plain", func(t *testing.T) { stripetest.Killed(t, onPlain, command(true)) })
}

func TestStrangers(t *testing.T) { stripetest.Strangers(t, onTLS) }

func TestDifferentSettings(t *testing.T) {
	for name, other := range map[string]Option{"conns": Conns(2), "window": Window(9), "plain data": PlainData()} {
		t.Run(name, func(t *testing.T) {
			stripetest.Settings(t, onTLS, func(id transport.Identity) (transport.Transport, error) {
				return New(id, onLoopback, other)
			})
		})
	}
}
