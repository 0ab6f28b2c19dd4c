package sim

import (
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// Traffic is what was sent over a tier.
type Traffic struct {
	Messages int64
	Bytes    int64
}

// A Port is a rank's way out: its network card, or its links inside the host.
type Port struct {
	Rank topology.Rank
	Near bool
	Busy Time // how long it was occupied
}

// A Result is what a simulation found.
type Result struct {
	Ranks    int
	Bytes    int64
	Contract schedule.Contract
	Level    Level
	Method   string // how it was worked out, in words
	Classes  int    // ranks that were run; the others were like one of them
	Checked  Check
	Steps    int64 // of all machines together

	Time   Time   // when the last rank was done
	First  Time   // when the first was
	Finish []Time // by rank
	Bound  Time   // below which no run can be
	Tiers  [levels]Traffic
	Ports  []Port // the busiest, busiest first

	// Of runs at the level Congestion: what the network's layers carried, the busiest wires, busiest first, and what every wire
	// carried, by topology.WireID. A transfer of several flows counts on their wires in proportion to the rates that they ended
	// with.
	Layers []LayerLoad
	Wires  []WireLoad
	Load   []int64

	// Digest is a hash of Finish and Tiers: equal runs have equal ones, on every machine.
	Digest uint64

	elements int64
	log      *log
}

// keepPorts is how many of the busiest ports a result lists.
const keepPorts = 8

func (r *Result) port(rank topology.Rank, busy [2]Time) {
	for i, b := range busy {
		if b == 0 {
			continue
		}
		if n := len(r.Ports); n == keepPorts {
			if last := &r.Ports[n-1]; last.Busy > b || last.Busy == b && last.Rank <= rank {
				continue
			}
			r.Ports = r.Ports[:n-1]
		}
		p := Port{rank, i == 1, b}
		at, _ := slices.BinarySearchFunc(r.Ports, p, func(a, b Port) int {
			if a.Busy != b.Busy {
				if a.Busy > b.Busy {
					return -1
				}
				return 1
			}
			return int(a.Rank) - int(b.Rank)
		})
		r.Ports = slices.Insert(r.Ports, at, p)
	}
}

func (r *Result) sum() {
	h := fnv.New64a()
	var b [8]byte
	word := func(x int64) {
		binary.LittleEndian.PutUint64(b[:], uint64(x))
		_, _ = h.Write(b[:])
	}
	for i, t := range r.Finish {
		r.Time = max(r.Time, t)
		if i == 0 || t < r.First {
			r.First = t
		}
		word(int64(t))
	}
	for _, t := range r.Tiers {
		word(t.Messages)
		word(t.Bytes)
	}
	r.Digest = h.Sum64()
}

// Messages returns how many messages were sent.
func (r *Result) Messages() (n int64) {
	for _, t := range r.Tiers {
		n += t.Messages
	}
	return n
}

// AlgBW returns bytes a second, as nccl-tests has it: the vector's length over the time.
func (r *Result) AlgBW() float64 {
	if r.Time == 0 {
		return 0
	}
	return float64(r.Bytes) / r.Time.Seconds()
}

// BusBW returns AlgBW times what nccl-tests makes it comparable with the rate of the links by: 2(n-1)/n for an all-reduce,
// (n-1)/n for reduce-scatter and all-gather, 1 for broadcast and reduce.
func (r *Result) BusBW() float64 {
	n := float64(r.Ranks)
	switch r.Contract.Collective {
	case schedule.AllReduce:
		return r.AlgBW() * 2 * (n - 1) / n
	case schedule.ReduceScatter, schedule.AllGather:
		return r.AlgBW() * (n - 1) / n
	}
	return r.AlgBW()
}

// Spread returns how long after the first rank the last was done.
func (r *Result) Spread() Time { return r.Time - r.First }
