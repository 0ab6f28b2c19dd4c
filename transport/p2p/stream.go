package p2p

import (
	"net"

	"github.com/libp2p/go-libp2p/core/network"
)

// A Stream is a two-way stream of bytes to a peer that has proved its identity. Close flushes what was written, but
// does not wait for the peer to have it: whoever needs to know asks for an answer first.
type Stream = interface {
	net.Conn
	// PeerID returns the identity of the other end.
	PeerID() string
}

type stream struct {
	network.Stream
}

func (s stream) PeerID() string       { return s.Conn().RemotePeer().String() }
func (s stream) LocalAddr() net.Addr  { return peerAddr(s.Conn().LocalPeer().String()) }
func (s stream) RemoteAddr() net.Addr { return peerAddr(s.PeerID()) }

// peerAddr is an identity as a net.Addr.
type peerAddr string

func (peerAddr) Network() string  { return "p2p" }
func (a peerAddr) String() string { return string(a) }
