package schedule

import (
	"fmt"
	"math"
	"slices"

	"github.com/ringtree/ringtree/topology"
)

// A Repeater is a Schedule that knows where its lanes repeat themselves, so that long ones need not be asked for operation
// by operation.
type Repeater interface {
	Schedule
	// Repeat returns how many operations of the lane from i on, itself included, are alike: of one Kind, with one Peer,
	// over as many chunks of the same spaces, Eager, Final and streaming as operation i is, with Match one further at each,
	// and After one further at each or the same for all. It is called for operations that exist and returns at least 1; if
	// more, then one less for the next operation. [Verify] and [VerifySample] hold it to what At says.
	Repeat(r topology.Rank, l Lane, i int) int
}

// repeat returns how many operations from i on are alike, by the schedule's own word.
func repeat(s Schedule, r topology.Rank, l Lane, i int) int {
	if s, ok := s.(Repeater); ok {
		return max(1, s.Repeat(r, l, i))
	}
	return 1
}

// A Code is what operations of many ranks have in common: a run of Count like operations from Index on, or a member of a
// unit.
type Code struct {
	Kind    Kind
	Eager   bool
	Joint   bool // the unit is an n-ary reduction
	Streams bool // follows After slice by slice
	shifts  bool // After moves along the run

	after Lane // lane of After
	N     uint32
	Match int32 // of the first operation
	Index int32 // of the first operation
	Count int32
	Width int32 // of the unit, at its first member; 0 at the others
	// Slices is into how many slices every operation is cut.
	Slices int32
	wait   int32 // operation of After, or -1
	ticks  int32 // steps of the run or unit
}

// After returns the operation that operation k of the run waits for.
func (c *Code) After(k int32) (l Lane, i int32, ok bool) {
	if c.shifts {
		return c.after, c.wait + k, true
	}
	return c.after, c.wait, c.wait >= 0
}

// A LaneCode is the operations of a lane, in order.
type LaneCode struct {
	Codes []Code
	First uint32 // of its entries among those of the rank
	Ops   int32
	// Wakes are the lanes that wait for operations of this one.
	Wakes []Lane
	flat  bool // every entry is one operation
}

// A fleetProgram is the operations of one rank but for its peers and chunks. Many ranks share it.
type fleetProgram struct {
	lanes   []LaneCode
	entries uint32
	ticks   int64
}

// A Fleet is the machines of all ranks of a schedule at once, in little memory: ranks whose programs differ in nothing but
// peers and chunks share one, and a run of like operations is one entry. It decides as [Machine] does, rank by rank, and
// like it has no clock. It is not safe for concurrent use.
type Fleet struct {
	s        Schedule
	slicing  Slicing
	lanes    int
	programs []fleetProgram
	which    []int32  // by rank, in programs
	first    []uint32 // by rank, of its entries
	peers    []int32  // by entry
	chunks   []uint32 // by entry: the first chunk of its first operation
	whose    []topology.Rank
	at       []laneAt // by rank and lane
	ticks    int64
}

// A laneAt is how far a lane has come: the entry and the step in it that starts next, and that completes next.
type laneAt struct {
	start, startTick int32
	done, doneTick   int32
}

// A LimitError is a schedule that is too large for what was asked.
type LimitError struct {
	Entries, Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("schedule: more than %d operations (limit %d)", e.Entries, e.Limit)
}

// NewFleet computes the operations of every rank, runs of like ones once. It fails with a [*LimitError] when that makes
// more than limit entries (0: no limit), and with a [*VerifyError] where an operation names a rank or operation that
// does not exist.
func NewFleet(s Schedule, z Slicing, limit int64) (*Fleet, error) {
	r := NewFleetReader(s, z, limit, 1)
	r.Read(0)
	return r.Fleet()
}

// A FleetReader reads a fleet in parts of neighbouring ranks, several at once where its caller has goroutines for it. The fleet is
// the same in however many parts it was read.
type FleetReader struct {
	s     Schedule
	z     Slicing
	limit int64
	parts []fleetPart
}

// A fleetPart is the programs of ranks lo to hi-1, without the others.
type fleetPart struct {
	lo, hi   int
	programs []fleetProgram
	known    map[uint64][]int32 // by hash, in programs
	hashes   []uint64           // by program
	which    []int32            // by rank, in programs
	ends     []uint32           // by rank, of its entries in peers
	peers    []int32
	chunks   []uint32
	err      error
}

