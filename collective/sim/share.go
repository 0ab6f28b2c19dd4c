package sim

import (
	"fmt"
	"math"

	"github.com/ringtree/ringtree/topology"
)

// A Pair is two ranks, one of which sends to the other.
type Pair struct{ From, To topology.Rank }

// A RouteError is two ranks between which a network has no way left.
type RouteError struct{ Pair }

func (e *RouteError) Error() string {
	return fmt.Sprintf("sim: no route from rank %d to rank %d", e.From, e.To)
}

// Rates returns what each of some transfers gets, in bytes a second, when all of them are under way at once and share the
// wires of a network max-min fairly: no flow could have more without taking from one that has no more than it. Each transfer is
// so many flows (0 is 1), which take the routes that c gives them; +Inf is the rate of one that uses no wire. It fails with a
// [*RouteError] or an [*OptionError].
func Rates(n *topology.Network, transfers []Pair, flows int, c topology.Choice) ([]float64, error) {
	if flows = max(flows, 1); flows > maxFlows {
		return nil, &OptionError{fmt.Sprintf("%d flows a pair", flows)}
	}
	f := newFabric(n, flows, c)
	slots := make([]int32, len(transfers))
	for i, p := range transfers {
		if size := n.Graph().Size(); p.From < 0 || p.To < 0 || int(p.From) >= size || int(p.To) >= size {
			return nil, &OptionError{fmt.Sprintf("a transfer from rank %d to rank %d of %d", p.From, p.To, size)}
		}
		slots[i] = f.slot()
		if !f.route(slots[i], p.From, p.To) {
			return nil, &RouteError{p}
		}
		f.add(slots[i])
	}
	f.solve()
	rates := make([]float64, len(transfers))
	for i, s := range slots {
		rates[i] = f.transfers[s].rate * 1e12
	}
	return rates, nil
}

// maxFlows bounds the flows of a transfer.
const maxFlows = 1 << 10

// A transfer is a message on its way over the wires.
type transfer struct {
	left  float64 // bytes, at since
	rate  float64 // bytes a picosecond
	most  float64 // what it can have at most, whatever the wires have
	since Time
	due   Time  // when its end is in the queue
	began Time  // when its first byte left
	at    int32 // place among the active ones, or -1
	next  int32 // what waits for it on its connection, or -1
	from  int32
	op    int32 // of its receiver
	slice int32
	bytes int64
	e     event
	wires []topology.WireID // of flow after flow, the last wire of each as its complement
	flows []float64         // rates
}

// A wire is what a fabric knows of one, side by side because they are asked for together.
type wire struct {
	rate float64 // bytes a picosecond
	used float64 // what its flows have together
	load float64 // bytes of transfers that have ended
	live int32   // flows under way
	link int32   // its number among the shared ones, from 1, in a solution
}

// A shared is a wire of several flows, in a solution.
type shared struct {
	room float64 // bytes a picosecond that are not given away
	open int32   // flows without a rate
	wire topology.WireID
}

// A fabric is the wires of a network and the transfers that share them.
type fabric struct {
	net    *topology.Network
	choice topology.Choice
	k      int // flows a transfer
	wires  []wire
	layer  []uint8 // by wire
	// By span: what can leave its groups at once, in bytes a picosecond; of SpanSocket what can leave the ranks. Every byte
	// between two groups goes up, or straight across, in a layer of at least the next span.
	capacity  [topology.SpanWorld + 1]float64
	transfers []transfer
	free      []int32
	active    []int32

	// Of one solution, kept for the next.
	shared []shared // by number
	first  []int32  // by number: of its flows in member
	member []int32
	path   []int32 // flow after flow: its shared wires by number, and 0
	given  []float64
	open   []uint64  // by flow, a bit: whether it has no rate yet
	top    []float64 // by flow: the most that it can have
	begin  []int32   // by flow: where it begins in path
	heap   []share
	head   [shareBuckets]int32
	next   []int32 // by number, then by flow: the next in a bucket
}

