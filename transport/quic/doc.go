// Package quic joins ranks on a network over QUIC, which encrypts and authenticates both sides (TLS 1.3).
//
// All ranks of a process that listen at the same address share one UDP socket, so a host needs one open port
// for a process, whatever it holds. Two ranks share a few connections (see [Conns]), each with one stream that
// lives as long: more than one, because the receive queue and the congestion window of a connection are what
// limits it. Only those whom [transport.Endpoint.Admit] has named get in, and only with the identity that it
// gave them. Where UDP is blocked, transport/tcp does the same, at less processor time for a byte.
//
// A peer that dies says nothing: when it is silent its host is asked, which refuses packets for a process that has ended, and
// else it is given time, see [SilentTimeout].
//
// quic-go allocates as it works, about a tenth of a byte for each byte received, so this transport is not free
// of garbage.
package quic
