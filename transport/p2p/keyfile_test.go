package p2p

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity")
	// Who races to make the file gets the same key.
	keys := make([]ed25519.PrivateKey, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = loadKey(path); err != nil {
				t.Errorf("load %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i, k := range keys {
		if !k.Equal(keys[0]) {
			t.Errorf("load %d made a key of its own", i)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v, want the file alone", left, err)
	}
}

func TestKeyFileMistakes(t *testing.T) {
	dir := t.TempDir()
	der, err := ecKey()
	if err != nil {
		t.Fatal(err)
	}
	other := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	secret := "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
	for name, text := range map[string]string{
		"empty":         "",
		"no PEM":        "hello " + secret,
		"other PEM":     "-----BEGIN CERTIFICATE-----\n" + secret + "\n-----END CERTIFICATE-----\n",
		"no PKCS8":      "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n",
		"other key":     string(other),
		"cut off":       string(other[:len(other)/2]),
		"beyond limits": strings.Repeat("x", 2*maxKeyFile),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadKey(path)
		var e *IdentityFileError
		if !errors.As(err, &e) || e.Path != path {
			t.Errorf("%s: got %v, want an IdentityFileError about %s", name, err, path)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := loadKey(dir); !errors.As(err, new(*IdentityFileError)) {
		t.Errorf("a folder: got %v, want an IdentityFileError", err)
	}
	_, err = loadKey(filepath.Join(dir, "nowhere", "identity"))
	if !errors.As(err, new(*IdentityFileError)) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: got %v, want an IdentityFileError that Is fs.ErrNotExist", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	open := filepath.Join(dir, "open")
	if _, err := loadKey(open); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(open); !errors.As(err, new(*IdentityFileError)) {
		t.Errorf("readable for others: got %v, want an IdentityFileError", err)
	}
}

func ecKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

func FuzzParseKey(f *testing.F) {
	_, key, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, reason := parseKey(text)
		if (key == nil) != (reason != "") || key != nil && len(key) != ed25519.PrivateKeySize {
			t.Errorf("%q: key of %d bytes, reason %q", text, len(key), reason)
		}
	})
}

func FuzzParseAddrs(f *testing.F) {
	f.Add("/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf")
	f.Add("/p2p/x")
	f.Add("")
	f.Fuzz(func(t *testing.T, addr string) {
		info, err := parseAddrs([]string{addr})
		if (err == nil) != (info.ID != "") {
			t.Errorf("%q: identity %q, error %v", addr, info.ID, err)
		}
		if err != nil && !errors.As(err, new(*AddrError)) {
			t.Errorf("%q: %v is no AddrError", addr, err)
		}
	})
}