// NewFleetReader returns a reader of a schedule in so many parts, for what [NewFleet] would return.
func NewFleetReader(s Schedule, z Slicing, limit int64, parts int) *FleetReader {
	if limit <= 0 || limit > math.MaxUint32 {
		limit = math.MaxUint32
	}
	n := s.Ranks()
	r := &FleetReader{s: s, z: z, limit: limit, parts: make([]fleetPart, max(parts, 1))}
	for i := range r.parts {
		r.parts[i].lo, r.parts[i].hi = i*n/len(r.parts), (i+1)*n/len(r.parts)
	}
	return r
}

// Read reads a part, 0 to parts-1. Each is to be read once; different ones may be read at once.
func (r *FleetReader) Read(part int) {
	p := &r.parts[part]
	n := p.hi - p.lo
	p.which, p.ends, p.known = make([]int32, n), make([]uint32, n), make(map[uint64][]int32)
	all := n
	if p.lo == 0 && len(r.parts) > 1 { // the others will be put behind
		all = r.s.Ranks()
	}
	b := fleetBuilder{s: r.s, z: r.z, ops: make([][]run1, 2*r.s.Channels())}
	b.repeater, _ = r.s.(Repeater)
	var after []int32 // by program: that of the rank that followed its last one
	last := int32(-1)
	for rank := p.lo; rank < p.hi; rank++ {
		if p.err = b.read(topology.Rank(rank), r.limit-int64(len(p.peers))); p.err != nil {
			return
		}
		p.enter(rank, all, b.ops)
		k := int32(-1)
		if last >= 0 && after[last] >= 0 && b.same(&p.programs[after[last]]) {
			k = after[last]
		} else if k, p.err = p.find(&b, topology.Rank(rank)); p.err != nil {
			return
		}
		for len(after) < len(p.programs) {
			after = append(after, -1)
		}
		if last >= 0 {
			after[last] = k
		}
		p.which[rank-p.lo], last = k, k
	}
}

// enter appends the entries of a rank, making room for those of all.
func (p *fleetPart) enter(rank, all int, lanes [][]run1) {
	need := len(p.peers)
	for _, ops := range lanes {
		need += len(ops)
	}
	p.grow(rank-p.lo, all, need)
	for _, ops := range lanes {
		for i := range ops {
			op := &ops[i].op
			peer, chunk := int32(op.Peer), op.Dst
			if op.Kind == Send {
				chunk = op.Src
			}
			if op.Kind == Copy {
				peer = int32(rank)
			}
			p.peers = append(p.peers, peer)
			p.chunks = append(p.chunks, uint32(chunk.Index()))
		}
	}
	p.ends[rank-p.lo] = uint32(len(p.peers))
}

// grow makes room for need entries, when so many ranks have been read. If it has to, it makes room for as many as all ranks will have
// when they go on as they began, and not step by step.
func (p *fleetPart) grow(ranks, all, need int) {
	if need <= cap(p.peers) {
		return
	}
	room := need
	if ranks >= 64 {
		room = int(min(int64(need)*int64(all)/int64(ranks+1), 4*int64(need)*int64(all)/int64(p.hi-p.lo)))
		room += room / 64
	}
	p.peers, p.chunks = slices.Grow(p.peers, room-len(p.peers)), slices.Grow(p.chunks, room-len(p.chunks))
}

// find returns the program of the rank that was read last, a new one if it is the first of its kind.
func (p *fleetPart) find(b *fleetBuilder, r topology.Rank) (int32, error) {
	h := b.hash()
	for _, k := range p.known[h] {
		if b.same(&p.programs[k]) {
			return k, nil
		}
	}
	made, err := b.program(r)
	if err != nil {
		return -1, err
	}
	return p.keep(made, h), nil
}

func (p *fleetPart) keep(made fleetProgram, hash uint64) int32 {
	k := int32(len(p.programs))
	p.programs, p.hashes = append(p.programs, made), append(p.hashes, hash)
	p.known[hash] = append(p.known[hash], k)
	return k
}

