//go:build linux && cgo && (amd64 || arm64)

package cudabridge

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/cudabridge/cudatest"
)

// TestDMABuf reads what is on a device out of the descriptor that the driver gives for it.
func TestDMABuf(t *testing.T) {
	d := device(t, 0)
	m := d.Memory(MemoryConfig{})
	data := make([]byte, 10_000)
	for i := range data {
		data[i] = byte(i * 13)
	}
	b := upload(t, d, data)
	fd, offset, err := m.DMABuf(b.Bytes()[5000:6000])
	must(t, err)
	file := os.NewFile(uintptr(fd), "dma-buf")
	got := make([]byte, 1000)
	if _, err := file.ReadAt(got, int64(offset)); err != nil || !bytes.Equal(got, data[5000:6000]) {
		t.Errorf("the descriptor holds something else, or %v", err)
	}
	must(t, file.Close())
	must(t, m.Fetch(got, b.Bytes()[1:1001]))
	if !bytes.Equal(got, data[1:1001]) {
		t.Error("Fetch gives something else")
	}
	must(t, m.Fetch(nil, nil))
	if err := m.Fetch(got, b.Bytes()); !errors.Is(err, ErrArgument) {
		t.Errorf("other lengths: got %v", err)
	}
	for name, tt := range map[string]struct {
		m    *Memory
		b    []byte
		want error
	}{
		"staged":         {d.Memory(MemoryConfig{Staged: true}), b.Bytes(), ErrNotSupported},
		"nothing":        {m, b.Bytes()[:0], ErrArgument},
		"beyond the end": {m, place(addressOf(b.Bytes()), 10_001), ErrArgument},
		"nowhere":        {m, place(4096, 1), nil},
	} {
		if fd, _, err := tt.m.DMABuf(tt.b); err == nil || tt.want != nil && !errors.Is(err, tt.want) || fd >= 0 {
			t.Errorf("%s: got descriptor %d, %v", name, fd, err)
		}
	}
	defer cudatest.Fail("", 0, 0)
	cudatest.Fail("cuMemGetHandleForAddressRange", 1, notSupported)
	if _, _, err := m.DMABuf(b.Bytes()); !errors.Is(err, ErrNotSupported) {
		t.Errorf("a driver that cannot: got %v", err)
	}
	cudatest.Fail("cuMemcpyDtoHAsync_v2", 1, invalidValue)
	if err := m.Fetch(got, b.Bytes()[:1000]); err == nil {
		t.Error("a copy that fails: got no error")
	}
	must(t, b.Close())
}

func TestGate(t *testing.T) {
	d := device(t, 0)
	m := d.Memory(MemoryConfig{})
	s := get1[*Stream](t)(d.NewStream())
	b := get1[*Buffer](t)(d.Alloc(1 << 16))
	must(t, s.Fill(b.Bytes(), 1))
	g := get1[buffer.Gate](t)(m.Gate(s, true))
	must(t, s.Fill(b.Bytes(), 3)) // waits for the gate
	q := get1[buffer.Queue](t)(m.NewQueue())
	reached := get1[buffer.Ticket](t)(q.After(g))
	for done := false; !done; runtime.Gosched() {
		var err error
		done, err = q.Done(reached)
		must(t, err)
	}
	if done, err := s.Done(); done || err != nil {
		t.Errorf("the stream did not wait for its gate: %v", err)
	}
	ticket := get1[buffer.Ticket](t)(q.Copy(b.Bytes()[:8], b.Bytes()[8:16]))
	rung := make(chan struct{}, 8)
	q.Wake(func() { rung <- struct{}{} })
	for done := false; !done; {
		select {
		case <-rung:
		case <-time.After(time.Second): // it was done before Wake
		}
		var err error
		done, err = q.Done(ticket)
		must(t, err)
	}
	must(t, g.Open())
	if err := g.Open(); !errors.Is(err, ErrClosed) {
		t.Errorf("opened twice: got %v", err)
	}
	must(t, s.Synchronize())
	if got := download(t, d, b.Bytes()[:1]); got[0] != 3 {
		t.Errorf("got %d behind the gate", got[0])
	}
	if _, err := m.Gate("no stream", false); !errors.Is(err, ErrArgument) {
		t.Errorf("a stream of another type: got %v", err)
	}
	other := device(t, 1)
	foreign := get1[*Stream](t)(other.NewStream())
	if _, err := m.Gate(foreign, false); !errors.Is(err, ErrArgument) {
		t.Errorf("a stream of another device: got %v", err)
	}
	must(t, errors.Join(q.Close(), foreign.Close(), b.Close(), s.Close()))
}

func TestMemory(t *testing.T) {
	d := device(t, 0)
	m := d.Memory(MemoryConfig{})
	mem := get1[[]byte](t)(m.Alloc(4096))
	if !m.Contains(mem) || !m.Contains(mem[100:200]) || m.Contains(make([]byte, 10)) || m.Contains(place(addressOf(mem)+4000, 100)) {
		t.Error("Contains is wrong")
	}
	other := device(t, 1)
	if other.Memory(MemoryConfig{}).Contains(mem) {
		t.Error("another device contains it")
	}
	if !m.Reads(m.Describe()) || !m.Reads(other.Memory(MemoryConfig{}).Describe()) || m.Reads(d.Memory(MemoryConfig{Staged: true}).Describe()) ||
		m.Reads("") || d.Memory(MemoryConfig{Staged: true}).Reads(m.Describe()) || m.Reads("cuda1 GPU-other pid:[0] x") {
		t.Error("Reads is wrong")
	}
	if err := m.Free(mem[1:]); !errors.Is(err, ErrArgument) {
		t.Errorf("Free of a part: got %v", err)
	}
	must(t, m.Free(mem))
	b := get1[*Buffer](t)(d.Alloc(64))
	block := get1[buffer.Block](t)(b.Block(m, buffer.Float32, 16, 4))
	if block.Count() != 4 || block.Memory != m {
		t.Errorf("got %v", block)
	}
	for _, c := range [][2]int{{-1, 1}, {0, 17}, {64, 1}, {68, 0}, {0, -1}} {
		if _, err := b.Block(m, buffer.Float32, c[0], c[1]); !errors.Is(err, ErrArgument) {
			t.Errorf("Block at %d of %d: got %v", c[0], c[1], err)
		}
	}
	if _, err := buffer.View[float32](block); err == nil {
		t.Error("View of a device's memory: got no error")
	}
	must(t, b.Close())
}
