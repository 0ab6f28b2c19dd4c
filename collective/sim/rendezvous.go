package sim

import "github.com/ringtree/ringtree/collective/schedule"

// grant lets the sender of a slice that asked go ahead, the lane being at its receive.
func (x *stepper) grant(r int32, l schedule.Lane, entry, tick uint32) {
	if x.asked[entry] <= tick || x.granted[entry] > tick {
		return
	}
	x.granted[entry] = tick + 1
	k := &x.costs[x.class[entry]]
	x.push(&event{
		at: x.actors[r].cpu + k.Overhead + k.Latency, rank: x.f.Peer(entry), entry: entry, rec: int32(tick), lane: uint16(l), kind: goes,
	})
}

// leave sends what the receiver at e.entry has asked for.
func (x *stepper) leave(e *event) {
	to := x.owner(e.entry)
	l := schedule.Lane(e.lane)
	lc, base := x.f.Lane(to, l)
	c := &lc.Codes[e.entry-base]
	op, slice := e.rec/c.Slices, e.rec%c.Slices
	bytes := x.size.of(x.f, to, l, c, e.entry, op, slice)
	x.transmit(e.rank, x.class[e.entry], bytes, &event{at: e.at, rank: to, entry: e.entry, rec: -1, lane: e.lane}, c.Index+op, slice)
}

// owner returns the rank that an entry is of.
func (x *stepper) owner(entry uint32) int32 {
	lo, hi := int32(0), int32(len(x.actors))
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if _, first := x.f.Lane(mid, 0); first <= entry {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
