package membership

import (
	"net"
	"sync"
	"time"
)

// protocolName is what the streams of formation are opened for. It names no version: versions refuse each other in words.
const protocolName = "/ringtree/form"

// greetingTime is how long a caller may take for its first message, and a guest for each step of the proof.
const greetingTime = 10 * time.Second

// maxParked is how many callers wait for a group to which this host has invited and which no rank here has opened.
const maxParked = 4096

// A doorman receives what is opened to a host for formation and leads it to the right door. Each host has one.
type doorman struct {
	host Host

	mu      sync.Mutex
	lobbies map[[8]byte]*lobby
}

// A lobby is a group at one host.
type lobby struct {
	coordinator *party
	members     map[uint64]*party // by door
	parked      []caller          // that came before the first party
	finished    bool              // a rank of this host has seen the group formed
}

// A caller is a stream with its first message.
type caller struct {
	stream Stream
	first  *message
}

// doormanOf returns the host's doorman.
func doormanOf(host Host) (*doorman, error) {
	type hired struct {
		d   *doorman
		err error
	}
	h := host.Share("membership.doorman", func() any {
		d := &doorman{host: host, lobbies: make(map[[8]byte]*lobby)}
		return hired{d, host.Handle(protocolName, d.receive)}
	}).(hired)
	return h.d, h.err
}

// expect opens the lobby of a group whose first rank will come.
func (d *doorman) expect(group [8]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lobby(group)
}

// lobby returns the lobby of a group, a new one if there was none; d.mu is held.
func (d *doorman) lobby(group [8]byte) *lobby {
	l := d.lobbies[group]
	if l == nil {
		l = &lobby{members: make(map[uint64]*party)}
		d.lobbies[group] = l
	}
	return l
}

// open announces a party. coordinate says that this host is the one that was named for it: the first
// party becomes the coordinator. It reports whether p is the coordinator, and false for ok if the group has formed.
func (d *doorman) open(p *party, coordinate bool) (coordinator, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lobby(p.inv.Group)
	if l.finished {
		return false, false
	}
	if coordinate && l.coordinator == nil {
		l.coordinator = p
		return true, true
	}
	return false, true
}

// coordinates reports whether a rank of this host coordinates a group.
func (d *doorman) coordinates(group [8]byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lobby(group).coordinator != nil
}

// admit lets callers in to a party whose machine is ready, first those who wait.
func (d *doorman) admit(p *party) {
	d.mu.Lock()
	l := d.lobby(p.inv.Group)
	if l.coordinator != p {
		l.members[p.door] = p
	}
	parked := l.parked
	l.parked = nil
	d.mu.Unlock()
	for _, c := range parked {
		p.accept(c)
	}
}

// leave takes a party out.
func (d *doorman) leave(p *party, formed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lobby(p.inv.Group)
	if l.coordinator == p {
		l.coordinator = nil
	}
	delete(l.members, p.door)
	l.finished = l.finished || formed
	if !l.finished && l.coordinator == nil && len(l.members) == 0 && len(l.parked) == 0 {
		delete(d.lobbies, p.inv.Group)
	}
}

// receive serves one stream.
func (d *doorman) receive(s Stream) {
	_ = s.SetReadDeadline(time.Now().Add(greetingTime))
	m, err := decodeMessage(s, nil)
	if err != nil {
		_ = s.Close()
		return
	}
	c := caller{s, m}
	p, code := d.find(c)
	switch {
	case p != nil:
		p.accept(c)
	case code != 0:
		refuseCaller(c, code)
	}
}

// find returns the party that a caller asks for. Without one, the code says how to refuse the caller; 0: it
// has been parked.
func (d *doorman) find(c caller) (*party, Code) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var group [8]byte
	if len(c.first.Group) == len(group) {
		group = [8]byte(c.first.Group)
	}
	l := d.lobbies[group]
	switch {
	case l == nil:
		// A party of any other group refuses it, so that somebody hears of it.
		for _, other := range d.lobbies {
			if other.coordinator != nil && c.first.Kind == kindHello {
				return other.coordinator, 0
			}
		}
		if c.first.Version != Version {
			return nil, WrongVersion
		}
		return nil, WrongGroup
	case c.first.Door != 0 && l.members[c.first.Door] != nil:
		return l.members[c.first.Door], 0
	case c.first.Door == 0 && l.coordinator != nil:
		return l.coordinator, 0
	case l.finished:
		return nil, Complete
	case c.first.Door != 0:
		return nil, GivenUp
	}
	for _, p := range l.members {
		return p, 0 // it knows the coordinator
	}
	if len(l.parked) == maxParked {
		return nil, GivenUp
	}
	l.parked = append(l.parked, c)
	return nil, 0
}

// refuseCaller says no to a caller that no party answers.
func refuseCaller(c caller, code Code) {
	defer c.stream.Close()
	m := message{Kind: kindRefuse, Version: Version, Code: code, Reason: code.String() + ": no such group forms here"}
	if code == Complete {
		m.Reason = code.String() + ": the group has formed"
	}
	b, err := m.encode()
	if err != nil {
		return
	}
	_ = c.stream.SetWriteDeadline(time.Now().Add(greetingTime))
	_, _ = c.stream.Write(b) // who does not listen learns nothing
}

// callSelf opens a stream from this host to its own doorman.
func (d *doorman) callSelf() Stream {
	a, b := net.Pipe()
	go d.receive(inner{b, d.host.ID()})
	return inner{a, d.host.ID()}
}

// inner is a stream within a process.
type inner struct {
	net.Conn
	id string
}

func (i inner) PeerID() string { return i.id }
