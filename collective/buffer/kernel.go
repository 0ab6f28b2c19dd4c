package buffer

import "unsafe"

const (
	// maxPass is the largest number of sources that one pass over the data reads.
	maxPass = 8
	// accBlock is how many bytes of the accumulator one pass may write before the next pass reads
	// them again, when there are more sources than fit a pass: they stay in the first-level cache.
	accBlock = 16 << 10
	// scratchBlock takes accBlock's place when the accumulator cannot live in dst: scratch is on the
	// goroutine's stack and should not make it grow much.
	scratchBlock = 4 << 10
	// stretch is how much of dst one uninterruptible call works on. It is less than
	// maxUninterrupted because up to eight sources are read along with it.
	stretch = 32 << 10
)

// A Kernel reduces elements of one type by one operation. It is a small value: copy it, keep it, use
// it from any number of goroutines. Get one from [KernelFor]; the zero Kernel panics when used.
type Kernel struct{ *kernel }

// KernelFor returns the fastest kernel that this machine can run. The error is a *[KernelError], if t
// or op is not valid; every pair of valid ones has a kernel.
func KernelFor(t DType, op Op) (Kernel, error) {
	if !t.Valid() || !op.Valid() {
		return Kernel{}, &KernelError{Type: t, Op: op}
	}
	return kernels[t][op], nil
}

// Type returns the type of the elements.
func (k Kernel) Type() DType { return k.dtype }

// Op returns the operation.
func (k Kernel) Op() Op { return k.op }

// Implementation names the code that runs Reduce: "generic" or the name of an instruction set.
func (k Kernel) Implementation() string { return k.impl }

// Reduce sets dst to srcs[0] ⊕ srcs[1] ⊕ …, element by element and from left to right, where ⊕ is the
// kernel's operation, and Sum for Avg. The package comment says how each one rounds.
//
// There must be at least one source. dst and every source must have the same length, a multiple of
// the element size. Any alignment is right on machines that can load from any address (amd64, arm64, 386), else
// the elements' own is needed. dst may be one of the sources, at any place in the list, even several
// times; apart from that it must not overlap them. Reduce panics if these rules are broken. The
// slices are only borrowed, srcs is not modified, nothing is allocated.
func (k Kernel) Reduce(dst []byte, srcs [][]byte) {
	// The usual case touches as little memory as it can: what lies in the first-level cache may fill it.
	r := &k.reducer
	if 0 < len(dst) && len(dst) <= stretch && len(dst)&(r.block-1) == 0 && 2 <= len(srcs) && len(srcs) <= r.width && fit(dst, srcs) {
		r.run(noescape(&dst[0]), noescape(&srcs[0]), len(srcs), 0, len(dst), near)
		return
	}
	k.reduceAny(dst, srcs)
}

// fit reports whether the sources obey Reduce's rules.
func fit(dst []byte, srcs [][]byte) bool {
	for _, src := range srcs {
		if len(src) != len(dst) || partly(dst, src) {
			return false
		}
	}
	return true
}

// partly reports whether two slices of the same length overlap but are not the same.
func partly(a, b []byte) bool {
	p, q := uintptr(unsafe.Pointer(unsafe.SliceData(a))), uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return p != q && max(p, q)-min(p, q) < uintptr(len(a))
}

// reduceAny is Reduce for all cases.
func (k Kernel) reduceAny(dst []byte, srcs [][]byte) {
	late := k.check(dst, srcs)
	r := &k.reducer
	switch {
	case len(dst) == 0:
	case len(srcs) == 1:
		if &dst[0] != &srcs[0][0] {
			Copy(dst, srcs[0])
		}
	case len(srcs) <= r.width:
		for lo := 0; lo < len(dst); lo += stretch {
			r.pass(dst, srcs, lo, min(lo+stretch, len(dst)), near)
		}
	case late:
		r.passesByScratch(dst, srcs)
	default:
		r.passes(dst, srcs)
	}
}

// check panics if Reduce's rules are broken. late says that dst is one of the sources that the first
// pass does not read, so that nothing may be written to it before the pass that does.
func (k Kernel) check(dst []byte, srcs [][]byte) (late bool) {
	if len(srcs) == 0 {
		panic("buffer: Reduce without sources")
	}
	if len(dst)&(k.dtype.Size()-1) != 0 { // a power of two: what divides takes longer than a small reduction
		panic("buffer: Reduce of data that ends inside an element")
	}
	for i, src := range srcs {
		if len(src) != len(dst) {
			panic("buffer: Reduce of sources that differ in length from dst")
		}
		if partly(dst, src) {
			panic("buffer: Reduce of a source that partly overlaps dst")
		}
		late = late || i >= k.width && unsafe.SliceData(src) == unsafe.SliceData(dst)
	}
	return late
}

