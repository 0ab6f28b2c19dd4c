package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/internal/stripe"
	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/quic"
	"github.com/ringtree/ringtree/transport/tcp"
	"github.com/ringtree/ringtree/transport/transporttest"
)

const (
	onLoopback = "127.0.0.1:0"
	patience   = 20 * time.Second // with starved peers
)

// never is a head start that no test waits for.
const never = time.Minute

func newIdentity(t testing.TB) transport.Identity {
	t.Helper()
	id, err := transporttest.Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A side says how the UDP of a rank is.
type side struct {
	through  func(net.PacketConn) net.PacketConn // nil: all is well
	cannot   bool                                // listen
	spoil    func(addr string) string            // what the others hear of it; nil: the truth
	conns    int
	tcpFirst bool
	far      bool // what TCP says of its path
	options  []Option
	identity transport.Identity
}

// make makes the side's transport.
func (s side) make() (transport.Transport, error) {
	q := []quic.Option{quic.ListenOn(onLoopback), quic.SilentTimeout(patience), quic.DialTimeout(patience)}
	if s.cannot {
		q = append(q, quic.ListenOn("192.0.2.1:1")) // TEST-NET-1: no machine's address
	}
	if s.through != nil {
		q = append(q, quic.Through(s.through))
	}
	c := []tcp.Option{tcp.ListenOn(onLoopback), tcp.DialTimeout(patience)}
	if s.conns > 0 {
		q, c = append(q, quic.Conns(s.conns)), append(c, tcp.Conns(s.conns))
	}
	overQUIC, err := quic.New(s.identity, q...)
	if err != nil {
		return nil, err
	}
	overTCP, err := tcp.New(s.identity, c...)
	if err != nil {
		return nil, err
	}
	ways := []Way{overQUIC, overTCP}
	if s.far {
		ways[1] = distant{overTCP}
	}
	if s.tcpFirst {
		ways[0], ways[1] = ways[1], ways[0]
	}
	return New(ways, s.options...)
}

// A distant way has long paths, whose losses slow it.
type distant struct{ Way }

func (d distant) Carrier(ctx context.Context, name string, nonce stripe.Nonce) (stripe.Carrier, func(), error) {
	c, free, err := d.Way.Carrier(ctx, name, nonce)
	dial := c.Dial
	c.Dial = func(ctx context.Context, place, id string, nonce stripe.Nonce) (stripe.Conn, error) {
		conn, err := dial(ctx, place, id, nonce)
		if err != nil {
			return nil, err
		}
		return distantConn{conn}, nil
	}
	return c, free, err
}

type distantConn struct{ stripe.Conn }

func (distantConn) Path() stripe.Path { return stripe.Path{RTT: 50 * time.Millisecond} }

func (c distantConn) Flush() error {
	if f, ok := c.Conn.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}

// A deaf socket takes every packet and gives none: a firewall that drops without a word.
type deaf struct{ net.PacketConn }

func (d deaf) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := d.PacketConn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// blocked is a socket that drops all packets in both directions.
func blocked(c net.PacketConn) net.PacketConn { return deaf{c} }

// An end is one rank.
type end struct {
	tr   transport.Transport
	ep   transport.Endpoint
	bell transport.Bell
	self transport.Peer
}

// pair makes two ranks and lets them know each other.
func pair(t *testing.T, sides [2]side) (ends [2]*end) {
	t.Helper()
	for r, s := range sides {
		if s.identity.ID == "" {
			s.identity = newIdentity(t)
		}
		tr, err := s.make()
		if err != nil {
			t.Fatal(err)
		}
		ends[r] = listen(t, tr, t.Name(), r, s)
	}
	meet(ends)
	return ends
}

func listen(t *testing.T, tr transport.Transport, group string, rank int, s side) *end {
	t.Helper()
	bell, err := tr.NewBell()
	if err != nil {
		t.Fatal(err)
	}
	ep, err := tr.Listen(t.Context(), group, rank, bell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ep.Close(), bell.Close()); err != nil {
			t.Error(err)
		}
	})
	addr := ep.Addr()
	if s.spoil != nil {
		addr = s.spoil(addr)
	}
	return &end{tr, ep, bell, transport.Peer{Rank: rank, Addr: addr, ID: tr.(*Transport).ways[0].Identity().ID}}
}

