package membership

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
)

func sampleTable(t testing.TB, n int) *table {
	g := &Group{ID: 7}
	for i := range n {
		m := simMember(i, 2)
		m.Rank = i
		g.Members = append(g.Members, m)
	}
	tb, err := sealTable(g)
	if err != nil {
		t.Fatal(err)
	}
	return tb
}

func TestMessageRoundTrip(t *testing.T) {
	m := simMember(3, 2)
	for _, want := range []*message{
		{Kind: kindHello, Version: Version, Group: []byte("12345678"), Nonce: []byte("n")},
		{Kind: kindJoin, Proof: []byte("p"), Size: 4, Member: &m, Door: 1<<63 + 1},
		{Kind: kindAnnounce, Round: 2, Digest: []byte("d"), Rank: 3, Ask: &contact{ID: "x", Addrs: []string{"a"}, Door: 5}},
		{Kind: kindRefuse, Code: GivenUp, Reason: "r", Missing: []int{1, 2}},
		{Kind: kindTable, Round: 1, table: sampleTable(t, 5)},
	} {
		b, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMessage(bytes.NewReader(b), members(5))
		if err != nil {
			t.Fatalf("kind %d: %v", want.Kind, err)
		}
		if want.table != nil {
			if !reflect.DeepEqual(got.table.group.Members, want.table.group.Members) || got.table.digest != want.table.digest {
				t.Errorf("table: got %+v, want %+v", got.table.group, want.table.group)
			}
			got.table, want.table = nil, nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for cut := range b {
			if m, err := decodeMessage(bytes.NewReader(b[:cut]), members(5)); err == nil {
				t.Errorf("cut at %d of %d: got %+v", cut, len(b), m)
			}
		}
	}
}

func TestMessageBounds(t *testing.T) {
	encode := func(m *message) []byte {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	withTable := encode(&message{Kind: kindTable, table: sampleTable(t, 5)})
	if _, err := decodeMessage(bytes.NewReader(withTable), nil); err == nil {
		t.Error("a table that nobody asked for was read")
	}
	if _, err := decodeMessage(bytes.NewReader(withTable), members(4)); err == nil {
		t.Error("a table of the wrong size was read")
	}
	huge := binary.BigEndian.AppendUint32(nil, maxControl+1)
	if _, err := decodeMessage(bytes.NewReader(append(huge, make([]byte, 1<<17)...)), nil); err == nil {
		t.Error("a message beyond the limit was read")
	}
	if _, err := decodeMessage(bytes.NewReader(encode(&message{Kind: kindTable})), members(5)); err == nil {
		t.Error("a table message without a table was read")
	}
	if _, err := (&message{Kind: kindRefuse, Reason: strings.Repeat("x", maxControl)}).encode(); err == nil {
		t.Error("a message beyond the limit was written")
	}
	swapped := sampleTable(t, 3)
	swapped.group.Members[0].Rank = 1
	bad, err := sealTable(swapped.group)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openTable(bad.dense, 3); err == nil {
		t.Error("a table with ranks in wrong places was read")
	}
}

func members(n int) func() int { return func() int { return n } }

// whenRead calls f before its first byte is read.
type whenRead struct {
	io.Reader
	f func()
}

func (r *whenRead) Read(b []byte) (int, error) {
	r.f()
	return r.Reader.Read(b)
}

// A reader may have begun to wait before the table was asked for.
func TestTableAskedForMeanwhile(t *testing.T) {
	b, err := (&message{Kind: kindTable, table: sampleTable(t, 5)}).encode()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	m, err := decodeMessage(&whenRead{bytes.NewReader(b), func() { asked = 5 }}, func() int { return asked })
	if err != nil || m.table == nil {
		t.Errorf("got %+v, %v", m, err)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	for _, m := range []*message{
		{Kind: kindHello, Version: Version, Group: []byte("12345678"), Nonce: []byte("n")},
		{Kind: kindTable, table: sampleTable(f, 3)},
	} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(bytes.NewReader(b), members(3))
		if err != nil {
			return
		}
		if (m.Kind == kindTable) != (m.table != nil) {
			t.Fatalf("kind %d with table %v", m.Kind, m.table != nil)
		}
		if m.table != nil && len(m.table.group.Members) != 3 {
			t.Fatalf("table of %d", len(m.table.group.Members))
		}
	})
}

// Whatever a peer says, and in whatever order, a machine answers or refuses, and ends at most once.
func FuzzMachines(f *testing.F) {
	f.Add([]byte{1, 1, 2, 3, 3, 1, 4, 5, 6, 7, 8, 9, 10, 11})
	f.Add([]byte{0x11, 0x13, 0x21, 0x23, 0x16, 0x47, 0x18})
	inv := &Invitation{Size: 3, Addrs: []string{"/p2p/m0"}}
	tb := sampleTable(f, 3)
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 64 {
			return // longer ones reach no other states
		}
		for _, m := range []machine{
			newCoordinator(inv, 1, simMember(0, 1), weak, nil),
			newGuest(inv, simMember(1, 1), 5, contact{ID: "m0"}, weak),
		} {
			ends := 0
			for _, b := range script {
				member := simMember(int(b>>6), 1)
				e := &encounter{group: inv.Group, host: "m0", guest: "m2", hostNonce: make([]byte, nonceSize), guestNonce: make([]byte, nonceSize)}
				weak(e.hostNonce)
				weak(e.guestNonce)
				msg := &message{Kind: kind(b & 15), Version: Version, Group: inv.Group[:], Nonce: e.guestNonce, Size: 3, Member: &member,
					Proof: e.proof(inv.Secret, guestSide), Round: int(b >> 5 & 1), Rank: 1, Digest: tb.digest[:], Ask: &contact{ID: "m2"}}
				switch {
				case b&15 == 14:
					m.lost(link(b>>4), errors.New("gone"))
				case b&15 == 13:
					m.giveUp(errors.New("enough"))
				case b&15 == 12:
					m.enough()
				case msg.Kind == kindTable:
					msg.table = tb
					fallthrough
				default:
					if msg.Kind == kindChallenge {
						e.guest = "m1"
						msg.Proof = e.proof(inv.Secret, hostSide)
					}
					m.receive(link(b>>4), "m2", msg)
				}
				for _, eff := range m.take() {
					if eff.kind == effectEnd {
						ends++
					}
				}
			}
			if ends > 1 {
				t.Fatalf("%T ended %d times", m, ends)
			}
		}
	})
}

