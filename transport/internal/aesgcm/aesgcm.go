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
