package sim

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/ringtree/ringtree/collective/schedule"
)

// newWindows returns nil for what a stepper has to run. asOne says that groups may be run as one as long as they are alike.
func newWindows(f *schedule.Fleet, m *model, cfg *config, class []uint8, size *sizes, asOne bool) *windows {
	if cfg.disturbed() || cfg.records > 0 || cfg.wires != PortWires || cfg.events || f.Lanes() > math.MaxInt8 {
		return nil
	}
	for _, c := range m.classes {
		if c.cost.Eager > 0 {
			return nil
		}
	}
	n := f.Ranks()
	x := &windows{
		f: f, m: m, cfg: cfg, class: class, size: size, lanes: f.Lanes(), asOne: asOne,
		strands: make([]strand, f.Programs()*f.Lanes()), entries: make([]line, f.Entries()), at: make([]position, n*f.Lanes()),
		ranks: make([]standing, n), ends: make([]atomic.Int64, n),
	}
	for r := range int32(n) {
		s := &x.ranks[r]
		s.strand = uint32(int(f.Program(r)) * x.lanes)
		_, s.first = f.Lane(r, 0)
		if p := x.strands[s.strand:][:x.lanes]; !p[0].known {
			if !x.read(p, r) {
				return nil
			}
			x.readers = append(x.readers, r)
		}
	}
	if !x.divide() || !x.price() {
		return nil
	}
	parts := 1
	if size.chunk >= 0 { // kinds are known
		parts = partsOf(n, partRanks)
	}
	links := make([]linking, parts)
	inParts(parts, func(part int) {
		y := &links[part]
		y.uses, y.ok = make([]uint8, len(x.kinds)), true
		for r := part * n / parts; r < (part+1)*n/parts && y.ok; r++ {
			y.ok = x.link(int32(r), y)
		}
	})
	x.uses = make([]uint8, len(x.kinds))
	for i := range links {
		if !links[i].ok {
			return nil
		}
		for kind, use := range links[i].uses {
			x.uses[kind] |= use
		}
	}
	if !x.span() {
		return nil
	}
	x.share()
	return x
}

// span works out how long a window is, and reports whether there is such a length.
func (x *windows) span() bool {
	var quickest, ahead Time = math.MaxInt64, math.MaxInt64 // what the quickest message takes, and the quickest between groups
	for kind, use := range x.uses {
		takes := x.kinds[kind].wire[0] + x.kinds[kind].latency
		if use != 0 {
			quickest = min(quickest, takes)
		}
		if use&afar != 0 {
			ahead = min(ahead, takes)
		}
	}
	if quickest <= 0 || ahead <= 0 {
		return false
	}
	// Long windows would keep much in order at a time.
	ahead = min(ahead, 16*min(quickest, 1<<maxWindow))
	x.shift = uint(min(bits.Len64(uint64(ahead))-1, maxWindow))
	return true
}

// again makes a run that has come to its end ready for another size, and reports whether it could: operations must be sliced as they
// were, and chunks of one length both times.
func (x *windows) again(size *sizes) bool {
	if size.chunk < 0 || x.size.chunk < 0 {
		return false
	}
	for _, r := range x.readers {
		for l, strand := range x.strands[x.ranks[r].strand:][:x.lanes] {
			lc, _ := x.f.Lane(r, schedule.Lane(l))
			for i := range lc.Codes {
				if lc.Codes[i].Slices != x.ops[strand.op+uint32(i)].slices {
					return false
				}
			}
		}
	}
	x.size = size
	shift := x.shift
	if !x.price() || !x.span() {
		return false
	}
	clear(x.at)
	parts := partsOf(len(x.ranks), partRanks)
	inParts(parts, func(part int) {
		lo, hi := part*len(x.ranks)/parts, (part+1)*len(x.ranks)/parts
		for r := lo; r < hi; r++ {
			s := &x.ranks[r]
			*s = standing{first: s.first, strand: s.strand}
			x.ends[r].Store(0)
		}
		for e := x.entriesTo(int32(lo)); e < x.entriesTo(int32(hi)); e++ {
			if y := &x.entries[e]; y.flags&posts == 0 {
				y.count = 0
			}
		}
	})
	if x.shift != shift {
		x.crew = nil
		x.share()
		return true
	}
	for _, w := range x.crew {
		w.steps, w.told, w.q.now = 0, 0, 0
	}
	return true
}