// Finish turns the sum of n contributions into the result of the operation: for Avg it divides the
// elements of data by n, as the package comment says; for the others, and for n below 2, it
// does nothing. The length of data must be a multiple of the element size, else Finish panics.
func (k Kernel) Finish(data []byte, n int) {
	if len(data)%k.dtype.Size() != 0 {
		panic("buffer: Finish of data that ends inside an element")
	}
	if k.divide == nil || n < 2 {
		return
	}
	for lo := 0; lo < len(data); lo += stretch {
		k.divide.pass(data[lo:min(lo+stretch, len(data))], n)
	}
}

// passes reduces more sources than fit one pass: the first r.width, then the accumulator and the next
// r.width-1, and so on. The accumulator is dst.
func (r *reducer) passes(dst []byte, srcs [][]byte) {
	var group [maxPass][]byte
	for lo := 0; lo < len(dst); lo += accBlock {
		hi := min(lo+accBlock, len(dst))
		r.pass(dst, srcs[:r.width], lo, hi, near)
		group[0] = dst
		for rest := srcs[r.width:]; len(rest) > 0; {
			n := min(r.width-1, len(rest))
			for i, src := range rest[:n] { // copy would make the data escape
				group[1+i] = src
			}
			r.pass(dst, group[:1+n], lo, hi, near)
			rest = rest[n:]
		}
	}
}

// passesByScratch does the same when dst is a source of a later pass: the accumulator is a block of
// scratch, and only the last pass writes to dst.
func (r *reducer) passesByScratch(dst []byte, srcs [][]byte) {
	var scratch [scratchBlock]byte
	var group [maxPass][]byte
	for lo := 0; lo < len(dst); lo += scratchBlock {
		hi := min(lo+scratchBlock, len(dst))
		acc := scratch[:hi-lo]
		for i, src := range srcs[:r.width] {
			group[i] = src[lo:hi]
		}
		r.pass(acc, group[:r.width], 0, hi-lo, near)
		group[0] = acc
		for rest := srcs[r.width:]; len(rest) > 0; {
			n := min(r.width-1, len(rest))
			for i, src := range rest[:n] {
				group[1+i] = src[lo:hi]
			}
			rest = rest[n:]
			out := acc
			if len(rest) == 0 {
				out = dst[lo:hi]
			}
			r.pass(out, group[:1+n], 0, hi-lo, near)
		}
	}
}

// pass reduces the bytes lo to hi of 2 to r.width sources into those of dst. It is a function of its
// own, with a prologue, so that a stop of the world comes in between two passes.
//
//go:noinline
func (r *reducer) pass(dst []byte, srcs [][]byte, lo, hi, past int) {
	n := hi - lo
	odd := n & (r.block - 1)
	if whole := n - odd; whole > 0 {
		r.run(noescape(&dst[0]), noescape(&srcs[0]), len(srcs), lo, whole, past)
	}
	switch {
	case odd == 0:
	case r.few != nil && len(srcs) == 2:
		r.few(noescape(&dst[0]), noescape(&srcs[0]), 2, hi-odd, odd, near)
	default:
		r.tail(dst[hi-odd:hi], srcs, hi-odd)
	}
}

// tail reduces the bytes from lo on, fewer than a block of r, into dst by way of whole blocks of scratch.
func (r *reducer) tail(dst []byte, srcs [][]byte, lo int) {
	var padded [maxPass][maxBlock]byte
	var at [maxPass][]byte
	for i, src := range srcs {
		copy(padded[i][:], src[lo:lo+len(dst)])
		at[i] = padded[i][:]
	}
	r.run(noescape(&padded[0][0]), noescape(&at[0]), len(srcs), 0, r.block, near)
	copy(dst, padded[0][:])
}

// pass divides the elements of data by n, again with a prologue.
//
//go:noinline
func (d *divider) pass(data []byte, n int) {
	p := unsafe.SliceData(data)
	odd := len(data) % d.block
	whole := len(data) - odd
	if whole > 0 {
		d.run(noescape(p), whole, n)
	}
	if odd > 0 {
		var padded [maxBlock]byte
		copy(padded[:], data[whole:])
		d.run(noescape(&padded[0]), d.block, n)
		copy(data[whole:], padded[:])
	}
}
