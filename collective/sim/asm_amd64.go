//go:build !purego

package sim

import "golang.org/x/sys/cpu"

//go:generate go -C ../buffer/internal/gen run ./sweep -pkg sim -out ../../../sim/avx2_amd64.s -stubs ../../../sim/avx2_amd64.go

// stepRow is stepPlain, or the same in AVX2.
func stepRow(d, h, c []Time, span, late []uint32) {
	n := len(c) &^ 3
	if n == 0 || !cpu.X86.HasAVX2 {
		stepPlain(d, h, c, span, late)
		return
	}
	// Downwards: what is left over comes first.
	if rest := len(c) - n; rest > 0 {
		if span == nil {
			stepPlain(d[n:], h[n:], c[n:], nil, nil)
		} else {
			stepPlain(d[n:], h[n:], c[n:], span[n:], late[n:])
		}
	}
	_, _ = d[n], h[n-1]
	if span == nil {
		avx2Step((*int64)(&d[1]), (*int64)(&h[1]), (*int64)(&c[0]), n)
		return
	}
	_, _ = span[n-1], late[n-1]
	avx2NoisyStep((*int64)(&d[1]), (*int64)(&h[1]), (*int64)(&c[0]), &span[0], &late[0], n)
}
