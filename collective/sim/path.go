package sim

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ringtree/ringtree/topology"
)

// A Hop is a message on the critical path: had it been quicker, so might the whole.
type Hop struct {
	From, To topology.Rank
	Level    topology.Level
	Bytes    int64
	Slice    int
	Idle     Time // from what the sender waited for to the start: what else it did
	Queued   Time // for the port
	Network  Time // from the first byte out to the last byte in
	Arrive   Time
}

// A Path is the chain of messages that the last rank waited for, in order.
type Path struct {
	Hops []Hop
	Tail Time // from the last arrival to the end
}

// Path returns the critical path. It needs [Record], and is nil when there were more messages than that keeps.
func (r *Result) Path() *Path {
	if r.log == nil || r.log.full || len(r.log.last) == 0 {
		return nil
	}
	late := 0
	for i, t := range r.Finish {
		if t == r.Time {
			late = i
			break
		}
	}
	p := &Path{}
	at := r.log.last[late]
	if at < 0 {
		p.Tail = r.Time
		return p
	}
	p.Tail = r.Time - r.log.records[at].Arrive
	for at >= 0 {
		m := &r.log.records[at]
		since := Time(0)
		if m.prev >= 0 {
			since = r.log.records[m.prev].Arrive
		}
		p.Hops = append(p.Hops, Hop{
			From: m.From, To: m.To, Level: m.Level, Bytes: m.Bytes, Slice: int(m.Slice), Idle: m.Start - since, Queued: m.Leave - m.Start,
			Network: m.Arrive - m.Leave, Arrive: m.Arrive,
		})
		at = m.prev
	}
	slices.Reverse(p.Hops)
	return p
}

// String summarises the path: how many hops over which tiers, and where the time went.
func (p *Path) String() string {
	var idle, queued, network Time
	var hops [levels]int
	for _, h := range p.Hops {
		idle, queued, network = idle+h.Idle, queued+h.Queued, network+h.Network
		hops[h.Level]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d hops (", len(p.Hops))
	sep := ""
	for l, n := range hops {
		if n > 0 {
			fmt.Fprintf(&b, "%s%d %v", sep, n, topology.Level(l))
			sep = ", "
		}
	}
	fmt.Fprintf(&b, "): %v on links, %v waiting for ports, %v on ranks", network, queued, idle+p.Tail)
	return b.String()
}

// WriteTrace writes the recorded messages in the format of Chrome's tracing and of Perfetto: a row a rank, a bar a message
// on its sender's row. It needs [Record].
func (r *Result) WriteTrace(w io.Writer) error {
	out := bufio.NewWriter(w)
	_, _ = out.WriteString(`{"displayTimeUnit":"ns","traceEvents":[`)
	if r.log != nil {
		for i := range r.log.records {
			m := &r.log.records[i]
			e := map[string]any{
				"name": fmt.Sprintf("to %d", m.To), "cat": m.Level.String(), "ph": "X", "pid": 0, "tid": int(m.From),
				"ts": float64(m.Start) / 1e6, "dur": float64(m.Arrive-m.Start) / 1e6,
				"args": map[string]any{"bytes": m.Bytes, "op": m.Index, "slice": m.Slice, "lane": m.Lane.String(), "leaves_us": float64(m.Leave) / 1e6},
			}
			text, err := json.Marshal(e)
			if err != nil {
				return err
			}
			if i > 0 {
				_ = out.WriteByte(',')
			}
			_, _ = out.WriteString("\n")
			_, _ = out.Write(text)
		}
	}
	_, _ = out.WriteString("\n]}\n")
	return out.Flush()
}
