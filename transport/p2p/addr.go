package p2p

import (
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
)

// circuit is the part of an address that says "through a relay".
const circuit = "/p2p-circuit"

// isTCP reports whether an address is a direct one over TCP.
func isTCP(addr string) bool {
	return strings.Contains(addr, "/tcp/") && !strings.Contains(addr, circuit)
}

// parseAddrs reads the addresses of one peer.
func parseAddrs(addrs []string) (peer.AddrInfo, error) {
	var all peer.AddrInfo
	for _, a := range addrs {
		info, err := peer.AddrInfoFromString(a)
		if err != nil {
			return all, &AddrError{a, err.Error()}
		}
		if all.ID != "" && info.ID != all.ID {
			return all, &AddrError{a, "is of another peer than the addresses before it"}
		}
		all.ID = info.ID
		all.Addrs = append(all.Addrs, info.Addrs...)
	}
	if all.ID == "" {
		return all, &AddrError{"", "none was given"}
	}
	return all, nil
}

// groupAddrs reads addresses of any peers and sorts them by peer.
func groupAddrs(addrs []string) ([]peer.AddrInfo, error) {
	var all []peer.AddrInfo
	index := make(map[peer.ID]int)
	for _, a := range addrs {
		info, err := parseAddrs([]string{a})
		if err != nil {
			return nil, err
		}
		i, ok := index[info.ID]
		if !ok {
			i = len(all)
			index[info.ID] = i
			all = append(all, peer.AddrInfo{ID: info.ID})
		}
		all[i].Addrs = append(all[i].Addrs, info.Addrs...)
	}
	return all, nil
}

// rankAddr orders addresses for those who read them: what works from afar first, this machine's own last.
func rankAddr(addr string) int {
	switch {
	case strings.Contains(addr, circuit):
		return 2
	case strings.HasPrefix(addr, "/ip4/127.") || strings.HasPrefix(addr, "/ip6/::1/"):
		return 3
	case isTCP(addr):
		return 0
	}
	return 1
}
