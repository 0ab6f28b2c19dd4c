package quic

import "time"

const (
	// orderWindow is how many packets are kept, for repairs and while a gap is open; a power of two.
	orderWindow = 512
	// A gap is given up, so that QUIC sees the loss, when holdPackets have come behind it, or after a quarter of a round trip, which is
	// kept within bounds: parity that is on the way may be late because its sender had to wait for a processor.
	holdPackets = 192
	shortHold   = 12 * time.Millisecond
	longHold    = 50 * time.Millisecond
	openGroups  = 16 // whose parity is kept; a power of two
	// longRun is how many packets in a row chance does not lose: they are the work of a full queue, which QUIC must see.
	longRun = 4
	// maxControl is the longest control data that is kept with a packet.
	maxControl = 128
)

// A heldPacket is a packet that has come, or been restored.
type heldPacket struct {
	number  uint32
	there   bool
	control int // bytes of control data
	oob     [maxControl]byte
	data    [maxShard]byte // length and packet, as in a shard
}

// A parityGroup is the parity that has come for a group.
type parityGroup struct {
	parityHead
	used  bool
	size  int // of a shard
	have  int
	there [maxParity]bool
	data  [maxParity][maxShard]byte
}

// A readyPacket goes to QUIC. Its memory is valid until the orderer is called again.
type readyPacket struct{ packet, oob []byte }

// An orderer puts the numbered packets of one direction in order and repairs what is missing. QUIC takes a packet for lost
// when three later ones have been acknowledged, so packets behind a gap wait until it is repaired or given up. It has no
// clock: whoever uses it tells the time since some beginning.
type orderer struct {
	report
	hold    time.Duration // how long a gap may be open
	code    code
	started bool
	next    uint32 // the first packet that has not been given out
	gap     time.Duration
	open    bool // since gap
	held    [orderWindow]heldPacket
	groups  [openGroups]parityGroup
	ready   []readyPacket
}

func (o *orderer) slot(number uint32) *heldPacket { return &o.held[number%orderWindow] }

func (o *orderer) has(number uint32) bool {
	s := o.slot(number)
	return s.there && s.number == number
}

// numbered takes a numbered packet and its control data.
func (o *orderer) numbered(number uint32, packet, oob []byte, now time.Duration) {
	o.ready = o.ready[:0]
	if len(packet) == 0 || len(packet) > maxRepaired || len(oob) > maxControl {
		return
	}
	if !o.started {
		o.started, o.next, o.top = true, number, number
	}
	ahead := int32(number - o.next)
	if ahead < 0 {
		// Late, given up, or not of this world: QUIC knows what it has seen.
		o.ready = append(o.ready, readyPacket{packet, oob})
		return
	}
	if ahead >= orderWindow {
		o.skip(number)
	}
	if jump := int32(number - o.top); jump >= 0 {
		o.miss(uint32(jump))
		o.top = number + 1
	} else if !o.has(number) && o.isolated > 0 {
		o.isolated-- // it was only late
	}
	s := o.slot(number)
	s.number, s.there = number, true
	be.PutUint16(s.data[:], uint16(len(packet)))
	copy(s.data[prefixSize:], packet)
	s.control = copy(s.oob[:], oob)
	o.proceed(now)
}

// miss counts n packets in a row.
func (o *orderer) miss(n uint32) {
	if n >= longRun {
		o.runs += n
	} else {
		o.isolated += n
	}
}

// parity takes a packet of parity.
func (o *orderer) parity(h parityHead, shard []byte, now time.Duration) {
	o.ready = o.ready[:0]
	end := h.first + uint32(h.count)
	if last := int32(end - o.next); !o.started || last <= 0 || last > orderWindow || len(shard) <= prefixSize || len(shard) > maxShard {
		return // all of it has been given out, or it is of another age
	}
	g := o.group(h, len(shard))
	if !g.there[h.index] {
		g.there[h.index] = true
		g.have++
		copy(g.data[h.index][:], shard)
	}
	if missed := int32(end - o.top); missed > 0 { // the last packets of the group
		o.miss(uint32(missed))
		o.top = end
	}
	o.proceed(now)
}

