//go:build !purego

package aesgcm

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// available reports whether the processor and the system have what the assembly needs. The package cpu knows the wide forms of the
// instructions for AES and for carry-less products as parts of AVX-512 only; with 256 bits they need no more than AVX.
var available = cpu.X86.HasAVX2 && cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && features()&(1<<9|1<<10) == 1<<9|1<<10

// wider reports whether it has the instructions in 512 bits, too.
var wider = available && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ

const (
	blockSize = 16
	nonceSize = 12
	tagSize   = 16
	// longest is how many bytes one message may have: as many blocks as the counter can number, but for the one of the tag.
	longest = (1<<32 - 2) * blockSize
	// piece is how much a function in assembly does before the garbage collector can stop the goroutine: some 10 µs.
	piece = 64 << 10
	// wideStride is what sealStrides and openStrides take at a time.
	wideStride = 16 * blockSize
)

// schedule is what is made of a key; the assembly knows its layout.
type schedule struct {
	powers [32][2]uint64 // H^32 to H, times x, with their bytes reversed
	folded [32][2]uint64 // the halves of each, added; the upper word is not used
	rounds [15][4]uint32 // round keys, in the order of memory
	last   uint64        // offset of the last round key in rounds, in bytes
}

// state is what a message has come to; the assembly knows its layout, too.
type state struct {
	counter [4]uint32 // the block of the next counter, with its bytes reversed
	sum     [2]uint64 // of GHASH, with its bytes reversed
}

// seal encrypts n bytes from src to dst and hashes them. All pieces of a message but the last are whole multiples of blockSize.
//
//go:noescape
func seal(k *schedule, s *state, dst, src *byte, n int)

// open hashes n bytes of src and decrypts them to dst, as seal does.
//
//go:noescape
func open(k *schedule, s *state, dst, src *byte, n int)

// sealStrides is seal in 512 bits, of n bytes that are a multiple of wideStride and not 0.
//
//go:noescape
func sealStrides(k *schedule, s *state, dst, src *byte, n int)

// openStrides is open in the same way.
//
//go:noescape
func openStrides(k *schedule, s *state, dst, src *byte, n int)

// hash hashes n bytes, padded with zeros to whole blocks.
//
//go:noescape
func hash(k *schedule, s *state, p *byte, n int)

// finish makes the tag of a message with so many bits of text, and of other data.
//
//go:noescape
func finish(k *schedule, s *state, nonce *[nonceSize]byte, texts, others uint64, tag *[tagSize]byte)

// multiply sets product to a·b/x, in the field of GHASH; the bytes of all three are reversed.
//
//go:noescape
func multiply(product, a, b *[2]uint64)

// subWord substitutes each byte of a word by the box of AES, without a table.
//
//go:noescape
func subWord(w uint32) uint32

// features is the register ECX of CPUID, leaf 7: bit 9 says VAES, bit 10 VPCLMULQDQ.
func features() (ecx uint32)

// gcm is AES-GCM in assembly.
type gcm struct{ schedule }

// newWide returns AES-GCM with a key of 16 or 32 bytes; block is AES with the same key.
func newWide(block cipher.Block, key []byte) cipher.AEAD {
	g := new(gcm)
	g.expand(key)
	var h [blockSize]byte
	block.Encrypt(h[:], h[:])
	g.prepare(h)
	return g
}

// expand makes the round keys (FIPS 197, section 5.2).
func (k *schedule) expand(key []byte) {
	n := len(key) / 4
	rounds := n + 6
	k.last = uint64(rounds * blockSize)
	word := func(i int) *uint32 { return &k.rounds[i/4][i%4] }
	constant := uint32(1) // of FIPS 197's Rcon; no more than ten are used
	for i := range 4 * (rounds + 1) {
		switch {
		case i < n:
			*word(i) = binary.LittleEndian.Uint32(key[4*i:])
			continue
		case i%n == 0: // bytes are rotated to the left, which is to the right in a word of this order
			*word(i) = bits.RotateLeft32(subWord(*word(i - 1)), -8) ^ constant
			if constant <<= 1; constant > 0xff {
				constant ^= 0x11b
			}
		case n > 6 && i%n == 4:
			*word(i) = subWord(*word(i - 1))
		default:
			*word(i) = *word(i - 1)
		}
		*word(i) ^= *word(i - n)
	}
}

