package probe

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"runtime"

	"github.com/ringtree/ringtree/topology"
	"github.com/ringtree/ringtree/transport"
)

// Header.Root of every frame, so that ranks which speak another version notice.
const version = 1

// What a frame is, in Header.Step.
const (
	stepStart  uint32 = iota + 1 // from parent to child: what to do
	stepToken                    // within a machine: the next pair may begin
	stepPing                     // Header.Count is how long the answer shall be
	stepPong                     //
	stepEnd                      // no more pings
	stepGather                   // from child to parent: samples of a part of the tree
	stepReport                   // from parent to child
)

var stepNames = [...]string{
	stepStart: "start", stepToken: "token", stepPing: "ping", stepPong: "pong", stepEnd: "end", stepGather: "samples", stepReport: "report",
}

func stepName(s uint32) string {
	if s > 0 && int(s) < len(stepNames) {
		return stepNames[s]
	}
	return fmt.Sprintf("step %d", s)
}

// A port is one end of a link, and the bell on which its rank waits.
type port struct {
	link   transport.Link
	bell   transport.Bell
	polls  int // before a wait sleeps
	posted uint64
	// failed looks at the rank's other links while this one is silent, nil: there are none.
	failed func() error
}

// noPair is Header.Seq of the messages of the tree.
const noPair = 1<<32 - 1

// The stages of a wait, as the engine of the collectives has them: polls that do nothing else, about 2 µs; polls of which one
// in yieldEvery gives the core away, about 100 µs, longer than copying the longest frame takes; then sleep. They are
// counted and not timed, so that virtual time is not waited for in vain.
const (
	spins        = 256
	defaultPolls = 1536
	yieldEvery   = 8
)

// pollsOf is what a Config's or a Probe's Polls means.
func pollsOf(n int) int {
	switch {
	case n == 0:
		return defaultPolls
	case n < 0:
		return 0
	}
	return n
}

// wait calls look until it says that there is something.
func (p *port) wait(ctx context.Context, look func() (bool, error)) error {
	for {
		for i := range p.polls {
			if done, err := look(); done || err != nil {
				return err
			}
			if i >= spins && i%yieldEvery == 0 {
				runtime.Gosched()
				yieldThread()
			}
		}
		p.bell.Arm()
		done, err := look()
		if done || err != nil {
			p.bell.Disarm()
			return err
		}
		if p.failed != nil {
			if err := p.failed(); err != nil {
				p.bell.Disarm()
				return err
			}
		}
		p.bell.Sleep(ctx, 0)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (p *port) send(ctx context.Context, step, seq uint32, count uint64, payload []byte) error {
	h := transport.Header{Kind: transport.Data, Root: version, Step: step, Seq: seq, Count: count, Length: uint32(len(payload))}
	if ok, err := p.link.Post(&h, payload); ok || err != nil {
		if ok {
			p.posted++
		}
		return err
	}
	return p.wait(ctx, func() (bool, error) {
		ok, err := p.link.Post(&h, payload)
		if ok {
			p.posted++
		}
		return ok, err
	})
}

// next waits for the next frame and holds it to be of one of the steps of a pair. The caller releases it.
func (p *port) next(ctx context.Context, seq uint32, steps ...uint32) (*transport.Frame, error) {
	var f *transport.Frame
	err := p.wait(ctx, func() (done bool, err error) {
		f, err = p.link.Poll()
		return f != nil, err
	})
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		if f.Step == s && f.Seq == seq && f.Root == version {
			return f, nil
		}
	}
	err = protocolErrorf("%s of pair %d, version %d, while waiting for %s of pair %d", stepName(f.Step), int32(f.Seq), f.Root, stepName(steps[0]), int32(seq))
	p.link.Release()
	return nil, err
}

// flush waits until the link borrows nothing any more.
func (p *port) flush(ctx context.Context) error {
	if p.link.Completed() >= p.posted {
		return nil
	}
	return p.wait(ctx, func() (bool, error) {
		if p.link.Completed() >= p.posted {
			return true, nil
		}
		return false, p.link.Err()
	})
}

// A start says to all ranks what to do. Digest is of the ranks' own idea of who measures what.
type start struct {
	Digest uint64          `json:"digest"`
	Known  json.RawMessage `json:"known,omitempty"` // a report, instead of a measurement
}

// digest is a fingerprint of a measurement: ranks with other pairs or machines would wait for each other for ever.
func digest(size int, pairs []Pair, machine func(topology.Rank) int) uint64 {
	h := fnv.New64a()
	b := binary.LittleEndian.AppendUint32(nil, uint32(size))
	seen := make(map[int]uint32) // machines, numbered as pairs name them
	for _, p := range pairs {
		for _, r := range [...]topology.Rank{p.A, p.B} {
			m := machine(r)
			if _, known := seen[m]; !known {
				seen[m] = uint32(len(seen))
			}
			b = binary.LittleEndian.AppendUint32(b, uint32(r))
			b = binary.LittleEndian.AppendUint32(b, seen[m])
		}
		b = append(b, byte(p.Level))
	}
	_, _ = h.Write(b) // a hash takes everything
	return h.Sum64()
}

// A result is what the pinger of a pair found.
type result struct {
	Pair    int      `json:"pair"`
	Samples []Sample `json:"samples"`
}

// maxSamples bounds the samples of a pair.
const maxSamples = 32

// parseResults reads what ranks found, from a stranger: at most one result for each of so many pairs, all of it within
// what probes can give.
func parseResults(b []byte, pairs int) ([]result, error) {
	var rs []result
	if err := json.Unmarshal(b, &rs); err != nil {
		return nil, protocolErrorf("samples that cannot be read: %v", err)
	}
	seen := make(map[int]bool, len(rs))
	for _, r := range rs {
		if r.Pair < 0 || r.Pair >= pairs || seen[r.Pair] {
			return nil, protocolErrorf("samples of pair %d, of %d, or twice", r.Pair, pairs)
		}
		seen[r.Pair] = true
		if len(r.Samples) == 0 || len(r.Samples) > maxSamples {
			return nil, protocolErrorf("%d samples of pair %d", len(r.Samples), r.Pair)
		}
		for _, s := range r.Samples {
			if s.Ping < 0 || s.Pong < 0 || s.Ping > transport.MaxPayload || s.Pong > transport.MaxPayload ||
				s.Probes < 1 || s.Probes > maxRepeats || !(s.Seconds > 0) || s.Seconds > maxSeconds {
				return nil, protocolErrorf("a sample of pair %d: %+v", r.Pair, s)
			}
		}
	}
	return rs, nil
}

// maxSeconds is longer than any round trip that somebody waits for.
const maxSeconds = 1e6

// parent returns the rank above r in a binomial tree with root 0: r without its lowest bit.
func parent(r topology.Rank) topology.Rank { return r & (r - 1) }

// children returns the ranks below r, the smallest parts of the tree first.
func children(r topology.Rank, size int) []topology.Rank {
	var below []topology.Rank
	for bit := 1; int(r)+bit < size && (r == 0 || bit < int(r&-r)); bit <<= 1 {
		below = append(below, r+topology.Rank(bit))
	}
	return below
}