func meet(ends [2]*end) {
	for _, e := range ends {
		e.ep.Admit([]transport.Peer{ends[0].self, ends[1].self})
	}
}

// exercise opens a link and uses it in both directions, and returns what both ends say of it.
func exercise(t *testing.T, ends [2]*end) (caps [2]transport.Caps) {
	t.Helper()
	var links [2]transport.Link
	for r, e := range ends {
		var err error
		if links[r], err = e.ep.Open(ends[1-r].self, stripetest.LinkID); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- transporttest.Exercise(t.Context(), links[0], ends[0].bell, 1, 50) }()
	if err := errors.Join(transporttest.Exercise(t.Context(), links[1], ends[1].bell, 1, 50), <-done); err != nil {
		t.Fatal(err)
	}
	return [2]transport.Caps{links[0].Caps(), links[1].Caps()}
}

func TestConformance(t *testing.T) {
	for _, conns := range []int{1, 4} {
		for _, way := range []string{"quic", "tcp"} {
			t.Run(fmt.Sprintf("conns=%d,%s", conns, way), func(t *testing.T) {
				transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
					s := side{conns: conns, identity: newIdentity(t), options: []Option{HeadStart(never)}}
					if way == "tcp" {
						s.through, s.options = blocked, []Option{HeadStart(0)}
					}
					tr, err := s.make()
					if err != nil {
						t.Fatal(err)
					}
					g := transporttest.NewGroupAs(t, tr, n, s.identity.ID)
					g.Allocs = 400 // quic-go's
					return g
				})
			})
		}
	}
}

// Whatever is wrong with UDP on whichever side, the two ends agree on one way.
func TestAgreement(t *testing.T) {
	nowhere := func(addr string) string { // a place that the socket refuses to send to
		name, places, _ := strings.Cut(addr, "@")
		_, rest, _ := strings.Cut(places, ",")
		return name + "@quic/[::1]:9," + rest
	}
	hole, err := net.ListenPacket("udp", onLoopback) // hears everything and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	intoHole := func(addr string) string {
		name, places, _ := strings.Cut(addr, "@")
		_, rest, _ := strings.Cut(places, ",")
		return name + "@quic/" + hole.LocalAddr().String() + "," + rest
	}
	const missing, failed = "quic is not offered by both sides", "quic failed"
	silent := fmt.Sprintf("no answer over quic within %v", DefaultHeadStart)
	for _, c := range []struct {
		name  string
		sides [2]side
		via   string // "": either
		why   string // "": none, or any if via is ""
	}{
		{"all is well", [2]side{{options: []Option{HeadStart(never)}}, {options: []Option{HeadStart(never)}}}, "quic", ""},
		{"0 blocked", [2]side{{through: blocked}, {}}, "tcp", silent},
		{"1 blocked", [2]side{{}, {through: blocked}}, "tcp", silent},
		{"both blocked", [2]side{{through: blocked}, {through: blocked}}, "tcp", silent},
		{"no UDP at 0", [2]side{{cannot: true}, {}}, "tcp", missing},
		{"no UDP at 1", [2]side{{}, {cannot: true}}, "tcp", missing},
		{"no UDP at all", [2]side{{cannot: true}, {cannot: true}}, "tcp", missing},
		{"fails at once", [2]side{{spoil: nowhere, options: []Option{HeadStart(never)}}, {spoil: nowhere, options: []Option{HeadStart(never)}}}, "tcp", failed},
		// Only one of them gets through to the other. Which of the two sessions goes before depends on who is first.
		{"only 1 reaches 0", [2]side{{}, {spoil: intoHole}}, "", ""},
		{"only 0 reaches 1", [2]side{{spoil: intoHole}, {}}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			caps := exercise(t, pair(t, c.sides))
			caps[0].Note, caps[1].Note = "", "" // each end's own
			if caps[0] != caps[1] {
				t.Errorf("the ends disagree: %+v and %+v", caps[0], caps[1])
			}
			if got := caps[0]; got.Via == "" || c.via != "" && (got.Via != c.via || got.Why != c.why) {
				t.Errorf("got via %q because %q, want %q because %q", got.Via, got.Why, c.via, c.why)
			}
		})
	}
}

