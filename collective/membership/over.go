package membership

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// A Stream is a two-way stream to a peer that has proved its identity.
type Stream = interface {
	net.Conn
	// PeerID returns the identity of the other end.
	PeerID() string
}

// A Host is what formation over a network needs of a process's identity and control streams. A *p2p.Host of
// transport/p2p is one.
type Host interface {
	// ID returns the identity.
	ID() string
	// Addrs returns the addresses at which the host can be reached, each ending in /p2p/ and the identity.
	Addrs() []string
	// Handle serves the streams that peers open for a protocol.
	Handle(protocol string, serve func(Stream)) error
	// Open opens a stream to the peer whose addresses these are.
	Open(ctx context.Context, addrs []string, protocol string) (Stream, error)
	// Share returns what make returned the first time that it was called with this key.
	Share(key string, make func() any) any
}

// Options are what [Over] need not be told.
type Options struct {
	// Admit says which identities may join; the coordinator asks it. nil: whoever knows the secret.
	Admit func(peerID string) bool
	// Refused is told of those who were refused, by the rank that refused them, in between everything else: it
	// must not block. nil: nobody is told.
	Refused func(*RefusedError)
	// Logger gets the same, and more. nil: nothing.
	Logger *slog.Logger
}

// Over forms a group over a network: it returns, on every member, when inv.Size ranks have called it with
// invitations to the same group. The members may come in any order; the first rank of the host to which the last
// address of the invitation belongs is the coordinator. That is nobody special afterwards: its process may end
// as soon as its Over has returned.
//
// self is this rank as the others need to know it; ID and Addrs["p2p"] are filled in. self.Rank is the number that it
// keeps, or [AnyRank]: the group then numbers its members host by host. The result is the group and this member's number.
//
// Before the coordinator is there, and while it cannot be reached, Over tries again until the context ends. A member
// that dies before the group is complete can be replaced. Errors: [*RefusedError] with its Code, [*IncompleteError],
// [*LostError] if the coordinator is lost, [*InvitationError].
//
// The group is safe from those who do not know the secret: both sides prove that they know it, by HMAC over
// both identities and a challenge each, and the identities are those that the connections have proved.
func Over(ctx context.Context, host Host, inv *Invitation, self Member, opts Options) (*Group, int, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if inv == nil {
		return nil, 0, &InvitationError{"is missing"}
	}
	if err := inv.check(); err != nil {
		return nil, 0, err
	}
	if self.Rank < AnyRank || self.Rank >= inv.Size {
		return nil, 0, &RefusedError{Group: inv.Name(), Rank: self.Rank, Peer: host.ID(), Code: WrongRank,
			Reason: fmt.Sprintf("%v: the group has ranks 0 to %d", WrongRank, inv.Size-1)}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	self.ID = host.ID()
	self.Addrs = maps.Clone(self.Addrs)
	if self.Addrs == nil {
		self.Addrs = make(map[string]string)
	}
	self.Addrs[p2pAddrs] = strings.Join(host.Addrs(), ",")

	d, err := doormanOf(host)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrForming, err)
	}
	contacts := contactsOf(inv)
	p := newParty(d, inv, newDoor(), opts)
	coordinate, ok := d.open(p, contacts[len(contacts)-1].ID == host.ID())
	if !ok {
		return nil, 0, &RefusedError{Group: inv.Name(), Rank: self.Rank, Peer: host.ID(), Code: Complete,
			Reason: Complete.String() + ": the group has formed"}
	}
	formed := false
	defer func() { d.leave(p, formed) }()
	if coordinate {
		p.machine = newCoordinator(inv, NewID(), self, randomBytes, opts.Admit)
	} else {
		var whom contact
		if whom, p.first, err = p.reach(ctx, contacts); err != nil {
			p.finish(err)
			return nil, 0, err
		}
		p.machine = newGuest(inv, self, p.door, whom, randomBytes)
	}
	d.admit(p)
	group, rank, err := p.run(ctx)
	formed = err == nil
	if err != nil {
		return nil, 0, err
	}
	opts.Logger.Debug("formed", "group", inv.Name(), "rank", rank, "size", inv.Size)
	return group, rank, nil
}

// reach opens a stream to the first contact that answers, and tries until the context ends.
func (p *party) reach(ctx context.Context, contacts []contact) (contact, Stream, error) {
	pause := 20 * time.Millisecond
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		var last error
		for _, c := range contacts {
			if c.ID == p.host.ID() {
				if p.doorman.coordinates(p.inv.Group) {
					return c, p.doorman.callSelf(), nil
				}
				continue
			}
			one, cancel := context.WithTimeout(ctx, greetingTime)
			s, err := p.host.Open(one, c.Addrs, protocolName)
			cancel()
			if err == nil {
				return c, s, nil
			}
			last = err
			p.log.Debug("not reached", "group", p.inv.Name(), "peer", c.ID, "error", err)
		}
		if errors.Is(last, net.ErrClosed) && errors.Unwrap(last) == nil { // the host itself
			return contact{}, nil, fmt.Errorf("%w: %w", ErrForming, last)
		}
		timer.Reset(pause)
		pause = min(2*pause, time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return contact{}, nil, &IncompleteError{Group: p.inv.Name(), Cause: errors.Join(context.Cause(ctx), last)}
		}
	}
}

// contactsOf sorts the addresses of an invitation by identity, in their order.
func contactsOf(inv *Invitation) []contact {
	var all []contact
	for _, a := range inv.Addrs {
		_, id := splitAddr(a)
		i := slices.IndexFunc(all, func(c contact) bool { return c.ID == id })
		if i < 0 {
			i = len(all)
			all = append(all, contact{ID: id})
		}
		all[i].Addrs = append(all[i].Addrs, a)
	}
	return all
}

// IDs returns the identities of the members, each once: what a host's gate wants.
func (g *Group) IDs() []string {
	var ids []string
	for i := range g.Members {
		if id := g.Members[i].ID; id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func randomBytes(b []byte) { _, _ = rand.Read(b) } // never fails

// newDoor returns a number that no other party has, and not 0.
func newDoor() uint64 {
	var b [8]byte
	randomBytes(b[:])
	return binary.BigEndian.Uint64(b[:]) | 1
}
