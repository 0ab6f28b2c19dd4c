//go:build unix

package rdma

import "golang.org/x/sys/unix"

// newPages returns n zeroed bytes outside the Go heap: a device needs memory that stays where it is.
func newPages(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

func freePages(b []byte) error { return unix.Munmap(b) }
