package sim

import (
	"math/bits"

	"github.com/ringtree/ringtree/collective/schedule"
)

// A crewman is what one goroutine of a run by windows has: the ranks of some shards. Nothing that it does within a window concerns the
// others' ranks before the next, so that the outcome is the same however many they are.
type crewman struct {
	x          *windows
	me         int
	lo, hi     uint32 // shards
	q          *calendar
	begin, end Time // of the window
	batch      []arrival
	next       []int32 // by arrival of the batch: the next one of its group, or -1
	inbox      []int32 // by group of the shard: its first arrival of the batch; valid where touched
	touched    []uint64
	// mine are the arrivals of a group in the window, in order: each the time from its begin (32 bits), slot (16) and kind (16).
	mine  []uint64
	stack []uint8
	base  uint32 // the first entry of the group that is being run
	sight uint32 // of what fetch has looked at
	steps int64  // done
	told  int64
	// Where groups alike are run as one.
	alike *alike
	due   uint64   // the earliest window of what is left in groups, or never
	apart *cascade // of the group that is being run, where it is on its own
	// By turns, so that what was sent in a window can be read in the next: what came for others, by crewman, and its earliest window.
	turn     int
	out      [2][][]arrival
	earliest uint64 // of what this turn sends
	soonest  [2]uint64
	ran      [2]int // arrivals that this window had
	pace
}

// start has all ranks begin.
func (w *crewman) start() {
	w.earliest, w.due, w.pace = never, never, pace{}
	w.begin, w.end = 0, 1<<w.x.shift
	lo, hi := w.groups()
	if w.alike != nil {
		w.beginAlike()
		return
	}
	for g := lo; g < hi; g++ {
		w.enter(g)
		w.live(g)
	}
}

// through goes through a window.
func (w *crewman) through(window uint64) {
	x := w.x
	w.begin = Time(window) << x.shift
	w.end = w.begin + 1<<x.shift
	opened := w.q.open(window)
	switch {
	case w.alike != nil && (opened || w.due == window):
		w.batch = w.batch[:0]
		for shard := range w.hi - w.lo {
			if opened {
				w.batch = w.q.take(shard, w.batch)
			}
		}
		w.passAlike(window)
	case opened:
		for shard := range w.hi - w.lo {
			if w.batch = w.q.take(shard, w.batch[:0]); len(w.batch) > 0 {
				w.pass((w.lo + shard) << x.shard)
			}
		}
	}
	if x.cfg.progress != nil && w.me == 0 && w.steps-w.told > 1<<16 {
		w.told = w.steps
		x.cfg.progress(min(float64(w.steps)*float64(len(x.crew))/float64(x.f.Steps()), 1))
	}
}

// groups returns the groups of the crewman, lo to hi-1.
func (w *crewman) groups() (lo, hi uint32) {
	all := uint32(len(w.x.base))
	return min(w.lo<<w.x.shard, all), min(w.hi<<w.x.shard, all)
}

// enter has all ranks of a group begin.
func (w *crewman) enter(g uint32) {
	x := w.x
	w.base = x.base[g]
	for r := x.start[g]; r < x.start[g+1]; r++ {
		for l := range x.lanes {
			w.wake(r, uint8(l))
		}
	}
}

// pass takes the groups of a shard, from first on, through the window.
func (w *crewman) pass(first uint32) {
	batch := w.batch
	if len(w.next) < len(batch) {
		w.next = make([]int32, 2*len(batch))
	}
	next := w.next[:len(batch)]
	for i := len(batch) - 1; i >= 0; i-- {
		g := batch[i].group - first
		word, bit := g>>6, uint64(1)<<(g&63)
		next[i] = -1
		if w.touched[word]&bit != 0 {
			next[i] = w.inbox[g]
		}
		w.touched[word] |= bit
		w.inbox[g] = int32(i)
	}
	for word, left := range w.touched {
		w.touched[word] = 0
		for ; left != 0; left &= left - 1 {
			g := uint32(word)<<6 + uint32(bits.TrailingZeros64(left))
			for i := w.inbox[g]; i >= 0; i = next[i] {
				e := &batch[i]
				w.mine = append(w.mine, uint64(e.at-w.begin)<<32|uint64(e.slot)<<16|uint64(e.kind))
			}
			inTurn(w.mine)
			w.fetch(first+g, len(w.mine))
			w.live(first + g)
		}
	}
}

