package bucket

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssign(t *testing.T) {
	tests := []struct {
		name               string
		lengths            []int
		elem, first, limit int
		want               layout
	}{
		{"nothing", nil, 4, 64, 128, layout{spans: []span{}}},
		{"one", []int{3}, 4, 64, 128, layout{[]span{{0, 0, 3}}, []int{16}}},
		{"last registered comes first", []int{16, 32}, 4, 1024, 1024,
			layout{[]span{{0, 32, 48}, {0, 0, 32}}, []int{48}}},
		{"first bucket is small", []int{16, 16, 16, 16}, 4, 64, 128,
			layout{[]span{{2, 0, 16}, {1, 16, 32}, {1, 0, 16}, {0, 0, 16}}, []int{16, 32, 16}}},
		{"large gradient alone", []int{8, 1000, 8}, 8, 64, 128,
			layout{[]span{{2, 0, 8}, {1, 0, 1000}, {0, 0, 8}}, []int{8, 1000, 8}}},
		{"large gradient first", []int{8, 1000}, 8, 64, 128,
			layout{[]span{{1, 0, 8}, {0, 0, 1000}}, []int{1000, 8}}},
		{"gaps of half precision", []int{33, 1}, 2, 1 << 20, 1 << 20,
			layout{[]span{{0, 32, 65}, {0, 0, 1}}, []int{96}}},
		{"limit below an element", []int{1, 1}, 8, 1, 1,
			layout{[]span{{1, 0, 1}, {0, 0, 1}}, []int{8, 8}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := assign(tt.lengths, tt.elem, tt.first, tt.limit)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(layout{}, span{})); diff != "" {
				t.Errorf("assign (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzAssign holds the layout of random gradients to what Seal relies on.
func FuzzAssign(f *testing.F) {
	f.Add(uint64(1), uint8(5), uint16(64), uint16(256), uint8(0))
	f.Add(uint64(2), uint8(200), uint16(1), uint16(1), uint8(1))
	f.Add(uint64(3), uint8(90), uint16(4096), uint16(10000), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, count uint8, first, limit uint16, log uint8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		elem := []int{2, 4, 8}[log%3]
		lengths := make([]int, count)
		for i := range lengths {
			lengths[i] = 1 + rng.IntN(1+int(limit))
		}
		l := assign(lengths, elem, int(first), int(limit))

		bucket, end := 0, 0
		for i := len(lengths) - 1; i >= 0; i-- {
			s := l.spans[i]
			if s.hi-s.lo != lengths[i] || s.lo*elem%align != 0 {
				t.Fatalf("seed %d: gradient %d of %d elements lies at %+v", seed, i, lengths[i], s)
			}
			if s.bucket == bucket && s.lo < end || s.bucket != bucket && (s.bucket != bucket+1 || s.lo != 0) {
				t.Fatalf("seed %d: gradient %d at %+v does not follow element %d of bucket %d", seed, i, s, end, bucket)
			}
			bucket, end = s.bucket, s.hi
			bytes := int(limit)
			if bucket == 0 {
				bytes = int(first)
			}
			if s.hi*elem > bytes && s.lo != 0 {
				t.Fatalf("seed %d: gradient %d at %+v goes past the %d bytes of its bucket", seed, i, s, bytes)
			}
			if l.sizes[bucket] < s.hi {
				t.Fatalf("seed %d: bucket %d has %d elements, gradient %d lies at %+v", seed, bucket, l.sizes[bucket], i, s)
			}
		}
		if count > 0 && len(l.sizes) != bucket+1 {
			t.Fatalf("seed %d: %d buckets, want %d", seed, len(l.sizes), bucket+1)
		}
	})
}

func TestMaxLength(t *testing.T) {
	for _, elem := range []int{2, 4, 8} {
		if n := maxLength(elem); padded(n, elem)*elem <= 0 {
			t.Errorf("elem %d: a gradient of %d elements overflows", elem, n)
		}
	}
}
