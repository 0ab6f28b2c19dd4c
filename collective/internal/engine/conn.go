package engine

import (
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/transport"
)

type connKey struct {
	peer    int
	channel uint16
}

// A conn is a link and how many frames this rank has posted on it.
type conn struct {
	transport.Link
	peer   int
	posted uint64
	aside  [2]uint64 // posted count after the last frame out of each aside buffer
	hailed bool      // control: this operation's announcement is posted
	held   bool      // Poll has returned a frame that is not released
	inline int       // payloads that Post copies
	places bool      // frames can carry offers
	device bool      // it sends from memory of devices that it knows
	near   bool      // the peer is in this process, and its frames lie in its caller's memory
	direct bool      // the peer reads memory of Config.Alloc in place
	// Where the link is one: see expect.go.
	expecting transport.ExpectingLink
	taken     uint64         // frames released
	base      uint64         // of them before this operation, and since then of other epochs
	lands     []landingPlace // given to frames that have not been taken, oldest first
}

// Poll and Release are the link's, and know of a frame that is held.
func (c *conn) Poll() (*transport.Frame, error) {
	f, err := c.Link.Poll()
	c.held = c.held || f != nil
	return f, err
}

func (c *conn) Release() {
	c.held = false
	c.taken++
	c.Link.Release()
}

// conn returns the link to a peer for a channel, opening it at the first call.
func (e *Engine) conn(peer int, channel schedule.Channel) (*conn, error) {
	key := connKey{peer, uint16(channel)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.conns[key]; c != nil {
		return c, nil
	}
	if e.ended {
		return nil, e.Err()
	}
	l, err := e.cfg.Open(peer, key.channel)
	if err != nil {
		return nil, &PeerError{Rank: peer, Op: "open", Channel: int(channel), Step: -1, Err: err}
	}
	caps := l.Caps()
	c := &conn{Link: l, peer: peer, near: caps.Scope == transport.ScopeProcess, inline: caps.Inline, places: caps.Placement, direct: caps.ByReference && caps.Scope <= e.cfg.Near, device: caps.Device}
	c.expecting, _ = l.(transport.ExpectingLink)
	e.conns[key] = c
	return c, nil
}
