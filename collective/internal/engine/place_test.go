package engine

import (
	"errors"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/transport"
)

// A peer that says it has stored what nobody let it store has broken the rules, and no data is taken for granted.
func TestPlacedWithoutOffer(t *testing.T) {
	for step := range uint32(2) { // where a reduction, and where a receive is due
		g := newGroup(t, 2, nil)
		l := g.link(1, 0, 0)
		h := g.header()
		for i := range step {
			h.Step = i
			post(t, l, h, buffer.Of([]int32{10}).Data)
		}
		h.Step, h.Kind = step, transport.Placed
		post(t, l, h, buffer.Of([]int32{10}).Data)
		err := g.allReduce(t.Context(), 0, plan.Ring, []int32{1, 2})
		var frame *transport.FrameError
		if !errors.As(err, &frame) {
			t.Errorf("step %d: got %v, want a FrameError", step, err)
		}
	}
}
