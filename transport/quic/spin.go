package quic

import "time"

// Limits of busy polling. A wake-up of a sleeping thread costs up to a hundred microseconds on a virtual machine, so
// a packet that comes within that time is cheaper to wait for awake.
const (
	maxSpin = 200 * time.Microsecond
	minSpin = 10 * time.Microsecond
	quiet   = 2 * time.Millisecond // a pause after which nothing is expected to come at once
	// disturbance is how long a turn of polling takes when something else has had the processor.
	disturbance = 500 * time.Microsecond
	restTime    = 20 * time.Millisecond // without spinning, after it has been in somebody's way; doubles
	maxRest     = time.Second
	// More than bulkRate over bulkTime, in bytes a second both ways, is a transfer that processors limit, not waiting. A reader that
	// polled beside it would take them from the peer, if that is on this host, and from those who work on what has come.
	bulkRate = 64 << 20
	bulkTime = 2 * time.Millisecond
)

// A spinner says how long a reader polls its socket before it sleeps. It polls only while traffic flows, and
// learns: where packets come soon after a sleep has begun, polling would have caught them and becomes longer; where
// polling ends without a packet, it becomes shorter, down to none. When other threads wanted the processor in the
// meantime, it rests for a while, and it does not poll beside a bulk transfer. It has no clock of its own: whoever uses it
// tells the time since some beginning.
type spinner struct {
	off    bool
	budget time.Duration // of the next wait; 0: sleep at once
	last   time.Duration // when a packet came last
	until  time.Duration // no spinning before
	rest   time.Duration
	bulk   bool          // between the last two looks at the rate
	looked time.Duration // at the rate
	moved  uint64        // by then
}

// allowance returns how long to poll before sleeping. moved is how many bytes have been sent and received so far.
func (s *spinner) allowance(now time.Duration, moved uint64) time.Duration {
	if d := now - s.looked; d >= bulkTime {
		s.bulk = float64(moved-s.moved) > bulkRate*d.Seconds()
		s.looked, s.moved = now, moved
	}
	if s.off || s.bulk || now < s.until || now-s.last > quiet {
		return 0
	}
	return s.budget
}

// caught notes that a packet came after waiting for d, of which the reader has polled for spun; slept says that it
// was asleep when the packet came.
func (s *spinner) caught(now, d, spun time.Duration, slept bool) {
	s.last = now
	switch {
	case !slept:
		s.budget = min(max(s.budget, 2*d), maxSpin)
		s.rest = max(s.rest/2, restTime)
	case d <= maxSpin:
		s.budget = min(max(2*s.budget, 2*d, minSpin), maxSpin)
	case spun > 0:
		if s.budget /= 2; s.budget < minSpin {
			s.budget = 0
		}
	}
}

// disturbed notes that others wanted the processor while the reader polled.
func (s *spinner) disturbed(now time.Duration) {
	s.rest = min(max(2*s.rest, restTime), maxRest)
	s.until = now + s.rest
}
