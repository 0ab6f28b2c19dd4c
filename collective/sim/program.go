package sim

import (
	"math"
	"math/bits"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// newWindows returns nil for what a stepper has to run.
func newWindows(f *schedule.Fleet, m *model, cfg *config, class []uint8, size *sizes) *windows {
	if cfg.disturbed() || cfg.records > 0 || cfg.wires != PortWires || f.Lanes() > math.MaxInt8 {
		return nil
	}
	for _, c := range m.classes {
		if c.cost.Eager > 0 {
			return nil
		}
	}
	n := f.Ranks()
	x := &windows{
		f: f, m: m, cfg: cfg, class: class, size: size, lanes: f.Lanes(),
		progs: make([]program, f.Programs()), entries: make([]line, f.Entries()), at: make([]position, n*f.Lanes()),
		ranks: make([]standing, n), known: make(map[kindKey]uint16), quickest: math.MaxInt64, ahead: math.MaxInt64,
	}
	for r := range int32(n) {
		s := &x.ranks[r]
		s.prog = uint32(f.Program(r))
		_, s.first = f.Lane(r, 0)
		if p := &x.progs[s.prog]; p.lanes == nil && !x.read(p, r) {
			return nil
		}
	}
	if !x.divide() {
		return nil
	}
	for r := range int32(n) {
		if !x.link(r) {
			return nil
		}
	}
	if x.quickest <= 0 || x.ahead <= 0 {
		return nil
	}
	// Long windows would keep much in order at a time.
	ahead := min(x.ahead, 16*min(x.quickest, 1<<maxWindow))
	x.q = newCalendar(uint(min(bits.Len64(uint64(ahead))-1, maxWindow)))
	return x
}

// maxGroup is up to how many ranks of a host are one group: what is under way in a group is kept in order.
const maxGroup = 64

// divide puts the ranks of each host into a group, as messages within hosts are quicker than those between. Groups are ranges of ranks.
func (x *windows) divide() bool {
	n := int32(len(x.ranks))
	x.group = make([]uint32, n)
	for r := int32(0); r < n; {
		end := r + 1
		for host := x.m.g.Host(x.f.Of(r)); end < n && x.m.g.Host(x.f.Of(end)) == host; {
			end++
		}
		if entries := x.entriesTo(end) - x.ranks[r].first; end-r > maxGroup || entries > math.MaxUint16 {
			end = r + 1
			if x.entriesTo(end)-x.ranks[r].first > math.MaxUint16 {
				return false
			}
		}
		for q := r; q < end; q++ {
			x.group[q] = uint32(len(x.base))
		}
		x.base = append(x.base, x.ranks[r].first)
		x.inbox = append(x.inbox, -1)
		r = end
	}
	return true
}

// entriesTo returns how many entries the ranks before r have.
func (x *windows) entriesTo(r int32) uint32 {
	if int(r) == len(x.ranks) {
		return uint32(len(x.entries))
	}
	return x.ranks[r].first
}

// read works out a program, of which rank r is one.
func (x *windows) read(p *program, r int32) bool {
	p.lanes = make([]strand, x.lanes)
	begin := make([][]int64, x.lanes) // of each code's unit, in steps of the lane
	_, base := x.f.Lane(r, 0)
	for l := range p.lanes {
		lc, first := x.f.Lane(r, schedule.Lane(l))
		s := &p.lanes[l]
		s.first, s.wakes = first-base, lc.Wakes
		if l := schedule.Lane(l); !l.In() && len(lc.Wakes) > 0 {
			return false // it matters when sends are over
		}
		for i := range lc.Codes {
			c := &lc.Codes[i]
			if c.Slices > math.MaxUint16 {
				return false
			}
			if c.Width == 0 {
				begin[l] = append(begin[l], begin[l][i-1])
				continue
			}
			begin[l] = append(begin[l], s.ticks)
			steps := int64(c.Slices)
			switch {
			case c.Width == 1:
				steps *= int64(c.Count)
			case !c.Joint:
				steps *= int64(c.Width)
			}
			s.ticks += steps
		}
		if len(lc.Codes) > math.MaxUint16 || s.ticks > math.MaxInt32 {
			return false
		}
		s.ops = make([]operation, len(lc.Codes))
	}
	for l := range p.lanes {
		lc, _ := x.f.Lane(r, schedule.Lane(l))
		for i := range lc.Codes {
			c := &lc.Codes[i]
			o := &p.lanes[l].ops[i]
			*o = operation{
				kind: c.Kind, joint: c.Joint && c.Width > 1, eager: c.Eager, wait: -1, width: c.Width, slices: c.Slices, count: c.Count,
			}
			on, from, waits := c.After(0)
			if !waits {
				continue
			}
			need := func(k, slice int32) int64 { // steps of lane on
				_, i, _ := c.After(k)
				dep, _ := x.f.Lane(r, on)
				d, kd, _ := dep.Find(i)
				w := d
				for dep.Codes[w].Width == 0 {
					w--
				}
				unit := &dep.Codes[w]
				t := begin[on][d]
				switch {
				case unit.Width == 1 && c.Streams:
					return t + int64(kd)*int64(unit.Slices) + int64(slice) + 1
				case unit.Width == 1:
					return t + int64(kd+1)*int64(unit.Slices)
				case unit.Joint && c.Streams:
					return t + int64(slice) + 1
				case c.Streams:
					return t + int64(slice)*int64(unit.Width) + int64(d-w) + 1
				case unit.Joint:
					return t + int64(unit.Slices)
				}
				return t + int64(unit.Slices)*int64(unit.Width)
			}
			o.wait = int8(on)
			a := need(0, 0)
			o.need = uint32(a)
			if c.Slices > 1 {
				o.perSlice = uint32(need(0, 1) - a)
			}
			if _, second, _ := c.After(min(1, c.Count-1)); second == from {
				continue
			}
			o.perOp = uint32(need(1, 0) - a)
			// What a run waits for may be of several runs.
			for k := range c.Count {
				if need(k, c.Slices-1) != a+int64(k)*int64(o.perOp)+int64(c.Slices-1)*int64(o.perSlice) {
					return false
				}
			}
		}
	}
	return true
}

// link finds the receivers of what rank r sends, and what messages are like.
func (x *windows) link(r int32) bool {
	for l := range schedule.Lane(x.lanes) {
		lc, base := x.f.Lane(r, l)
		for i := range lc.Codes {
			c := &lc.Codes[i]
			e := base + uint32(i)
			y := &x.entries[e]
			peer := x.f.Peer(e)
			y.rank, y.lane, y.kind = uint32(r), uint8(l), varies
			y.group, y.near = x.group[peer], x.group[peer] == x.group[r]
			runs := c.Count
			if x.size.chunk >= 0 {
				runs = 1
			}
			for k := range runs {
				i, ok := x.kindOf(r, l, c, e, k)
				if !ok {
					return false
				}
				if runs == 1 {
					y.kind = i
				}
				if c.Kind == schedule.Send {
					takes := x.kinds[i].wire[0] + x.kinds[i].latency
					x.quickest = min(x.quickest, takes)
					if !y.near {
						x.ahead = min(x.ahead, takes)
					}
				}
			}
			if c.Kind != schedule.Send {
				continue
			}
			for k := int32(0); k < c.Count; {
				slot, more, ok := x.partner(r, e, c, k)
				if !ok {
					return false
				}
				if k == 0 {
					y.slot, y.parted = slot, more < c.Count
				}
				k += more
			}
		}
	}
	return true
}

// partner returns the entry that receives operation k of run c, and how many operations from there on.
func (x *windows) partner(r int32, entry uint32, c *schedule.Code, k int32) (slot uint16, more int32, ok bool) {
	peer := x.f.Peer(entry)
	lc, base := x.f.Lane(peer, schedule.Lane(x.entries[entry].lane).Opposite())
	code, at, ok := lc.Find(c.Match + k)
	if !ok {
		return 0, 0, false
	}
	dst := base + uint32(code)
	o := &lc.Codes[code]
	if x.f.Peer(dst) != r || o.Kind == schedule.Send || o.Slices != c.Slices || o.N != c.N {
		return 0, 0, false
	}
	return uint16(dst - x.base[x.group[peer]]), min(o.Count-at, c.Count-k), true
}

// kindOf returns what operation k of an entry is like.
func (x *windows) kindOf(r int32, l schedule.Lane, c *schedule.Code, entry uint32, k int32) (uint16, bool) {
	key := kindKey{x.size.elements(x.f, r, l, c, entry, k), c.Slices, x.class[entry], c.Kind == schedule.Copy}
	if i, ok := x.known[key]; ok {
		return i, true
	}
	if len(x.kinds) == maxKinds {
		return 0, false
	}
	each := key.elements / int64(key.slices)
	y := kind{long: uint32(key.elements - each*int64(key.slices))}
	for long := range y.wire {
		bytes := (each + int64(long)) * x.size.elem
		if key.copies {
			y.wire[long] = x.m.copying.Latency + x.m.copying.PerByte.Of(bytes)
			continue
		}
		cost := &x.m.classes[key.class].cost
		y.wire[long], y.reduce[long] = cost.PerByte.Of(bytes), x.m.reduce.Of(bytes)
		y.gap, y.latency, y.overhead, y.port = cost.Gap, cost.Latency, cost.Overhead, uint8(cost.port())
	}
	i := uint16(len(x.kinds))
	x.kinds = append(x.kinds, y)
	x.known[key] = i
	return i, true
}

// account adds up what is sent.
func (x *windows) account(res *Result) {
	busy := make([][2]Time, len(x.ranks))
	for r := range int32(len(x.ranks)) {
		for l := range schedule.Lane(x.lanes) {
			lc, base := x.f.Lane(r, l)
			for i := range lc.Codes {
				c := &lc.Codes[i]
				if c.Kind != schedule.Send {
					continue
				}
				e := base + uint32(i)
				t := &res.Tiers[x.m.classes[x.class[e]].link.Level]
				t.Messages += int64(c.Count) * int64(c.Slices)
				runs, each := int32(1), int64(c.Count)
				if x.entries[e].kind == varies {
					runs, each = c.Count, 1
				}
				for k := range runs {
					t.Bytes += each * x.size.elements(x.f, r, l, c, e, k) * x.size.elem
					i, _ := x.kindOf(r, l, c, e, k)
					y := &x.kinds[i]
					busy[r][y.port] += Time(each) * (Time(y.long)*y.wire[1] + Time(uint32(c.Slices)-y.long)*y.wire[0] + Time(c.Slices)*y.gap)
				}
			}
		}
	}
	for r := range res.Finish {
		res.Finish[r] = x.ranks[r].end
		res.port(topology.Rank(r), busy[r])
	}
}