// A share is what a wire could give each of its open flows, or what a flow can have at most.
type share struct {
	rate float64
	item int32
}

func newFabric(n *topology.Network, flows int, c topology.Choice) *fabric {
	f := &fabric{net: n, choice: c, k: flows, wires: make([]wire, n.Wires()), layer: make([]uint8, n.Wires())}
	layers := n.Layers()
	for w := range f.wires {
		wire := n.Wire(topology.WireID(w))
		rate := wire.Rate * 1e-12
		f.wires[w].rate, f.layer[w] = rate, uint8(wire.Layer)
		l := &layers[wire.Layer]
		if int(wire.From) < n.Graph().Size() {
			f.capacity[topology.SpanSocket] += rate
		}
		if l.Wiring == topology.Mesh || l.Wiring == topology.Torus || wire.From < wire.To {
			for s := topology.SpanHost; s < l.Span; s++ {
				f.capacity[s] += rate
			}
		}
	}
	return f
}

// slot returns the number of an unused transfer.
func (f *fabric) slot() int32 {
	if k := len(f.free); k > 0 {
		s := f.free[k-1]
		f.free = f.free[:k-1]
		return s
	}
	f.transfers = append(f.transfers, transfer{})
	return int32(len(f.transfers) - 1)
}

// route finds the wires of a transfer. It reports false where there is no way.
func (f *fabric) route(slot int32, a, b topology.Rank) bool {
	t := &f.transfers[slot]
	t.at, t.next, t.most = -1, -1, math.Inf(1)
	if t.flows == nil {
		t.flows, t.wires = make([]float64, f.k), make([]topology.WireID, 0, 8*f.k)
	}
	wires, ok := f.trace(t.wires[:0], a, b)
	t.wires = wires
	return ok
}

// trace appends the wires of a transfer, flow after flow. It reports false, and appends nothing, where there is no way.
func (f *fabric) trace(dst []topology.WireID, a, b topology.Rank) ([]topology.WireID, bool) {
	c := f.choice
	begin := len(dst)
	for k := range f.k {
		c.Flow = f.choice.Flow + k
		from := len(dst)
		out, ok := f.net.Route(dst, a, b, c)
		if !ok {
			return dst[:begin], false
		}
		if dst = out; len(dst) > from {
			dst[len(dst)-1] = ^dst[len(dst)-1]
		}
	}
	return dst, true
}

// add puts a transfer among those that share.
func (f *fabric) add(slot int32) {
	f.transfers[slot].at = int32(len(f.active))
	f.active = append(f.active, slot)
	f.enlist(slot)
}

// enlist counts the flows of a transfer on their wires.
func (f *fabric) enlist(slot int32) {
	for _, w := range f.transfers[slot].wires {
		if w < 0 {
			w = ^w
		}
		f.wires[w].live++
	}
}

// remove takes it out again, when it has sent all, and counts what it has sent.
func (f *fabric) remove(slot int32) {
	t := &f.transfers[slot]
	last := f.active[len(f.active)-1]
	f.active[t.at] = last
	f.transfers[last].at = t.at
	f.active = f.active[:len(f.active)-1]
	t.at = -1
	f.leave(t)
}

// leave takes a transfer from its wires, and counts what it has sent.
func (f *fabric) leave(t *transfer) {
	k, part := 0, float64(t.bytes)*(t.flows[0]/t.rate)
	for _, w := range t.wires {
		end := w < 0
		if end {
			w = ^w
		}
		x := &f.wires[w]
		x.live--
		x.used -= t.flows[k]
		x.load += part
		if end && k < len(t.flows)-1 {
			k++
			part = float64(t.bytes) * (t.flows[k] / t.rate)
		}
	}
}

