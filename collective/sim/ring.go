package sim

import (
	"math"
	"slices"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// A ring is a fleet in which every rank sends to one peer and receives from one, round a single circle, each send passing
// on what the receive before brought. It has too many messages for a queue of events, and needs none: with u the place
// before v,
//
//	D(v,j) = max(D(v,j-1), R(u,j-S) + o(u)) + wire(v,j) + gap(v)
//	R(v,j) = max(D(v,j) - gap(v) + latency(v), R(v,j-1) + o(v)) + r(v,j)
//
// where message j, one of S slices of each of m operations, has left the link into v and freed its port at D(v,j), and v
// is done with it at R(v,j). Where no processor is slower than the link into its rank, the second maximum never counts, and the
// rest is one recurrence,
//
//	D(v,j) = max(D(v,j-1), D(u,j-S) + h(u)) + c(v,j)
type ring struct {
	n, steps, reduced int   // places, operations, and how many of them reduce
	slices            int32 // S
	rank              []int32
	wire, gap, lat    []Time // of the link into a place
	so                []Time // overhead of a send
	ro                [2][]Time
	start             []Time
	copying           []Time // after the last send
	class             []uint8
	bytes             int64 // of a slice
	elem              int64
	long              []bool
	// longWire and longRo are what messages take that are one element longer: those that begin where long says.
	longWire []Time
	longRo   []Time
	noise    *noise
	span     []Time
	progress func(float64)
	slots    []int32 // at Congestion: transfers, of the link into a place
}

// asRing returns the ring that a fleet is, or nil.
func asRing(f *schedule.Fleet, m *model, cfg *config, class []uint8, size *sizes) *ring {
	n := f.Ranks()
	if f.Lanes() != 2 || n < 2 || cfg.dead != nil || cfg.lostLinks != nil || f.Of(0) != 0 {
		return nil
	}
	g := &ring{n: n, rank: make([]int32, 0, n), noise: newNoise(cfg), progress: cfg.progress}
	r := int32(0)
	var prev int32 = -1
	for range n {
		out, first := f.Lane(r, schedule.OutLane(0))
		in, from := f.Lane(r, schedule.InLane(0))
		if len(out.Codes) < 1 || len(in.Codes) < 1 || prev >= 0 && f.Peer(from) != prev {
			return nil
		}
		steps, reduced, ok := rotates(f, in, out, first, from)
		if !ok || len(g.rank) > 0 && (steps != g.steps || reduced != g.reduced) {
			return nil
		}
		c := &out.Codes[0]
		g.steps, g.reduced, g.slices = steps, reduced, c.Slices
		g.rank = append(g.rank, r)
		prev, r = r, f.Peer(first)
	}
	if r != 0 {
		return nil
	}
	if !g.costs(f, m, cfg, class, size) {
		return nil
	}
	return g
}

// rotates reports whether the lanes of a rank are those of a ring, of how many operations, and how many of them reduce.
func rotates(f *schedule.Fleet, in, out *schedule.LaneCode, first, from uint32) (steps, reduced int, ok bool) {
	n := in.Codes[0].N
	for i := range in.Codes {
		c := &in.Codes[i]
		_, _, waits := c.After(0)
		if c.Width != 1 || c.N != n || waits || f.Peer(from+uint32(i)) != f.Peer(from) || c.Match != c.Index || c.Kind == schedule.Copy {
			return 0, 0, false
		}
		if c.Kind == schedule.RecvReduce {
			if reduced != int(c.Index) {
				return 0, 0, false
			}
			reduced += int(c.Count)
		}
	}
	steps = int(in.Ops)
	for i := range out.Codes {
		c := &out.Codes[i]
		l, op, waits := c.After(0)
		switch {
		case c.Kind == schedule.Copy:
			if i != len(out.Codes)-1 || waits || int(c.Index) != steps || c.N != n {
				return 0, 0, false
			}
			continue
		case c.Width != 1 || c.N != n || c.Eager || c.Kind != schedule.Send || f.Peer(first+uint32(i)) != f.Peer(first) || c.Match != c.Index:
			return 0, 0, false
		case i == 0:
			if waits || c.Count != 1 {
				return 0, 0, false
			}
			continue
		}
		last, lastOp, _ := c.After(c.Count - 1)
		if !waits || l != schedule.InLane(0) || last != l || op != c.Index-1 || lastOp != c.Index+c.Count-2 || !c.Streams && c.Slices > 1 {
			return 0, 0, false
		}
	}
	last := &out.Codes[len(out.Codes)-1]
	sends := int(last.Index + last.Count)
	if last.Kind == schedule.Copy {
		sends = int(last.Index)
	}
	return steps, reduced, sends == steps && len(in.Wakes) <= 1 && len(out.Wakes) == 0
}

func (g *ring) costs(f *schedule.Fleet, m *model, cfg *config, class []uint8, size *sizes) bool {
	n := g.n
	x := stepper{f: f, m: m, cfg: cfg}
	for _, s := range []*[]Time{&g.wire, &g.gap, &g.lat, &g.so, &g.ro[0], &g.ro[1], &g.start, &g.copying} {
		*s = make([]Time, n)
	}
	g.class = make([]uint8, n)
	if size.chunk < 0 {
		if g.slices > 1 {
			return false
		}
		g.long, g.longWire, g.longRo = make([]bool, n), make([]Time, n), make([]Time, n)
	}
	if g.noise != nil {
		g.span = make([]Time, n)
	}
	// The shortest message, and in uneven vectors the longer ones.
	short := int64(math.MaxInt64)
	sent := make([]int64, n)
	for v, r := range g.rank {
		out, first := f.Lane(r, schedule.OutLane(0))
		if g.slices > 1 && size.of(f, r, 0, &out.Codes[0], first, 0, 0) != size.of(f, r, 0, &out.Codes[0], first, 0, g.slices-1) {
			return false
		}
		sent[v] = size.of(f, r, 0, &out.Codes[0], first, 0, 0)
		short = min(short, sent[v])
	}
	g.bytes, g.elem = short, size.elem
	for v, r := range g.rank {
		u := g.rank[(v+n-1)%n]
		out, first := f.Lane(r, schedule.OutLane(0))
		_, from := f.Lane(r, schedule.InLane(0))
		k := &m.classes[class[from]].cost
		if size.asks(k, &out.Codes[0]) {
			return false
		}
		g.class[v] = class[from]
		g.wire[v], g.gap[v], g.lat[v] = x.slowed(u, k.PerByte.Of(short)), k.Gap, k.Latency
		g.so[v] = x.slowed(r, m.classes[class[first]].cost.Overhead)
		g.ro[0][v] = x.slowed(r, k.Overhead+m.reduction(short, 1))
		g.ro[1][v] = x.slowed(r, k.Overhead)
		g.start[v] = cfg.late[topology.Rank(r)]
		if g.long != nil {
			switch sent[v] {
			case short:
			case short + size.elem:
				g.long[v] = true
			default:
				return false
			}
			g.longWire[v] = x.slowed(u, k.PerByte.Of(short+size.elem))
			g.longRo[v] = x.slowed(r, k.Overhead+m.reduction(short+size.elem, 1))
			if g.noise != nil { // the noise of longer messages would be another
				return false
			}
		}
		if g.noise != nil {
			g.span[v] = g.noise.span(k.Latency + g.wire[v])
		}
		if c := &out.Codes[len(out.Codes)-1]; c.Kind == schedule.Copy {
			for i := range c.Slices {
				g.copying[v] += x.slowed(r, m.copying.Latency+m.copying.PerByte.Of(size.of(f, r, 0, c, first+uint32(len(out.Codes)-1), 0, i)))
			}
		}
	}
	return true
}

// before returns the place before v.
func (g *ring) before(v int) int {
	if v == 0 {
		return g.n - 1
	}
	return v - 1
}

// eased reports whether no processor ever keeps a message waiting.
func (g *ring) eased() bool {
	for v := range g.n {
		u := g.before(v)
		if g.copying[v] > 0 || g.so[v]+g.ro[0][v] > g.wire[v]+g.gap[v] ||
			g.start[v]+Time(g.slices)*g.so[v] > g.start[u]+g.so[u]+g.wire[v]+g.lat[v] {
			return false
		}
		if g.long != nil && g.so[v]+g.longRo[v] > g.wire[v]+g.gap[v] {
			return false
		}
	}
	return true
}

// finish returns when each rank is done, by rank.
func (g *ring) finish(exact bool) (end []Time, method string) {
	var done []Time // by place: the last receive
	switch {
	case !g.eased():
		done, method = g.sweepBoth(), "ring, stepped with processors"
	case exact && g.closes():
		done, method = g.closed(), "ring, closed form"
	default:
		done, method = g.sweep(), "ring, stepped"
	}
	end = make([]Time, g.n)
	for v, r := range g.rank {
		end[r] = max(done[v], done[(v+1)%g.n]) // a send is over when it has been taken
	}
	return end, method
}

// hop returns h by place, for receives that reduce (0) or do not (1).
func (g *ring) hop(phase int) []Time {
	h := make([]Time, g.n)
	for v := range h {
		h[v] = g.lat[v] - g.gap[v] + g.ro[phase][v] + g.so[v]
	}
	return h
}

// first returns D of message 0, and c.
func (g *ring) first() (d, c []Time) {
	d, c = make([]Time, g.n), make([]Time, g.n)
	for v := range d {
		u := g.before(v)
		c[v] = g.wire[v] + g.gap[v]
		d[v] = g.start[u] + g.so[u] + c[v]
	}
	return d, c
}

// last turns D of the last message into R.
func (g *ring) last(d []Time, late func(v int) Time) []Time {
	phase := 1
	if g.reduced == g.steps {
		phase = 0
	}
	for v := range d {
		d[v] += g.lat[v] - g.gap[v] + g.ro[phase][v] + late(v)
	}
	return d
}

// maxTables bounds the tables of a closed form: one for each distinct c.
const maxTables = 64

// closes reports whether there is a closed form.
func (g *ring) closes() bool {
	if g.noise != nil || g.long != nil {
		return false
	}
	distinct := make(map[Time]bool)
	same := true
	for v := range g.n {
		if distinct[g.wire[v]+g.gap[v]] = true; len(distinct) > maxTables {
			return false
		}
		same = same && g.ro[0][v] == g.ro[1][v]
	}
	return same || g.slices == 1 || g.reduced == 0 || g.reduced == g.steps
}

// closed returns R of the last message without stepping.
func (g *ring) closed() []Time {
	d, c := g.first()
	messages := g.steps * int(g.slices)
	same := slices.Equal(g.ro[0], g.ro[1])
	switch {
	case same || g.reduced == 0:
		d = leap(d, c, g.hop(1), messages-1, int(g.slices))
	case g.reduced == g.steps:
		d = leap(d, c, g.hop(0), messages-1, int(g.slices))
	default: // message j follows receive j-1
		d = leap(d, c, g.hop(0), g.reduced, 1)
		d = leap(d, c, g.hop(1), messages-1-g.reduced, 1)
	}
	return g.last(d, func(int) Time { return 0 })
}

// leap takes t steps of D(v) = max(D(v), D(u)+h(u)) + c(v) at once, where D(u) is that of s steps ago. A path through the
// recurrence goes from some place q to v and waits along the way; it does best to wait where c is largest, so
//
//	D(v) after t = max over q of D(q) + Σ (h + c) from q to v + (t - s·(v-q)) · max c from q to v
//
// For each value M of the maximum, the places q for which it is M are a range, and the best of them is a range maximum of
// D(q) - Σ + s·q·M. (For s > 1 it takes D to rise by c from message to message at first, which it does when eased.)
func leap(d, c, h []Time, t, s int) []Time {
	if t <= 0 {
		return d
	}
	n := len(d)
	reach := t / s
	w := (reach + n - 1) / n * n
	total := w + n
	sum := make([]Time, total+1) // of hops into places before
	for i := range total {
		sum[i+1] = sum[i] + h[(i+n-1)%n] + c[i%n]
	}
	above := make([]int32, total) // the nearest place before with a larger c
	var stack []int32
	for i := range total {
		for len(stack) > 0 && c[int(stack[len(stack)-1])%n] <= c[i%n] {
			stack = stack[:len(stack)-1]
		}
		above[i] = -1
		if len(stack) > 0 {
			above[i] = stack[len(stack)-1]
		}
		stack = append(stack, int32(i))
	}
	values := slices.Clone(c)
	slices.Sort(values)
	values = slices.Compact(values)
	out := make([]Time, n)
	for i := range out {
		out[i] = math.MinInt64
	}
	// Going up through the values, every place has a next range.
	at, hi := make([]int32, n), make([]int32, n)
	for v := range n {
		at[v], hi[v] = int32(w+v), int32(w+v)
	}
	var table rangeMax
	for _, m := range values {
		built := false
		for v := range n {
			i, lo := w+v, max(0, w+v-reach)
			if at[v] < 0 || int(hi[v]) < lo || c[int(at[v])%n] != m {
				continue
			}
			if !built {
				table.build(total, func(q int) Time { return d[q%n] - sum[q+1] + Time(q)*Time(s)*m })
				built = true
			}
			from := max(lo, int(above[at[v]])+1)
			out[v] = max(out[v], sum[i+1]+(Time(t)-Time(i)*Time(s))*m+table.over(from, int(hi[v])))
			hi[v], at[v] = int32(from-1), above[at[v]]
		}
	}
	return out
}

// rangeMax answers maxima of ranges, by a table over blocks and scans at their ends.
type rangeMax struct {
	leaf []Time
	rows [][]Time // row k: maxima of 2^k blocks
}

const rangeBlock = 16

func (t *rangeMax) build(n int, f func(i int) Time) {
	if cap(t.leaf) < n {
		t.leaf = make([]Time, n)
	}
	t.leaf = t.leaf[:n]
	blocks := (n + rangeBlock - 1) / rangeBlock
	if len(t.rows) == 0 {
		t.rows = append(t.rows, make([]Time, blocks))
	}
	base := t.rows[0][:blocks]
	for b := range base {
		base[b] = math.MinInt64
	}
	for i := range n {
		x := f(i)
		t.leaf[i] = x
		base[i/rangeBlock] = max(base[i/rangeBlock], x)
	}
	for k := 1; 1<<k <= blocks; k++ {
		if len(t.rows) == k {
			t.rows = append(t.rows, make([]Time, blocks-1<<k+1))
		}
		below, row := t.rows[k-1], t.rows[k]
		for i := range row {
			row[i] = max(below[i], below[i+1<<(k-1)])
		}
	}
}

// over returns the largest value of lo..hi.
func (t *rangeMax) over(lo, hi int) Time {
	best := Time(math.MinInt64)
	a, b := (lo+rangeBlock-1)/rangeBlock, (hi+1)/rangeBlock // whole blocks
	if a >= b {
		return slices.Max(t.leaf[lo : hi+1])
	}
	for _, x := range t.leaf[lo : a*rangeBlock] {
		best = max(best, x)
	}
	for _, x := range t.leaf[b*rangeBlock : hi+1] {
		best = max(best, x)
	}
	k := 0
	for 2<<k <= b-a {
		k++
	}
	row := t.rows[k]
	return max(best, row[a], row[b-1<<k])
}

// share sets what messages take on links to what they take when all links of the ring are in use at once, as they are once it has
// filled up: each step uses the same ones.
func (g *ring) share(f *fabric, m *model, cfg *config) error {
	g.slots = make([]int32, g.n)
	for v := range g.n {
		from, to := topology.Rank(g.rank[g.before(v)]), topology.Rank(g.rank[v])
		g.slots[v] = f.slot()
		if !f.route(g.slots[v], from, to) {
			return &RouteError{Pair{from, to}}
		}
		t := &f.transfers[g.slots[v]]
		t.most = m.classes[g.class[v]].most(cfg)
		f.add(g.slots[v])
	}
	f.solve()
	for v := range g.n {
		rate := f.transfers[g.slots[v]].rate
		u := topology.Rank(g.rank[g.before(v)])
		g.wire[v] = cfg.slower(u, Time(math.Round(float64(g.bytes)/rate)))
		if g.long != nil {
			g.longWire[v] = cfg.slower(u, Time(math.Round(float64(g.bytes+g.elem)/rate)))
		}
		if g.noise != nil {
			g.span[v] = g.noise.span(g.lat[v] + g.wire[v])
		}
	}
	return nil
}
