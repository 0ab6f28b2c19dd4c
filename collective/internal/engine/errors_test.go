package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ringtree/ringtree/transport"
)

// What a rank says when it gives up arrives at the others as what it means.
func TestReasonRoundTrip(t *testing.T) {
	const self, peer = 3, 9
	mismatch := &MismatchError{Field: "count", Rank: 1, Local: "5", Remote: "6", Peer: 2}
	lost := &PeerError{Rank: 7, Op: "all_reduce", Channel: 1, Step: 4, Err: &transport.LostError{Peer: 55, Cause: errors.New("its process ended")}}
	late := &PeerError{Rank: 4, Op: "barrier", Channel: 0, Step: 2, Err: context.DeadlineExceeded}
	for _, tc := range []struct {
		name string
		give error
		want error
	}{
		{"mismatch", mismatch, mismatch},
		{"wrapped mismatch", fmt.Errorf("outside: %w", mismatch), mismatch},
		{"lost", lost, &PeerError{Rank: 7, Op: "all_reduce", Channel: -1, Step: -1, Err: &transport.LostError{Peer: 7, Cause: errors.New("its process ended")}}},
		{"lost without a cause", &PeerError{Rank: 7, Op: "reduce", Err: transport.ErrPeerLost}, &PeerError{Rank: 7, Op: "reduce", Channel: -1, Step: -1, Err: &transport.LostError{Peer: 7}}},
		{"deadline", late, &AbortError{Rank: self, Cause: late.Error()}},
		{"abort", &AbortError{Rank: 8, Cause: "no more", Err: errors.New("no more")}, &AbortError{Rank: 8, Cause: "no more"}},
		{"anything", errors.New("disk full"), &AbortError{Rank: self, Cause: "disk full"}},
		{"quotes and lines", errors.New("a \"b\"\n\tc"), &AbortError{Rank: self, Cause: "a \"b\"\n\tc"}},
	} {
		text := encodeReason(self, tc.give)
		if len(text) == 0 || len(text) > transport.MaxReason {
			t.Errorf("%s: a reason of %d bytes, want 1 to %d", tc.name, len(text), transport.MaxReason)
		}
		got := decodeReason(peer, text)
		if got.Error() != tc.want.Error() || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", tc.want) {
			t.Errorf("%s: got %T %v, want %T %v", tc.name, got, got, tc.want, tc.want)
		}
		// It says the same when it is passed on by a rank that has heard it.
		if again := decodeReason(peer, encodeReason(self+1, got)); again.Error() != got.Error() {
			t.Errorf("%s: passed on it is %v, want %v", tc.name, again, got)
		}
	}
}

// A reason that is too long is cut, and stays text.
func TestReasonIsCut(t *testing.T) {
	for _, cause := range []string{
		strings.Repeat("x", 10_000), strings.Repeat("é", 300), strings.Repeat("\x00", 300), strings.Repeat("\xff", 400), strings.Repeat("\"\\", 700),
	} {
		text := encodeReason(1, errors.New(cause))
		var abort *AbortError
		if err := decodeReason(2, text); !errors.As(err, &abort) || abort.Rank != 1 || abort.Cause == "" || !utf8.ValidString(abort.Cause) {
			t.Errorf("%d bytes %.6q…: got %v", len(cause), cause, err)
		}
		if len(text) > transport.MaxReason {
			t.Errorf("%d bytes %.6q…: a reason of %d bytes, want %d at most", len(cause), cause, len(text), transport.MaxReason)
		}
	}
}

// Whatever a peer says becomes an error.
func FuzzDecodeReason(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"k":"mismatch"}`))
	f.Add([]byte(`{"k":"lost","r":-5,"t":"\ud800"}`))
	f.Add([]byte(`{"k":"abort","r":3,"t":"why"}`))
	f.Add(encodeReason(1, &MismatchError{Field: "op", Local: "sum", Remote: "max"}))
	f.Fuzz(func(t *testing.T, text []byte) {
		err := decodeReason(4, text)
		if err == nil || err.Error() == "" {
			t.Fatalf("%q: got %v, want an error with a text", text, err)
		}
		if !errors.Is(err, ErrAborted) && !errors.Is(err, ErrMismatch) && !errors.Is(err, transport.ErrPeerLost) {
			t.Fatalf("%q: got %T %v, which is none of the three kinds", text, err, err)
		}
		passed := encodeReason(5, err)
		if len(passed) > transport.MaxReason || len(passed) > 0 && !json.Valid(passed) {
			t.Fatalf("%q: passed on as %d bytes %q", text, len(passed), passed)
		}
		if again := decodeReason(6, passed); again == nil {
			t.Fatalf("%q: nothing is left of it when it is passed on", text)
		}
	})
}

func TestEnded(t *testing.T) {
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := Ended(ctx); !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it to be %v and %v", err, cause, context.Canceled)
	}
	plain, cancelPlain := context.WithCancel(t.Context())
	cancelPlain()
	if err := Ended(plain); err != context.Canceled {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	late, cancelLate := context.WithTimeoutCause(t.Context(), 0, cause)
	defer cancelLate()
	<-late.Done()
	if err := Ended(late); !errors.Is(err, cause) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want it to be %v and %v", err, cause, context.DeadlineExceeded)
	}
}

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"reduce: rank 2 (channel 1 step 3): gone": &PeerError{Rank: 2, Op: "reduce", Channel: 1, Step: 3, Err: errors.New("gone")},
		"reduce: rank 2: gone":                    &PeerError{Rank: 2, Op: "reduce", Channel: -1, Step: -1, Err: errors.New("gone")},
		"aborted by rank 2: enough":               &AbortError{Rank: 2, Cause: "enough"},
		"ranks called different operations: op is sum on rank 0 and max on rank 1": &MismatchError{Field: "op", Rank: 0, Local: "sum", Remote: "max", Peer: 1},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
