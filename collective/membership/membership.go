// Package membership forms groups: it tells every rank who the others are and how to reach them.
//
// Ranks of one process meet in memory ([Local]); processes of one host meet at rank 0 over a unix socket
// ([OnHost]); both find each other by a name. Processes anywhere meet by an [Invitation] that any member can hand on
// ([Invite], [Over]), or at the address that their launcher gives them ([FromEnv], [Launched]). In all of them, every
// rank hands in a [Member] and gets the whole [Group]; a rank that does not fit is refused with a [*RefusedError], without
// harm to the others. When the group has formed no rank is special.
package membership

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Member is one rank as the others need to know it.
type Member struct {
	Rank    int               `json:"rank"`
	Seat    int               `json:"seat"`         // number that its endpoints were made with: the rank, unless the group chose that
	ID      string            `json:"id,omitempty"` // cryptographic identity of the process; "" where none is proved
	Host    string            `json:"host"`         // identity of the machine
	Label   string            `json:"label"`        // host that the rank counts as in the topology
	Process string            `json:"process"`      // identity of the process
	PID     int               `json:"pid"`
	Cores   int               `json:"cores"`            // that the process may use
	Addrs   map[string]string `json:"addrs"`            // transport name to endpoint address
	Memory  string            `json:"memory,omitempty"` // how its device memory describes itself; "" where it has none
}

// A Group is all members, by rank.
type Group struct {
	ID      uint64   `json:"id"`
	Members []Member `json:"members"`

	once  sync.Once
	value any

	counts    sync.Once
	hosts     map[string]int // members by Host
	byProcess map[string]int
}

// Near returns how many members are on the host of a rank and how many in its process, the rank among them. The ranks that
// share the Group value count them once together: one by one that would be a square of their number.
func (g *Group) Near(rank int) (onHost, inProcess int) {
	g.counts.Do(func() {
		g.hosts, g.byProcess = make(map[string]int), make(map[string]int)
		for i := range g.Members {
			g.hosts[g.Members[i].Host]++
			g.byProcess[g.Members[i].Process]++
		}
	})
	self := &g.Members[rank]
	return g.hosts[self.Host], g.byProcess[self.Process]
}

// Share returns what make returned to the first of this process's ranks that share the Group value.
func (g *Group) Share(make func() any) any {
	g.once.Do(func() { g.value = make() })
	return g.value
}

// Version is the version of what the ranks of a group say to each other, frames included. Ranks of different
// versions refuse each other.
const Version = 1

// ErrForming is a group that did not come together. All errors of this package but context errors wrap it.
var ErrForming = errors.New("membership: group did not form")

// A RefusedError is a rank that the group did not take.
type RefusedError struct {
	Group  string
	Rank   int    // [AnyRank]: it asked for none
	Peer   string // the identity at the other end of the refusal; "" where none is proved
	Code   Code
	Reason string
}

func (e *RefusedError) Error() string {
	if e.Rank == AnyRank {
		return fmt.Sprintf("membership: group %q refused a member: %s", e.Group, e.Reason)
	}
	return fmt.Sprintf("membership: group %q refused rank %d: %s", e.Group, e.Rank, e.Reason)
}

func (e *RefusedError) Unwrap() error { return ErrForming }

// An IncompleteError is a group that some ranks did not join in time.
type IncompleteError struct {
	Group   string
	Missing []int // nil: not known here, rank 0 knows
	Cause   error // the context's
}

func (e *IncompleteError) Error() string {
	if e.Missing == nil {
		return fmt.Sprintf("membership: group %q: other ranks have not joined: %v", e.Group, e.Cause)
	}
	shown := make([]string, 0, 9)
	for i, r := range e.Missing {
		if i == 8 {
			shown = append(shown, fmt.Sprintf("and %d more", len(e.Missing)-i))
			break
		}
		shown = append(shown, fmt.Sprint(r))
	}
	return fmt.Sprintf("membership: group %q: ranks that have not joined: %s: %v", e.Group, strings.Join(shown, ", "), e.Cause)
}

func (e *IncompleteError) Unwrap() []error { return []error{ErrForming, e.Cause} }

// A roster collects members until the group is complete.
type roster struct {
	name    string
	size    int
	members []Member
	in      []bool
	count   int
}

func newRoster(name string, size int) *roster {
	return &roster{name: name, size: size, members: make([]Member, size), in: make([]bool, size)}
}

// add takes a member whose rank thinks that the group has size ranks.
func (r *roster) add(m Member, size int) error {
	reason := ""
	switch {
	case size != r.size:
		reason = fmt.Sprintf("it expects %d ranks, the group has %d", size, r.size)
	case m.Rank < 0 || m.Rank >= r.size:
		reason = fmt.Sprintf("the group has ranks 0 to %d", r.size-1)
	case r.in[m.Rank]:
		reason = fmt.Sprintf("process %d has joined with that rank", r.members[m.Rank].PID)
	}
	if reason != "" {
		return &RefusedError{Group: r.name, Rank: m.Rank, Reason: reason}
	}
	r.members[m.Rank], r.in[m.Rank] = m, true
	r.count++
	return nil
}

// remove takes a member out again.
func (r *roster) remove(rank int) {
	if r.in[rank] {
		r.in[rank] = false
		r.count--
	}
}

func (r *roster) complete() bool { return r.count == r.size }

func (r *roster) missing() []int {
	missing := []int{}
	for i, in := range r.in {
		if !in {
			missing = append(missing, i)
		}
	}
	return missing
}

func (r *roster) group() *Group {
	return &Group{ID: NewID(), Members: slices.Clone(r.members)}
}

// NewID returns a random group ID.
func NewID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	id := uint64(0)
	for _, x := range b {
		id = id<<8 | uint64(x)
	}
	return id
}

// ProcessID returns the identity of this process: equal within it, different from that of any other.
var ProcessID = sync.OnceValue(func() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
})
