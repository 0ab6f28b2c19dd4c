//go:build linux && cgo && (amd64 || arm64)

package cudabridge

import (
	"errors"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/cudabridge/cudatest"
)

// TestStored goes through what devices say of stores by network cards.
func TestStored(t *testing.T) {
	d := device(t, 0)
	defer cudatest.Direct(0, 0)
	defer cudatest.Fail("", 0, 0)
	many, alone := d.Memory(MemoryConfig{}), d.Memory(MemoryConfig{Staged: true})
	for _, tt := range []struct {
		name             string
		m                *Memory
		flush, order     int
		fails            string
		ordered, flushes bool
	}{
		{name: "neither", m: many},
		{name: "for all", m: many, order: 200, ordered: true},
		{name: "for the owner, whose memory others read", m: many, order: 100},
		{name: "for the owner, whose memory nobody reads", m: alone, order: 100, ordered: true},
		{name: "for the owner, and a flush", m: many, flush: 1, order: 100, flushes: true},
		{name: "a flush", m: alone, flush: 3, flushes: true},
		{name: "a flush by streams alone", m: many, flush: 2},
		{name: "a flush that fails", m: many, flush: 1, fails: "cuFlushGPUDirectRDMAWrites"},
		{name: "a driver that does not know", m: many, order: 200, fails: "cuDeviceGetAttribute"},
	} {
		cudatest.Direct(tt.flush, tt.order)
		cudatest.Fail(tt.fails, 1, invalidValue)
		ordered, flush := tt.m.Stored()
		if ordered != tt.ordered || (flush != nil) != tt.flushes {
			t.Errorf("%s: ordered %t, a flush %t", tt.name, ordered, flush != nil)
		}
		if flush != nil {
			must(t, flush())
			cudatest.Direct(0, 0)
			if err := flush(); !errors.Is(err, ErrNotSupported) {
				t.Errorf("%s: the driver's error is lost: %v", tt.name, err)
			}
		}
	}
}

// TestWrongStores is what the stand-in must notice of network cards that store in a device's memory, and of what uses it too early.
func TestWrongStores(t *testing.T) {
	d := device(t, 0)
	m := d.Memory(MemoryConfig{})
	cudatest.Direct(1, 0)
	defer cudatest.Direct(0, 0)
	_, flush := m.Stored()
	s := get1[*Stream](t)(d.NewStream())
	a, b := get1[*Buffer](t)(d.Alloc(1<<12)), get1[*Buffer](t)(d.Alloc(1<<12))
	for _, tt := range []struct {
		name, want string
		do         func()
	}{
		{"all in order", "", func() {
			cudatest.Card(a.Bytes(), cudatest.Wanted)
			cudatest.Card(a.Bytes(), cudatest.Stored)
			must(t, flush())
			must(t, s.Copy(b.Bytes(), a.Bytes()))
		}},
		{"one behind the card's read", "", func() {
			cudatest.Card(a.Bytes(), cudatest.Stored)
			cudatest.Settle()
			must(t, s.Copy(b.Bytes(), a.Bytes()))
		}},
		{"a place that is not used after all", "", func() {
			cudatest.Card(a.Bytes(), cudatest.Wanted)
			cudatest.Card(a.Bytes(), cudatest.Abandoned)
			must(t, s.Copy(b.Bytes(), a.Bytes()))
		}},
		{"the stream goes on before the flush", "a network card", func() {
			cudatest.Card(a.Bytes(), cudatest.Stored)
			must(t, s.Copy(b.Bytes(), a.Bytes()))
			must(t, s.Synchronize())
			must(t, flush())
		}},
		{"a place that the stream still writes to", "a network card", func() {
			must(t, s.Fill(a.Bytes(), 1))
			cudatest.Card(a.Bytes()[5:100], cudatest.Wanted)
			must(t, s.Synchronize())
			must(t, flush())
		}},
		{"memory that is freed while it is a place", "a network card", func() {
			x := get1[*Buffer](t)(d.Alloc(64))
			cudatest.Card(x.Bytes(), cudatest.Wanted)
			must(t, x.Close())
		}},
		{"a place outside the device's memory", "no memory of a device", func() { cudatest.Card(make([]byte, 8), cudatest.Wanted) }},
	} {
		must(t, s.Synchronize())
		tt.do()
		must(t, s.Synchronize())
		if n, text := cudatest.Violations(); (n > 0) != (tt.want != "") || !strings.Contains(text, tt.want) {
			t.Errorf("%s: noted %d violations: %s", tt.name, n, text)
		}
		must(t, flush())
	}
	must(t, errors.Join(a.Close(), b.Close(), s.Close()))
}
