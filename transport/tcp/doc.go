// Package tcp joins ranks on a network over TCP, with TLS 1.3 that authenticates both sides.
//
// A rank listens at a port of its own; two ranks share a few connections (see [Conns]) whatever the number of
// links between them. Only those whom [transport.Endpoint.Admit] has named get in, and only with the identity
// that it gave them. Where UDP gets through, transport/quic does the same from a single port; TCP costs less
// processor time for a byte, and keeps its rate on paths that lose packets where the system has the
// congestion control BBR, which connections to other hosts ask for (see [Congestion]). Both ends learn whether the other has it; by that and
// the round trip transport/network chooses between the two.
//
// Connections are those of TLS 1.3: crypto/tls makes them, and proves the identities; the records behind the handshake are
// encrypted and decrypted here, straight from and to the memory of frames, by AES-GCM in instructions of 512 or 256 bits where the processor has them, else
// by that of the standard library (see [StandardCipher]). [PlainData] leaves the payloads in clear, [Plain] everything.
//
// On Linux, a rank that sends writes to the socket itself, and one that waits for a frame reads the sockets of its peer itself, without waiting, so
// nobody has to be woken for either. Goroutines of the connections see to what is left when a socket is full, and to what comes while
// a rank does something else. Elsewhere these goroutines do everything.
//
// A peer whose process dies is noticed at once, by the kernel's FIN or RST. A host that falls silent is noticed
// after [SilentTimeout].
package tcp
