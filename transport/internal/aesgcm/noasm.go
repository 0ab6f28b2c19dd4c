//go:build !amd64 || purego

package aesgcm

import "crypto/cipher"

const available = false

var wider bool // of tests

func newWide(cipher.Block, []byte) cipher.AEAD { panic("aesgcm: no assembly") }
