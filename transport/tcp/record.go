package tcp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/ringtree/ringtree/transport/internal/aesgcm"
)

// Sizes of TLS 1.3 records in bytes (RFC 8446, section 5).
const (
	recordHeader  = 5
	recordPlain   = 1 << 14 // of content, at most
	recordSealed  = recordPlain + 256
	recordSpace   = recordHeader + recordSealed
	recordTag     = 16 // of every cipher of TLS 1.3
	recordTrailer = 1 + recordTag
)

// Content types (RFC 8446, section 5.1), and the one handshake message that comes after the handshake.
const (
	typeAlert       = 21
	typeHandshake   = 22
	typeApplication = 23

	messageKeyUpdate = 24
)

// useless is how many records without content may come in a row.
const useless = 16

var errIdle = errors.New("TLS records without content, one after the other")

// A suite is a cipher suite of TLS 1.3.
type suite struct {
	keySize int
	aead    func(key []byte) (cipher.AEAD, error)
	hash    func() hash.Hash
	hashLen int
	// limit is after how many records a sender takes new keys, well below what the cipher allows (RFC 8446, section 5.5).
	limit uint64
}

// standardGCM is AES-GCM of the standard library.
func standardGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// suites are those that crypto/tls negotiates: AES-128-GCM where both ends have instructions for it. standardSuites are for [StandardCipher].
var suites, standardSuites = suitesWith(aesgcm.New), suitesWith(standardGCM)

func suitesWith(gcm func(key []byte) (cipher.AEAD, error)) map[uint16]*suite {
	return map[uint16]*suite{
		tls.TLS_AES_128_GCM_SHA256:       {16, gcm, sha256.New, sha256.Size, 1 << 23},
		tls.TLS_AES_256_GCM_SHA384:       {32, gcm, sha512.New384, sha512.Size384, 1 << 23},
		tls.TLS_CHACHA20_POLY1305_SHA256: {32, chacha20poly1305.New, sha256.New, sha256.Size, 1 << 40},
	}
}

// expand is HKDF-Expand-Label without a context (RFC 8446, section 7.1).
func (s *suite) expand(secret []byte, label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(append(info, byte(len(label))), label...), 0)
	return hkdf.Expand(s.hash, secret, string(info), n)
}

// A half protects one direction of a connection by records of TLS 1.3.
type half struct {
	suite  *suite
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	seq    uint64
	limit  uint64
	nonce  [12]byte // here, so that a record does not allocate it
}

func newHalf(s *suite, secret []byte) (half, error) {
	h := half{suite: s, secret: secret, limit: s.limit}
	return h, h.key()
}

// key makes the keys of the secret.
func (h *half) key() error {
	key, err := h.suite.expand(h.secret, "key", h.suite.keySize)
	if err != nil {
		return err
	}
	iv, err := h.suite.expand(h.secret, "iv", len(h.iv))
	if err != nil {
		return err
	}
	if h.aead, err = h.suite.aead(key); err != nil {
		return err
	}
	copy(h.iv[:], iv)
	h.seq = 0
	return nil
}

// update takes the next keys (RFC 8446, section 7.2).
func (h *half) update() (err error) {
	if h.secret, err = h.suite.expand(h.secret, "traffic upd", h.suite.hashLen); err != nil {
		return err
	}
	return h.key()
}

// next returns the nonce of the next record.
func (h *half) next() []byte {
	h.nonce = h.iv
	for i := range 8 {
		h.nonce[4+i] ^= byte(h.seq >> (56 - 8*i))
	}
	h.seq++
	return h.nonce[:]
}

// seal appends a record with content, at most recordPlain bytes. It allocates where to has no room for it.
func (h *half) seal(to []byte, kind byte, content []byte) []byte {
	at := len(to)
	n := len(content) + recordTrailer
	to = slices.Grow(to, recordHeader+n)
	to = append(to, typeApplication, 3, 3, byte(n>>8), byte(n))
	return aesgcm.SealEnding(h.aead, to, h.next(), content, kind, to[at:])
}

// length returns how many bytes the record takes that begins with these recordHeader bytes.
func length(header []byte) (int, error) {
	n := int(binary.BigEndian.Uint16(header[3:]))
	if header[0] != typeApplication || header[1] != 3 || header[2] != 3 || n < recordTrailer || n > recordSealed {
		return 0, fmt.Errorf("not a TLS 1.3 record: %x", header[:recordHeader])
	}
	return recordHeader + n, nil
}

// open decrypts a record to to, which may be a place within it or elsewhere, and has the capacity of the record's content, padding and
// type. It returns the content.
func (h *half) open(to, record []byte) (kind byte, content []byte, err error) {
	inner, err := h.aead.Open(to[:0], h.next(), record[recordHeader:], record[:recordHeader])
	if err != nil {
		return 0, nil, errors.New("a TLS record is not authentic")
	}
	end := len(inner)
	for end > 0 && inner[end-1] == 0 {
		end--
	}
	if end == 0 || end-1 > recordPlain {
		return 0, nil, errors.New("a TLS record has no type, or too much content")
	}
	return inner[end-1], inner[:end-1], nil
}

// attend takes a record that is not data. It returns whether the peer wants this side to take new keys, too.
func (h *half) attend(kind byte, content []byte) (answer bool, err error) {
	switch {
	case kind == typeAlert && len(content) == 2 && content[1] == 0:
		return false, io.EOF
	case kind == typeAlert && len(content) == 2:
		return false, &net.OpError{Op: "remote error", Err: tls.AlertError(content[1])}
	case kind == typeHandshake && len(content) == 5 && content[0] == messageKeyUpdate && content[1]|content[2] == 0 && content[3] == 1 && content[4] <= 1:
		return content[4] == 1, h.update()
	}
	return false, fmt.Errorf("unexpected TLS record of type %d with %d bytes", kind, len(content))
}

// keyUpdate appends the word that the keys change, and changes them.
func (h *half) keyUpdate(to []byte) ([]byte, error) {
	to = h.seal(to, typeHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0})
	return to, h.update()
}
