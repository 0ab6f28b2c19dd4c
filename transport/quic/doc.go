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
// while the connection is busy or kept from a processor: quic-go keeps 256 packets, drops the rest without a word, and its peer takes
// that for congestion on the way.
//
// quic-go takes every loss for congestion. So where a path loses packets by chance, parity goes with them, and they are restored
// before quic-go sees that they are missing ([LossRepair]): sent packets pass the numberer of their connection's flow, received
// ones the orderer, which holds back what is behind a gap for some milliseconds. A path that proves clean has none of this.
//
// What is not repaired halves a window, which on a long path does not grow back for minutes, and quic-go leaves its slow start early. So while nothing but
// windows limits a sender, it takes more connections, and keeps them if they make it quicker ([MostConns]); Caps.Note of a link says how many and why.
//
// Windows that are larger than a long path needs fill the queue before its narrowest line, where acknowledgements for the other direction wait, too. So from a
// round trip of 2 ms on, large frames are sent at the rate at which the peer says that they arrive, with a try for more every twelve round trips, as in BBR,
// unless others have filled the queue, who would take what is left to them. Caps.Note says at which rate.
//
// A peer that dies says nothing: when it is silent its host is asked, which refuses packets for a process that has ended, and
// else it is given time, see [SilentTimeout].
//
// quic-go allocates as it works, about a tenth of a byte for each byte received, so this transport is not free
// of garbage.
//
// # BENCHMARKS
//
// BenchmarkLink: two processes on loopback, 64 MiB, beside one bare stream of quic-go; medians of interleaved rounds (7 of the first
// line, 6 of the second) on 2 cores of a virtual machine (AMD EPYC, Linux 6.18), whose rounds differ by a factor of 1.5:
//
//	one connection    1.44 (427 of 297 MB/s; before readers left bulk alone 369)    four connections    1.55 (459; before 427)
//	one connection    1.63 (314 of 193 MB/s)    bare stream of quic-go over a socket of this package    1.41 (273)
//	8 bytes there and back: 63 to 129 µs with polling, 125 to 206 without, 113 to 190 bare (ranges of single runs)
//
// Both cores are busy all the time, so the limit is processor time: of a profile of one connection, quic-go's two loops take 53 %
// (AES-GCM a fifth of that), sendmsg and recvmsg with what they do in the kernel 21 %, threads that wake and look for work 9 %, and this
// package with transport/internal/stripe 2 %. A bare stream over the same socket is no quicker than a link. What would be: packets longer than quic-go's
// 1,452 bytes, which it does not allow, or TCP (transport/tcp), which takes a quarter of the time for a byte.
package quic
