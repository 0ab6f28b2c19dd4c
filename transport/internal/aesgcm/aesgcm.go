package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
)

// New returns AES-GCM with nonces of 12 bytes and tags of 16, as [cipher.NewGCM] does, for a key of 16, 24 or 32 bytes. It may be used by
// many goroutines at once. It fails with an [aes.KeySizeError] for a key of another length, and as NewGCM does.
func New(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if !available || len(key) == 24 || fips140.Enabled() {
		return cipher.NewGCM(block)
	}
	return newWide(block, key), nil
}

// SealEnding is g.Seal of a text that has one byte more, at another place in memory: the content of a record of TLS 1.3 and its type. The text
// is copied only if g is not from here.
func SealEnding(g cipher.AEAD, dst, nonce, text []byte, end byte, data []byte) []byte {
	if own, ok := g.(interface {
		sealEnding(dst, nonce, text []byte, end byte, data []byte) []byte
	}); ok {
		return own.sealEnding(dst, nonce, text, end, data)
	}
	at := len(dst)
	dst = append(append(dst, text...), end)
	return g.Seal(dst[:at], nonce, dst[at:], data)
}
