package main

// #cgo CFLAGS: -O3 -mavx2 -Wall
// #include "loops.h"
import "C"

import (
	"runtime"
	"unsafe"
)

// compiled returns the way of what the C compiler makes of plain loops. kind and op number types and ops. The operands stay where they are
// until release; calls repeat in C, so that no sample has Go's way into C in it.
func compiled(kind, op int, dst []byte, srcs [][]byte) (reduce way, release func()) {
	pin := new(runtime.Pinner)
	pin.Pin(&dst[0])
	var from [8]unsafe.Pointer
	for i, src := range srcs {
		pin.Pin(&src[0])
		from[i] = unsafe.Pointer(&src[0])
	}
	return func(times int) {
		C.reduce(C.int(kind), C.int(op), unsafe.Pointer(&dst[0]), &from[0], C.int(len(srcs)), C.long(len(dst)), C.long(times))
	}, pin.Unpin
}
