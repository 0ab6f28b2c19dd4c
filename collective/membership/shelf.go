package membership

// maxWaiting is how many pulls a member keeps that are early: its own table has not come yet.
const maxWaiting = 64

// shelf hands the table to those who pull it, and the commit after it.
type shelf struct {
	*outbox
	round     int
	table     *table // nil: not there yet
	committed bool
	waiting   []pull
	children  map[link]string // who has the table of this round and has not confirmed the commit, with identity
}

type pull struct {
	link  link
	peer  string
	round int
}

func newShelf(o *outbox) *shelf { return &shelf{outbox: o, children: make(map[link]string)} }

// begin starts a round without its table. Children of the round before have heard of the new one, or will.
func (s *shelf) begin(round int) {
	for l := range s.children {
		s.hangUp(l)
	}
	clear(s.children)
	s.round, s.table = round, nil
}

// stock puts this round's table up and serves who waits for it.
func (s *shelf) stock(t *table) {
	s.table = t
	waiting := s.waiting
	s.waiting = nil
	for _, p := range waiting {
		s.pull(p)
	}
}

func (s *shelf) pull(p pull) {
	switch {
	case p.round < s.round:
		// It will hear of the new round, and hang up.
	case p.round > s.round || s.table == nil:
		if len(s.waiting) == maxWaiting { // more than treeFan: somebody does not belong here
			s.hangUp(s.waiting[0].link)
			s.waiting = s.waiting[1:]
		}
		s.waiting = append(s.waiting, p)
		s.trust(p.link)
	case !s.table.lists(p.peer):
		s.refuse(p.link, &RefusedError{Rank: AnyRank, Peer: p.peer, Code: Stranger, Reason: "stranger: identity " + p.peer + " is not in the table"}, nil)
	default:
		s.children[p.link] = p.peer
		s.trust(p.link)
		s.send(p.link, &message{Kind: kindTable, Round: s.round, table: s.table})
		if s.committed {
			s.send(p.link, &message{Kind: kindCommit, Round: s.round})
		}
	}
}

// commit tells the children.
func (s *shelf) commit() {
	if s.committed {
		return
	}
	s.committed = true
	for l := range s.children {
		s.send(l, &message{Kind: kindCommit, Round: s.round})
	}
}

// drop forgets a link, and reports whether it was a puller's.
func (s *shelf) drop(l link) bool {
	_, was := s.children[l]
	delete(s.children, l)
	for i := range s.waiting {
		if s.waiting[i].link == l {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return true
		}
	}
	return was
}

// closeAll hangs up on everybody.
func (s *shelf) closeAll() {
	for l := range s.children {
		s.hangUp(l)
	}
	for _, p := range s.waiting {
		s.hangUp(p.link)
	}
	clear(s.children)
	s.waiting = nil
}