const (
	// shardBytes is how much of the ranks' state a shard has: so much as a processor keeps near.
	shardBytes = 192 << 10
	// farFrom is how much of it is surely not near.
	farFrom   = 4 << 20
	maxShards = 1 << 10
	maxCrew   = 64
	// shareFrom is how many steps are worth a goroutine.
	shareFrom = 1 << 16
	// shareLikes is how many groups are, where those alike are run as one: then little is done in a window.
	shareLikes = 512
)

// share puts groups into shards, and shards into the hands of goroutines.
func (x *windows) share() {
	all := len(x.ranks)*(int(unsafe.Sizeof(standing{}))+x.lanes*int(unsafe.Sizeof(position{}))) + len(x.entries)*int(unsafe.Sizeof(line{}))
	x.far = all > farFrom
	groups := len(x.base)
	crew := x.cfg.crew
	var of []int32
	var leads []uint32
	if x.asOne {
		of, leads = x.likes()
	}
	if crew == 0 {
		crew = partsOf(int(min(x.f.Steps(), math.MaxInt32)), shareFrom)
		if of != nil {
			crew = min(crew, partsOf(groups, shareLikes))
		}
	}
	if x.cfg.crew == 0 && x.central() {
		crew = 1
	}
	crew = min(crew, maxCrew, groups)
	shards := min(max(all/shardBytes, 4*crew), maxShards, groups)
	if crew == 1 && all <= 2*shardBytes {
		shards = 1
	}
	for x.shard = 0; (groups-1)>>x.shard >= shards; x.shard++ {
	}
	shards = (groups-1)>>x.shard + 1
	crew = min(crew, shards)
	x.of = make([]uint8, shards)
	x.barrier.cond.L = &x.barrier.mu
	for i := range crew {
		lo, hi := i*shards/crew, (i+1)*shards/crew
		w := &crewman{
			x: x, me: i, lo: uint32(lo), hi: uint32(hi), q: newCalendar(x.shift, hi-lo),
			inbox: make([]int32, 1<<x.shard), touched: make([]uint64, (1<<x.shard+63)/64), stack: make([]uint8, 0, 4*x.lanes),
		}
		w.out = [2][][]arrival{make([][]arrival, crew), make([][]arrival, crew)}
		for s := lo; s < hi; s++ {
			x.of[s] = uint8(i)
		}
		x.crew = append(x.crew, w)
	}
	if of == nil {
		return
	}
	cascades := x.cascades(leads)
	for g, c := range of {
		if cascades != nil && cascades[c] != nil {
			x.taps(uint32(g), cascades[c])
		}
	}
	for _, w := range x.crew {
		lo, hi := w.groups()
		w.alike = newAlike(lo, hi, of, len(leads))
		w.alike.cascades = cascades
	}
}

