package buffer

import "io"

// A Memory holds the bytes of blocks that the host does not address, such as those of a GPU. Slices name places in it, which a
// host must neither read nor write. Methods may be called from any goroutine.
//
// It is the seam between operations and what reduces elsewhere: it hands out memory, says who else reads it in place, and its
// queues do the work. A block without a Memory lies in the host's.
type Memory interface {
	// String names it: "cuda:0".
	String() string
	// Contains reports whether all of b lies in it.
	Contains(b []byte) bool
	// Alloc returns n bytes, aligned for every type, of unspecified content. Free gives them back; it must be the very
	// slice.
	Alloc(n int) ([]byte, error)
	Free(b []byte) error
	// Describe says, in a text for Reads of others, who can read it in place.
	Describe() string
	// Reads reports whether queues of this Memory, and those of one on the same host that describes itself as peer, can
	// read each other's bytes in place. Both sides come to the same answer.
	Reads(peer string) bool
	// NewQueue returns a queue for one goroutine.
	NewQueue() (Queue, error)
	// Gate ties an operation to a stream of work of the Memory's owner. The operation comes after what is on the stream
	// now. If hold is true, work that is given to the stream from now on waits until Open.
	Gate(s Stream, hold bool) (Gate, error)
}

// A Stream is a queue of work on a Memory that its owner, not the library, gives work to. Its type is the Memory's.
type Stream any

// A Gate is one operation's place in a stream.
type Gate interface {
	// Open lets the stream's later work go on. It must be called exactly once, whatever the operation's end was.
	Open() error
}

// A Ticket stands for one piece of work of a Queue.
type Ticket uint64

// A Queue does work on a Memory while its caller goes on. Pieces of work are not ordered among each other, so the caller waits
// for the one before it gives the next that needs its result; operands belong to the work until its ticket is done. Nothing
// blocks but Drain. A Queue belongs to one goroutine at a time.
type Queue interface {
	// Slot returns host memory of n bytes for copies, at an address that has the same remainder by 16 as that of like. It
	// stays readable, with whatever content, for as long as the Memory is in use, also after Return.
	Slot(n int, like []byte) ([]byte, error)
	Return(slot []byte) error
	// CopyOut copies src, in the Memory, to a slot; CopyIn a slot to the Memory; Copy within it.
	CopyOut(slot, src []byte) (Ticket, error)
	CopyIn(dst, slot []byte) (Ticket, error)
	Copy(dst, src []byte) (Ticket, error)
	// Reduce does to operands in the Memory, in slots, or of Import, what Kernel.Reduce and, if ranks is over 1, then
	// Kernel.Finish do to those of the host: the same bits.
	Reduce(k Kernel, dst []byte, srcs [][]byte, ranks int) (Ticket, error)
	// After is a piece of work that is done when what was on the stream before the gate is.
	After(g Gate) (Ticket, error)
	// Done reports whether a piece of work is done. The error is that of any work, and ends the queue.
	Done(t Ticket) (bool, error)
	// Wake calls ring from another goroutine, once or more, when some work that is not done at this call is, or has failed.
	Wake(ring func())
	// Drain waits until nothing is in flight but After.
	Drain() error
	// Export appends to ref what peers need to read b, in the Memory, in place; Import returns the place of such a
	// stretch of n bytes of a peer whose Memory this one Reads. An error of Export means that the bytes must be copied.
	Export(ref, b []byte) ([]byte, error)
	Import(ref []byte, n int) ([]byte, error)
	io.Closer
}

// A Direct is a Memory that network cards may read and write by themselves, without a copy in the host's memory.
type Direct interface {
	Memory
	// DMABuf returns a dma-buf with b in it from byte offset on, for a card to register. The caller closes fd. An error
	// means that b goes through slots.
	DMABuf(b []byte) (fd int, offset uint64, err error)
	// Fetch copies src, in the Memory, to memory of the host, and returns when it is there.
	Fetch(dst, src []byte) error
	// Stored says when work that begins later, of queues, of streams and of those who Read the Memory, sees what a card has stored in
	// it: as soon as the card has said so, if ordered; else when flush has returned; with neither, when the card has
	// read from there behind it. flush may be called from any goroutine.
	Stored() (ordered bool, flush func() error)
}
