package main

import (
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
)

// A sizeError is a size on the command line that cannot be read.
type sizeError struct{ text, reason string }

func (e *sizeError) Error() string { return fmt.Sprintf("size %q: %s", e.text, e.reason) }

// parseSize reads a number of bytes: digits, perhaps with a fraction, then perhaps K, M, G or T (powers of 1024, either case) and
// perhaps B or iB after it. "64M" is 67,108,864, "0.5K" is 512. A part of a byte is dropped.
func parseSize(text string) (int64, error) {
	s := strings.ToUpper(strings.TrimSpace(text))
	digits := strings.TrimRight(s, "KMGTIB")
	unit := 1.0
	switch s[len(digits):] {
	case "", "B":
	case "K", "KB", "KIB":
		unit = 1 << 10
	case "M", "MB", "MIB":
		unit = 1 << 20
	case "G", "GB", "GIB":
		unit = 1 << 30
	case "T", "TB", "TIB":
		unit = 1 << 40
	default:
		return 0, &sizeError{text, "unknown unit (want K, M, G or T)"}
	}
	if digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, &sizeError{text, "not a number of bytes"}
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n > math.MaxInt64/int64(unit) {
			return 0, &sizeError{text, "too large"}
		}
		return n * int64(unit), nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, &sizeError{text, "not a number of bytes"}
	}
	if f *= unit; f >= math.MaxInt64 {
		return 0, &sizeError{text, "too large"}
	}
	return int64(f), nil
}

// A sweep is a row of sizes in bytes.
type sweep struct {
	first, last int64
	step        int64 // added each time when factor is 1
	factor      int64
}

// all yields the sizes of the sweep for elements of the given width. A factor cannot leave 0, so after size 0 comes
// one element.
func (s sweep) all(width int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for size := s.first; size <= s.last; {
			if !yield(size) {
				return
			}
			next := size + s.step
			if s.factor > 1 {
				next = size * s.factor
				if size == 0 {
					next = width
				} else if size > math.MaxInt64/s.factor {
					return
				}
			}
			if next <= size {
				return // overflow
			}
			size = next
		}
	}
}

// count is the number of sizes in the sweep.
func (s sweep) count(width int64) int {
	n := 0
	for range s.all(width) {
		n++
	}
	return n
}