// later puts an arrival at the group that is being run into the rest of its window, or into a later one.
func (w *crewman) later(at Time, group uint32, slot, kind uint16) {
	if at >= w.end && w.alike != nil {
		w.alike.leave(arrival{at, group, slot, kind}, uint64(at)>>w.x.shift)
		return
	}
	if at >= w.end {
		w.q.push(arrival{at, group, slot, kind}, group>>w.x.shard-w.lo)
		return
	}
	key := uint64(at-w.begin)<<32 | uint64(slot)<<16 | uint64(kind)
	w.mine = append(w.mine, key)
	i := len(w.mine) - 1
	for ; i > 0 && key < w.mine[i-1]; i-- {
		w.mine[i] = w.mine[i-1]
	}
	w.mine[i] = key
}

// elsewhere puts an arrival at another group, which is none of this window, where the one that runs that group finds it.
func (w *crewman) elsewhere(at Time, group uint32, slot, kind uint16) {
	shard := group >> w.x.shard
	if shard-w.lo < w.hi-w.lo {
		w.q.push(arrival{at, group, slot, kind}, shard-w.lo)
		return
	}
	out := &w.out[w.turn][w.x.of[shard]]
	*out = append(*out, arrival{at, group, slot, kind})
	w.earliest = min(w.earliest, uint64(at)>>w.x.shift)
}

const (
	// fetchLines is up to how many lines of a cache are fetched of each part of a group's state.
	fetchLines = 64
	// fetchFrom is from how many arrivals on they are.
	fetchFrom = 3
)

// fetch looks at the state of a group before so many arrivals are run, at all of it at once: looked at as it is used, each line of it would be
// waited for by itself. It does so only where that is far away, and is worth it.
func (w *crewman) fetch(g uint32, arrivals int) {
	x := w.x
	if !x.far || arrivals < fetchFrom {
		return
	}
	lo, hi := int(x.start[g]), int(x.start[g+1])
	sight := uint32(0)
	for r := lo; r < min(hi, lo+fetchLines); r++ {
		sight += x.ranks[r].first
	}
	at := x.at[lo*x.lanes : hi*x.lanes]
	for i := 0; i < min(len(at), fetchLines*5); i += 5 { // 60 bytes
		sight += at[i].done
	}
	lines := x.entries[x.base[g]:x.entriesTo(int32(hi))]
	for i := 0; i < min(len(lines), fetchLines*4); i += 4 { // 64 bytes
		sight += lines[i].count
	}
	w.sight += sight
}

// live runs a group through its arrivals in the window.
func (w *crewman) live(g uint32) {
	x := w.x
	base := x.base[g]
	w.base = base
	for i := 0; i < len(w.mine); i++ { // what is added comes later
		key := w.mine[i]
		at, slot, kind := w.begin+Time(key>>32), uint16(key>>16), uint16(key)
		y := &x.entries[base+uint32(slot)]
		s := &x.ranks[y.who]
		if kind&through == 0 {
			m := &x.kinds[kind>>1]
			in := &s.in[m.port&1]
			done := max(at, *in+m.wire[kind&1])
			*in = done + m.gap
			if done > at {
				w.later(done, g, slot, kind|through)
				continue
			}
		}
		y.count++
		s.cpu = max(s.cpu, at)
		w.wake(y.who, y.lane)
	}
	w.ran[w.turn] += len(w.mine)
	w.mine = w.mine[:0]
}

// wake runs a lane as far as it goes, and those that wait for it.
func (w *crewman) wake(r uint32, l uint8) {
	x := w.x
	s := &x.ranks[r]
	lanes := x.at[int(r)*x.lanes:][:x.lanes]
	strands := x.strands[s.strand:][:len(lanes)]
	stack := append(w.stack[:0], l)
	for len(stack) > 0 {
		l := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		strand := &strands[l]
		ops := x.ops[strand.op:][:strand.ops]
		at := &lanes[l]
		p := *at
		done := p.done
		for int(p.code) < len(ops) {
			o := &ops[p.code]
			e := s.first + strand.first + uint32(p.code)
			k, of := p.op, o // the member's
			if o.width > 1 {
				k = 0
				if !o.joint {
					e += p.op
					of = &ops[uint32(p.code)+p.op]
				}
			}
			if of.wait >= 0 && lanes[of.wait].done < of.need+k*of.perOp+uint32(p.slice)*of.perSlice {
				break
			}
			if o.kind == schedule.Send || o.kind == schedule.Copy {
				w.send(r, s, o, e, k, uint32(p.slice))
			} else if !w.receive(r, s, o, &p, e, k) {
				break
			}
			p.done++
			at.done = p.done
			p.step(o)
			if strand.pauses && o.kind != schedule.Copy { // first what this makes possible
				stack = append(stack, l)
				break
			}
		}
		if *at = p; p.done != done {
			w.steps += int64(p.done - done)
			stack = append(stack, strand.wakes...)
		}
	}
	w.stack = stack
}

