package sim

import (
	"iter"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A record is one message, as the log has it.
type record struct {
	From, To topology.Rank
	Lane     schedule.Lane // of the sender
	Index    int32         // operation in it
	Slice    int32
	Bytes    int64
	Level    topology.Level
	Start    Time // the sender begins
	Leave    Time // the first byte leaves
	Arrive   Time // the last byte arrives, if nothing else does
	prev     int32
}

// log keeps messages for traces and critical paths, up to a limit.
type log struct {
	records []record
	full    bool
	last    []int32 // by rank: the record of the message that it waited for last, or -1
}

// add returns the number of a new record, or -1 when there are too many.
func (l *log) add(r record, limit int) int32 {
	if len(l.records) >= limit {
		l.full = true
		return -1
	}
	l.records = append(l.records, r)
	return int32(len(l.records) - 1)
}

// A Message is one on record.
type Message struct {
	From, To topology.Rank
	Lane     schedule.Lane // of the sender
	Index    int           // operation in it
	Slice    int
	Bytes    int64
	Level    topology.Level
	Start    Time // the sender begins
	Leave    Time // the first byte leaves
	Arrive   Time // the last byte arrives
}

// Recorded yields the messages on record, in the order in which they were sent. It needs [Record].
func (r *Result) Recorded() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		if r.log == nil {
			return
		}
		for i := range r.log.records {
			m := &r.log.records[i]
			if !yield(Message{m.From, m.To, m.Lane, int(m.Index), int(m.Slice), m.Bytes, m.Level, m.Start, m.Leave, m.Arrive}) {
				return
			}
		}
	}
}
