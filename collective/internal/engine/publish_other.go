//go:build !amd64 || purego || race

package engine

import "sync/atomic"

// publish stores v behind everything that was stored before.
func publish(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// settled waits until everything that was stored is visible, before anything that follows is loaded: sequentially consistent
// stores and loads need nothing.
func settled(*atomic.Uint32) {}