// step goes on by one.
func (p *position) step(o *operation) {
	if o.width > 1 && !o.joint {
		if p.op++; p.op < uint32(o.width) {
			return
		}
		p.op = 0
	}
	if p.slice++; int32(p.slice) < o.slices {
		return
	}
	p.slice = 0
	if o.width > 1 {
		p.code += uint16(o.width)
	} else if p.op++; int32(p.op) == o.count {
		p.op = 0
		p.code++
	}
}

// like returns the kind of operation k of an entry of rank r.
func (x *windows) like(r uint32, y *line, e, k uint32) uint16 {
	if y.kind != varies {
		return y.kind
	}
	lc, base := x.f.Lane(int32(r), schedule.Lane(y.lane))
	kind, _ := x.kindOf(int32(r), schedule.Lane(y.lane), &lc.Codes[e-base], e, int32(k))
	return kind
}

// longer returns 1 for a longer slice.
func (m *kind) longer(slice uint32) int {
	if slice < m.long {
		return 1
	}
	return 0
}

// send sends a slice, or copies it.
func (w *crewman) send(r uint32, s *standing, o *operation, e, k, slice uint32) {
	x := w.x
	y := &x.entries[e]
	i := y.kind
	if i == varies {
		i = x.like(r, y, e, k)
	}
	m := &x.kinds[i]
	long := m.longer(slice)
	if o.kind == schedule.Copy {
		s.cpu += m.wire[long]
		s.end, s.busy = max(s.end, s.cpu), s.cpu
		return
	}
	s.cpu += m.overhead
	if o.eager {
		s.end = max(s.end, s.cpu)
	}
	slot := uint16(y.count)
	if y.flags&parted != 0 {
		lc, base := x.f.Lane(int32(r), schedule.Lane(y.lane))
		slot, _, _ = x.partner(int32(r), schedule.Lane(y.lane), e, &lc.Codes[e-base], int32(k))
	}
	out := &s.out[m.port&1]
	leaves := max(s.cpu, *out)
	free := leaves + m.wire[long]
	*out = free + m.gap
	if kind := i<<1 | uint16(long); y.flags&enters != 0 && w.apart != nil {
		w.enterCascade(free+m.latency, slot, kind)
	} else if y.flags&near != 0 {
		w.later(free+m.latency, y.who, slot, kind)
	} else if w.alike != nil {
		w.alike.outs = append(w.alike.outs, outgoing{free + m.latency, e - w.base, kind})
	} else {
		w.elsewhere(free+m.latency, y.who, slot, kind)
	}
}

// receive tries to take a slice, of one peer or of all of a joint reduction.
func (w *crewman) receive(r uint32, s *standing, o *operation, p *position, e, k uint32) bool {
	x := w.x
	y := &x.entries[e]
	slice := uint32(p.slice)
	tick := k*uint32(o.slices) + slice
	cost := Time(0)
	width := uint32(1)
	if o.joint {
		width = uint32(o.width)
		for ; p.op < width; p.op++ {
			if x.entries[e+p.op].count <= tick {
				return false
			}
		}
		p.op = 0
		for i := uint32(1); i < width; i++ {
			cost += x.kinds[x.like(r, &x.entries[e+i], e+i, k)].overhead
		}
	} else if y.count <= tick {
		return false
	}
	i := y.kind
	if i == varies {
		i = x.like(r, y, e, k)
	}
	m := &x.kinds[i]
	cost += m.overhead
	if o.kind == schedule.RecvReduce {
		cost += joint(m.reduce[m.longer(slice)], int32(width))
	}
	s.cpu += cost
	if o.kind == schedule.RecvReduce {
		s.busy = s.cpu
	}
	s.end = max(s.end, s.cpu)
	if tick+1 == uint32(o.slices)*uint32(o.count) { // a send is over when it has been taken
		for i := range width {
			if w.alike != nil {
				w.alike.ends = append(w.alike.ends, outgoing{at: s.cpu, entry: e + i - w.base})
			} else {
				x.over(x.f.Peer(e+i), s.cpu)
			}
		}
	}
	return true
}

// over says that a send of rank r was taken.
func (x *windows) over(r int32, at Time) {
	for end := &x.ends[r]; ; {
		if was := end.Load(); was >= int64(at) || end.CompareAndSwap(was, int64(at)) {
			return
		}
	}
}
