package membership

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func sampleInvitation() *Invitation {
	inv := &Invitation{Size: 64, Addrs: []string{
		"/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWAbc", "/ip6/2001:db8::1/udp/4001/quic-v1/p2p/12D3KooWAbc", "/p2p/12D3KooWOther",
	}}
	for i := range inv.Group {
		inv.Group[i] = byte(i + 1)
	}
	for i := range inv.Secret {
		inv.Secret[i] = byte(200 + i)
	}
	return inv
}

func TestInvitationRoundTrip(t *testing.T) {
	inv := sampleInvitation()
	text, err := inv.Text()
	if err != nil {
		t.Fatalf("text: %v", err)
	}
	if strings.ContainsAny(text, " \n=") || !strings.HasPrefix(text, "rt1:") {
		t.Errorf("text %q", text)
	}
	half := len(text) / 2
	for _, form := range []string{
		text, strings.ToUpper(text), "  " + text + "\n", "`" + text + "`", "<" + text + ">", "\"" + text + "\"",
		text[:half] + "\r\n    " + text[half:],
	} {
		got, err := ParseInvitation(form)
		if err != nil || !reflect.DeepEqual(got, inv) {
			t.Errorf("%q: got %v, %v, want %v", form, got, err, inv)
		}
	}
}

func TestInvitationMistakes(t *testing.T) {
	inv := sampleInvitation()
	text, err := inv.Text()
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, text string) {
		got, err := ParseInvitation(text)
		if e := (*InvitationError)(nil); !errors.As(err, &e) || !errors.Is(err, ErrForming) {
			t.Errorf("%s: got %v, %v, want an InvitationError", what, got, err)
		} else if len(text) > 24 && strings.Contains(err.Error(), text[8:24]) {
			t.Errorf("%s: the error quotes the text: %v", what, err)
		}
	}
	check("empty", "")
	check("prefix only", "rt1:")
	check("other version", "rt2:"+text[4:])
	check("no base 32", text[:20]+"!"+text[21:])
	check("too long", "rt1:"+strings.Repeat("a", 3*maxInvitation))
	for i := 4; i < len(text); i++ { // every typing mistake, every cut
		c := byte('a')
		if text[i] == c {
			c = 'b'
		}
		check(fmt.Sprintf("character %d changed", i), text[:i]+string(c)+text[i+1:])
		check(fmt.Sprintf("cut at %d", i), text[:i])
	}
	for name, change := range map[string]func(*Invitation){
		"no ranks":         func(v *Invitation) { v.Size = 0 },
		"too many":         func(v *Invitation) { v.Size = MaxSize + 1 },
		"no address":       func(v *Invitation) { v.Addrs = nil },
		"no identity":      func(v *Invitation) { v.Addrs = []string{"/ip4/1.2.3.4/tcp/1"} },
		"too many places":  func(v *Invitation) { v.Addrs = make([]string, maxAddrs+1) },
		"long address":     func(v *Invitation) { v.Addrs = []string{"/" + strings.Repeat("x", maxAddr) + "/p2p/a"} },
		"too long in text": func(v *Invitation) { v.Addrs = longAddrs() },
	} {
		v := sampleInvitation()
		change(v)
		if text, err := v.Text(); !errors.As(err, new(*InvitationError)) {
			t.Errorf("%s: got %q, %v, want an InvitationError", name, text, err)
		}
	}
}

func longAddrs() []string {
	var addrs []string
	for i := range maxAddrs {
		addrs = append(addrs, fmt.Sprintf("/%s/p2p/id%d", strings.Repeat("x", maxAddr-20), i))
	}
	return addrs
}

func TestInvitationHidesSecret(t *testing.T) {
	inv := sampleInvitation()
	text, err := inv.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		got := fmt.Sprintf(v, inv)
		if strings.Contains(got, "200 201") || strings.Contains(got, "0xc8") || strings.Contains(got, "c8c9") || strings.Contains(got, text[16:40]) {
			t.Errorf("%s prints the secret: %s", v, got)
		}
	}
}

func FuzzParseInvitation(f *testing.F) {
	text, err := sampleInvitation().Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("rt1:")
	f.Add(text[:40])
	f.Fuzz(func(t *testing.T, text string) {
		inv, err := ParseInvitation(text)
		if err != nil {
			return
		}
		again, err := inv.Text()
		if err != nil {
			t.Fatalf("%q: parsed, but has no text: %v", text, err)
		}
		got, err := ParseInvitation(again)
		if err != nil || !reflect.DeepEqual(got, inv) {
			t.Errorf("%q: got %v, %v, want %v", again, got, err, inv)
		}
	})
}

