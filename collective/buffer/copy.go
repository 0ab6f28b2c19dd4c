package buffer

// maxUninterrupted is the longest stretch of dst, in bytes, that is worked on between two function
// prologues. Neither memmove nor assembly can be preempted, so a goroutine that only alternates
// between them keeps every other one waiting when the collector stops the world: for tens of
// milliseconds if the data is large. A prologue is where the stop is noticed.
const maxUninterrupted = 64 << 10

// Copy copies src to the start of dst, like the built-in copy, but lets a stop of the world in every
// 64 KiB. dst must not be shorter than src, else Copy panics, and must not overlap it, unless both
// start at the same address.
func Copy(dst, src []byte) {
	dst = dst[:len(src)]
	for len(src) > maxUninterrupted {
		copyPiece(dst[:maxUninterrupted], src[:maxUninterrupted])
		dst, src = dst[maxUninterrupted:], src[maxUninterrupted:]
	}
	copyPiece(dst, src)
}

//go:noinline
func copyPiece(dst, src []byte) { copy(dst, src) }
