package main

import (
	"fmt"
	"iter"

	"github.com/ringtree/ringtree/collective/buffer"
)

// A subject is what one row measures.
type subject struct {
	size  int64 // bytes, before they are cut to whole elements
	dtype buffer.DType
	op    buffer.Op // 0: none
	root  int
}

func (s subject) String() string {
	op := ""
	if s.op != 0 {
		op = " " + s.op.String()
	}
	return fmt.Sprintf("%d B of %v%s", s.size, s.dtype, op)
}

// subjects yields what is measured, in the order of the table: the same on every rank.
func (o *options) subjects() iter.Seq[subject] {
	return func(yield func(subject) bool) {
		for _, dtype := range o.dtypes {
			for _, op := range o.ops {
				for _, root := range o.roots() {
					for cycle := 0; o.cycles == 0 || cycle < o.cycles; cycle++ {
						for size := range o.sweep.All(int64(dtype.Size())) {
							if !yield(subject{size, dtype, op, root}) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// roots are the roots to measure, one after the other.
func (o *options) roots() []int {
	switch {
	case !o.coll.rooted():
		return []int{0}
	case o.root >= 0:
		return []int{o.root}
	}
	all := make([]int, o.ranks())
	for r := range all {
		all[r] = r
	}
	return all
}

// largest are the bytes of the largest source and destination.
func (o *options) largest() (send, recv int64) {
	for _, dtype := range o.dtypes {
		width := int64(dtype.Size())
		s := o.coll.shapeOf(o.sweep.Last, width, o.ranks())
		if o.coll == barrier {
			continue
		}
		send, recv = max(send, s.send*width), max(recv, s.recv*width)
	}
	return send, recv
}
