package stripe

import "time"

// A Path is what a connection knows of the way to its peer.
type Path struct {
	RTT    time.Duration // the shortest round trip so far; 0: not known
	Steady bool          // packets that are lost by chance slow down neither side
}

// A fitted Conn is the best choice where its path suits it. Any other always is, if its carrier comes first.
type fitted interface {
	Path() Path
}

// longPath is the round trip from which random losses matter: what takes them for congestion halves its window, and gets it back by a
// packet a round trip.
const longPath = 2 * time.Millisecond

// fit reports whether a connection of the first carrier suits its path, and why.
func fit(conn Conn) (w why, fits bool) {
	c, ok := conn.(fitted)
	if !ok {
		return whyBest, true
	}
	switch path := c.Path(); {
	case path.Steady:
		return whySteady, true
	case path.RTT > 0 && path.RTT < longPath:
		return whyShort, true
	}
	return whyAlone, false
}

// alternatives reports whether the peer has places of other carriers than the first.
func (p *peer) alternatives() bool {
	for _, places := range p.ways[1:] {
		if len(places) > 0 {
			return true
		}
	}
	return false
}
