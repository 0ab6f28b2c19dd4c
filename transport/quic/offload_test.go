package quic

import (
	"bytes"
	"testing"
	"time"

	"github.com/ringtree/ringtree/transport/internal/stripe/stripetest"
	"github.com/ringtree/ringtree/transport/transporttest"
)

func TestSegments(t *testing.T) {
	for _, c := range []struct {
		total, size int
		want        []int
	}{
		{10, 0, []int{10}}, {10, 10, []int{10}}, {10, 4, []int{4, 4, 2}}, {8, 4, []int{4, 4}}, {3, 4, []int{3}}, {0, 4, nil},
	} {
		data := make([]byte, c.total)
		for i := range data {
			data[i] = byte(i)
		}
		s := segments{data: data, size: c.size}
		var all []byte
		var got []int
		for len(s.data) > 0 {
			p := s.next()
			got = append(got, len(p))
			all = append(all, p...)
		}
		if len(got) != len(c.want) || !bytes.Equal(all, data) {
			t.Errorf("%d bytes by %d: got %v, want %v", c.total, c.size, got, c.want)
		}
		for i := range min(len(got), len(c.want)) {
			if got[i] != c.want[i] {
				t.Errorf("%d bytes by %d: got %v, want %v", c.total, c.size, got, c.want)
			}
		}
	}
}

// A spinner learns to poll from short sleeps, unlearns it from polling in vain, and stops when nothing flows.
func TestSpinner(t *testing.T) {
	var s spinner
	now := time.Second
	if a := s.allowance(now, 0); a != 0 {
		t.Errorf("at first: %v, want no polling", a)
	}
	for range 10 {
		now += 50 * time.Microsecond
		s.caught(now, 50*time.Microsecond, 0, true)
	}
	if a := s.allowance(now, 0); a < 100*time.Microsecond || a > maxSpin {
		t.Errorf("after short sleeps: %v, want 100 to 200 µs", a)
	}
	if a := s.allowance(now+2*quiet, 0); a != 0 {
		t.Errorf("after a pause: %v, want no polling", a)
	}
	for range 20 {
		now += time.Millisecond
		s.caught(now, time.Millisecond, s.allowance(now, 0), true)
	}
	if a := s.allowance(now, 0); a != 0 {
		t.Errorf("after polling in vain: %v, want no polling", a)
	}
	s.caught(now, minSpin, 0, true)
	if a := s.allowance(now, 0); a == 0 {
		t.Error("no polling when packets come soon again")
	}
	s.disturbed(now)
	if a := s.allowance(now, 0); a != 0 {
		t.Errorf("in somebody's way: %v, want no polling", a)
	}
	now += 2 * restTime
	s.caught(now, minSpin, 0, true)
	if a := s.allowance(now, 0); a == 0 {
		t.Error("no polling after a rest")
	}
	for range 20 {
		s.disturbed(now)
	}
	if s.rest != maxRest {
		t.Errorf("in somebody's way for long: a rest of %v, want %v", s.rest, maxRest)
	}
	now += 2 * maxRest
	s.allowance(now, 0)
	now += 2 * bulkTime
	s.caught(now, minSpin, 0, true)
	if a := s.allowance(now, bulkRate); a != 0 {
		t.Errorf("beside a bulk transfer: %v, want no polling", a)
	}
	now += 2 * bulkTime
	s.caught(now, minSpin, 0, true)
	if a := s.allowance(now, bulkRate+1000); a == 0 {
		t.Error("no polling after a bulk transfer")
	}
	off := spinner{off: true}
	off.caught(now, minSpin, 0, true)
	if a := off.allowance(now, 0); a != 0 {
		t.Errorf("switched off: %v, want no polling", a)
	}
}

// Every way of reading a socket carries the same links.
func TestModes(t *testing.T) {
	for _, mode := range []string{
		"gro=off poll=off", "gro=on poll=off", "gro=off poll=on", "gro=on poll=on oneport=", "conns=1 gro=on poll=on",
	} {
		t.Run(mode, func(t *testing.T) {
			id := newIdentity(t)
			tr, err := New(id, append(modeOptions(mode), patient)...)
			if err != nil {
				t.Fatal(err)
			}
			g := transporttest.NewGroupAs(t, tr, 2, id.ID)
			a, b := g.Pair(t, stripetest.LinkID)
			done := make(chan error, 1)
			go func() { done <- transporttest.Exercise(t.Context(), a, g.Bells[0], 3, 200) }()
			if err := transporttest.Exercise(t.Context(), b, g.Bells[1], 3, 200); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