// Fleet returns the fleet, once all parts have been read. It fails as [NewFleet] does.
func (r *FleetReader) Fleet() (*Fleet, error) {
	n := r.s.Ranks()
	f := &Fleet{s: r.s, slicing: r.z, lanes: 2 * r.s.Channels(), which: make([]int32, 0, n), first: make([]uint32, 1, n+1)}
	all := &r.parts[0]
	for i := range r.parts {
		p := &r.parts[i]
		err := p.err
		if err == nil && i > 0 && int64(len(all.peers))+int64(len(p.peers)) > r.limit {
			err = &LimitError{}
		}
		if over, ok := err.(*LimitError); ok {
			over.Entries, over.Limit = r.limit, r.limit
		}
		if err != nil {
			return nil, err
		}
		var number []int32 // by program of the part: its number
		base := uint32(0)
		if i > 0 {
			base = uint32(len(all.peers))
			for k := range p.programs {
				number = append(number, all.adopt(&p.programs[k], p.hashes[k]))
			}
			all.peers, all.chunks = append(all.peers, p.peers...), append(all.chunks, p.chunks...)
			p.peers, p.chunks = nil, nil
		}
		for j, k := range p.which {
			if i > 0 {
				k = number[k]
			}
			f.which, f.first = append(f.which, k), append(f.first, base+p.ends[j])
			f.ticks += all.programs[k].ticks
		}
	}
	f.programs, f.peers, f.chunks = all.programs, all.peers, all.chunks
	f.at = make([]laneAt, n*f.lanes)
	return f, nil
}

// adopt returns the number of a program of another part.
func (p *fleetPart) adopt(made *fleetProgram, hash uint64) int32 {
	for _, k := range p.known[hash] {
		if p.programs[k].same(made) {
			return k
		}
	}
	return p.keep(*made, hash)
}

// same reports whether two programs are alike. All else follows from the codes.
func (p *fleetProgram) same(o *fleetProgram) bool {
	for l := range p.lanes {
		if !slices.Equal(p.lanes[l].Codes, o.lanes[l].Codes) {
			return false
		}
	}
	return true
}

// A run1 is a run of like operations.
type run1 struct {
	op      Op
	index   int32
	count   int32
	shifts  bool
	streams bool
	width   int32
	joint   bool
}

// A fleetBuilder reads ranks one by one.
type fleetBuilder struct {
	s        Schedule
	repeater Repeater // nil: none
	z        Slicing
	ops      [][]run1 // by lane
}

// fusable reports whether two neighbours could be of one unit.
func fusable(a, b *Op) bool {
	return a.Kind == b.Kind && a.Kind != Copy && a.N == b.N && a.After == b.After && a.Eager == b.Eager && a.Final == b.Final &&
		a.Peer != b.Peer
}

func (b *fleetBuilder) read(r topology.Rank, limit int64) error {
	n := topology.Rank(b.s.Ranks())
	for l := range b.ops {
		ops := b.ops[l][:0]
		for i := 0; ; {
			op, ok := b.s.At(r, Lane(l), i)
			if !ok {
				break
			}
			if op.Kind != Copy && (op.Peer < 0 || op.Peer >= n) {
				return &VerifyError{Rank: r, Lane: Lane(l), Index: i, Reason: fmt.Sprintf("peer %d", op.Peer)}
			}
			count := 1
			if b.repeater != nil {
				count = max(1, b.repeater.Repeat(r, Lane(l), i))
			}
			shifts := false
			if count > 1 && len(ops) > 0 && fusable(&ops[len(ops)-1].op, &op) {
				count = 1 // it may be of the unit before
			}
			if count > 1 {
				last, _ := b.s.At(r, Lane(l), i+count-1)
				if next, ok := b.s.At(r, Lane(l), i+count); ok && fusable(&last, &next) {
					count--
				}
				shifts = count > 1 && last.After != op.After
			}
			if limit--; limit < 0 {
				return &LimitError{}
			}
			ops = append(ops, run1{op: op, index: int32(i), count: int32(count), shifts: shifts, width: 1})
			i += count
		}
		for i := 0; i < len(ops); {
			w := 1
			if o := &ops[i]; o.count == 1 && i+1 < len(ops) && fusable(&o.op, &ops[i+1].op) {
				w, o.joint = fuse(func(k int) (Op, bool) {
					if i+k == len(ops) {
						return Op{}, false
					}
					return ops[i+k].op, true
				})
				o.width = int32(w)
				for k := 1; k < w; k++ {
					ops[i+k].width = 0
				}
			} else {
				o.joint = o.op.Kind == RecvReduce
			}
			i += w
		}
		b.ops[l] = ops
	}
	for l := range b.ops {
		for i := range b.ops[l] {
			o := &b.ops[l][i]
			dl, di, ok := o.op.After.Get()
			if !ok {
				continue
			}
			dep, ok := b.dependency(r, dl, di)
			if !ok {
				return &VerifyError{Rank: r, Lane: Lane(l), Index: int(o.index), Reason: "waits for an operation that does not exist"}
			}
			o.streams = streams(&o.op, &dep)
		}
	}
	return nil
}

