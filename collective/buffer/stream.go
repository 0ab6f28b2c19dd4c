package buffer

import "unsafe"

// What a reducer's run does with its result.
const (
	near = iota
	past // the caches
)

const (
	// streamLine is the unit in which memory takes non-temporal stores well.
	streamLine = 64
	// streamLeast is how many bytes a result has at least that goes past the caches.
	streamLeast = 4 << 10
)

// A streamer copies n bytes, a positive multiple of streamLine, to an address that is a multiple of streamLine, past the
// caches. nil: this machine has none.
type streamer func(to, from *byte, n int)

// ReduceStream is [Kernel.Reduce] for results that nobody reads soon: where the machine can, they go past the caches. The lines of
// dst are then not read before they are overwritten, which is a quarter of the memory traffic of two sources, and the caches
// are left to others. It pays when dst and the sources together are larger than the last cache, and loses by a factor of two and more
// when they are not; package comment. Where dst is a source it is Reduce, and with more sources than fit one pass, too.
func (k Kernel) ReduceStream(dst []byte, srcs [][]byte) {
	k.check(dst, srcs)
	r := &k.reducer
	head := toLine(dst)
	switch {
	case !r.streams, len(dst) < streamLeast, len(srcs) > r.width, head%k.dtype.Size() != 0, among(dst, srcs):
		k.Reduce(dst, srcs)
	case len(srcs) == 1:
		CopyStream(dst, srcs[0])
	default:
		if head > 0 {
			r.pass(dst, srcs, 0, head, near)
		}
		for lo := head; lo < len(dst); lo += stretch {
			r.pass(dst, srcs, lo, min(lo+stretch, len(dst)), past)
		}
	}
}

// CopyStream is [Copy] past the caches, as [Kernel.ReduceStream] is Reduce.
func CopyStream(dst, src []byte) {
	dst = dst[:len(src)]
	if stream == nil || len(src) < streamLeast || unsafe.SliceData(dst) == unsafe.SliceData(src) {
		Copy(dst, src)
		return
	}
	for len(src) > maxUninterrupted {
		// The pieces after the first begin with a line.
		n := maxUninterrupted - streamLine + toLine(dst)
		streamPiece(dst[:n], src[:n])
		dst, src = dst[n:], src[n:]
	}
	streamPiece(dst, src)
}

// among reports whether dst is one of srcs.
func among(dst []byte, srcs [][]byte) bool {
	for _, src := range srcs {
		if unsafe.SliceData(src) == unsafe.SliceData(dst) {
			return true
		}
	}
	return false
}

// toLine returns how many bytes there are from the start of b to that of a line.
func toLine(b []byte) int {
	return int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (streamLine - 1))
}

// streamPiece copies src to dst, whole lines of dst past the caches.
//
//go:noinline
func streamPiece(dst, src []byte) {
	head := min(toLine(dst), len(src))
	whole := (len(src) - head) &^ (streamLine - 1)
	copy(dst, src[:head])
	if whole > 0 {
		stream(noescape(&dst[head]), noescape(&src[head]), whole)
	}
	copy(dst[head+whole:], src[head+whole:])
}
