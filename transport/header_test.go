package transport_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

// full has another value in every byte, so that a swapped field shows.
var full = transport.Header{
	Epoch: 0x04030201, Seq: 0x08070605, Count: 0x100f0e0d0c0b0a09, Kind: transport.Data, Coll: 0x12, DType: 0x13, Op: 0x14,
	Channel: 0x1615, Algo: 0x1817, Root: 0x1c1b1a19, Step: 0x201f1e1d, Slice: 0x24232221, Length: 0x00032625,
}

func TestHeaderBytes(t *testing.T) {
	const want = "0102030405060708" + "090a0b0c0d0e0f10" + "01121314" + "15161718" + "191a1b1c" + "1d1e1f20" + "21222324" + "25260300"
	got, err := full.AppendBinary([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != "78"+want {
		t.Errorf("got  %x\nwant 78%s", got, want)
	}
	if len(got) != 1+transport.HeaderSize {
		t.Errorf("%d bytes, want %d", len(got)-1, transport.HeaderSize)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	headers := []transport.Header{
		full, {Kind: transport.Data}, {Kind: transport.Data, Root: -1, Count: math.MaxUint64, Length: transport.MaxPayload},
	}
	// One field at a time at its largest value.
	for i := range reflect.TypeFor[transport.Header]().NumField() {
		h := transport.Header{Kind: transport.Data}
		switch f := reflect.ValueOf(&h).Elem().Field(i); reflect.TypeFor[transport.Header]().Field(i).Name {
		case "Kind":
		case "Length":
			f.SetUint(transport.MaxPayload)
		case "Root":
			f.SetInt(math.MinInt32)
		default:
			f.SetUint(math.MaxUint64 >> (64 - f.Type().Bits()))
		}
		headers = append(headers, h)
	}
	for _, h := range headers {
		b, err := h.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := full // every field is overwritten
		if err := got.UnmarshalBinary(append(b, 0xff)); err != nil || got != h {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, h)
		}
	}
}

func TestHeaderErrors(t *testing.T) {
	b, err := full.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(b []byte) []byte{
		"empty":               func(b []byte) []byte { return nil },
		"one byte short":      func(b []byte) []byte { return b[:len(b)-1] },
		"kind 0":              func(b []byte) []byte { b[16] = 0; return b },
		"kind 3":              func(b []byte) []byte { b[16] = 3; return b },
		"a byte too long":     func(b []byte) []byte { copy(b[36:], []byte{1, 0, 4, 0}); return b },
		"the greatest length": func(b []byte) []byte { copy(b[36:], []byte{255, 255, 255, 255}); return b },
	}
	for name, spoil := range cases {
		var h transport.Header
		var frame *transport.FrameError
		if err := h.UnmarshalBinary(spoil(bytes.Clone(b))); !errors.As(err, &frame) || frame.Reason == "" {
			t.Errorf("%s: got %v, want a FrameError", name, err)
		}
	}
}

func TestHeaderNoAllocs(t *testing.T) {
	buf := make([]byte, 0, transport.HeaderSize)
	var h transport.Header
	if n := testing.AllocsPerRun(100, func() {
		b, _ := full.AppendBinary(buf)
		_ = h.UnmarshalBinary(b)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// FuzzHeader reads any bytes: what is accepted keeps the rules and is written back as it was.
func FuzzHeader(f *testing.F) {
	b, err := full.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:39])
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h transport.Header
		if err := h.UnmarshalBinary(b); err != nil {
			var frame *transport.FrameError
			if !errors.As(err, &frame) {
				t.Fatalf("%x: got %v, want a FrameError", b, err)
			}
			return
		}
		if h.Kind != transport.Data && h.Kind != transport.Placed || h.Length > transport.MaxPayload {
			t.Fatalf("%x: accepted as %+v", b, h)
		}
		again, err := h.AppendBinary(nil)
		if err != nil || !bytes.Equal(again, b[:transport.HeaderSize]) {
			t.Fatalf("%x: written back as %x, %v", b, again, err)
		}
	})
}

func ExampleHeader_UnmarshalBinary() {
	sent := transport.Header{Kind: transport.Data, Seq: 7, Step: 3, Length: 4096}
	wire, err := sent.AppendBinary(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var got transport.Header
	fmt.Println(len(wire), got.UnmarshalBinary(wire), got == sent)
	fmt.Println(got.UnmarshalBinary(wire[:20]))
	// Output:
	// 40 <nil> true
	// transport: bad frame: header of 20 bytes, want 40
}
