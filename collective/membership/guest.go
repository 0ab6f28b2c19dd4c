package membership

import "bytes"

type guestState uint8

const (
	guestGreeting  guestState = iota // hello is out
	guestWaiting                     // join is out, or a round was announced and has not brought its table yet
	guestPrepared                    // has the table
	guestCommitted                   // the group has formed
)

// A guest is every member but the coordinator.
type guest struct {
	*outbox
	*greeter
	*shelf
	inv   *Invitation
	self  Member
	door  uint64
	state guestState

	next   link    // of the next conversation that it opens
	up     link    // with the coordinator; 0: lost
	host   contact // the coordinator, or who may know it
	moves  int     // redirections so far
	nonce  []byte
	round  int
	digest []byte
	rank   int
	source link // where the table comes from; 0: none
	direct bool // which is the coordinator
}

// maxMoves bounds a chain of members that send a guest on.
const maxMoves = 8

// newGuest makes the machine of a member that asks host first. door is what tells its pulls from those of others at its
// process.
func newGuest(inv *Invitation, self Member, door uint64, host contact, random func([]byte)) *guest {
	o := new(outbox)
	g := &guest{
		outbox: o, greeter: newGreeter(o, inv, self.ID, random, nil), shelf: newShelf(o), inv: inv, self: self, door: door,
		next: 2, host: host,
	}
	g.ask()
	return g
}

func (g *guest) take() []effect { return g.outbox.take() }

// ask begins the conversation with host.
func (g *guest) ask() {
	g.state = guestGreeting
	g.nonce = make([]byte, nonceSize)
	g.random(g.nonce)
	g.up = g.dial(g.host)
	g.send(g.up, &message{Kind: kindHello, Version: Version, Group: g.inv.Group[:], Nonce: g.nonce})
}

// dial opens the next conversation.
func (g *guest) dial(c contact) link {
	l := g.next
	g.next += 2
	g.call(l, c)
	return l
}

func (g *guest) receive(l link, peer string, m *message) {
	switch {
	case g.ended:
	case l == g.up:
		g.fromHost(m)
	case l == g.source && l != 0:
		g.fromSource(m)
	case l%2 == 0:
		// of a conversation that has been given up
	case m.Kind == kindPull:
		g.pull(pull{l, peer, m.Round})
	case m.Kind == kindHello:
		g.hello(l, peer, m)
	case m.Kind == kindJoin:
		if g.join(l, peer, m) {
			g.send(l, &message{Kind: kindRedirect, Ask: &g.host})
			g.hangUp(l)
		}
	case m.Kind == kindRefuse:
		g.refused(l, peer, m)
	case m.Kind == kindConfirm && g.children[l] != "":
		g.hangUp(l)
		delete(g.children, l)
		g.maybeEnd()
	default:
		g.drop(l)
		g.turnAway(l, peer, AnyRank, Malformed, "message of kind %d", m.Kind)
	}
}

// fromHost is the conversation with the coordinator.
func (g *guest) fromHost(m *message) {
	switch {
	case g.state == guestCommitted && m.Kind != kindCommit:
		// nothing undoes the commit
	case m.Kind == kindRefuse:
		var err error = refusalOf(g.inv, g.self.Rank, g.host.ID, m)
		if m.Code == GivenUp {
			err = &IncompleteError{Group: g.inv.Name(), Missing: bounded(m.Missing, g.inv.Size), Cause: err}
		}
		g.fail(err)
	case m.Kind == kindChallenge && g.state == guestGreeting && g.nonce != nil:
		e := &encounter{group: g.inv.Group, host: g.host.ID, guest: g.self.ID, hostNonce: m.Nonce, guestNonce: g.nonce}
		g.nonce = nil
		if len(m.Nonce) != nonceSize || !e.proves(g.inv.Secret, hostSide, m.Proof) {
			g.quit(WrongSecret, "it cannot prove that it knows the secret")
			return
		}
		self := g.self
		g.send(g.up, &message{Kind: kindJoin, Proof: e.proof(g.inv.Secret, guestSide), Size: g.inv.Size, Member: &self, Door: g.door})
		g.state = guestWaiting
	case m.Kind == kindRedirect && g.state == guestWaiting && g.round == 0 && m.Ask != nil && g.moves < maxMoves:
		g.hangUp(g.up)
		g.moves++
		g.host = *m.Ask
		g.host.Door = 0
		g.ask()
	case m.Kind == kindAnnounce && (g.state == guestWaiting || g.state == guestPrepared) && m.Round > g.round &&
		m.Ask != nil && m.Rank >= 0 && m.Rank < g.inv.Size:
		g.announced(m)
	case m.Kind == kindCommit && m.Round == g.round && g.state >= guestPrepared:
		g.send(g.up, &message{Kind: kindConfirm, Round: g.round})
		g.settle()
	default:
		g.quit(Malformed, "message of an unexpected kind")
	}
}

