package shm

import (
	"testing"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
		return transporttest.NewGroup(t, New(), n)
	})
}

// The rank's bell is not of shared memory: a relay stands in between.
func TestConformanceForeignBell(t *testing.T) {
	transporttest.Run(t, func(t testing.TB, n int) *transporttest.Group {
		return transporttest.NewGroupWithBells(t, New(), n, func() (transport.Bell, error) { return transport.NewBell(), nil })
	})
}
