//go:build !unix

package rdma

import (
	"os"
	"unsafe"
)

// newPages returns n zeroed bytes that begin on a page. No device is on the other side here.
func newPages(n int) ([]byte, error) {
	page := os.Getpagesize()
	raw := make([]byte, n+page)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (page - 1)
	return raw[skip : skip+n : skip+n], nil
}

func freePages([]byte) error { return nil }