// central reports whether half of all messages' ends are of one group, as from or to a root: those are taken one after the other, and so is what
// they wait for or make possible.
func (x *windows) central() bool {
	ends := make([]int64, len(x.strands)/x.lanes) // by program
	for i := range x.strands {
		s := &x.strands[i]
		for k := range x.ops[s.op:][:s.ops] {
			o := &x.ops[s.op+uint32(k)]
			ends[i/x.lanes] += int64(o.slices) * int64(o.count)
		}
	}
	most, all := int64(0), int64(0)
	for g := range x.base {
		sum := int64(0)
		for r := x.start[g]; r < x.start[g+1]; r++ {
			sum += ends[int(x.ranks[r].strand)/x.lanes]
		}
		most, all = max(most, sum), all+sum
	}
	return len(x.base) > 2 && 2*most >= all
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
		x.base, x.start = append(x.base, x.ranks[r].first), append(x.start, uint32(r))
		r = end
	}
	x.start = append(x.start, uint32(n))
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
func (x *windows) read(p []strand, r int32) bool {
	begin := make([][]int64, x.lanes) // of each code's unit, in steps of the lane
	_, base := x.f.Lane(r, 0)
	for l := range p {
		lc, first := x.f.Lane(r, schedule.Lane(l))
		s := &p[l]
		s.known = true
		s.first, s.pauses = first-base, schedule.Lane(l).In() && len(lc.Wakes) > 0
		for _, on := range slices.Backward(lc.Wakes) {
			if int(on) != l {
				s.wakes = append(s.wakes, uint8(on))
			}
		}
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
		s.op, s.ops = uint32(len(x.ops)), uint32(len(lc.Codes))
		x.ops = append(x.ops, make([]operation, len(lc.Codes))...)
	}
	for l := range p {
		lc, _ := x.f.Lane(r, schedule.Lane(l))
		for i := range lc.Codes {
			c := &lc.Codes[i]
			o := &x.ops[p[l].op+uint32(i)]
			*o = operation{
				kind: c.Kind, joint: c.Joint && c.Width > 1, eager: c.Eager, wait: -1, width: c.Width, slices: c.Slices, count: c.Count, chunks: c.N,
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

// price works out what messages are like, where chunks are of one length: of each shape, by class of their links.
func (x *windows) price() bool {
	x.kinds, x.totals = x.kinds[:0], x.totals[:0]
	if x.size.chunk < 0 {
		x.known = make(map[kindKey]uint16) // by operation
		return true
	}
	if x.shapes == nil {
		known := make(map[shape]int32)
		for i := range x.ops {
			o := &x.ops[i]
			y := shape{o.chunks, o.slices, o.kind == schedule.Copy}
			n, ok := known[y]
			if !ok {
				n = int32(len(x.shapes))
				known[y] = n
				x.shapes = append(x.shapes, y)
			}
			o.size = n
		}
	}
	for _, y := range x.shapes {
		for class := range x.linkClasses() {
			if _, ok := x.enter(kindKey{int64(y.chunks) * x.size.chunk, y.slices, uint8(class), y.copies}); !ok {
				return false
			}
		}
	}
	return true
}

// linkClasses returns by how many classes kinds are counted: a lone rank has no links, but copies.
func (x *windows) linkClasses() int { return max(len(x.m.classes), 1) }

// A linking is what a part of the ranks adds to what is known of messages.
type linking struct {
	uses []uint8 // by kind
	ok   bool
}

// Uses of a kind: sends within groups, and between them.
const (
	within = 1 << iota
	afar
)

// link finds the receivers of what rank r sends, and what messages are like.
func (x *windows) link(r int32, found *linking) bool {
	strands := x.strands[x.ranks[r].strand:][:x.lanes]
	for l := range schedule.Lane(x.lanes) {
		lc, base := x.f.Lane(r, l)
		ops := x.ops[strands[l].op:][:strands[l].ops]
		for i := range lc.Codes {
			c := &lc.Codes[i]
			e := base + uint32(i)
			y := &x.entries[e]
			*y = line{who: uint32(r), kind: varies, lane: uint8(l)}
			if c.Kind == schedule.Send {
				y.flags = posts
				if y.who = x.group[x.f.Peer(e)]; y.who == x.group[r] {
					y.flags |= near
				}
			}
			runs := c.Count
			if x.size.chunk >= 0 {
				y.kind, runs = uint16(int(ops[i].size)*x.linkClasses()+int(x.class[e])), 1
			}
			for k := range runs {
				i := y.kind
				if x.size.chunk < 0 {
					var ok bool
					if i, ok = x.kindOf(r, l, c, e, k); !ok {
						return false
					}
					if runs == 1 {
						y.kind = i
					}
				}
				if c.Kind == schedule.Send {
					for int(i) >= len(found.uses) {
						found.uses = append(found.uses, 0)
					}
					if y.flags&near != 0 {
						found.uses[i] |= within
					} else {
						found.uses[i] |= afar
					}
				}
			}
			if c.Kind != schedule.Send {
				continue
			}
			for k := int32(0); k < c.Count; {
				slot, more, ok := x.partner(r, l, e, c, k)
				if !ok {
					return false
				}
				if k == 0 {
					y.count = uint32(slot)
					if more < c.Count {
						y.flags |= parted
					}
				}
				k += more
			}
		}
	}
	return true
}

// partner returns the entry that receives operation k of run c, and how many operations from there on.
func (x *windows) partner(r int32, l schedule.Lane, entry uint32, c *schedule.Code, k int32) (slot uint16, more int32, ok bool) {
	peer := x.f.Peer(entry)
	lc, base := x.f.Lane(peer, l.Opposite())
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
	return x.enter(key)
}

// enter adds a kind.
func (x *windows) enter(key kindKey) (uint16, bool) {
	if len(x.kinds) == maxKinds {
		return 0, false
	}
	each := key.elements / int64(key.slices)
	y := kind{long: uint32(key.elements - each*int64(key.slices))}
	if int(key.class) < len(x.m.classes) {
		y.level = uint8(x.m.classes[key.class].link.Level)
	}
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
	all := total{bytes: key.elements * x.size.elem, slices: int64(key.slices)}
	all.busy = Time(y.long)*y.wire[1] + Time(uint32(key.slices)-y.long)*y.wire[0] + Time(key.slices)*y.gap
	i := uint16(len(x.kinds))
	x.kinds, x.totals = append(x.kinds, y), append(x.totals, all)
	if x.known != nil {
		x.known[key] = i
	}
	return i, true
}

// account puts into a result when ranks were done and what they sent. Rank r of the fleet stands for weight[r], or one each.
func (x *windows) account(res *Result, weight []int64) (busy [][2]Time) {
	n := len(x.ranks)
	busy = make([][2]Time, n)
	sent := make([][]int64, partsOf(n, partRanks)) // messages by kind
	inParts(len(sent), func(part int) {
		sent[part] = make([]int64, len(x.kinds))
		for r := part * n / len(sent); r < (part+1)*n/len(sent); r++ {
			many := int64(1)
			if weight != nil {
				many = weight[r]
			}
			x.sent(int32(r), many, sent[part], &busy[r])
		}
	})
	for i := range sent {
		for kind, many := range sent[i] {
			t, all := &res.Tiers[x.kinds[kind].level], &x.totals[kind]
			t.Messages += many * all.slices
			t.Bytes += many * all.bytes
		}
	}
	return busy
}

// sent adds up what a rank sends that stands for so many.
func (x *windows) sent(r int32, many int64, sent []int64, busy *[2]Time) {
	s := &x.ranks[r]
	for l, strand := range x.strands[s.strand:][:x.lanes] {
		ops := x.ops[strand.op:][:strand.ops]
		entries := x.entries[s.first+strand.first:][:len(ops)]
		for i := range ops {
			o := &ops[i]
			if o.kind != schedule.Send {
				continue
			}
			if kind := entries[i].kind; kind != varies {
				sent[kind] += many * int64(o.count)
				busy[x.kinds[kind].port&1] += Time(o.count) * x.totals[kind].busy
				continue
			}
			lc, base := x.f.Lane(r, schedule.Lane(l))
			for k := range o.count {
				kind, _ := x.kindOf(r, schedule.Lane(l), &lc.Codes[i], base+uint32(i), k)
				sent[kind] += many
				busy[x.kinds[kind].port] += x.totals[kind].busy
			}
		}
	}
}

// finished returns when a rank was done.
func (x *windows) finished(r int32) Time { return max(x.ranks[r].end, Time(x.ends[r].Load())) }
