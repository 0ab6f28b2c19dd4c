package rdma

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

var fullHello = &hello{
	window: 8, slots: 0x7f0011223344, key: 0x55667788, place: place{ethernet: true, lid: 0x99aa, mtu: 3, gid: [16]byte{1, 2, 15: 16}},
	pairs: []helloPair{{0xbbccdd, 0x112233}, {1, 2}},
}

func TestHello(t *testing.T) {
	for _, want := range []*hello{fullHello, {}, {why: "no device"}, {why: strings.Repeat("y", maxText)}} {
		k, rest, err := parseHead(want.append())
		if err != nil || k != kindHello {
			t.Fatalf("got kind %d, %v", k, err)
		}
		got, err := parseHello(rest)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for name, spoil := range map[string]func(h *hello){
		"no window":        func(h *hello) { h.window = 0 },
		"a large window":   func(h *hello) { h.window = MaxWindow + 1 },
		"no MTU":           func(h *hello) { h.place.mtu = 0 },
		"a large MTU":      func(h *hello) { h.place.mtu = 6 },
		"many pairs":       func(h *hello) { h.pairs = make([]helloPair, MaxQueuePairs+1) },
		"a large number":   func(h *hello) { h.pairs = []helloPair{{1 << 24, 0}} },
		"a large PSN":      func(h *hello) { h.pairs = []helloPair{{0, 1 << 24}} },
		"slots at the end": func(h *hello) { h.slots = 1<<64 - 1 },
		"keys of nothing":  func(h *hello) { h.pairs = nil },
		"a long text":      func(h *hello) { *h = hello{why: strings.Repeat("y", maxText+1)} },
		"text with pairs":  func(h *hello) { h.why = "x" },
	} {
		h := *fullHello
		spoil(&h)
		var frame *transport.FrameError
		if _, err := parseHello(h.append()[messageHead:]); !errors.As(err, &frame) {
			t.Errorf("%s: got %v, want a FrameError", name, err)
		}
	}
}

func TestHeads(t *testing.T) {
	for k := kindReady; k <= kindBroken; k++ {
		b := head(k, 0)
		if k == kindClosing {
			b = closingMessage(7)
		}
		if got, _, err := parseHead(b); got != k || err != nil {
			t.Errorf("kind %d: got %d, %v", k, got, err)
		}
	}
	if b := brokenMessage(errors.New(strings.Repeat("x", 1000))); len(b) != messageHead+maxText {
		t.Errorf("a text of %d bytes, want %d", len(b)-messageHead, maxText)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "short": head(kindUp, 0)[:7], "other magic": append([]byte("x"), head(kindUp, 0)[1:]...),
		"unknown kind": head(99, 0), "kind 0": head(0, 0), "more than a word": append(head(kindUp, 0), 1), "half a number": append(head(kindClosing, 0), 1),
		"a long text": append(head(kindBroken, 0), make([]byte, maxText+1)...),
	} {
		var frame *transport.FrameError
		if _, _, err := parseHead(b); !errors.As(err, &frame) {
			t.Errorf("%s: got %v, want a FrameError", name, err)
		}
	}
	other := head(kindUp, 0)
	other[4]++
	var refused *transport.RefusedError
	if _, _, err := parseHead(other); !errors.As(err, &refused) || refused.Why != transport.RefusedSettings {
		t.Errorf("another version: got %v, want a RefusedError", err)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(fullHello.append())
	f.Add((&hello{}).append())
	f.Add(closingMessage(1 << 40))
	f.Add(brokenMessage(ErrDeviceLost))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, rest, err := parseHead(b)
		if err != nil || k != kindHello {
			return
		}
		h, err := parseHello(rest)
		if err != nil {
			return
		}
		if len(h.pairs) > MaxQueuePairs || h.window > MaxWindow {
			t.Fatalf("%x: accepted as %+v", b, h)
		}
		if again := h.append(); string(again) != string(b) {
			t.Fatalf("%x: written back as %x", b, again)
		}
	})
}
