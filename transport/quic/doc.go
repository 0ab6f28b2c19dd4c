// Package quic joins ranks on a network over QUIC, which encrypts and authenticates both sides (TLS 1.3).
//
// All ranks of a process that listen at the same address share one UDP port, so a host needs one open port
// for a process, whatever it holds. Two ranks share a few connections (see [Conns]), each with one stream that
// lives as long: more than one, because the receive queue and the congestion window of a connection are what
// limits it. Each goes out by a port of its own (but see [OnePort]). Only those whom [transport.Endpoint.Admit] has
// named get in, and only with the identity that it gave them. Where UDP is blocked, transport/tcp does the same, at
// less processor time for a byte.
//
// On Linux the kernel joins packets on their way in (UDP_GRO, see [ReceiveOffload]) and out (UDP_SEGMENT), and the
// reader of a socket polls it for a while before it sleeps ([BusyPoll]). It also leaves packets in the kernel's buffer
// while the connection is busy: quic-go keeps 256 packets, drops the rest, and takes that for loss on the way.
//
// quic-go takes every loss for congestion. So where a path loses packets by chance, parity goes with them, and they are restored
// before quic-go sees that they are missing ([LossRepair]): sent packets pass the numberer of their connection's flow, received
// ones the orderer, which holds back what is behind a gap for some milliseconds. A path that proves clean has none of this.
//
// A peer that dies says nothing: when it is silent its host is asked, which refuses packets for a process that has ended, and
// else it is given time, see [SilentTimeout].
//
// quic-go allocates as it works, about a tenth of a byte for each byte received, so this transport is not free
// of garbage.
//
// # BENCHMARKS
//
// BenchmarkLink: two processes on loopback, 64 MiB, over one bare stream of quic-go in the same run; medians of 5
// interleaved rounds on 2 cores of a virtual machine (AMD EPYC, Linux 6.18), whose rounds differ by a factor of 1.5:
//
//	one connection    1.35 (207 of 153 MB/s)    four connections    1.50 (229)
//	8 bytes there and back: 63 to 129 µs with polling, 125 to 206 without, 113 to 190 bare (ranges of single runs)
//
// Polling costs about a tenth of the rate of four connections (1.50 without it, 1.35 with it). About a quarter of the two cores
// is idle beside a transfer, so waking threads seems to be the limit.
package quic
