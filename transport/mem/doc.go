// Package mem joins ranks that are goroutines of one process.
//
// Frames are passed by reference, wherever their payload lies: Post writes a descriptor of 64 bytes into a
// ring that both ends see, and the receiver reads the payload where the sender has it. There are no
// goroutines, no system calls and no timers in here, so links work inside a testing/synctest bubble, and a
// link costs about 2 KiB, so that tens of thousands of ranks fit into one process.
//
//	sender                              ring (8 frames)                       receiver
//	Post     -> write frame, posted++   [f f f . . . . .]   posted > released -> Poll
//	Completed = released                                    released++        <- Release
//
// The rings are single-producer single-consumer queues (L. Lamport, "Proving the Correctness of Multiprocess
// Programs", IEEE TSE 1977): each counter has one writer, and storing it publishes what it counts.
package mem
