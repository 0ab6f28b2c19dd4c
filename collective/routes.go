package collective

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ringtree/ringtree/transport"
)

// A Route says how this rank reaches a peer.
type Route struct {
	Peer      int    // rank
	Transport string // "mem", "shm", "quic", "tcp" …; "network" while it is not decided which of these two
	Why       string // why it is not the best that both ranks have; "" where it is
	Note      string // what the link has been doing about its path, such as repairing losses; "": nothing
}

// Routes returns how this rank reaches each peer that it has opened links with so far, by rank: links open when an
// operation first needs them. Both ends of a link say the same but for the note.
func (c *Comm) Routes() []Route { return c.doors.opened.list() }

// routes are the ways to the peers that links have been opened to. The zero value is ready.
type routes struct {
	mu sync.Mutex
	to map[int]opened
}

type opened struct {
	transport string
	link      transport.Link // the first: all links to a peer go one way
}

func (r *routes) note(peer int, transport string, l transport.Link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.to[peer]; known {
		return
	}
	if r.to == nil {
		r.to = make(map[int]opened)
	}
	r.to[peer] = opened{transport, l}
}

func (r *routes) list() []Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Route, 0, len(r.to))
	for _, peer := range slices.Sorted(maps.Keys(r.to)) {
		o := r.to[peer]
		caps := o.link.Caps()
		list = append(list, Route{Peer: peer, Transport: cmp.Or(caps.Via, o.transport), Why: caps.Why, Note: caps.Note})
	}
	return list
}

// memoryText is a line on the memory of a rank's device, "" where there is nothing to say.
func memoryText(rank int, way string) string {
	if way == "" {
		return ""
	}
	return fmt.Sprintf("  device memory of rank %d: %s\n", rank, way)
}

// routeText is a line for people, "" where there are no routes. Peers that are reached the best way are counted, the others
// named.
func routeText(rank int, list []Route) string {
	count := make(map[string]int)
	var odd []string
	for _, r := range list {
		if said := strings.Trim(r.Why+"; "+r.Note, "; "); said == "" {
			count[r.Transport]++
		} else {
			odd = append(odd, fmt.Sprintf("%s to rank %d (%s)", r.Transport, r.Peer, said))
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		noun := "peers"
		if count[name] == 1 {
			noun = "peer"
		}
		parts = append(parts, fmt.Sprintf("%s to %d %s", name, count[name], noun))
	}
	const shown = 8
	if len(odd) > shown {
		odd = append(odd[:shown], fmt.Sprintf("and %d more", len(odd)-shown))
	}
	if parts = append(parts, odd...); len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("  links of rank %d: %s\n", rank, strings.Join(parts, "; "))
}
