// Package network joins ranks on a network over whichever of several transports works: QUIC, or TCP where UDP is blocked.
//
// Each rank listens on all of them. Who opens a session tries the best transport that both ranks have, and the next
// one beside it when that has had its [HeadStart], or has failed; the first that connects becomes the one session of the two
// ranks, over which all their links go, in both directions. So both agree, also where only one of them gets through to the
// other. A network that drops packets without a word costs the head start once for each peer: the transport remembers
// whom the better way did not reach, for all its endpoints, and when it has reached nobody it waits for it less.
//
// [transport.Caps] of a link says which way it goes, and why, as soon as that is decided. A transport that cannot listen (no
// UDP in a sandbox, say) is left out, and reported to the [Logger]; the group forms over the rest.
package network
