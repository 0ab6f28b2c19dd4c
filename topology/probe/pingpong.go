package probe

import (
	"context"
	"time"

	"github.com/ringtree/ringtree/transport"
)

// sizes are what is pinged, in bytes: the ends fix alpha and beta, the rest shows in the residual whether a line is what
// the link follows.
var sizes = [...]int{8, 256, 4 << 10, 32 << 10, 128 << 10, transport.MaxPayload}

const (
	maxRepeats = 200 // probes of one size: then more would not tell more
	warmUps    = 2   // round trips that do not count: the first ones connect and fault pages in
	// Up to this round trip a short ping goes ahead of every probe: to wake a rank that fell asleep while the other one
	// read a long frame takes longer than such a link does.
	wakeBelow = 100e-6
)

// A Probe says how one end of a link is to be measured; both ends are given the same Pair.
type Probe struct {
	Link transport.Link
	Bell transport.Bell // of the rank that calls
	Pair uint32         // which measurement it is, so that frames of another are noticed
	// Limit is how long [Pinger] goes on, Ponger does not look at it. It takes at least 2 round trips that do not count and one of each of
	// two sizes, however long they are. 0: 200 probes of every size.
	Limit time.Duration
	// Polls is how often a rank that waits looks before it sleeps. 0: 1536, about 100 µs; negative: it
	// sleeps at once, as ranks that outnumber their cores do.
	Polls int
	// Directed pings long and short frames in turn, so that the two directions of a path can be told apart.
	Directed bool
	// Send is where frames come from and Receive where they are copied to; neither may be shorter than
	// transport.MaxPayload. Send is only read, and borrowed by the link until it has completed every frame. Frames
	// are taken from all over Send in turn, so beta is that of the caches which Send fits in.
	Send, Receive []byte
}

func (p *Probe) check() error {
	switch {
	case p.Link == nil:
		return configErrorf("Probe.Link", "none")
	case p.Bell == nil:
		return configErrorf("Probe.Bell", "none")
	case len(p.Send) < transport.MaxPayload || len(p.Receive) < transport.MaxPayload:
		return configErrorf("Probe.Send", "%d bytes to send and %d to receive, want %d of each", len(p.Send), len(p.Receive), transport.MaxPayload)
	case p.Limit < 0:
		return configErrorf("Probe.Limit", "%v", p.Limit)
	}
	return nil
}

// Pinger measures round trips over a link at whose other end [Ponger] runs, and ends that. It returns one sample for each
// pair of sizes. The error is a [*ConfigError], a [*ProtocolError], the context's cause, or the link's.
func Pinger(ctx context.Context, p Probe) ([]Sample, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	e := end{port: port{link: p.Link, bell: p.Bell, polls: pollsOf(p.Polls)}, probe: &p}
	return e.ping(ctx)
}

// Ponger answers [Pinger] until that has ended. Its errors are those of Pinger.
func Ponger(ctx context.Context, p Probe) error {
	if err := p.check(); err != nil {
		return err
	}
	e := end{port: port{link: p.Link, bell: p.Bell, polls: pollsOf(p.Polls)}, probe: &p}
	return e.pong(ctx)
}

// An end is one side of a measurement.
type end struct {
	port
	probe *Probe
	at    int // where the next frame begins in Send
}

// payload returns n bytes of Send, after those that were sent last.
func (e *end) payload(n int) []byte {
	const line = 64
	if e.at+n > len(e.probe.Send) {
		e.at = 0
	}
	b := e.probe.Send[e.at : e.at+n]
	e.at += (n + line - 1) / line * line
	return b
}

func (e *end) ping(ctx context.Context) ([]Sample, error) {
	for range warmUps {
		if _, err := e.roundTrip(ctx, sizes[0], sizes[0]); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	first, err := e.roundTrip(ctx, sizes[0], sizes[0])
	if err != nil {
		return nil, err
	}
	shapes := e.shapes(first)
	times := make([][]float64, len(shapes))
	times[0] = append(times[0], first)
	done := func() bool { return e.probe.Limit > 0 && time.Since(began) >= e.probe.Limit }
	for n := 0; n < maxRepeats && (n == 0 || !done()); n++ {
		for i, s := range shapes {
			if n > 0 && done() {
				break
			}
			if n == 0 && i == 0 {
				continue // that was the first
			}
			if first < wakeBelow {
				if _, err := e.roundTrip(ctx, sizes[0], sizes[0]); err != nil {
					return nil, err
				}
			}
			t, err := e.roundTrip(ctx, s.Ping, s.Pong)
			if err != nil {
				return nil, err
			}
			times[i] = append(times[i], t)
		}
	}
	for i := range shapes {
		shapes[i].Probes, shapes[i].Seconds = len(times[i]), lowest(times[i])
	}
	return shapes, e.send(ctx, stepEnd, e.probe.Pair, 0, nil)
}

// rounds is how often there must be time for all sizes: what is sent first over a long path finds it cold (TCP starts slowly), and
// the lowest of so few is what the path gives.
const rounds = 4

// shapes returns what to send, the smallest first: all sizes where there is time for them, else the two extremes.
func (e *end) shapes(first float64) []Sample {
	use := sizes[:]
	n := len(sizes)
	if e.probe.Directed {
		n = 2*n - 1
	}
	if limit := e.probe.Limit.Seconds(); limit > 0 && rounds*first*float64(n) > limit {
		use = []int{sizes[0], sizes[len(sizes)-1]}
	}
	var out []Sample
	for _, size := range use {
		switch {
		case !e.probe.Directed:
			out = append(out, Sample{Ping: size, Pong: size})
		case size == sizes[0]:
			out = append(out, Sample{Ping: size, Pong: size})
		default:
			out = append(out, Sample{Ping: size, Pong: sizes[0]}, Sample{Ping: sizes[0], Pong: size})
		}
	}
	return out
}

// leastSeconds is the time of a round trip between two looks at a clock that has not moved.
const leastSeconds = 1e-9

func (e *end) roundTrip(ctx context.Context, ping, pong int) (seconds float64, err error) {
	payload := e.payload(ping)
	began := time.Now()
	if err := e.send(ctx, stepPing, e.probe.Pair, uint64(pong), payload); err != nil {
		return 0, err
	}
	f, err := e.next(ctx, e.probe.Pair, stepPong)
	if err != nil {
		return 0, err
	}
	copy(e.probe.Receive, f.Payload)
	got := len(f.Payload)
	e.link.Release()
	seconds = time.Since(began).Seconds()
	if got != pong {
		return 0, protocolErrorf("a pong of %d bytes, want %d", got, pong)
	}
	return max(seconds, leastSeconds), nil
}

func (e *end) pong(ctx context.Context) error {
	for {
		f, err := e.next(ctx, e.probe.Pair, stepPing, stepEnd)
		if err != nil {
			return err
		}
		step, want := f.Step, f.Count
		copy(e.probe.Receive, f.Payload)
		e.link.Release()
		if step == stepEnd {
			return nil
		}
		if want > transport.MaxPayload {
			return protocolErrorf("a ping that wants %d bytes back", want)
		}
		if err := e.send(ctx, stepPong, e.probe.Pair, 0, e.payload(int(want))); err != nil {
			return err
		}
	}
}
