package membership

import "errors"

// Formation over a network, as pure state machines: messages and losses in, effects out. Neither machine has a clock, a
// goroutine or I/O; [Over] drives them with streams and the tests drive 65,536 of them in one goroutine.
//
// Every guest holds one conversation with the coordinator, the rank that made the invitation or was named by the launcher:
//
//	guest                    coordinator
//	  | hello ------------------> |     who knows the secret is proved
//	  | <-------------- challenge |     in both directions
//	  | join -------------------> |     and the guest says who it is
//	  :                           :     until the group is complete; then
//	  | <--------------- announce |     the digest of the table, and where to get it
//	  | have -------------------> |     when all have it,
//	  | <----------------- commit |     the group has formed
//	  | confirm ----------------> |
//
// The table itself, long in a large group, goes down a tree: each member pulls it from its parent, which is the
// coordinator for one of them, checks it against the announced digest, and hands it to at most treeFan others. Who cannot
// reach its parent asks the coordinator. So the messages are linear in the size of the group, and no member sends more
// than treeFan tables while the members reach each other.
//
// A member that is lost before the commit is taken out, and whoever comes next takes the place; that starts
// a new round, with a new table. The commit decides: the coordinator sends it to the root of the tree first, and
// only when the root has confirmed it to the others, and every member passes it on to its children. So the coordinator
// may die at any moment and all others end alike: either the root has the commit, and then everybody gets it down the
// tree, or nobody has. (Two failures at once can still part the members: the coordinator and a member of which others
// wait for the commit.)

// link is one conversation of a machine. The machine numbers those that it opens (even), the driver those that
// others open (odd).
type link uint64

type effectKind uint8

const (
	effectSend    effectKind = iota + 1 // msg on link
	effectHangUp                        // end the link when what was sent is written
	effectCall                          // open the link to whom
	effectTrust                         // the link may be silent from now on
	effectRefused                       // tell the operator of refused
	effectDecided                       // the group has formed; only confirmations are still out
	effectEnd                           // group and rank, or err: the machine is done
)

// An effect is something for the driver to do.
type effect struct {
	kind    effectKind
	link    link
	msg     *message
	whom    contact
	refused *RefusedError
	group   *Group
	rank    int
	err     error
}

// outbox collects effects, in order.
type outbox struct {
	effects []effect
	ended   bool
}

func (o *outbox) send(l link, m *message) {
	o.effects = append(o.effects, effect{kind: effectSend, link: l, msg: m})
}

func (o *outbox) hangUp(l link) { o.effects = append(o.effects, effect{kind: effectHangUp, link: l}) }

func (o *outbox) call(l link, c contact) {
	o.effects = append(o.effects, effect{kind: effectCall, link: l, whom: c})
}

func (o *outbox) trust(l link) { o.effects = append(o.effects, effect{kind: effectTrust, link: l}) }

func (o *outbox) decided() { o.effects = append(o.effects, effect{kind: effectDecided}) }

func (o *outbox) end(g *Group, rank int, err error) {
	if !o.ended {
		o.effects = append(o.effects, effect{kind: effectEnd, group: g, rank: rank, err: err})
	}
	o.ended = true
}

// take returns the effects since the last take.
func (o *outbox) take() []effect {
	e := o.effects
	o.effects = nil
	return e
}

// refuse says no on a link, and why, and ends it.
func (o *outbox) refuse(l link, e *RefusedError, missing []int) {
	o.send(l, &message{Kind: kindRefuse, Version: Version, Code: e.Code, Reason: e.Reason, Missing: missing})
	o.hangUp(l)
	o.effects = append(o.effects, effect{kind: effectRefused, refused: e})
}

// machine is what the driver sees of either side.
type machine interface {
	// receive takes a message of peer; a link that it has not seen before is one that the peer has opened.
	receive(l link, peer string, m *message)
	// lost says that a link has ended without the machine's hanging up, or could not be opened.
	lost(l link, cause error)
	// giveUp ends the formation if it is not decided.
	giveUp(cause error)
	// enough ends the wait for confirmations.
	enough()
	take() []effect
}

// errBroken is a parent that hands on something else than the table.
var errBroken = errors.New("membership: it sent something else than the table")

// A LostError is a member without which the group cannot form, and which is gone or cannot be reached.
type LostError struct {
	Group string
	Peer  string // identity
	Cause error
}

func (e *LostError) Error() string {
	return "membership: group \"" + e.Group + "\": lost " + e.Peer + ": " + e.Cause.Error()
}

// Unwrap returns [ErrForming] and the cause.
func (e *LostError) Unwrap() []error { return []error{ErrForming, e.Cause} }