// TCP that comes first is taken where it suits the path, else QUIC, unless it does not answer.
func TestFit(t *testing.T) {
	const suits, unfit, alone = "it takes the least processor time", "tcp would take losses", "nothing else answers"
	closed, err := net.Listen("tcp", onLoopback)
	if err != nil {
		t.Fatal(err)
	}
	at := closed.Addr().String()
	closed.Close()
	instead := func(carrier, place string) func(string) string {
		return func(addr string) string {
			name, list, _ := strings.Cut(addr, "@")
			places := strings.Split(list, ",")
			for i, p := range places {
				if strings.HasPrefix(p, carrier+"/") {
					places[i] = carrier + "/" + place
				}
			}
			return name + "@" + strings.Join(places, ",")
		}
	}
	patient, hurried := []Option{HeadStart(never)}, []Option{HeadStart(50 * time.Millisecond)}
	for _, c := range []struct {
		name     string
		side     side
		via, why string // why begins so
	}{
		{"suits", side{options: patient}, "tcp", suits},
		{"far", side{far: true, options: patient}, "quic", unfit},
		{"far, and UDP is blocked", side{far: true, through: blocked, options: hurried}, "tcp", alone},
		{"far, and UDP fails", side{far: true, spoil: instead("quic", "[::1]:9"), options: patient}, "tcp", alone},
		{"far, and no UDP", side{far: true, cannot: true, options: patient}, "tcp", ""},
		{"no TCP", side{spoil: instead("tcp", at), options: patient}, "quic", "tcp failed"},
		{"suits, and UDP is blocked", side{through: blocked, options: patient}, "tcp", suits},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.side.tcpFirst = true
			caps := exercise(t, pair(t, [2]side{c.side, c.side}))
			for r, got := range caps {
				if got.Via != c.via || !strings.HasPrefix(got.Why, c.why) || c.why == "" && got.Why != "" {
					t.Errorf("rank %d: got via %q because %q, want %q because %q", r, got.Via, got.Why, c.via, c.why)
				}
			}
		})
	}
}

// Whom QUIC did not reach once is reached over TCP at once the next time, by endpoints of later groups too, and where it
// has reached nobody, nobody waits for it long.
func TestMemory(t *testing.T) {
	hurried := []Option{HeadStart(50 * time.Millisecond)}
	ends := pair(t, [2]side{{through: blocked, options: hurried}, {options: hurried}})
	if caps := exercise(t, ends); caps[0].Via != "tcp" {
		t.Fatalf("got via %q, want tcp", caps[0].Via)
	}
	for _, e := range ends { // from here on a head start would not end
		e.tr.(*Transport).cfg.headStart = never
	}
	var again [2]*end
	for r, e := range ends {
		again[r] = listen(t, e.tr, t.Name()+" again", r, side{})
	}
	meet(again)
	const want = "quic did not reach this peer before"
	if caps := exercise(t, again); caps[0].Via != "tcp" || caps[0].Why != want || caps[1].Why != want {
		t.Errorf("got %+v, want tcp because %s", caps, want)
	}
}

// Where nothing gets through, both ends of a link are lost, with what was wrong with each way.
func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", onLoopback)
	if err != nil {
		t.Fatal(err)
	}
	at := closed.Addr().String()
	closed.Close()
	ends := pair(t, [2]side{{}, {spoil: func(addr string) string {
		name, _, _ := strings.Cut(addr, "@")
		return name + "@quic/[::1]:9,tcp/" + at
	}}})
	l, err := ends[0].ep.Open(ends[1].self, stripetest.LinkID)
	if err != nil {
		t.Fatal(err)
	}
	if err := transporttest.Await(ends[0].bell, "the end", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	var lost *transport.LostError
	if err := l.Err(); !errors.As(err, &lost) || !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), "[::1]:9") {
		t.Errorf("got %v, want a LostError that names both places", err)
	}
	other := ends[1].self
	other.Addr = strings.ReplaceAll(strings.ReplaceAll(other.Addr, "quic/", "pigeon/"), "tcp/", "owl/")
	if _, err := ends[0].ep.Open(other, stripetest.LinkID); !errors.Is(err, transport.ErrUnreachable) || ends[0].tr.Reaches(ends[0].self, other) {
		t.Errorf("over pigeons: got %v, want ErrUnreachable", err)
	}
}