// dependency returns operation i of a lane of the rank that has been read.
func (b *fleetBuilder) dependency(r topology.Rank, l Lane, i int) (Op, bool) {
	if int(l) >= len(b.ops) {
		return Op{}, false
	}
	if ops := b.ops[l]; i < len(ops) && int(ops[i].index) == i { // no run comes before it
		return ops[i].op, true
	}
	return b.s.At(r, l, i)
}

// words packs what the programs compare.
func (o *run1) words() (a, b, c uint64) {
	flags := uint64(o.op.Kind)
	for i, f := range [...]bool{o.op.Eager, o.joint, o.streams, o.shifts} {
		if f {
			flags |= 16 << i
		}
	}
	wait := uint64(0)
	if dl, di, ok := o.op.After.Get(); ok {
		wait = uint64(dl)<<32 | uint64(di+1)
	}
	return flags<<32 | uint64(o.op.N), uint64(uint32(o.op.Match))<<32 | uint64(uint32(o.count)), wait ^ uint64(o.width)<<48
}

func (b *fleetBuilder) hash() uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	mix := func(x uint64) { h = (h ^ x) * 0xff51afd7ed558ccd; h ^= h >> 32 }
	for _, ops := range b.ops {
		mix(uint64(len(ops)))
		for i := range ops {
			x, y, z := ops[i].words()
			mix(x)
			mix(y)
			mix(z)
		}
	}
	return h
}

func (c *Code) same(o *run1) bool {
	l, i, waits := o.op.After.Get()
	if waits != (c.wait >= 0) || waits && (c.after != l || c.wait != int32(i)) {
		return false
	}
	return c.Kind == o.op.Kind && c.Eager == o.op.Eager && c.Joint == o.joint && c.Streams == o.streams && c.shifts == o.shifts &&
		c.N == o.op.N && c.Match == o.op.Match && c.Index == o.index && c.Count == o.count && c.Width == o.width
}

func (b *fleetBuilder) same(p *fleetProgram) bool {
	for l, ops := range b.ops {
		codes := p.lanes[l].Codes
		if len(codes) != len(ops) {
			return false
		}
		for i := range ops {
			if !codes[i].same(&ops[i]) {
				return false
			}
		}
	}
	return true
}

// cut works out the slices and steps of a code, or returns why it cannot.
func (c *Code) cut(z Slicing) string {
	slices := z.count(c.N)
	ticks := slices * int64(c.Count)
	if c.Width > 1 && !c.Joint {
		ticks = slices * int64(c.Width)
	}
	if ticks > math.MaxInt32 {
		return fmt.Sprintf("more than %d slices", math.MaxInt32)
	}
	c.Slices, c.ticks = int32(slices), int32(ticks)
	return ""
}

func (b *fleetBuilder) program(r topology.Rank) (fleetProgram, error) {
	p := fleetProgram{lanes: make([]LaneCode, len(b.ops))}
	for l, ops := range b.ops {
		lc := &p.lanes[l]
		lc.First = p.entries
		lc.flat = true
		for i := range ops {
			o := &ops[i]
			c := Code{
				Kind: o.op.Kind, Eager: o.op.Eager, Joint: o.joint, Streams: o.streams, shifts: o.shifts,
				N: o.op.N, Match: o.op.Match, Index: o.index, Count: o.count, Width: o.width, wait: -1,
			}
			if dl, di, ok := o.op.After.Get(); ok {
				c.after, c.wait = dl, int32(di)
			}
			if why := c.cut(b.z); why != "" {
				return p, &VerifyError{Rank: r, Lane: Lane(l), Index: int(o.index), Reason: why}
			}
			lc.flat = lc.flat && c.Count == 1
			lc.Ops = c.Index + c.Count
			if c.Width > 0 {
				p.ticks += int64(c.ticks)
			}
			lc.Codes = append(lc.Codes, c)
		}
		p.entries += uint32(len(ops))
	}
	for l := range p.lanes {
		for i := range p.lanes[l].Codes {
			c := &p.lanes[l].Codes[i]
			if c.wait < 0 {
				continue
			}
			on := &p.lanes[c.after]
			known := false
			for _, w := range on.Wakes {
				known = known || w == Lane(l)
			}
			if !known {
				on.Wakes = append(on.Wakes, Lane(l))
			}
		}
	}
	return p, nil
}