// join gives a transfer that begins between two solutions, and is among the active ones, what is left of each of its wires.
func (f *fabric) join(slot int32) {
	t := &f.transfers[slot]
	if len(t.wires) == 0 {
		t.rate = t.most
		return
	}
	t.rate = 0
	from := 0
	for k := range t.flows {
		r := t.most / float64(f.k)
		end := from
		for done := false; !done; end++ {
			w := t.wires[end]
			if done = w < 0; done {
				w = ^w
			}
			x := &f.wires[w]
			left := x.rate - x.used
			if left < x.rate/1024 {
				left = 0
			}
			r = min(r, left)
		}
		for _, w := range t.wires[from:end] {
			f.wires[max(w, ^w)].used += r
		}
		t.flows[k] = r
		t.rate += r
		from = end
	}
}

// rounded drops what rounding errors of sums may differ in, so that transfers which are alike end together.
func rounded(r float64) float64 {
	const low = 1<<22 - 1
	if math.IsInf(r, 1) {
		return r
	}
	return math.Float64frombits((math.Float64bits(r) + low/2) &^ low)
}

// Buckets of shares are 2^-shareBits of an octave wide.
const (
	shareBits    = 7
	shareBuckets = 32 << shareBits
)

// solve gives all active transfers their max-min fair rates, by filling (D. Bertsekas and R. Gallager, "Data Networks", 1992,
// 6.5.2): the wire that has least for each of its open flows gives them that, and they take it from their other wires. Shares
// of wires only grow meanwhile, so wires wait in buckets and move up late.
func (f *fabric) solve() {
	// Wires with one flow only bound it. The others are numbered.
	f.shared = append(f.shared[:0], shared{})
	f.path, f.begin, f.top = f.path[:0], f.begin[:0], f.top[:0]
	for _, slot := range f.active {
		t := &f.transfers[slot]
		most := t.most / float64(f.k)
		top := most
		if len(t.wires) > 0 {
			f.begin = append(f.begin, int32(len(f.path)))
		}
		for _, w := range t.wires {
			end := w < 0
			if end {
				w = ^w
			}
			x := &f.wires[w]
			if x.live == 1 {
				top = min(top, x.rate)
			} else {
				if x.link == 0 {
					x.link = int32(len(f.shared))
					f.shared = append(f.shared, shared{x.rate, x.live, w})
				}
				f.path = append(f.path, x.link)
			}
			if end {
				f.path = append(f.path, 0)
				f.top = append(f.top, top)
				top = most
				f.begin = append(f.begin, int32(len(f.path)))
			}
		}
		if len(t.wires) > 0 {
			f.begin = f.begin[:len(f.begin)-1]
		}
	}
	links, flows := len(f.shared), len(f.top)
	f.index(links)
	f.given, f.next, f.open = grown(f.given, flows), grown(f.next, links+flows), grown(f.open, flows/64+1)
	for i := range f.open {
		f.open[i] = ^uint64(0)
	}
	base := math.MaxInt
	for _, x := range f.shared[1:] {
		base = min(base, key(x.room/float64(x.open)))
	}
	for _, top := range f.top {
		base = min(base, key(top))
	}
	bucket := func(r float64) int { return min(max(key(r)-base, 0), shareBuckets-1) }
	for b := range f.head {
		f.head[b] = -1
	}
	put := func(item int32, r float64) {
		b := bucket(r)
		f.next[item], f.head[b] = f.head[b], item
	}
	for n := 1; n < links; n++ {
		put(int32(n), f.shared[n].room/float64(f.shared[n].open))
	}
	for i, top := range f.top {
		if !math.IsInf(top, 1) {
			put(int32(links+i), top)
		}
	}
	left := flows
	for b := 0; b < shareBuckets && left > 0; b++ {
		f.heap = f.heap[:0]
		for item := f.head[b]; item >= 0; {
			next := f.next[item]
			if r, ok := f.share(item, links); ok {
				if bucket(r) > b {
					put(item, r)
				} else {
					f.push(share{r, item})
				}
			}
			item = next
		}
		for len(f.heap) > 0 && left > 0 {
			least := f.heap[0]
			r, ok := f.share(least.item, links)
			switch {
			case !ok:
				f.pop()
			case r > least.rate && bucket(r) > b:
				f.pop()
				put(least.item, r)
			case r > least.rate:
				f.heap[0].rate = r
				f.down()
			default:
				f.pop()
				left -= f.settle(least.item, r, links)
			}
		}
	}
	f.sum()
	for _, x := range f.shared[1:] {
		w := &f.wires[x.wire]
		w.link, w.used = 0, w.rate-x.room
	}
}

