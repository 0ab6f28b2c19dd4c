package p2p

import (
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
)

// mdnsService is the name under which hosts announce themselves (RFC 6763, section 7).
const mdnsService = "_ringtree._udp"

// found hears of hosts on the local network.
type found struct{ h *Host }

// HandlePeerFound remembers where a host is; nothing is dialled before somebody asks for it.
func (f found) HandlePeerFound(info peer.AddrInfo) {
	if info.ID == f.h.host.ID() {
		return
	}
	f.h.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.RecentlyConnectedAddrTTL)
	f.h.log.Debug("found on the local network", "peer", info.ID.String())
}
