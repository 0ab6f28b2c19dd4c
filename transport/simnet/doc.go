// Package simnet joins ranks of one process through links that take time.
//
// It passes frames by reference as package mem does, but a frame can be polled only when a network would
// have brought it: transmission begins when the frame is posted and the wire is free, takes payload bytes
// divided by the bandwidth, and the frame arrives one propagation delay later.
//
//	            start = max(posted, wire free)   sent = start + bytes/bandwidth   arrival = sent + delay
//	rank a  ----|=============================|
//	rank b                                          delay ->                     | Poll returns it
//
// There is one wire for each direction of a pair of ranks, which all their links share in the order of
// Post; headers cost nothing. Transmission times are rounded to nanoseconds frame by frame. A Fail arrives
// after the delay alone, ahead of frames on the wire; a Close arrives after the delay and behind them.
//
// Completed counts a frame once the peer has released it, and the sender learns of that at once: the way
// back costs no time. So a window limits what is in flight, not the throughput of a long path, as long as
// fewer than 1024 frames are on the way.
//
// Time is the time package's: in a testing/synctest bubble it is virtual, costs nothing and is exact, and the
// time at which a program of ranks ends is the same in every run.
package simnet
