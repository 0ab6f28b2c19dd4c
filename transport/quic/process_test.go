package quic

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
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

// modeEnv chooses among the modes of the transport: a list of name=value.
const modeEnv = "RINGTREE_QUIC_TEST_MODE"

// modeOptions returns the options of a mode.
func modeOptions(mode string) []Option {
	options := []Option{onLoopback}
	for setting := range strings.FieldsSeq(mode) {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "conns":
			n, err := strconv.Atoi(value)
			if err != nil {
				panic(err)
			}
			options = append(options, Conns(n))
		case "gro":
			options = append(options, ReceiveOffload(value == "on"))
		case "oneport":
			options = append(options, OnePort())
		case "poll":
			options = append(options, BusyPoll(value == "on"))
		default:
			panic("mode " + mode)
		}
	}
	return options
}

// inMode returns a maker and a command for two processes in one mode.
func inMode(mode string) (stripetest.Maker, func(role string) *exec.Cmd) {
	newTransport := func(id transport.Identity) (transport.Transport, error) {
		return New(id, append(modeOptions(mode), patient)...)
	}
	return newTransport, func(role string) *exec.Cmd {
		cmd := command(role)
		cmd.Env = append(cmd.Env, modeEnv+"="+mode)
		return cmd
	}
}

// onLoop never takes silence for death. patientLoop hardly ever does.
func onLoop(id transport.Identity) (transport.Transport, error) {
	return New(id, append(modeOptions(os.Getenv(modeEnv)), SilentTimeout(time.Hour))...)
}

func patientLoop(id transport.Identity) (transport.Transport, error) {
	return New(id, append(modeOptions(os.Getenv(modeEnv)), patient)...)
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
