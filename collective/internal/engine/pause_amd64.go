//go:build !purego

package engine

// pause tells the processor n ≥ 1 times that this is a spinning wait.
//
//go:noescape
func pause(n uint32)
