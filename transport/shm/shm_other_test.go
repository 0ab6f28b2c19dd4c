//go:build !linux

package shm

import (
	"errors"
	"testing"

	"github.com/ringtree/ringtree/transport"
)

func TestNotSupported(t *testing.T) {
	_, bellErr := NewBell()
	_, listenErr := New().Listen(t.Context(), "g", 0, transport.NewBell())
	for name, err := range map[string]error{"Available": Available(), "NewBell": bellErr, "Listen": listenErr} {
		if !errors.Is(err, transport.ErrNotSupported) {
			t.Errorf("%s: got %v, want ErrNotSupported", name, err)
		}
	}
	// A Listen that failed does not occupy the rank.
	tr := New()
	for range 2 {
		if _, err := tr.Listen(t.Context(), "g", 0, transport.NewBell()); errors.Is(err, transport.ErrExists) {
			t.Errorf("got %v, want ErrNotSupported", err)
		}
	}
}
