//go:build linux && cgo && (amd64 || arm64)

package cudabridge

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
)

// TestHostDereference shows that the stand-in's device memory faults when the host touches it, so that no test of the bridge passes
// by accident.
func TestHostDereference(t *testing.T) {
	d := device(t, 0)
	b := get1[*Buffer](t)(d.Alloc(16))
	defer b.Close()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() == nil {
			t.Error("a load by the host did not fault")
		}
	}()
	fmt.Fprint(os.Stderr, b.Bytes()[0])
}

// TestWrongPrograms is what the stand-in must notice: each is a mistake that a bridge could make.
func TestWrongPrograms(t *testing.T) {
	d := device(t, 2)
	s, other := get1[*Stream](t)(d.NewStream()), get1[*Stream](t)(d.NewStream())
	a, b := get1[*Buffer](t)(d.Alloc(1<<16)), get1[*Buffer](t)(d.Alloc(1<<16))
	h := get1[*HostBuffer](t)(d.AllocHost(1 << 16))
	k, _ := buffer.KernelFor(buffer.Float32, buffer.Sum)
	for _, tt := range []struct {
		name, want string
		wrong      func()
	}{
		{"a stream that does not wait for another's copy", "race", func() {
			_ = s.Fill(a.Bytes(), 1)
			_ = other.Copy(b.Bytes(), a.Bytes())
		}},
		{"a kernel that does not wait for a copy", "a kernel", func() {
			_ = s.Fill(a.Bytes(), 1)
			_ = other.Reduce(k, b.Bytes(), [][]byte{a.Bytes(), b.Bytes()}, 1, nil)
		}},
		{"a wait for an event that is recorded too early", "race", func() {
			e, _ := d.NewEvent(false)
			_ = s.Record(e)
			_ = s.Fill(a.Bytes(), 1)
			_ = other.Wait(e)
			_ = other.Copy(b.Bytes(), a.Bytes())
		}},
		{"a slot that is used again while a copy reads it", "race", func() {
			_ = s.CopyIn(a.Bytes(), h.Bytes())
			_ = other.CopyOut(h.Bytes(), b.Bytes())
		}},
		{"a free while a copy is in flight", "in flight", func() {
			x, _ := d.Alloc(1 << 16)
			_ = s.Copy(x.Bytes(), a.Bytes())
			_ = x.Close()
		}},
		{"a free while a kernel is in flight", "in flight", func() {
			x, _ := d.Alloc(1 << 16)
			_ = s.Reduce(k, x.Bytes(), [][]byte{a.Bytes(), b.Bytes()}, 1, nil)
			_ = x.Close()
		}},
		{"a free twice", "freed twice", func() {
			x, _ := d.Alloc(64)
			_ = x.Close()
			_ = d.do(cuMemFree, &arguments{addressOf(x.data)}, nil)
		}},
		{"a copy out of Go's memory", "neither the device's nor pinned", func() {
			_ = s.CopyIn(a.Bytes()[:64], make([]byte, 64))
		}},
		{"a module unloaded under its kernel", "cuModuleUnload", func() {
			_ = s.Fill(a.Bytes(), 1)
			_ = s.Reduce(k, a.Bytes(), [][]byte{a.Bytes(), b.Bytes()}, 1, nil)
			d.mu.Lock()
			m := d.modules["reduce_float"]
			delete(d.modules, "reduce_float")
			d.mu.Unlock()
			_ = d.do(cuModuleUnload, &arguments{m.handle}, nil)
		}},
	} {
		must(t, s.Synchronize())
		must(t, other.Synchronize())
		tt.wrong()
		_, _ = s.Synchronize(), other.Synchronize()
		if n, text := cudatest.Violations(); n == 0 || !strings.Contains(text, tt.want) {
			t.Errorf("%s: noted %d violations: %s", tt.name, n, text)
		}
	}
	if r := d.driver.lib.call(cuMemAlloc, 0, &arguments{16}, nil); r != invalidContext {
		t.Errorf("a call without a context: got result %d", r)
	}
	// A kernel that reads past the end ends the context for good.
	if err := s.pass(buffer.Float32, "sum", a.Bytes(), [][]byte{a.Bytes(), place(addressOf(b.Bytes())+1<<15, 1<<16)}, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Synchronize(); !errors.Is(err, ErrSticky) {
		t.Errorf("a kernel out of bounds: got %v", err)
	}
	if _, err := d.Alloc(16); !errors.Is(err, ErrSticky) {
		t.Errorf("the device after that: got %v", err)
	}
	cudatest.Violations()
}