// Refusals that only a faulty or foreign peer can bring about.
func TestMachineRefusals(t *testing.T) {
	inv := &Invitation{Size: 3, Addrs: []string{"/p2p/m0"}}
	nonce := make([]byte, nonceSize)
	hello := &message{Kind: kindHello, Version: Version, Group: inv.Group[:], Nonce: nonce}
	listening := func(before ...*message) *coordinator {
		c := newCoordinator(inv, 1, simMember(0, 1), weak, nil)
		for _, m := range before {
			c.receive(1, "m1", m)
		}
		c.take()
		return c
	}
	join := func(rank int) *message {
		e := &encounter{group: inv.Group, host: "m0", guest: "m1", hostNonce: make([]byte, nonceSize), guestNonce: nonce}
		weak(e.hostNonce)
		m := simMember(1, 1)
		m.Rank = rank
		return &message{Kind: kindJoin, Proof: e.proof(inv.Secret, guestSide), Size: 3, Member: &m}
	}
	big := join(AnyRank)
	big.Member.Host = strings.Repeat("x", maxMember)
	cases := []struct {
		name string
		c    *coordinator
		say  *message
		want Code
	}{
		{"version", listening(), &message{Kind: kindHello, Version: Version + 1, Group: inv.Group[:], Nonce: nonce}, WrongVersion},
		{"short nonce", listening(), &message{Kind: kindHello, Version: Version, Group: inv.Group[:]}, Malformed},
		{"hello twice", listening(hello), hello, Malformed},
		{"join without hello", listening(), join(AnyRank), Malformed},
		{"no such rank", listening(hello), join(3), WrongRank},
		{"negative rank", listening(hello), join(-2), WrongRank},
		{"long description", listening(hello), big, Malformed},
		{"commit from a guest", listening(hello), &message{Kind: kindCommit}, Malformed},
		{"unknown kind", listening(hello, join(AnyRank)), &message{Kind: 99}, Malformed},
		{"pull by a stranger", finishedCoordinator(t), &message{Kind: kindPull, Round: 1}, Stranger},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := link(1)
			if c.want == Stranger {
				l = 99
			}
			c.c.receive(l, "m9", c.say)
			var said *message
			var noted *RefusedError
			for _, e := range c.c.take() {
				if e.kind == effectSend {
					said = e.msg
				}
				if e.kind == effectRefused {
					noted = e.refused
				}
			}
			if said == nil || said.Kind != kindRefuse || said.Code != c.want || noted == nil || noted.Code != c.want {
				t.Errorf("said %+v, noted %v, want code %q for both", said, noted, c.want)
			}
		})
	}
}