// announced begins a round.
func (g *guest) announced(m *message) {
	if g.source != 0 {
		g.hangUp(g.source)
	}
	g.round, g.digest, g.rank = m.Round, m.Digest, m.Rank
	g.state = guestWaiting
	g.begin(m.Round)
	g.pullFrom(*m.Ask)
}

// pullFrom asks somebody for the table.
func (g *guest) pullFrom(c contact) {
	g.direct = c.ID == g.host.ID && c.Door == 0
	if g.direct {
		c.Addrs = g.host.Addrs
	}
	g.source = g.dial(c)
	g.send(g.source, &message{Kind: kindPull, Version: Version, Group: g.inv.Group[:], Door: c.Door, Round: g.round})
}

// fromSource is the conversation with the parent in the tree.
func (g *guest) fromSource(m *message) {
	switch {
	case m.Kind == kindTable && g.state == guestWaiting && m.Round == g.round && m.table != nil &&
		bytes.Equal(m.table.digest[:], g.digest) && m.table.group.Members[g.rank].ID == g.self.ID:
		g.state = guestPrepared
		g.stock(m.table)
		g.send(g.up, &message{Kind: kindHave, Round: g.round})
	case m.Kind == kindCommit && m.Round == g.round && g.state >= guestPrepared:
		g.send(g.source, &message{Kind: kindConfirm, Round: g.round})
		g.settle()
	default:
		g.hangUp(g.source)
		g.sourceLost(errBroken)
	}
}

// sourceLost turns to the coordinator for the table; nothing is lost where the table is there already.
func (g *guest) sourceLost(cause error) {
	g.source = 0
	switch {
	case g.state == guestWaiting && g.up != 0 && !g.direct:
		g.pullFrom(contact{ID: g.host.ID})
	case g.state == guestWaiting || g.state == guestPrepared && g.up == 0:
		g.fail(&LostError{Group: g.inv.Name(), Peer: g.host.ID, Cause: cause})
	}
}

// settle passes the commit on and waits until the children have it.
func (g *guest) settle() {
	if g.state != guestCommitted {
		g.state = guestCommitted
		g.commit()
		g.decided()
	}
	g.maybeEnd()
}

// maybeEnd ends when the children have confirmed.
func (g *guest) maybeEnd() {
	if g.state == guestCommitted && len(g.children) == 0 {
		g.finish()
	}
}

func (g *guest) finish() {
	if g.ended {
		return
	}
	for _, l := range []link{g.up, g.source} {
		if l != 0 {
			g.hangUp(l)
		}
	}
	g.leaveGuests(Complete)
	g.end(g.table.group, g.rank, nil)
}

// leaveGuests ends all conversations that others have begun.
func (g *guest) leaveGuests(code Code) {
	for l, e := range g.guests {
		g.turnAway(l, e.guest, AnyRank, code, "this member forms no group any more")
	}
	g.closeAll()
}

func (g *guest) lost(l link, cause error) {
	if g.ended {
		return
	}
	switch {
	case l == g.up:
		g.up = 0
		if g.state < guestPrepared || g.state == guestPrepared && (g.source == 0 || g.direct) {
			g.fail(&LostError{Group: g.inv.Name(), Peer: g.host.ID, Cause: cause})
		}
	case l == g.source && l != 0:
		g.sourceLost(cause)
	default:
		delete(g.guests, l)
		if g.drop(l) {
			g.maybeEnd()
		}
	}
}

// quit ends the conversation with a host that does not keep to the rules; both sides know why.
func (g *guest) quit(code Code, reason string) {
	e := &RefusedError{Group: g.inv.Name(), Rank: g.self.Rank, Peer: g.host.ID, Code: code, Reason: code.String() + ": " + reason}
	g.refuse(g.up, e, nil)
	g.up = 0
	g.fail(e)
}

func (g *guest) fail(err error) {
	for _, l := range []link{g.up, g.source} {
		if l != 0 {
			g.hangUp(l)
		}
	}
	g.leaveGuests(GivenUp)
	g.end(nil, 0, err)
}

func (g *guest) giveUp(cause error) {
	if g.state != guestCommitted && !g.ended {
		g.fail(&IncompleteError{Group: g.inv.Name(), Cause: cause})
	}
}

func (g *guest) enough() {
	if g.state == guestCommitted {
		g.finish()
	}
}

// bounded keeps what can be numbers of missing ranks.
func bounded(ranks []int, size int) []int {
	var ok []int
	for _, r := range ranks {
		if r >= 0 && r < size && len(ok) < maxShown {
			ok = append(ok, r)
		}
	}
	return ok
}
