package quic

import "testing"

// The size of packets in control data is read, taken out and put back.
func TestSegmentSize(t *testing.T) {
	other := appendSize(nil, 7)
	other[8] = 0 // a message of another level
	oob := append(appendSize(nil, 1449), other...)
	if n := sentSize(oob); n != 1449 {
		t.Errorf("size: got %d, want 1449", n)
	}
	rest := stripSize(nil, oob)
	if n := sentSize(rest); n != 0 || string(rest) != string(other) {
		t.Errorf("without the size: %x, want %x", rest, other)
	}
	if n := sentSize(oob[:5]); n != 0 || len(stripSize(nil, oob[:5])) != 0 {
		t.Error("a cut message has a size")
	}
}