// finishedCoordinator has a table and waits for its members to take it.
func finishedCoordinator(t *testing.T) *coordinator {
	s := newSimulation(t, 3, nil)
	for i := range 3 {
		s.add(simMember(i, 1))
	}
	c := s.nodes[0].machine.(*coordinator)
	for c.table == nil && s.step() {
	}
	if c.table == nil {
		t.Fatal("no table")
	}
	return c
}

func TestRendezvous(t *testing.T) {
	ctx := t.Context()
	launch := Launch{Launcher: "test", Size: 2, Job: "job", Secret: "s"}
	inv := launch.invitation()
	inv.Addrs = []string{"/ip4/127.0.0.1/tcp/1/p2p/me", "/ip4/127.0.0.1/udp/1/quic-v1/p2p/me"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := answerAt(l, inv)
	defer stop()
	got, err := askAt(ctx, l.Addr().String(), launch.invitation())
	if err != nil || !reflect.DeepEqual(got, inv.Addrs) {
		t.Errorf("got %q, %v, want %q", got, err, inv.Addrs)
	}
	other := launch
	other.Secret = "t"
	if _, err := askAt(ctx, l.Addr().String(), other.invitation()); !isCode(err, WrongSecret) {
		t.Errorf("with another secret: got %v, want code %q", err, WrongSecret)
	}
	// Nobody there: the context ends it.
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := dead.Addr().String()
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancelCause(ctx)
	enough := errors.New("enough")
	cancel(enough)
	if _, err := askAt(gone, addr, inv); !errors.Is(err, enough) || !errors.As(err, new(*IncompleteError)) {
		t.Errorf("nobody there: got %v, want an IncompleteError", err)
	}
}

func isCode(err error, want Code) bool {
	var e *RefusedError
	return errors.As(err, &e) && e.Code == want
}

func FuzzRendezvous(f *testing.F) {
	inv := sampleInvitation()
	nonce := make([]byte, nonceSize)
	var good pipe
	good.in.WriteString(rendezvousMagic + string(nonce))
	if err := answer1(&good, inv); err != nil {
		f.Fatal(err)
	}
	f.Add(good.out.Bytes())
	f.Add([]byte(rendezvousMagic + "0123456789abcdef"))
	f.Fuzz(func(t *testing.T, b []byte) {
		addrs, err := readAnswer(bytes.NewReader(b), inv, nonce)
		if err == nil && !reflect.DeepEqual(addrs, inv.Addrs) {
			t.Errorf("believed %q", addrs)
		}
		var p pipe
		p.in.Write(b)
		if err := answer1(&p, inv); (err == nil) != (len(b) >= 20 && string(b[:4]) == rendezvousMagic) {
			t.Errorf("question %q: %v", b, err)
		}
	})
}

// pipe is a connection whose other end has said all that it will.
type pipe struct{ in, out bytes.Buffer }

func (p *pipe) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }
