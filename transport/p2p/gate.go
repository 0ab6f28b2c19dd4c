package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// gate decides who may connect. It is open until members are set.
type gate struct {
	mu      sync.RWMutex
	members map[peer.ID]bool // nil: open
	helpers map[peer.ID]bool // bootstrap peers and relays: may connect, are not heard
}

var _ connmgr.ConnectionGater = (*gate)(nil)

func newGate() *gate { return &gate{helpers: make(map[peer.ID]bool)} }

// heard reports whether streams of a peer are served.
func (g *gate) heard(id peer.ID) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.members == nil || g.members[id]
}

// admits reports whether a connection to or from a peer may be.
func (g *gate) admits(id peer.ID) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.members == nil || g.members[id] || g.helpers[id]
}

func (g *gate) set(members map[peer.ID]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = members
}

// InterceptPeerDial is asked before a peer is dialled.
func (g *gate) InterceptPeerDial(id peer.ID) bool { return g.admits(id) }

// InterceptSecured is asked when a peer has proved its identity.
func (g *gate) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return g.admits(id)
}

// InterceptAddrDial, InterceptAccept and InterceptUpgraded are asked where the identity is not proved yet or has been
// looked at before: they let everything pass.
func (g *gate) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }

// InterceptAccept lets everything pass.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptUpgraded lets everything pass.
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
