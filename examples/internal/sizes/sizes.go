// Package sizes reads sizes in bytes, and makes rows of them as nccl-tests does.
package sizes

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
)

// An Error is a size on the command line that cannot be read.
type Error struct{ text, reason string }

func (e *Error) Error() string { return fmt.Sprintf("size %q: %s", e.text, e.reason) }

// Parse reads a number of bytes: digits, perhaps with a fraction, then perhaps K, M, G or T (powers of 1024, either case) and
// perhaps B or iB after it. "64M" is 67,108,864, "0.5K" is 512. A part of a byte is dropped.
func Parse(text string) (int64, error) {
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
		return 0, &Error{text, "unknown unit (want K, M, G or T)"}
	}
	if digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, &Error{text, "not a number of bytes"}
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		if n > math.MaxInt64/int64(unit) {
			return 0, &Error{text, "too large"}
		}
		return n * int64(unit), nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, &Error{text, "not a number of bytes"}
	}
	if f *= unit; f >= math.MaxInt64 {
		return 0, &Error{text, "too large"}
	}
	return int64(f), nil
}

// A Sweep is a row of sizes in bytes.
type Sweep struct {
	First, Last int64
	Step        int64 // added each time when Factor is 1
	Factor      int64
}

// Flags tells add of the flags -b, -e, -i and -f, which set the first and the last size, what is added, and what is multiplied by.
func (s *Sweep) Flags(add func(name string, set func(text string) error)) {
	size := func(to *int64) func(string) error {
		return func(text string) (err error) { *to, err = Parse(text); return err }
	}
	add("b", size(&s.First))
	add("e", size(&s.Last))
	add("i", size(&s.Step))
	add("f", func(text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return errors.New("want a whole number from 1")
		}
		s.Factor = n
		return nil
	})
}

// All yields the sizes of the sweep for elements of the given width. A factor cannot leave 0, so after size 0 comes
// one element.
func (s Sweep) All(width int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for size := s.First; size <= s.Last; {
			if !yield(size) {
				return
			}
			next := size + s.Step
			if s.Factor > 1 {
				next = size * s.Factor
				if size == 0 {
					next = width
				} else if size > math.MaxInt64/s.Factor {
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

// Count is the number of sizes in the sweep.
func (s Sweep) Count(width int64) int {
	n := 0
	for range s.All(width) {
		n++
	}
	return n
}
