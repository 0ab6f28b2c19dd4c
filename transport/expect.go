package transport

// An ExpectingLink is a [Link] that can have the payloads of the peer's frames stored where this end wants them, as soon as they
// are sent, instead of in a place of the link's own from which they would be copied. It is the way in of links whose devices
// write to remote memory, and of those that read from a socket; [Link.Offer] is the one of peers that have mapped each other's.
type ExpectingLink interface {
	Link

	// Expecting returns for how many frames at a time, the oldest that is not released being the first, Expect takes a
	// place; 0 if it takes none, because of what carries the link or because the link has ended.
	Expecting() int

	// Expect says where the payload of a frame that has not come yet is wanted: ahead counts the frames between the oldest
	// that is not released and this one. The payload may be stored in mem, as many bytes as h says, from now on until that
	// frame is released or, once this end has failed the link, until Quiet, and is stored there only if the frame's header
	// is h. Poll then returns mem as the frame's Payload. The peer uses the place if it hears of it in time; if not, the payload
	// comes as any other does and mem is left alone. Expect returns false, and nothing is expected, if ahead is not below
	// Expecting, the frame is there or has a place already, h is not the header of a frame of kind Data with
	// len(mem) bytes, more than none, mem is not memory that the link's device, if it has one, can write to, or the device has no room for
	// the message; then the payload comes as any other. It does not allocate.
	Expect(ahead int, h *Header, mem []byte) bool
}
