package membership

import (
	"encoding/json"
	"slices"
	"strings"
)

// p2pAddrs is the entry of Member.Addrs that holds a member's addresses for control streams, separated by commas.
const p2pAddrs = "p2p"

// A coordinator collects the members, numbers them and commits.
type coordinator struct {
	*outbox
	*greeter
	*shelf
	inv     *Invitation
	id      uint64 // of the group
	self    entry
	entries []*entry // in the order of arrival, self excluded
	spares  []*entry // who came when the group was complete and not yet decided
	byLink  map[link]*entry
	given   map[int]bool // numbers that members came with
	round   int
	forming bool // a round is on
	haves   int
	root    *entry // of the tree; nil: none
	sent    bool   // the commit is decided
	spread  bool   // and the others have been told
	owed    int    // confirmations that are out
}

// maxSpares is how many late guests wait for the place of a member that may die before the commit.
const maxSpares = 64

// An entry is a member at the coordinator.
type entry struct {
	link      link
	peer      string
	door      uint64
	member    Member
	rank      int
	have      bool
	confirmed bool
}

func newCoordinator(inv *Invitation, id uint64, self Member, random func([]byte), admit func(string) bool) *coordinator {
	o := new(outbox)
	c := &coordinator{
		outbox: o, greeter: newGreeter(o, inv, self.ID, random, admit), shelf: newShelf(o), inv: inv, id: id,
		self: entry{peer: self.ID, member: self}, byLink: make(map[link]*entry), given: make(map[int]bool),
	}
	if self.Rank != AnyRank {
		c.given[self.Rank] = true
	}
	c.maybeBegin()
	return c
}

func (c *coordinator) take() []effect { return c.outbox.take() }

func (c *coordinator) receive(l link, peer string, m *message) {
	if c.ended {
		return
	}
	e := c.byLink[l]
	switch {
	case e == nil && m.Kind == kindHello:
		c.hello(l, peer, m)
	case e == nil && m.Kind == kindJoin:
		if c.join(l, peer, m) {
			c.admitMember(l, peer, m)
		}
	case e == nil && m.Kind == kindPull:
		c.pull(pull{l, peer, m.Round})
	case e == nil && m.Kind == kindRefuse:
		c.refused(l, peer, m)
	case e == nil && m.Kind == kindConfirm && c.children[l] != "":
		delete(c.children, l) // the root confirms on its own conversation, too
	case e != nil && m.Kind == kindHave && c.forming && m.Round == c.round && !e.have && !c.sent:
		e.have = true
		c.haves++
		c.maybeCommit()
	case e != nil && m.Kind == kindHave && m.Round <= c.round:
		// of a round that has ended meanwhile
	case e != nil && m.Kind == kindConfirm && c.sent:
		c.confirm(e)
	case e != nil && m.Kind == kindRefuse:
		c.hangUp(l)
		c.effects = append(c.effects, effect{kind: effectRefused, refused: refusalOf(c.inv, e.rank, peer, m)})
		c.leave(e)
	default:
		c.turnAway(l, peer, AnyRank, Malformed, "message of kind %d", m.Kind)
		if e != nil {
			c.leave(e)
		}
	}
}

// admitMember takes a guest that has proved to know the secret, or says why not.
func (c *coordinator) admitMember(l link, peer string, m *message) {
	rank := m.Member.Rank
	text, err := json.Marshal(m.Member)
	switch {
	case m.Size != c.inv.Size:
		c.turnAway(l, peer, rank, WrongSize, "it expects %d ranks, the group has %d", m.Size, c.inv.Size)
		return
	case c.sent:
		c.turnAway(l, peer, rank, Complete, "all %d ranks have joined", c.inv.Size)
		return
	case rank < AnyRank || rank >= c.inv.Size:
		c.turnAway(l, peer, rank, WrongRank, "the group has ranks 0 to %d", c.inv.Size-1)
		return
	case c.given[rank]:
		c.turnAway(l, peer, rank, DuplicateRank, "another member has joined with it")
		return
	case err != nil || len(text) > maxMember:
		c.turnAway(l, peer, rank, Malformed, "its description has %d bytes, more than %d", len(text), maxMember)
		return
	}
	e := &entry{link: l, peer: peer, door: m.Door, member: *m.Member, rank: rank}
	e.member.ID = peer // what the connection has proved, whatever the guest says
	if len(c.entries)+1 < c.inv.Size {
		c.enter(e)
		return
	}
	// A member may be dead without our knowing: until the commit, who comes late may still be needed.
	if len(c.spares) == maxSpares {
		c.turnAway(l, peer, rank, Complete, "all %d ranks have joined", c.inv.Size)
		return
	}
	c.trust(l)
	c.byLink[l] = e
	c.spares = append(c.spares, e)
}

// enter makes a guest a member.
func (c *coordinator) enter(e *entry) {
	l, rank := e.link, e.member.Rank
	c.entries = append(c.entries, e)
	c.byLink[l] = e
	c.trust(l)
	if rank != AnyRank {
		c.given[rank] = true
	}
	c.maybeBegin()
}

// numbers assigns the ranks as things stand.
func (c *coordinator) numbers() (ranks, left []int) {
	members := []Member{c.self.member}
	for _, e := range c.entries {
		members = append(members, e.member)
	}
	return assign(c.inv.Size, members)
}

