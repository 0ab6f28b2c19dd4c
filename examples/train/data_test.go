package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func mustLoad(t testing.TB) *samples {
	t.Helper()
	s, err := loadDigits()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoadDigits(t *testing.T) {
	s := mustLoad(t)
	if got, want := s.len(), 1797; got != want || len(s.x) != want*pixels {
		t.Fatalf("%d labels and %d pixels, want %d and %d", got, len(s.x), want, want*pixels)
	}
	// The first image of the file, a zero, begins like this.
	if got, want := s.image(0)[:8], []float32{0, 0, 5. / 16, 13. / 16, 9. / 16, 1. / 16, 0, 0}; !slices.Equal(got, want) || s.y[0] != 0 {
		t.Errorf("first row %v of a %d, want %v of a 0", got, s.y[0], want)
	}
	// The data set's own description gives these counts (scikit-learn's user guide, "digits").
	var counts [classes]int
	for _, y := range s.y {
		counts[y]++
	}
	if want := [classes]int{178, 182, 177, 183, 181, 182, 181, 179, 174, 180}; counts != want {
		t.Errorf("labels %v, want %v", counts, want)
	}
	if lo, hi := slices.Min(s.x), slices.Max(s.x); lo != 0 || hi != 1 {
		t.Errorf("pixels from %v to %v, want 0 to 1", lo, hi)
	}
}

func row(pixel, label string) string { return strings.Repeat(pixel+",", pixels) + label + "\n" }

func TestParseDigitsErrors(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"short", "1,2,3\n", "row 1 does not have 65 columns"},
		{"long", row("1", "2,3"), "row 1 does not have 65 columns"},
		{"pixel too bright", row("1", "2") + row("17", "2"), `row 2, column 1: "17" is not a number from 0 to 16`},
		{"label", row("1", "10"), `row 1, column 65: "10" is not a number from 0 to 9`},
		{"word", row("1", "x"), `row 1, column 65: "x" is not a number from 0 to 9`},
		{"negative", row("-1", "1"), `row 1, column 1: "-1" is not a number from 0 to 16`},
		{"endless line", strings.Repeat("1", 1<<20), "token too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseDigits(strings.NewReader(tt.in))
			if !errors.Is(err, errData) || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := parseDigits(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// FuzzParseDigits: what the parser takes is in range, and says the same when written out again.
func FuzzParseDigits(f *testing.F) {
	f.Add("")
	f.Add(row("3", "4"))
	f.Add(row("16", "9") + row("0", "0"))
	f.Add("1,2\n\n,,")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := parseDigits(strings.NewReader(in))
		if err != nil {
			if !errors.Is(err, errData) {
				t.Fatalf("error %v is not errData", err)
			}
			return
		}
		if len(s.x) != s.len()*pixels {
			t.Fatalf("%d pixels for %d labels", len(s.x), s.len())
		}
		var out strings.Builder
		for i, y := range s.y {
			for _, v := range s.image(i) {
				fmt.Fprintf(&out, "%v,", v*maxPixel)
			}
			fmt.Fprintln(&out, y)
		}
		again, err := parseDigits(strings.NewReader(out.String()))
		if err != nil || !slices.Equal(again.x, s.x) || !slices.Equal(again.y, s.y) {
			t.Fatalf("second reading differs, error %v", err)
		}
	})
}

// TestSplit: the same parts each time, no sample in both or in neither.
func TestSplit(t *testing.T) {
	all := mustLoad(t)
	train, test := split(all)
	train2, test2 := split(all)
	if !slices.Equal(train.x, train2.x) || !slices.Equal(test.y, test2.y) {
		t.Error("two splits differ")
	}
	if train.len() != 1438 || test.len() != 359 {
		t.Errorf("%d and %d samples, want 1438 and 359", train.len(), test.len())
	}
	// A fixed point in the split of this seed: changing it changes every published accuracy.
	if got, want := test.y[:8], []uint8{0, 3, 4, 0, 6, 5, 8, 1}; !slices.Equal(got, want) {
		t.Errorf("test set begins with labels %v, want %v", got, want)
	}
	type sample struct {
		x [pixels]float32
		y uint8
	}
	count := make(map[sample]int)
	for i := range all.len() {
		count[sample{[pixels]float32(all.image(i)), all.y[i]}]++
	}
	for _, part := range []*samples{train, test} {
		for i := range part.len() {
			count[sample{[pixels]float32(part.image(i)), part.y[i]}]--
		}
	}
	for image, n := range count {
		if n != 0 {
			t.Fatalf("image %v: %d more in the whole than in the parts", image, n)
		}
	}
}

func TestEpochOrder(t *testing.T) {
	a, again, b, other := epochOrder(1, 0, 100), epochOrder(1, 0, 100), epochOrder(1, 1, 100), epochOrder(2, 0, 100)
	if !slices.Equal(a, again) {
		t.Error("the same epoch has two orders")
	}
	if slices.Equal(a, b) || slices.Equal(a, other) {
		t.Error("two epochs, or two seeds, have one order")
	}
	slices.Sort(b)
	for i, v := range b {
		if i != v {
			t.Fatalf("sample %d is missing", i)
		}
	}
}
