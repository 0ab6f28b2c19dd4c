//go:build gpu && linux && cgo && (amd64 || arm64)

package cudabridge

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
)

// gpu returns the first device of the real driver.
func gpu(t testing.TB) *Device {
	t.Helper()
	driver, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := driver.Device(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v, driver for CUDA %d", d.Info(), driver.Version())
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestGPUKernels runs the table of kernels on the device and compares with package buffer.
func TestGPUKernels(t *testing.T) {
	d := gpu(t)
	s := get1[*Stream](t)(d.NewStream())
	cases := 0
	for _, dtype := range buffer.DTypes() {
		size := dtype.Size()
		for _, op := range buffer.Ops() {
			k, err := buffer.KernelFor(dtype, op)
			must(t, err)
			for _, l := range layouts {
				for width := 2; width <= passWidth; width++ {
					cases++
					const room = 512
					host := make([]byte, (passWidth+1)*room)
					fillWith(dtype, host, rand.New(rand.NewPCG(uint64(cases), 1)))
					at := func(from []byte, i int) []byte {
						return from[i*room+16+l.at(i, size):][:l.count(size)*size]
					}
					b := upload(t, d, host)
					var srcs, places [][]byte
					for j := range width {
						srcs, places = append(srcs, bytes.Clone(at(host, 1+j))), append(places, at(b.Bytes(), 1+j))
					}
					want := at(host, 0)
					k.Reduce(want, srcs)
					k.Finish(want, 3)
					must(t, s.Reduce(k, at(b.Bytes(), 0), places, 3, nil))
					must(t, s.Synchronize())
					got := download(t, d, b.Bytes())
					if err := differs(dtype, at(got, 0), want); err != nil {
						t.Fatalf("%s %v of %v, %d sources: %v", l.name, op, dtype, width, err)
					}
					copy(at(host, 0), at(got, 0))
					if !bytes.Equal(got, host) {
						t.Fatalf("%s %v of %v, %d sources: it wrote outside of dst", l.name, op, dtype, width)
					}
					must(t, b.Close())
				}
			}
		}
	}
	must(t, s.Close())
	t.Logf("%d cases", cases)
}

// TestGPUFloat8 does so for numbers of 8 bits, by the conversions that the device has.
func TestGPUFloat8(t *testing.T) { float8OnDevice(t, gpu(t)) }

// BenchmarkGPUReduce reports the memory traffic of reductions of 64 MiB beside that of a copy on the device.
func BenchmarkGPUReduce(b *testing.B) {
	d := gpu(b)
	const n = 64 << 20
	s, err := d.NewStream()
	if err != nil {
		b.Fatal(err)
	}
	mem, err := d.Alloc(9 * n)
	if err != nil {
		b.Fatal(err)
	}
	part := func(i int) []byte { return mem.Bytes()[i*n : (i+1)*n] }
	run := func(name string, traffic int64, work func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(traffic)
			for b.Loop() {
				if err := errors.Join(work(), s.Synchronize()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("copy", 2*n, func() error { return s.Copy(part(0), part(1)) })
	for _, dtype := range []buffer.DType{buffer.Float32, buffer.BFloat16, buffer.Int8} {
		k, err := buffer.KernelFor(dtype, buffer.Sum)
		if err != nil {
			b.Fatal(err)
		}
		for _, width := range []int{2, 4, 8} {
			var srcs [][]byte
			for j := range width {
				srcs = append(srcs, part(1+j))
			}
			run(dtype.String()+"/"+string(rune('0'+width)), int64(width+1)*n, func() error { return s.Reduce(k, part(0), srcs, 1, nil) })
		}
	}
	if err := errors.Join(s.Close(), mem.Close()); err != nil {
		b.Fatal(err)
	}
}
