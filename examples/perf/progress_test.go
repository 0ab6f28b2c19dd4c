package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProgress(t *testing.T) {
	var out strings.Builder
	p := &progress{w: &out, total: 2}
	p.next("8 B")
	p.clear()
	p.clear()
	p.next("16 B")
	want := "\r\x1b[K[1/2] 8 B" + "\r\x1b[K" + "\r\x1b[K[2/2] 16 B"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	quiet := newProgress(f, 1)
	quiet.next("8 B")
	quiet.clear()
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("to a file: got %d bytes, %v, want none", info.Size(), err)
	}
}