// sum gives transfers the rates of their flows together.
func (f *fabric) sum() {
	i := 0
	for _, slot := range f.active {
		t := &f.transfers[slot]
		if len(t.wires) == 0 {
			t.rate = t.most
			continue
		}
		t.rate = 0
		for k := range t.flows {
			t.flows[k] = rounded(f.given[i])
			t.rate += t.flows[k]
			i++
		}
	}
}

// alone says what wires of one flow have given away, which a solution leaves out, for transfers that join later.
func (f *fabric) alone() {
	for _, slot := range f.active {
		t := &f.transfers[slot]
		k := 0
		for _, w := range t.wires {
			if x := &f.wires[max(w, ^w)]; x.live == 1 {
				x.used = t.flows[k]
			}
			if w < 0 {
				k++
			}
		}
	}
}

// key returns the number of the bucket of a rate, counted from that of the least one of all.
func key(r float64) int { return int(math.Float64bits(r) >> (52 - shareBits)) }

// index lists the flows of every shared wire.
func (f *fabric) index(links int) {
	f.first, f.member = grown(f.first, links+1), grown(f.member, len(f.path))
	f.first[1] = 0
	for n := 1; n < links; n++ {
		f.first[n+1] = f.first[n] + f.shared[n].open
	}
	i := int32(0)
	for _, n := range f.path {
		if n == 0 {
			i++
			continue
		}
		f.member[f.first[n]] = i
		f.first[n]++
	}
	for n := links - 1; n > 0; n-- { // each first is where the next one began
		f.first[n] -= f.shared[n].open
	}
}

func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// share returns what a wire could give each of its open flows, or what an open flow can have; ok is false when nothing is open.
func (f *fabric) share(item int32, links int) (r float64, ok bool) {
	if i := int(item) - links; i >= 0 {
		return f.top[i], f.isOpen(int32(i))
	}
	x := &f.shared[item]
	return max(x.room, 0) / float64(x.open), x.open > 0
}

// settle gives the open flows of a wire their rate, or one flow its own, and returns how many those were.
func (f *fabric) settle(item int32, r float64, links int) (count int) {
	if i := item - int32(links); i >= 0 {
		f.give(i, r)
		return 1
	}
	for _, i := range f.member[f.first[item]:f.first[item+1]] {
		if f.isOpen(i) {
			f.give(i, r)
			count++
		}
	}
	return count
}

func (f *fabric) isOpen(flow int32) bool { return f.open[uint32(flow)/64]&(1<<(uint32(flow)%64)) != 0 }

// give gives a flow its rate.
func (f *fabric) give(flow int32, r float64) {
	f.given[flow] = r
	f.open[uint32(flow)/64] &^= 1 << (uint32(flow) % 64)
	for _, n := range f.path[f.begin[flow]:] {
		if n == 0 {
			return
		}
		x := &f.shared[n]
		x.room -= r
		x.open--
	}
}

func (f *fabric) push(s share) {
	f.heap = append(f.heap, s)
	for i := len(f.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if f.heap[up].rate <= s.rate {
			break
		}
		f.heap[i], f.heap[up] = f.heap[up], s
		i = up
	}
}

func (f *fabric) pop() {
	last := len(f.heap) - 1
	f.heap[0] = f.heap[last]
	f.heap = f.heap[:last]
	if last > 0 {
		f.down()
	}
}

// down moves the first of the heap to its place.
func (f *fabric) down() {
	h := f.heap
	s := h[0]
	i := 0
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1].rate < h[c].rate {
			c++
		}
		if h[c].rate >= s.rate {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = s
}
