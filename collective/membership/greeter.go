package membership

import "fmt"

// greeter is the host's part of the proof of the secret. Coordinator and members have one each.
type greeter struct {
	*outbox
	inv    *Invitation
	self   string // identity
	random func([]byte)
	admit  func(peer string) bool // nil: everybody
	guests map[link]*encounter
}

func newGreeter(o *outbox, inv *Invitation, self string, random func([]byte), admit func(string) bool) *greeter {
	return &greeter{outbox: o, inv: inv, self: self, random: random, admit: admit, guests: make(map[link]*encounter)}
}

func (g *greeter) turnAway(l link, peer string, rank int, code Code, format string, args ...any) {
	delete(g.guests, l)
	g.refuse(l, &RefusedError{
		Group: g.inv.Name(), Rank: rank, Peer: peer, Code: code, Reason: code.String() + ": " + fmt.Sprintf(format, args...),
	}, nil)
}

// hello answers a guest's first message.
func (g *greeter) hello(l link, peer string, m *message) {
	switch {
	case m.Version != Version:
		g.turnAway(l, peer, AnyRank, WrongVersion, "it speaks %d, the group %d", m.Version, Version)
		return
	case string(m.Group) != string(g.inv.Group[:]):
		g.turnAway(l, peer, AnyRank, WrongGroup, "no such group forms here")
		return
	case g.admit != nil && !g.admit(peer):
		g.turnAway(l, peer, AnyRank, Stranger, "identity %s is not on the list", peer)
		return
	case len(m.Nonce) != nonceSize || g.guests[l] != nil:
		g.turnAway(l, peer, AnyRank, Malformed, "hello")
		return
	}
	e := &encounter{group: g.inv.Group, host: g.self, guest: peer, guestNonce: m.Nonce, hostNonce: make([]byte, nonceSize)}
	g.random(e.hostNonce)
	g.guests[l] = e
	g.send(l, &message{Kind: kindChallenge, Nonce: e.hostNonce, Proof: e.proof(g.inv.Secret, hostSide)})
}

// join checks the guest's proof and reports whether the guest may go on. Afterwards the guest is not the greeter's.
func (g *greeter) join(l link, peer string, m *message) bool {
	e := g.guests[l]
	switch {
	case e == nil || m.Member == nil:
		g.turnAway(l, peer, AnyRank, Malformed, "join")
		return false
	case !e.proves(g.inv.Secret, guestSide, m.Proof):
		g.turnAway(l, peer, m.Member.Rank, WrongSecret, "it has another invitation to this group")
		return false
	}
	delete(g.guests, l)
	return true
}

// refused hears that a guest has gone, because it found that the host does not know the secret or for
// reasons of its own. The operator is told what it said.
func (g *greeter) refused(l link, peer string, m *message) {
	delete(g.guests, l)
	g.hangUp(l)
	g.effects = append(g.effects, effect{kind: effectRefused, refused: refusalOf(g.inv, AnyRank, peer, m)})
}

// refusalOf translates the other side's refusal.
func refusalOf(inv *Invitation, rank int, peer string, m *message) *RefusedError {
	return &RefusedError{Group: inv.Name(), Rank: rank, Peer: peer, Code: m.Code, Reason: clip(m.Reason)}
}

// clip bounds a text that came from outside and makes it one printable line.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most]
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
