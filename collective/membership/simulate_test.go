package membership

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A simulation forms a group of machines in one goroutine: every message is an entry of a queue.
type simulation struct {
	t      testing.TB
	rng    *rand.Rand // nil: the oldest message goes first
	inv    *Invitation
	nodes  []*simNode
	byName map[string]*simNode
	doors  map[uint64]*simNode
	queue  []simStep
	head   int

	messages int
	bytes    int64
	tables   []int // sent, by node
	refused  []*RefusedError
	measure  bool // encode every message to know its length
}

type simNode struct {
	index   int
	id      string
	machine machine
	nextIn  link
	ends    map[link]simEnd // to the other end of each link
	dead    bool
	ended   bool
	decided bool
	group   *Group
	rank    int
	err     error
}

type simEnd struct {
	node *simNode
	link link
}

// A simStep is a message or, without one, a loss on its way to a node.
type simStep struct {
	from, to *simNode
	link     link
	msg      *message
}

func newSimulation(t testing.TB, n int, rng *rand.Rand) *simulation {
	s := &simulation{t: t, rng: rng, byName: make(map[string]*simNode), doors: make(map[uint64]*simNode)}
	s.inv = &Invitation{Size: n, Addrs: []string{"/sim/p2p/m0"}}
	s.inv.Group[0], s.inv.Secret[0] = 1, 2
	return s
}

// weak fills challenges with what costs nothing.
func weak(b []byte) {
	for i := range b {
		b[i] = byte(i)
	}
}

func simMember(i, hosts int) Member {
	host := fmt.Sprintf("host%d", i%hosts)
	return Member{Rank: AnyRank, ID: fmt.Sprintf("m%d", i), Host: host, Label: host, Process: fmt.Sprint(i), PID: i, Cores: 8,
		Addrs: map[string]string{p2pAddrs: fmt.Sprintf("/ip4/10.0.%d.%d/tcp/4001/p2p/m%d", i/256%256, i%256, i)}}
}

// add starts a member; the first one coordinates.
func (s *simulation) add(m Member) *simNode { return s.addTo(m, s.inv, contact{ID: "m0"}) }

func (s *simulation) addTo(m Member, inv *Invitation, host contact) *simNode {
	n := &simNode{index: len(s.nodes), id: m.ID, nextIn: 1, ends: make(map[link]simEnd)}
	s.nodes = append(s.nodes, n)
	s.tables = append(s.tables, 0)
	s.byName[m.ID] = n
	if n.index == 0 {
		n.machine = newCoordinator(inv, 7, m, weak, nil)
	} else {
		door := uint64(n.index)
		s.doors[door] = n
		n.machine = newGuest(inv, m, door, host, weak)
	}
	s.drain(n)
	return n
}

// drain turns a machine's effects into steps.
func (s *simulation) drain(n *simNode) {
	for _, e := range n.machine.take() {
		if n.dead {
			continue
		}
		switch e.kind {
		case effectCall:
			to := s.byName[e.whom.ID]
			if to == nil || to.dead || to.ended {
				s.queue = append(s.queue, simStep{to: n, link: e.link})
				continue
			}
			n.ends[e.link] = simEnd{to, to.nextIn}
			to.ends[to.nextIn] = simEnd{n, e.link}
			to.nextIn += 2
		case effectSend:
			end, ok := n.ends[e.link]
			if !ok {
				continue
			}
			s.messages++
			if e.msg.table != nil {
				s.tables[n.index]++
				s.bytes += int64(len(e.msg.table.dense))
			}
			if s.measure {
				plain := *e.msg
				plain.table = nil
				b, err := plain.encode()
				if err != nil {
					s.t.Fatalf("member %d: encoding %+v: %v", n.index, e.msg, err)
				}
				s.bytes += int64(len(b))
			}
			s.queue = append(s.queue, simStep{n, end.node, end.link, e.msg})
		case effectHangUp:
			s.cut(n, e.link)
		case effectRefused:
			s.refused = append(s.refused, e.refused)
		case effectDecided:
			n.decided = true
		case effectEnd:
			if n.ended {
				s.t.Fatalf("member %d ended twice", n.index)
			}
			n.ended, n.group, n.rank, n.err = true, e.group, e.rank, e.err
			for l := range n.ends {
				s.cut(n, l)
			}
		}
	}
}

// cut ends a link; the other end hears of it behind what was sent.
func (s *simulation) cut(n *simNode, l link) {
	end, ok := n.ends[l]
	if !ok {
		return
	}
	delete(n.ends, l)
	s.queue = append(s.queue, simStep{n, end.node, end.link, nil})
}

// kill ends a process; what it has sent may still arrive.
func (s *simulation) kill(n *simNode) {
	if n.dead {
		return
	}
	for l := range n.ends {
		s.cut(n, l)
	}
	n.dead = true
}

// step delivers one message, and reports false when none is left. With rng any message may be next that is the
// first on its link.
func (s *simulation) step() bool {
	if s.head == len(s.queue) {
		return false
	}
	at := s.head
	if s.rng != nil {
		at += s.rng.IntN(len(s.queue) - s.head)
		for i := s.head; i < at; i++ {
			if q := s.queue[i]; q.to == s.queue[at].to && q.link == s.queue[at].link {
				at = i
			}
		}
	}
	step := s.queue[at]
	copy(s.queue[s.head+1:at+1], s.queue[s.head:at])
	s.queue[s.head] = simStep{}
	s.head++
	if s.head > 1<<16 && s.head > len(s.queue)/2 {
		s.queue = append([]simStep(nil), s.queue[s.head:]...)
		s.head = 0
	}
	n := step.to
	if n.dead || n.ended {
		return true
	}
	if step.msg == nil {
		delete(n.ends, step.link)
		n.machine.lost(step.link, errors.New("simulated loss"))
	} else if _, open := n.ends[step.link]; open {
		n.machine.receive(step.link, step.from.id, step.msg)
	}
	s.drain(n)
	return true
}

