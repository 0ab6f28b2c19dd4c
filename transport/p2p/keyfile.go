package p2p

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// pemType is the PEM label of PKCS #8 (RFC 5958).
const pemType = "PRIVATE KEY"

// maxKeyFile bounds what is read of an identity file.
const maxKeyFile = 16 << 10

// loadKey returns the key of the file at path and makes both if there is no file. Processes that race to make the file
// all get the same key.
func loadKey(path string) (ed25519.PrivateKey, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, &IdentityFileError{path, "cannot make a key", err}
	}
	switch err = writeKey(path, key); {
	case errors.Is(err, fs.ErrExist):
		return readKey(path) // another process was quicker
	case err != nil:
		return nil, &IdentityFileError{path, "cannot be written", err}
	}
	return key, nil
}

func readKey(path string) (ed25519.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &IdentityFileError{path, "cannot be read", err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, &IdentityFileError{path, "cannot be read", err}
	}
	if !info.Mode().IsRegular() {
		return nil, &IdentityFileError{path, "is not a regular file", nil}
	}
	// Windows has no such mode bits; there the folder's access list decides.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, &IdentityFileError{path, "may be read by other users; its mode must be 0600", nil}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, &IdentityFileError{path, "cannot be read", err}
	}
	key, reason := parseKey(text)
	if reason != "" {
		return nil, &IdentityFileError{path, reason, nil}
	}
	return key, nil
}

// parseKey reads an Ed25519 key in PEM, or says what is wrong. The reason never quotes the text, which is secret.
func parseKey(text []byte) (key ed25519.PrivateKey, reason string) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "holds no PEM text"
	}
	if block.Type != pemType {
		return nil, "is PEM of another kind than " + pemType
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "holds no PKCS #8 key"
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, "holds a key that is not Ed25519"
	}
	return key, ""
}

// writeKey puts the key under path in one step: the file is there whole, or not at all. It fails with fs.ErrExist
// where there is a file.
func writeKey(path string, key ed25519.PrivateKey) (err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike a rename, never replaces a key
}
