package buffer

// Split cuts length elements into parts and returns part i as the range lo to hi (exclusive). The
// parts follow each other without gap; the remainder is spread over the first parts, so the lengths
// differ by at most one and the last parts are empty when there are more parts than elements.
// parts must be positive, i in [0, parts) and length at least 0.
func Split(length, parts, i int) (lo, hi int) {
	q := length / parts
	r := length - q*parts
	return i*q + min(i, r), (i+1)*q + min(i+1, r)
}