func (s *simulation) run() {
	for s.step() {
	}
}

// check holds that all of the nodes have formed one group and have numbers of their own.
func (s *simulation) check(nodes []*simNode) {
	s.t.Helper()
	seen := make([]bool, s.inv.Size)
	for _, n := range nodes {
		if !n.ended || n.err != nil || n.group == nil {
			s.t.Fatalf("member %d: ended %v, error %v", n.index, n.ended, n.err)
		}
		if n.group != nodes[0].group {
			s.t.Fatalf("member %d has another group than member %d", n.index, nodes[0].index)
		}
		if seen[n.rank] || n.group.Members[n.rank].ID != n.id {
			s.t.Fatalf("member %d (%s) has rank %d, which is %s", n.index, n.id, n.rank, n.group.Members[n.rank].ID)
		}
		seen[n.rank] = true
	}
}

func TestSimulatedFormation(t *testing.T) {
	sizes := []int{1, 2, 3, 5, 8, 64, 1000, 4096}
	if !testing.Short() {
		sizes = append(sizes, 65536)
	}
	perMember := 0.0
	for _, n := range sizes {
		s := newSimulation(t, n, nil)
		s.measure = true
		for i := range n {
			s.add(simMember(i, max(1, n/8)))
		}
		s.run()
		s.check(s.nodes)
		// A linear number, with one constant for all sizes; and so fewer than that constant times n log n.
		const most = 12
		got := float64(s.messages) / float64(n)
		if got > most {
			t.Errorf("n = %d: %d messages, %.2f a member, want at most %d", n, s.messages, got, most)
		}
		if nlogn := most * float64(n) * math.Max(1, math.Log2(float64(n))); float64(s.messages) > nlogn {
			t.Errorf("n = %d: %d messages, want at most %.0f", n, s.messages, nlogn)
		}
		perMember = got
		total, dense := 0, 0
		for i, sent := range s.tables {
			total += sent
			if sent > treeFan {
				t.Errorf("n = %d: member %d sent the table %d times, want at most %d", n, i, sent, treeFan)
			}
		}
		if total != n-1 {
			t.Errorf("n = %d: the table was sent %d times, want %d", n, total, n-1)
		}
		if s.nodes[0].group != nil {
			if tb := s.nodes[0].machine.(*coordinator).table; tb != nil {
				dense = len(tb.dense)
			}
		}
		t.Logf("n = %5d: %7d messages (%.2f a member), %d bytes, of them %d tables of %d", n, s.messages, perMember, s.bytes, total, dense)
		// Hosts stay together: each host's ranks are one range.
		last, count := "", 0
		for i := range s.nodes[0].group.Members {
			if h := s.nodes[0].group.Members[i].Host; h != last {
				last = h
				count++
			}
		}
		if want := max(1, n/8); count != min(n, want) {
			t.Errorf("n = %d: %d ranges of hosts, want %d", n, count, min(n, want))
		}
	}
}

// Any order of messages, members that die at any time and others that take their places: those who live end alike.
func TestSimulatedFaults(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	var formed, failed int
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 2 + rng.IntN(12)
		s := newSimulation(t, n, rng)
		for i := range n {
			s.add(simMember(i, 3))
		}
		deaths := rng.IntN(4)
		coordinatorDies := rng.IntN(3) == 0
		for k := range deaths {
			for range rng.IntN(14 * n) {
				s.step()
			}
			victim := s.nodes[1+rng.IntN(len(s.nodes)-1)]
			if victim.ended {
				continue
			}
			decided := s.nodes[0].decided
			s.kill(victim)
			if !decided {
				s.add(simMember(100+k, 3))
			}
		}
		if coordinatorDies {
			for range rng.IntN(14 * n) {
				s.step()
			}
			if !s.nodes[0].ended {
				s.kill(s.nodes[0])
			}
		}
		s.run()
		var group *Group
		for _, x := range s.nodes {
			if x.dead {
				continue
			}
			if x.decided {
				x.machine.enough() // the driver's limit for the last confirmations
				s.drain(x)
				s.run()
			}
			if x.group != nil {
				group = x.group
			}
		}
		if group == nil {
			failed++
			if !s.nodes[0].dead {
				t.Fatalf("seed %d: the coordinator lives and the group has not formed", seed)
			}
			for _, x := range s.nodes {
				if !x.dead && !x.ended {
					t.Fatalf("seed %d: member %d waits for ever", seed, x.index)
				}
			}
			continue
		}
		formed++
		// Everybody in the group's table who lives has it. Two failures at once may part them: see machine.go.
		for _, m := range group.Members {
			x := s.byName[m.ID]
			if x.dead || deaths > 0 && s.nodes[0].dead {
				continue
			}
			if x.group != group || group.Members[x.rank].ID != x.id {
				t.Fatalf("seed %d: %s: group %p, error %v, want the group of the others (coordinator dead: %v, deaths %d)",
					seed, m.ID, x.group, x.err, s.nodes[0].dead, deaths)
			}
		}
	}
	if formed < rounds/2 || failed < rounds/20 {
		t.Errorf("%d groups formed and %d did not: the test reaches too little", formed, failed)
	}
	t.Logf("%d formed, %d did not because the coordinator died", formed, failed)
}
