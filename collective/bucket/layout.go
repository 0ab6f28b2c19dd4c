package bucket

import "math"

// Where buckets end when Config leaves it open: PyTorch's values (DDP's bucket_cap_mb and
// dist._DEFAULT_FIRST_BUCKET_BYTES). The first bucket is small so that communication starts early.
const (
	DefaultBucketBytes      = 25 << 20
	DefaultFirstBucketBytes = 1 << 20
)

// align is where gradients start, in bytes: a cache line, so that goroutines that write neighbouring gradients
// do not share one, and enough for any vector instruction.
const align = 64

// A span says where one gradient lies.
type span struct {
	bucket int
	lo, hi int // elements of that bucket
}

// A layout says where all gradients lie: a pure function of their lengths and the limits.
type layout struct {
	spans []span // by order of registration
	sizes []int  // elements of each bucket, padded
}

// assign lays gradients of the given lengths out in reverse order. A bucket ends where the next gradient would
// take it past its limit in bytes, so only a gradient that is itself larger makes a bucket larger than that.
// elem is the size of an element in bytes; every length is positive and at most maxLength(elem).
func assign(lengths []int, elem, first, limit int) layout {
	l := layout{spans: make([]span, len(lengths))}
	room := first / elem
	used := 0
	for i := len(lengths) - 1; i >= 0; i-- {
		if len(l.sizes) == 0 {
			l.sizes = append(l.sizes, 0)
		} else if lengths[i] > room-used {
			l.sizes = append(l.sizes, 0)
			room, used = limit/elem, 0
		}
		b := len(l.sizes) - 1
		l.spans[i] = span{bucket: b, lo: used, hi: used + lengths[i]}
		used = padded(used+lengths[i], elem)
		l.sizes[b] = used
	}
	return l
}

// padded rounds elements up to a boundary of align bytes.
func padded(elements, elem int) int {
	per := align / elem
	return (elements + per - 1) / per * per
}

// maxLength is the longest gradient whose padded size in bytes an int holds.
func maxLength(elem int) int { return (math.MaxInt - 2*align) / elem }
