package mem_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func makeGroup(t testing.TB, n int) *transporttest.Group {
	return transporttest.NewGroup(t, mem.New(), n)
}

func TestConformance(t *testing.T) { transporttest.Run(t, makeGroup) }

func TestConformanceInBubble(t *testing.T) {
	for _, c := range transporttest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Run(t, makeGroup) })
		})
	}
}

var _ = unsafe.Sizeof(0)
var _ = errors.Is
var _ = context.Background
var _ transport.Transport = mem.New()
