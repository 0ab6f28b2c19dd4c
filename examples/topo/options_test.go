package main

import (
	"errors"
	"flag"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	o, err := parseOptions(strings.Fields("-np 1 -t 6 -hosts 3 -transport mem -size 64k -plot A.PNG"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.ranks() != 6 || o.size != 64<<10 || o.Transport != "mem" {
		t.Errorf("got %+v", o)
	}
	for rank, want := range []int{0, 0, 1, 1, 2, 2} {
		if got := o.hostOf(rank); got != want {
			t.Errorf("host of rank %d: got %d, want %d", rank, got, want)
		}
	}
	o.processes, o.threads, o.hosts = 3, 2, 2
	for rank, want := range []int{0, 0, 0, 0, 1, 1} {
		if got := o.hostOf(rank); got != want {
			t.Errorf("three processes on two hosts: host of rank %d: got %d, want %d", rank, got, want)
		}
	}
	if _, err := parseOptions([]string{"-h"}, nil); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: got %v, want %v", err, flag.ErrHelp)
	}
}

func TestParseOptionsErrors(t *testing.T) {
	for line, want := range map[string]string{
		"-np x": "-np", "-t 0": "at least 1", "more": "unexpected", "-size 1X": "64K", "-plot a.jpg": ".png or .svg", "-np 2 -hosts 3": "2 processes",
		"-np 1 -t 2 -hosts 3": "2 ranks", "-transport pigeon": "pigeon", "-np 2 -transport mem": "goroutines", "-timeout -1s": "duration",
		"-np 4096": "at most", "-topo wan -t 2": "-topo", "-topo wan -cache": "-topo", "-np 1024 -t 1024": "at most",
	} {
		if _, err := parseOptions(strings.Fields(line), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", line, err, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "17": 17, "2K": 2048, "3m": 3 << 20, "1G": 1 << 30} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "K", "-1", "1KK", "1.5K", "9999999999G", "K1"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: got %d, want an error", s, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("64K")
	f.Add("9223372036854775807G")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); n < 0 || err != nil && n != 0 {
			t.Errorf("%q: got %d, %v", s, n, err)
		}
	})
}