// group returns the place of a group's parity.
func (o *orderer) group(h parityHead, size int) *parityGroup {
	var free *parityGroup
	for i := range o.groups {
		g := &o.groups[i]
		switch {
		case g.used && g.first == h.first && g.count == h.count && g.size == size:
			return g
		case !g.used || int32(g.first+uint32(g.count)-o.next) <= 0: // or given out
			free = g
		case free == nil || free.used && int32(g.first-free.first) < 0: // the oldest
			free = g
		}
	}
	free.parityHead, free.used, free.size, free.have, free.there = h, true, size, 0, [maxParity]bool{}
	return free
}

// proceed gives out what is in order, and repairs what is in the way of more.
func (o *orderer) proceed(now time.Duration) {
	before := o.next
	for {
		for o.next != o.top && o.has(o.next) {
			o.give()
		}
		if o.next == o.top {
			o.open = false
			return
		}
		if !o.repair() {
			break
		}
	}
	if !o.open || o.next != before {
		o.open, o.gap = true, now
	}
	if o.top-o.next > holdPackets {
		o.giveUp(now)
	}
}

func (o *orderer) give() {
	s := o.slot(o.next)
	n := int(be.Uint16(s.data[:]))
	o.ready = append(o.ready, readyPacket{s.data[prefixSize : prefixSize+n], s.oob[:s.control]})
	o.next++
}

// holdOf returns how long a gap may be open where a round trip takes rtt.
func holdOf(rtt time.Duration) time.Duration { return min(max(rtt/4, shortHold), longHold) }

// expired gives up a gap that has been open for too long.
func (o *orderer) expired(now time.Duration) {
	o.ready = o.ready[:0]
	if o.open && now-o.gap >= o.hold {
		o.giveUp(now)
	}
}

// giveUp goes on behind the gap.
func (o *orderer) giveUp(now time.Duration) {
	for o.next != o.top && !o.has(o.next) {
		o.lost++
		o.next++
	}
	o.open = false
	o.proceed(now)
}

// skip gives out everything that waits, and begins anew at number, which is too far ahead.
func (o *orderer) skip(number uint32) {
	for ; o.next != o.top; o.next++ {
		if o.has(o.next) {
			s := o.slot(o.next)
			n := int(be.Uint16(s.data[:]))
			// The slot may be used again before QUIC has seen it.
			o.ready = append(o.ready, readyPacket{append([]byte(nil), s.data[prefixSize:prefixSize+n]...), append([]byte(nil), s.oob[:s.control]...)})
		} else {
			o.lost++
		}
	}
	missed := number - o.top
	o.runs += missed
	o.lost += missed
	o.top, o.next, o.open = number, number, false
}

// repair restores the group of the next packet if that can be done, and reports whether it has.
func (o *orderer) repair() bool {
	for i := range o.groups {
		g := &o.groups[i]
		if !g.used || o.next-g.first >= uint32(g.count) {
			continue
		}
		missing, run, longest := 0, 0, 0
		for j := range uint32(g.count) {
			if o.has(g.first + j) {
				run = 0
				continue
			}
			missing++
			run++
			longest = max(longest, run)
		}
		if missing > 0 && missing <= g.have && longest < longRun && o.restore(g) {
			return true
		}
	}
	return false
}

// restore reports whether the next packet is there now.
func (o *orderer) restore(g *parityGroup) bool {
	parts := o.code.parts[:groupData+maxParity]
	for j := range parts[:groupData] {
		number := g.first + uint32(j)
		s := o.slot(number)
		switch {
		case j >= g.count:
			parts[j] = o.code.zeros[:g.size]
		case o.has(number):
			end := prefixSize + int(be.Uint16(s.data[:]))
			if end > g.size {
				return false // not the packet that the parity is of
			}
			clear(s.data[end:g.size])
			parts[j] = s.data[:g.size]
		default:
			s.there = false // whatever was there has been given out
			parts[j] = s.data[:0]
		}
	}
	for j := range maxParity {
		parts[groupData+j] = nil
		if g.there[j] {
			parts[groupData+j] = g.data[j][:g.size]
		}
	}
	g.used = false
	if o.code.encoder(maxParity).ReconstructData(parts) != nil {
		return false
	}
	for j := range uint32(g.count) {
		number := g.first + j
		if o.has(number) || int32(number-o.next) < 0 {
			continue
		}
		s := o.slot(number)
		if n := int(be.Uint16(s.data[:])); n == 0 || prefixSize+n > g.size {
			continue // nonsense
		}
		s.number, s.there, s.control = number, true, 0
		o.repaired++
	}
	return o.has(o.next)
}
