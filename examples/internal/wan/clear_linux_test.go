package wan_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/examples/internal/processes"
	"github.com/ringtree/ringtree/examples/internal/wan"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/p2p"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/tcp"
)

// The variables that make TestMember one of two members of a group.
const (
	memberTransport  = "WAN_TEST_TRANSPORT"
	memberInvitation = "WAN_TEST_INVITATION" // "": it invites
)

// payload is what the members send: noise that nothing else on the wire resembles.
func payload() []byte {
	b := make([]byte, 128<<10)
	source := rand.NewChaCha8([32]byte{'w', 'a', 'n'})
	_, _ = source.Read(b) // never fails
	return b
}

// TestMember is what the processes run that TestNothingInClear starts; by itself it does nothing.
func TestMember(t *testing.T) {
	name := os.Getenv(memberTransport)
	if name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), processes.Patience)
	defer cancel()
	peer, err := p2p.New(ctx, p2p.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	var tr transport.Transport
	switch name {
	case "quic":
		tr, err = quic.New(peer.Identity())
	case "tcp":
		tr, err = tcp.New(peer.Identity())
	default:
		tr, err = tcp.New(transport.Identity{}, tcp.Plain())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := collective.Config{Rank: 1, Invitation: os.Getenv(memberInvitation), Peer: peer, Transports: []transport.Transport{tr}}
	if c.Invitation == "" {
		c.Rank = 0
		if c.Invitation, err = collective.Invite(peer, 2); err != nil {
			t.Fatal(err)
		}
		fmt.Println(c.Invitation)
	}
	comm, err := collective.Join(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer comm.Close()
	data := payload()
	if comm.Rank() != 0 {
		clear(data)
	}
	if err := collective.Broadcast(ctx, comm, data, 0); err != nil {
		t.Fatal(err)
	}
	if string(data) != string(payload()) {
		t.Error("the payload has not arrived")
	}
}

// What passes between two hosts holds nothing of the payload over quic and tcp, not 8 bytes of it at any offset. Over TCP
// without TLS it holds nearly all of it: the tap can tell.
func TestNothingInClear(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it forms three groups")
	}
	const run = 8
	secret := make(map[uint64]bool)
	bytes := payload()
	for i := 0; i+run <= len(bytes); i++ {
		secret[binary.LittleEndian.Uint64(bytes[i:])] = true
	}
	for _, name := range []string{"quic", "tcp", "plain"} {
		t.Run(name, func(t *testing.T) {
			var seen [][]byte
			size := 0
			n, err := wan.New(wan.Config{Hosts: 2, Delay: time.Millisecond, Tap: func(_ int, frame []byte) {
				seen = append(seen, append([]byte(nil), frame...))
				size += len(frame)
			}})
			if errors.As(err, new(*wan.UnavailableError)) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			start := func(host int, invitation string) *processes.Process {
				cmd := exec.Command(os.Args[0], "-test.run=^TestMember$")
				cmd.Env = append(os.Environ(), memberTransport+"="+name, memberInvitation+"="+invitation)
				return processes.Start(t, cmd, n.Host(host).Start)
			}
			first := start(0, "")
			second := start(1, first.Invitation())
			for _, p := range []*processes.Process{first, second} {
				if out, errs, err := p.End(); err != nil {
					t.Fatalf("%v: %v\n%s%s", p, err, out, errs)
				}
			}
			if err := n.Close(); err != nil { // the tap is done
				t.Fatal(err)
			}
			if size < len(bytes) {
				t.Fatalf("the tap saw %d bytes, want at least the %d of the payload", size, len(bytes))
			}
			found := 0
			for _, frame := range seen {
				for i := 0; i+run <= len(frame); i++ {
					if secret[binary.LittleEndian.Uint64(frame[i:])] {
						found++
					}
				}
			}
			t.Logf("%d bytes in %d frames, %d places of the payload in clear", size, len(seen), found)
			if name != "plain" && found > 0 {
				t.Errorf("%d places of the payload are on the wire in clear", found)
			}
			if name == "plain" && found < len(bytes)*9/10 {
				t.Errorf("without TLS the tap finds %d places of the payload, want nearly all of %d", found, len(bytes))
			}
		})
	}
}