func maker(id transport.Identity) (transport.Transport, error) {
	return side{identity: id, options: []Option{HeadStart(never)}}.make()
}

func TestStrangers(t *testing.T) { stripetest.Strangers(t, maker) }

// A refusal over one way is the peer's word: nobody waits for another way to say the same.
func TestRefused(t *testing.T) {
	eager := []Option{HeadStart(0)}
	ends := pair(t, [2]side{{through: blocked, options: eager}, {through: blocked, options: eager}})
	ends[0].ep.Admit([]transport.Peer{ends[0].self}) // the other is a stranger
	l, err := ends[1].ep.Open(ends[0].self, stripetest.LinkID)
	if err != nil {
		t.Fatal(err)
	}
	if err := transporttest.Await(ends[1].bell, "the refusal", func() bool { return l.Err() != nil }); err != nil {
		t.Fatal(err)
	}
	var refused *transport.RefusedError
	if err := l.Err(); !errors.As(err, &refused) || refused.Why != transport.RefusedStranger {
		t.Errorf("got %v, want a RefusedError: not a member", err)
	}
}

func TestDifferentSettings(t *testing.T) {
	stripetest.Settings(t, maker, func(id transport.Identity) (transport.Transport, error) {
		return side{identity: id, conns: 2, options: []Option{HeadStart(never)}}.make()
	})
}

func TestNewErrors(t *testing.T) {
	id := newIdentity(t)
	q, err := quic.New(id)
	if err != nil {
		t.Fatal(err)
	}
	other, err := tcp.New(newIdentity(t))
	if err != nil {
		t.Fatal(err)
	}
	two, err := tcp.New(id, tcp.Conns(2))
	if err != nil {
		t.Fatal(err)
	}
	wide, err := tcp.New(id, tcp.Window(99))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ways    []Way
		options []Option
	}{
		"no way":             {},
		"one twice":          {ways: []Way{q, q}},
		"two identities":     {ways: []Way{q, other}},
		"other connections":  {ways: []Way{q, two}},
		"other window":       {ways: []Way{q, wide}},
		"head start":         {ways: []Way{q}, options: []Option{HeadStart(-1)}},
		"endless head start": {ways: []Way{q}, options: []Option{HeadStart(2 * time.Minute)}},
		"no logger":          {ways: []Way{q}, options: []Option{Logger(nil)}},
	} {
		if tr, err := New(c.ways, c.options...); err == nil {
			t.Errorf("%s: got %v, want an error", name, tr)
		}
	}
}

// Where no way can listen, Listen says what was wrong with each; where one can, the other is reported.
func TestListenErrors(t *testing.T) {
	id := newIdentity(t)
	var reports strings.Builder
	log := Logger(slog.New(slog.NewTextHandler(io.Writer(&reports), nil)))
	q, err := quic.New(id, quic.ListenOn("192.0.2.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"192.0.2.1:2", onLoopback} {
		c, err := tcp.New(id, tcp.ListenOn(at))
		if err != nil {
			t.Fatal(err)
		}
		tr, err := New([]Way{q, c}, log)
		if err != nil {
			t.Fatal(err)
		}
		bell, err := tr.NewBell()
		if err != nil {
			t.Fatal(err)
		}
		defer bell.Close()
		ep, err := tr.Listen(t.Context(), t.Name(), 0, bell)
		if at != onLoopback {
			if err == nil || !strings.Contains(err.Error(), "quic: ") || !strings.Contains(err.Error(), "tcp: ") {
				t.Errorf("got %v, want what is wrong with both", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if addr := ep.Addr(); strings.Contains(addr, "quic/") || !strings.Contains(addr, "tcp/127.0.0.1:") {
			t.Errorf("address %q, want places of tcp alone", addr)
		}
		if err := ep.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := reports.String(); strings.Count(got, "a transport cannot listen") != 3 || !strings.Contains(got, "transport=quic") {
		t.Errorf("got reports %q, want three", got)
	}
}
