// Package network joins ranks on a network over whichever of several transports is quickest to a peer and reaches it: TCP or QUIC.
//
// Each rank listens on all of them. Who opens a session tries the best transport that both ranks have, and the next
// one beside it when that has had its [HeadStart], or has failed; the first that connects becomes the one session of the two
// ranks, over which all their links go, in both directions. So both agree, also where only one of them gets through to the
// other. A network that drops packets without a word costs the head start once for each peer: the transport remembers
// whom the better way did not reach, for all its endpoints, and when it has reached nobody it waits for it less.
//
// # Which is quickest
//
// TCP takes a quarter of QUIC's processor time for a byte, so it comes first by default, and a connection says by itself whether it suits its
// path. It does where a round trip takes less than 2 ms, as its kernel measures it with the handshake, and where both ends have
// BBR, which they learn by the protocol that their handshake negotiates: the losses of such a path slow it little. Else QUIC is tried at once, whose losses are repaired
// (see quic.LossRepair), and TCP stands back until QUIC has had the head start, or has failed. Nothing more is sent to find out, so
// a choice costs nothing where TCP suits, and the handshake of a TCP connection where it does not. Where QUIC is put first, none of this applies: it
// is the best that there is.
//
// What that rests on (examples/perf/compare.sh wan, medians of 5 rounds; 16 MiB over 1 Gbit/s and 10 ms, all-reduce of two ranks,
// milliseconds; TCP with BBR):
//
//	             tcp     quic
//	no loss      155      173
//	0.1 % lost   162      224
//	1 % lost     167      224
//
// and on what random losses leave of the window of Cubic, TCP's usual congestion control, where a prototype had a sixth of that link
// on four connections at 0.1 %.
//
// [transport.Caps] of a link says which way it goes, and why, as soon as that is decided. A transport that cannot listen (no
// UDP in a sandbox, say) is left out, and reported to the [Logger]; the group forms over the rest.
package network
