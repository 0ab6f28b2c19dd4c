// Package tcp joins ranks on a network over TCP, with TLS 1.3 that authenticates both sides.
//
// A rank listens at a port of its own; two ranks share a few connections (see [Conns]) whatever the number of
// links between them. Only those whom [transport.Endpoint.Admit] has named get in, and only with the identity
// that it gave them. Where UDP gets through, transport/quic does the same from a single port; TCP costs less
// processor time for a byte, and keeps its rate on paths that lose packets where the system has the
// congestion control BBR, which connections ask for (see [Congestion]). Both ends learn whether the other has it; by that and
// the round trip transport/network chooses between the two.
//
// A peer whose process dies is noticed at once, by the kernel's FIN or RST. A host that falls silent is noticed
// after [SilentTimeout].
package tcp