// maybeBegin starts a round if everybody is there.
func (c *coordinator) maybeBegin() {
	if len(c.entries)+1 < c.inv.Size {
		return
	}
	ranks, _ := c.numbers()
	g := &Group{ID: c.id, Members: make([]Member, c.inv.Size)}
	place := func(e *entry, rank int) {
		e.rank, e.have = rank, false
		m := e.member
		m.Rank = rank
		g.Members[rank] = m
	}
	place(&c.self, ranks[0])
	for i, e := range c.entries {
		place(e, ranks[i+1])
	}
	t, err := sealTable(g)
	if err != nil {
		c.abandon(err, GivenUp, nil)
		return
	}
	c.round++
	c.haves, c.forming = 0, true
	c.begin(c.round)
	c.stock(t)
	if len(c.entries) == 0 {
		c.sent = true
		c.decided()
		c.end(g, c.self.rank, nil)
		return
	}
	order := slices.Clone(c.entries)
	slices.SortFunc(order, func(a, b *entry) int { return a.rank - b.rank })
	c.root = order[0]
	for i, e := range order {
		from := contact{ID: c.self.peer}
		if p := treeParent(i, len(order)); p >= 0 {
			from = contact{ID: order[p].peer, Door: order[p].door, Addrs: addrsOf(&order[p].member)}
		}
		c.send(e.link, &message{Kind: kindAnnounce, Round: c.round, Digest: t.digest[:], Rank: e.rank, Ask: &from})
	}
}

// addrsOf returns where a member's control streams end.
func addrsOf(m *Member) []string {
	if m.Addrs[p2pAddrs] == "" {
		return nil
	}
	return strings.Split(m.Addrs[p2pAddrs], ",")
}

func (c *coordinator) maybeCommit() {
	if c.haves < len(c.entries) {
		return
	}
	c.sent = true
	c.owed = len(c.entries)
	c.decided()
	for _, e := range c.spares {
		delete(c.byLink, e.link)
		c.turnAway(e.link, e.peer, e.member.Rank, Complete, "all %d ranks have joined", c.inv.Size)
	}
	c.spares = nil
	c.send(c.root.link, &message{Kind: kindCommit, Round: c.round})
}

// confirm counts the answer of a member, or its loss, after the commit.
func (c *coordinator) confirm(e *entry) {
	if e.confirmed {
		return
	}
	e.confirmed = true
	c.owed--
	if e == c.root && !c.spread {
		c.spread = true
		c.commit()
		for _, other := range c.entries {
			if other != c.root && !other.confirmed {
				c.send(other.link, &message{Kind: kindCommit, Round: c.round})
			}
		}
	}
	if c.owed == 0 {
		c.finish()
	}
}

func (c *coordinator) finish() {
	if c.ended {
		return
	}
	g := c.table.group
	for _, e := range c.entries {
		c.hangUp(e.link)
	}
	for l, e := range c.guests {
		c.turnAway(l, e.guest, AnyRank, Complete, "all %d ranks have joined", c.inv.Size)
	}
	c.closeAll()
	c.end(g, c.self.rank, nil)
}

func (c *coordinator) lost(l link, _ error) {
	if c.ended {
		return
	}
	delete(c.guests, l)
	if e := c.byLink[l]; e != nil {
		c.leave(e)
		return
	}
	c.drop(l)
}

// leave takes a member out; after the commit it only counts as told.
func (c *coordinator) leave(e *entry) {
	delete(c.byLink, e.link)
	if c.sent {
		c.confirm(e)
		return
	}
	if i := slices.Index(c.spares, e); i >= 0 {
		c.spares = slices.Delete(c.spares, i, i+1)
		return
	}
	c.entries = slices.DeleteFunc(c.entries, func(x *entry) bool { return x == e })
	if e.member.Rank != AnyRank {
		delete(c.given, e.member.Rank)
	}
	c.forming = false
	for i, s := range c.spares {
		if s.member.Rank == AnyRank || !c.given[s.member.Rank] {
			c.spares = slices.Delete(c.spares, i, i+1)
			c.enter(s)
			return
		}
	}
}

func (c *coordinator) giveUp(cause error) {
	if c.sent || c.ended {
		return
	}
	_, missing := c.numbers()
	c.abandon(&IncompleteError{Group: c.inv.Name(), Missing: missing, Cause: cause}, GivenUp, missing)
}

// abandon ends the formation for everybody.
func (c *coordinator) abandon(err error, code Code, missing []int) {
	if len(missing) > maxShown {
		missing = missing[:maxShown]
	}
	for _, e := range slices.Concat(c.entries, c.spares) {
		c.send(e.link, &message{Kind: kindRefuse, Version: Version, Code: code, Reason: "the group has stopped forming", Missing: missing})
		c.hangUp(e.link)
	}
	for l, e := range c.guests {
		c.turnAway(l, e.guest, AnyRank, GivenUp, "the group has stopped forming")
	}
	c.closeAll()
	c.end(nil, 0, err)
}

func (c *coordinator) enough() {
	if c.sent {
		if !c.spread { // the root does not answer: the others are told all the same
			c.confirm(c.root)
		}
		c.finish()
	}
}
