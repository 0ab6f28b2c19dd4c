package sizes

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want int64 // -1: error
	}{
		{"0", 0}, {"8", 8}, {"1K", 1 << 10}, {"64M", 64 << 20}, {"2g", 2 << 30}, {"1T", 1 << 40}, {"512k", 512 << 10},
		{"0.5K", 512}, {"1.5M", 3 << 19}, {"4KiB", 4 << 10}, {"4KB", 4 << 10}, {"17B", 17}, {" 8 ", 8},
		{"9223372036854775807", math.MaxInt64}, {"8388608T", -1}, {"9223372036854775808", -1}, {"1e9", -1},
		{"", -1}, {"M", -1}, {"-1", -1}, {"8X", -1}, {"8MK", -1}, {"8I", -1}, {"1.2.3", -1}, {".", -1}, {"inf", -1}, {"0x10", -1},
	}
	for _, test := range tests {
		got, err := Parse(test.text)
		var bad *Error
		switch {
		case test.want < 0 && !errors.As(err, &bad):
			t.Errorf("Parse(%q): got %d, %v, want an Error", test.text, got, err)
		case test.want >= 0 && (err != nil || got != test.want):
			t.Errorf("Parse(%q): got %d, %v, want %d", test.text, got, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0", "64M", "1.5G", "9223372036854775807", "KiB", "-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("Parse(%q): %v is not an Error", text, err)
			}
			return
		}
		if n < 0 {
			t.Fatalf("Parse(%q) = %d, want no negative size", text, n)
		}
		if again, err := Parse(fmt.Sprint(n)); err != nil || again != n {
			t.Fatalf("Parse(%d): got %d, %v, want %d", n, again, err, n)
		}
	})
}

func TestSweep(t *testing.T) {
	tests := []struct {
		name  string
		sweep Sweep
		width int64
		want  []int64
	}{
		{"factor", Sweep{8, 64, 1, 2}, 4, []int64{8, 16, 32, 64}},
		{"factor stops below the end", Sweep{8, 63, 1, 2}, 4, []int64{8, 16, 32}},
		{"from zero by factor", Sweep{0, 40, 1, 3}, 4, []int64{0, 4, 12, 36}},
		{"from zero by step", Sweep{0, 20, 10, 1}, 4, []int64{0, 10, 20}},
		{"step", Sweep{100, 130, 10, 1}, 4, []int64{100, 110, 120, 130}},
		{"one", Sweep{8, 8, 1, 2}, 4, []int64{8}},
		{"one zero", Sweep{0, 0, 1, 2}, 4, []int64{0}},
		{"near the largest", Sweep{math.MaxInt64 / 2, math.MaxInt64, 1, 3}, 1, []int64{math.MaxInt64 / 2}},
		{"step over the largest", Sweep{math.MaxInt64 - 1, math.MaxInt64, 2, 1}, 1, []int64{math.MaxInt64 - 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := slices.Collect(test.sweep.All(test.width))
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if n := test.sweep.Count(test.width); n != len(test.want) {
				t.Errorf("count: got %d, want %d", n, len(test.want))
			}
		})
	}
}
