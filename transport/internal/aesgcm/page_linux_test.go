package aesgcm

import (
	"bytes"
	"syscall"
	"testing"
)

// fenced returns two pages between pages that nobody may touch.
func fenced(t *testing.T) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	mem, err := syscall.Mmap(-1, 0, 4*page, syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(mem) })
	inner := mem[page : 3*page : 3*page]
	if err := syscall.Mprotect(inner, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return inner
}

// Nothing is read or written beside the arguments: with each of them at the end of memory, and at its beginning, a single byte would fault.
func TestPageEnds(t *testing.T) { eachWidth(t, testPageEnds) }

func testPageEnds(t *testing.T) {
	draw := random(7)
	from, to, extra := fenced(t), fenced(t), fenced(t)
	for _, size := range []int{16, 32} {
		own, stock := pair(t, draw(size))
		for n := range 700 {
			nonce, text, data := draw(12), draw(n), draw(n%37)
			want := stock.Seal(nil, nonce, text, data)
			for _, end := range []bool{false, true} {
				place := func(mem []byte, n int) []byte {
					if end {
						mem = mem[len(mem)-n:]
					}
					return mem[:n:n]
				}
				src, dst := place(from, n), place(to, n+16)
				aad := place(extra, len(data)+12)
				copy(src, text)
				copy(aad, nonce)
				copy(aad[12:], data)
				if got := own.Seal(dst[:0], aad[:12], src, aad[12:]); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, end %v: sealed to %x, want %x", n, end, got, want)
				}
				if n > 0 {
					cut := src[:n-1]
					if end {
						copy(src[1:], text[:n-1])
						cut = src[1:]
					}
					if got := SealEnding(own, dst[:0], aad[:12], cut, text[n-1], aad[12:]); !bytes.Equal(got, want) {
						t.Fatalf("%d bytes, end %v: sealed with a byte from elsewhere to %x, want %x", n, end, got, want)
					}
				}
				// The nonce behind the data, so that both meet an end.
				copy(aad, data)
				copy(aad[len(data):], nonce)
				if got, err := own.Open(src[:0], aad[len(data):], dst, aad[:len(data)]); err != nil || !bytes.Equal(got, text) {
					t.Fatalf("%d bytes, end %v: opened to %x, %v, want %x", n, end, got, err, text)
				}
			}
		}
	}
}
