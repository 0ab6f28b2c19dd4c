package sim

import (
	"fmt"
	"math"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A BoundError is a simulated time that no schedule can take: a defect of the simulator or of the costs that it was given.
type BoundError struct{ Time, Bound Time }

func (e *BoundError) Error() string {
	return fmt.Sprintf("sim: %v is below the lower bound of %v", e.Time, e.Bound)
}

// bound returns a time below which no run over the links in use can end.
//
// Of bandwidth: seen as so many groups (ranks, hosts, racks, sites), every byte of an all-reduce has to cross between groups
// at least 2(groups-1) times, one way to be reduced and one way back (P. Patarasuk and X. Yuan, JPDC 2009), and that of the
// others half as often; the ports that cross, or at the level Congestion the wires, share this at best evenly.
//
// Of latency: something that one rank knows has to reach all (or, the other way round, something of all has to reach one). When
// a rank can send every s, and a message takes L, the number of ranks that can know it grows as xᵗ with x⁻ˢ + x⁻ᴸ = 1, so it takes
// log n/log x; that is L·log₂ n for s = L.
func (m *model) bound(cfg *config, n int, bytes int64, shared *traffic) Time {
	if n == 1 || len(m.classes) == 0 {
		return 0
	}
	crossings := 1.0
	switch cfg.contract.Collective {
	case schedule.AllReduce:
		crossings = 2
	case schedule.Barrier:
		bytes = 0
	}
	// Bytes a second over the cheapest links of a level and above, by port.
	rate := func(least topology.Level, near bool) float64 {
		best := 0.0
		for _, c := range m.classes {
			if c.link.Level < least || c.cost.Near != near {
				continue
			}
			if c.cost.PerByte == 0 {
				return math.Inf(1)
			}
			best = max(best, (1<<20)/float64(c.cost.PerByte)) // bytes a picosecond
		}
		return best
	}
	t := 0.0
	for _, cut := range []struct {
		groups int
		least  topology.Level
		span   topology.Span
	}{
		{n, topology.Device, topology.SpanSocket}, {m.g.Hosts(), topology.Rack, topology.SpanHost},
		{m.g.Racks(), topology.Site, topology.SpanRack}, {m.g.Sites(), topology.World, topology.SpanSite},
	} {
		ports := float64(n)
		if cfg.wires == PairWires {
			ports *= float64(n - 1)
		}
		r := ports * (rate(cut.least, true) + rate(cut.least, false))
		if shared != nil {
			r = shared.capacity[cut.span]
		}
		if r > 0 {
			t = max(t, crossings*float64(cut.groups-1)*float64(bytes)/r)
		}
	}
	latency, every := math.Inf(1), math.Inf(1)
	for _, c := range m.classes {
		gap := c.cost.Gap
		if cfg.wires == PairWires {
			gap = 0
		}
		latency = min(latency, float64(c.cost.Latency+2*c.cost.Overhead))
		every = min(every, float64(max(gap, c.cost.Overhead)))
	}
	t = max(t, spread(float64(n), latency, every))
	return Time(t * (1 - 1e-6))
}

// spread returns how long news take to reach n ranks.
func spread(n, latency, every float64) float64 {
	if latency <= 0 || every <= 0 {
		return max(latency, 0)
	}
	every = min(every, latency)
	// Growth g per latency: g^(-every/latency) + 1/g = 1.
	lo, hi := 1.0, 1e9
	for range 200 {
		g := math.Sqrt(lo * hi)
		if math.Pow(g, -every/latency)+1/g > 1 {
			lo = g
		} else {
			hi = g
		}
	}
	return max(latency, latency*math.Log(n)/math.Log(hi)*(1-1e-9))
}
