//go:build !purego

package aesgcm

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"testing"
)

// wide returns the implementation in assembly.
func wide(t *testing.T, key []byte) *gcm {
	t.Helper()
	if !available {
		t.Skip("no 256-bit AES here")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return newWide(block, key).(*gcm)
}

// The last round keys of the examples of FIPS 197, appendices A.1 and A.3.
func TestExpand(t *testing.T) {
	for key, want := range map[string]string{
		"2b7e151628aed2a6abf7158809cf4f3c":                                 "d014f9a8c9ee2589e13f0cc8b6630ca6",
		"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4": "fe4890d1e6188d0b046df344706c631e",
	} {
		raw, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		g := wide(t, raw)
		var got []byte
		for _, w := range g.rounds[g.last/blockSize] {
			got = binary.LittleEndian.AppendUint32(got, w)
		}
		if hex.EncodeToString(got) != want {
			t.Errorf("%s: got %x, want %s", key, got, want)
		}
	}
}

// Only 32 bits count, and they wrap around. A message with a nonce of 12 bytes never gets there, so this begins in the middle of one.
func TestCounterWraps(t *testing.T) { eachWidth(t, testCounterWraps) }

func testCounterWraps(t *testing.T) {
	draw := random(5)
	for _, size := range []int{16, 32} {
		key := draw(size)
		g := wide(t, key)
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		nonce := bytes.Repeat([]byte{0xff}, 12)
		for left := range uint32(60) { // blocks before the wrap
			text := draw(59*blockSize + 7)
			want := make([]byte, len(text))
			for at := 0; at < len(text); at += blockSize {
				var stream [blockSize]byte
				copy(stream[:], nonce)
				binary.BigEndian.PutUint32(stream[12:], -left+uint32(at/blockSize))
				block.Encrypt(stream[:], stream[:])
				for i := at; i < min(at+blockSize, len(text)); i++ {
					want[i] = text[i] ^ stream[i-at]
				}
			}
			var s state
			g.begin(&s, nonce, nil)
			s.counter[0] = -left
			start := s
			got := make([]byte, len(text))
			g.seal(&s, got, text)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes of key, %d blocks before: sealed to %x, want %x", size, left, got, want)
			}
			sealed := s
			s = start
			g.open(&s, got, got)
			if !bytes.Equal(got, text) || s != sealed {
				t.Fatalf("%d bytes of key, %d blocks before: opened to %x, want %x", size, left, got, text)
			}
			if want := -left + uint32(len(text)/blockSize) + 1; s.counter[0] != want || s.counter[3] != 1<<32-1 {
				t.Fatalf("%d bytes of key, %d blocks before: the counter is %x, want %x", size, left, s.counter, want)
			}
		}
	}
}

// A message may come in pieces.
func TestPieces(t *testing.T) { eachWidth(t, testPieces) }

func testPieces(t *testing.T) {
	draw := random(6)
	g := wide(t, draw(16))
	text := draw(3000)
	var whole, parts state
	g.begin(&whole, draw(12), nil)
	parts = whole
	want, got := make([]byte, len(text)), make([]byte, len(text))
	g.seal(&whole, want, text)
	for at, n := 0, blockSize; at < len(text); n = (n*3 + blockSize) % 1040 {
		n = min(n, len(text)-at)
		g.seal(&parts, got[at:], text[at:at+n])
		at += n
	}
	if !bytes.Equal(got, want) || parts.counter != whole.counter || parts.sum != whole.sum {
		t.Errorf("got %x, %x, want %x, %x", got, parts, want, whole)
	}
}

// Where the text is not copied first, it must not lie where the result goes.
func TestEndingOverlaps(t *testing.T) {
	g := wide(t, make([]byte, 16))
	defer func() {
		if recover() == nil {
			t.Error("got no panic")
		}
	}()
	b := make([]byte, 200)
	SealEnding(g, b[:0], make([]byte, 12), b[100:190], 1, nil)
}