// The proof depends on everything that it is bound to.
func TestProofIsBound(t *testing.T) {
	base := func() (*encounter, [16]byte, side) {
		return &encounter{group: [8]byte{1}, host: "h", guest: "g", hostNonce: []byte("12"), guestNonce: []byte("34")}, [16]byte{9}, hostSide
	}
	e, secret, who := base()
	p := e.proof(secret, who)
	if !e.proves(secret, who, p) {
		t.Fatal("the proof does not prove")
	}
	for name, change := range map[string]func(*encounter, *[16]byte, *side){
		"group":       func(e *encounter, _ *[16]byte, _ *side) { e.group[7]++ },
		"host":        func(e *encounter, _ *[16]byte, _ *side) { e.host = "hg" },
		"guest":       func(e *encounter, _ *[16]byte, _ *side) { e.guest = "" },
		"swapped":     func(e *encounter, _ *[16]byte, _ *side) { e.host, e.guest = e.guest, e.host },
		"host nonce":  func(e *encounter, _ *[16]byte, _ *side) { e.hostNonce = []byte("123") },
		"guest nonce": func(e *encounter, _ *[16]byte, _ *side) { e.guestNonce = []byte("4") },
		"secret":      func(_ *encounter, s *[16]byte, _ *side) { s[15]++ },
		"side":        func(_ *encounter, _ *[16]byte, w *side) { *w = guestSide },
	} {
		e, secret, who := base()
		change(e, &secret, &who)
		if e.proves(secret, who, p) {
			t.Errorf("another %s: the proof still proves", name)
		}
	}
	if e.proves(secret, who, nil) || e.proves(secret, who, p[:31]) {
		t.Error("half a proof proves")
	}
}

// The tree reaches everybody once, by parts that are contiguous and no deeper than they need be.
func TestTreeParent(t *testing.T) {
	for _, m := range []int{1, 2, 3, 4, 5, 6, 7, 16, 17, 63, 64, 100, 1000, 4095} {
		children := make([]int, m)
		deepest := 0
		for i := range m {
			depth, p := 0, i
			for p != 0 {
				q := treeParent(p, m)
				if q < 0 || q >= p {
					t.Fatalf("m = %d: parent of %d is %d", m, p, q)
				}
				p = q
				depth++
			}
			deepest = max(deepest, depth)
			if i > 0 {
				children[treeParent(i, m)]++
			}
		}
		if got := treeParent(0, m); got != -1 {
			t.Errorf("m = %d: parent of the first is %d", m, got)
		}
		for i, c := range children {
			if c > treeFan {
				t.Errorf("m = %d: member %d has %d children", m, i, c)
			}
		}
		want := 0 // levels that a full tree needs
		for full, width := 1, 1; full < m; want++ {
			width *= treeFan
			full += width
		}
		if deepest > want {
			t.Errorf("m = %d: depth %d, want %d", m, deepest, want)
		}
	}
}

func TestAssign(t *testing.T) {
	member := func(rank int, host, process string) Member {
		return Member{Rank: rank, Host: host, Label: host, Process: process}
	}
	ranks, left := assign(6, []Member{
		member(-1, "b", "b1"), member(-1, "a", "a1"), member(-1, "b", "b2"), member(-1, "b", "b1"), member(2, "a", "a2"),
	})
	if want := []int{0, 4, 3, 1, 2}; !reflect.DeepEqual(ranks, want) {
		t.Errorf("ranks %v, want %v", ranks, want)
	}
	if want := []int{5}; !reflect.DeepEqual(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	// Any mix: numbers are kept, none is given twice.
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n := 1 + rng.IntN(20)
		free := rng.Perm(n)
		var members []Member
		for range rng.IntN(n + 1) {
			m := member(AnyRank, fmt.Sprint(rng.IntN(4)), fmt.Sprint(rng.IntN(8)))
			if rng.IntN(3) == 0 {
				m.Rank, free = free[0], free[1:]
			}
			members = append(members, m)
		}
		ranks, left := assign(n, members)
		seen := make(map[int]bool)
		for i, r := range ranks {
			if r < 0 || r >= n || seen[r] || members[i].Rank != AnyRank && members[i].Rank != r {
				t.Fatalf("n = %d, members %+v: ranks %v", n, members, ranks)
			}
			seen[r] = true
		}
		for _, r := range left {
			if seen[r] {
				t.Fatalf("n = %d: rank %d is left and given", n, r)
			}
			seen[r] = true
		}
		if len(seen) != n {
			t.Fatalf("n = %d: %d ranks in all", n, len(seen))
		}
	}
}
