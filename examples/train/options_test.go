package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{"-np", "1", "-t", "4", "-transport", "mem", "-algo", "ring", "-hidden", "8, 9", "-bucket", "2M",
		"-optimizer", "adam", "-seed", "7", "-plot", "a.SVG", "-json"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.Size(o.processes, o.threads) != 4 || o.algorithm.String() != "ring" || !slices.Equal(o.widths(), []int{64, 8, 9, 10}) || o.bucket != 2<<20 ||
		o.rate != optimizers["adam"].rate || o.seed != 7 || o.plot != "a.SVG" || !o.json || o.Transport != "mem" {
		t.Errorf("got %+v", o)
	}
	if o, err = parseOptions(nil, io.Discard); err != nil || o.rate != optimizers["sgd"].rate {
		t.Errorf("defaults: %+v, %v", o, err)
	}
}

func TestParseOptionsErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-np 0", "-np: 0 is not a number from 1"},
		{"-t -1", "-t: -1 is not"},
		{"-epochs 0", "-epochs: 0 is not"},
		{"-batch 0", "-batch: 0 is not"},
		{"-np x", "-np"},
		{"-nope", "-nope"},
		{"extra", `unexpected argument "extra"`},
		{"-transport mem -np 2", "use -np 1"},
		{"-algo best", "-algo: "},
		{"-hidden 0", `-hidden: "0" is not a width`},
		{"-hidden 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "-hidden: 17 layers"},
		{"-bucket 2T", `-bucket: "2T" is not a size`},
		{"-optimizer magic", `-optimizer: unknown optimizer "magic"`},
		{"-lr -1", "-lr: -1 is not"},
		{"-lr NaN", "-lr: NaN is not"},
		{"-lr Inf", "-lr: +Inf is not"},
		{"-time -1", "-time: -1 is not"},
		{"-time 3 -plot a.png", "nothing that -plot could draw"},
		{"-plot a.gif", `-plot: "a.gif"`},
	} {
		_, err := parseOptions(strings.Fields(tt.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", tt.args, err, tt.want)
		}
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parseOptions([]string{"-h"}, &out); !errors.Is(err, errHelp) {
		t.Fatalf("got %v, want %v", err, errHelp)
	}
	for _, want := range []string{"-np", "-plot", "exit status", attribution, "example: go run ./examples/train -np 4"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not have %q:\n%s", want, &out)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // 0: an error
	}{{"1", 1}, {"64K", 65536}, {"3m", 3 << 20}, {"1G", 1 << 30}, {"2G", 0}, {"0", 0}, {"", 0}, {"K", 0}, {"-1", 0}, {"1.5M", 0},
		{"1048577K", 0}, {"99999999999999999999G", 0}} {
		got, err := parseBytes(tt.in)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("parseBytes(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"1", "64K", "1G", "", "-3", "07m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseBytes(s); (err == nil) != (n >= 1) || n > 1<<30 {
			t.Errorf("parseBytes(%q) = %d, %v", s, n, err)
		}
	})
}

func FuzzParseWidths(f *testing.F) {
	for _, s := range []string{"", "1", "256, 128", ",", "1,,2", "-4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		widths, err := parseWidths(s)
		if err != nil {
			return
		}
		for _, n := range widths {
			if n < 1 || n > 1<<14 {
				t.Errorf("parseWidths(%q) = %v", s, widths)
			}
		}
		if len(widths) > 16 || len(widths) == 0 && s != "" {
			t.Errorf("parseWidths(%q) = %v", s, widths)
		}
	})
}