// prepare computes the powers of H. Each has the factor x that makes up for products lacking it: multiplying numbers whose bits are reversed leaves
// the product one place too low.
func (k *schedule) prepare(h [blockSize]byte) {
	high, low := binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])
	over := -(high >> 63)
	first := [2]uint64{low<<1 ^ over&1, high<<1 | low>>63}
	first[1] ^= over & 0xc200000000000000
	n := len(k.powers)
	k.powers[n-1] = first
	for i := n - 2; i >= 0; i-- {
		multiply(&k.powers[i], &k.powers[i+1], &first)
	}
	for i, p := range k.powers {
		k.folded[i][0] = p[0] ^ p[1]
	}
}

// begin starts a message.
func (g *gcm) begin(s *state, nonce, data []byte) {
	*s = state{counter: [4]uint32{2, binary.BigEndian.Uint32(nonce[8:]), binary.BigEndian.Uint32(nonce[4:]), binary.BigEndian.Uint32(nonce)}}
	for len(data) > 0 {
		n := min(len(data), piece)
		hash(&g.schedule, s, &data[0], n)
		data = data[n:]
	}
}

// NonceSize returns 12.
func (g *gcm) NonceSize() int { return nonceSize }

// Overhead returns 16.
func (g *gcm) Overhead() int { return tagSize }

// Seal is that of [cipher.AEAD].
func (g *gcm) Seal(dst, nonce, plaintext, data []byte) []byte {
	return g.sealBoth(dst, nonce, plaintext, nil, data)
}

func (g *gcm) sealEnding(dst, nonce, text []byte, end byte, data []byte) []byte {
	return g.sealBoth(dst, nonce, text, []byte{end}, data)
}

// sealBoth seals text and end, of a byte at most, as one.
func (g *gcm) sealBoth(dst, nonce, text, end, data []byte) []byte {
	if len(nonce) != nonceSize {
		panic("aesgcm: incorrect length of nonce")
	}
	n := len(text) + len(end)
	if uint64(n) > longest {
		panic("aesgcm: message too large")
	}
	ret, out := extend(dst, n+tagSize)
	checkOverlap(out, text, data)
	var s state
	g.begin(&s, nonce, data)
	apart := len(text) // what does not share a block with the end
	if len(end) > 0 {
		apart -= apart % blockSize
	}
	for at := 0; at < apart; at += piece {
		g.seal(&s, out[at:], text[at:min(at+piece, apart)])
	}
	if apart < n {
		var last [blockSize]byte
		copy(last[copy(last[:], text[apart:]):], end)
		seal(&g.schedule, &s, &out[apart], &last[0], n-apart)
	}
	finish(&g.schedule, &s, (*[nonceSize]byte)(nonce), uint64(n)*8, uint64(len(data))*8, (*[tagSize]byte)(out[n:]))
	return ret
}

// seal encrypts a piece by the widest instructions that there are.
func (k *schedule) seal(s *state, dst, src []byte) {
	if n := len(src) &^ (wideStride - 1); wider && n > 0 {
		sealStrides(k, s, &dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	if len(src) > 0 {
		seal(k, s, &dst[0], &src[0], len(src))
	}
}

// open decrypts a piece in the same way.
func (k *schedule) open(s *state, dst, src []byte) {
	if n := len(src) &^ (wideStride - 1); wider && n > 0 {
		openStrides(k, s, &dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	if len(src) > 0 {
		open(k, s, &dst[0], &src[0], len(src))
	}
}

var errOpen = errors.New("aesgcm: message authentication failed")

// Open is that of [cipher.AEAD].
func (g *gcm) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	if len(nonce) != nonceSize {
		panic("aesgcm: incorrect length of nonce")
	}
	n := len(ciphertext) - tagSize
	if n < 0 || uint64(n) > longest {
		return nil, errOpen
	}
	ret, out := extend(dst, n)
	checkOverlap(out, ciphertext, data)
	var s state
	var tag, want [tagSize]byte
	copy(want[:], ciphertext[n:])
	g.begin(&s, nonce, data)
	for at := 0; at < n; at += piece {
		g.open(&s, out[at:], ciphertext[at:min(at+piece, n)])
	}
	finish(&g.schedule, &s, (*[nonceSize]byte)(nonce), uint64(n)*8, uint64(len(data))*8, &tag)
	if subtle.ConstantTimeCompare(tag[:], want[:]) != 1 {
		clear(out)
		return nil, errOpen
	}
	return ret, nil
}

// extend returns b with n bytes more, and these.
func extend(b []byte, n int) (all, more []byte) {
	at := len(b)
	all = slices.Grow(b, n)[:at+n]
	return all, all[at:]
}

// checkOverlap panics if out and in overlap and do not begin at the same place, or if out and data overlap: what [cipher.AEAD] asks of
// its caller.
func checkOverlap(out, in, data []byte) {
	if overlap(out, in) && &out[0] != &in[0] || overlap(out, data) {
		panic("aesgcm: buffers overlap")
	}
}

func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}
