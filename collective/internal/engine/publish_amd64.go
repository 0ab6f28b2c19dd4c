//go:build !purego && !race

package engine

import "sync/atomic"

// publish stores v behind everything that was stored before, and does not wait until others can see it: this
// architecture keeps stores in order. atomic.StoreUint64 waits, for as long as another processor takes to give the cache line away.
//
//go:noescape
func publish(p *uint64, v uint64)

// settled waits until everything that was stored is visible, before anything that follows is loaded.
func settled(fence *atomic.Uint32) { fence.Add(0) }
