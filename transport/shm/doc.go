// Package shm joins ranks that are processes (or goroutines) of one Linux host through shared memory.
//
// # Data
//
// Each direction of a link is one memfd segment that the sender makes and the receiver maps: a ring of
// 32 descriptors of 128 bytes, a consumed counter and an area for staged payloads. Publishing a frame is one
// atomic store of its descriptor's sequence word, seeing it is one atomic load:
//
//	sender                    segment                              receiver
//	Post  -> inline (<=72 B)  [seq|header|payload]                 Poll -> private copy
//	      -> staged           [seq|header|offset] + staging area   Poll -> read in the segment
//	      -> by reference     [seq|header|region,offset]           Poll -> read in the sender's Alloc memory
//	Completed <-              consumed counter                     <- Release
//
// A frame can offer memory of Alloc in which the receiver may store an answer until it releases the frame. It
// sets a word in the segment while it may, and looks only then whether the sender has failed the link; the sender fails
// the link first and then looks at the word. So one of them sees the other.
//
// An endpoint with several peers uses a quarter of each staging area: n ranks have n(n-1) of them for a channel, and what is
// staged should be read out of a cache.
//
// Inline and staged frames are completed at once, frames by reference when the receiver has released them.
// Memory of Endpoint.Alloc is a memfd of its own that peers map when they learn of it, so a payload in it is
// never copied. The data path takes no lock, makes no system call unless the peer sleeps, and allocates
// nothing.
//
// A segment is written by another process, which may be faulty or hostile. Its size is fixed by seals
// before it is mapped, everything that is read from it is copied and then checked, and what breaks the rules
// ends the link with a *transport.FrameError.
//
// # Control
//
// Endpoints listen on abstract Unix sockets with random names, so a crash leaves nothing behind. An endpoint
// dials each peer that it opens a link to, and hands over its bell, its segments and its regions as file
// descriptors. Only processes of the same user are accepted. The connections stay open: the end of one is the
// loss of the peer. Goroutines that are parked in Go's poller serve them and are not part of the data path.
//
// # Bells
//
// A bell is a futex word in a memfd. Ringing a rank that does not sleep is one load, waking one that does is
// one system call. Endpoints with a bell of another kind get a goroutine that passes rings on.
//
// # Memory
//
// A link's segments are unmapped when its owner, by a call on it after its end, shows that it no longer reads
// them, or when the link is collected. Memory of Alloc that was not freed before Endpoint.Close stays mapped until Free.
package shm
