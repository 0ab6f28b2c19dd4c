//go:build !amd64 || purego

package engine

// pause is a short delay; processors without a hint for spinning waits just count.
func pause(n uint32) {
	x := uint32(0)
	for range n {
		x++
	}
}
