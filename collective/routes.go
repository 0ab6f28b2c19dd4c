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

// routeText is a line for people, "" where there are no routes. Peers with the same to say of their links are counted, single ones
// named.
func routeText(rank int, list []Route) string {
	type kind struct{ transport, said string }
	peers := make(map[kind][]int)
	for _, r := range list {
		k := kind{r.Transport, strings.Trim(r.Why+"; "+r.Note, "; ")}
		peers[k] = append(peers[k], r.Peer)
	}
	var parts, odd []string
	for _, k := range slices.SortedFunc(maps.Keys(peers), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.transport, b.transport), cmp.Compare(peers[a][0], peers[b][0]))
	}) {
		who := fmt.Sprintf("rank %d", peers[k][0])
		switch n := len(peers[k]); {
		case n > 1:
			who = fmt.Sprintf("%d peers", n)
		case k.said == "":
			who = "1 peer"
		}
		if k.said == "" {
			parts = append(parts, fmt.Sprintf("%s to %s", k.transport, who))
		} else {
			odd = append(odd, fmt.Sprintf("%s to %s (%s)", k.transport, who, k.said))
		}
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
