// Package p2p is a process's door to peers that it has not met yet: a libp2p host with an Ed25519 identity, direct
// dialling, discovery on the local network, and, where asked for, relays and hole punching. It carries control streams:
// few, small and long-lived. Payload does not pass here; the fast transports take the [Host.Identity] as a value and open
// connections of their own.
//
// Every stream is encrypted and both ends have proved their identity when it opens. Who may be heard is the
// business of the layer above until it calls [Host.Gate]: from then on, connections of anybody but the members are
// refused.
//
// No type of libp2p appears in the API: identities and addresses are strings. An address is a multiaddr that ends in the
// identity of its owner, such as /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW….
package p2p
