package sim

import (
	"math"
	"slices"
)

// ByLikeness is the [Result.Method] of runs by windows in which groups of ranks that nothing has told apart yet are run as one.
const ByLikeness = "messages, by windows, hosts alike run as one"

// An alike is the classes of a crewman's groups. Groups are of one class that have the same programs on the same links and to which, so far, the
// same messages came at the same times: so they are in the same state, and have sent the same, each to its own peers. One of a class, its leader,
// is run; what it sends, all send. Where the messages of a window differ the class comes apart. This needs no foresight of who will be alike: what
// was found equal is times. Classes never join again, so that a state is copied once a group at most.
//
// Groups are numbered from the crewman's first one.
type alike struct {
	first  uint32  // group
	class  []int32 // by group: its class before anything has happened, among all groups
	static []int32 // by group: the leader at that time
	leader []int32 // by group
	next   []int32 // by group: the next one of its class, or -1; a leader is the first
	inbox  []int32 // by group: its first arrival of the window's batch, or -1
	// history is, by leader, and of every group in the end, a hash of what came. It serves to count the classes of all crewmen.
	history []uint64
	// What is under way within a leader's group beyond the window, and its earliest window, or never.
	left    []backlog
	due     []uint64
	queued  []bool
	waiting []int32 // leaders that are queued: all with something left
	active  []int32 // leaders of classes that the window concerns
	marked  []bool  // by leader: it is active

	cascades []*cascade  // by class before anything has happened; nil: none
	apart    []bool      // by leader: its group's cascade is on its own
	entered  [][]arrival // by leader: what has entered it since, by number of the fall
	fallen   [][]arrival // by group: what has come there since from other groups

	keys     []uint64 // of variants
	variants []variant
	byHash   map[uint64]int32 // where there are many: the latest variant
	running  int32            // leader
	outs     []outgoing       // what the leader being run sends
	ends     []outgoing       // and what it has taken for good
}

// A variant is the members of a class to which the same came in a window.
type variant struct {
	hash       uint64
	lo, hi     int // keys
	head, tail int32
	same       int32 // another one with that hash, or -1
	many       int64
}

// An outgoing is a message that leaves a group, or the end of one that came.
type outgoing struct {
	at    Time
	entry uint32 // counted from the first of the group
	kind  uint16
}

// manyVariants is from how many on they are found by their hashes.
const manyVariants = 8

// likes returns the class of each group before anything has happened, numbered as they come, and the first group of each; or nil where there are too
// many for it to be worth it, or where what messages are like is known only operation by operation.
func (x *windows) likes() (of []int32, leads []uint32) {
	n := len(x.base)
	hashes, known := make([]uint64, n), make([]bool, partsOf(n, partRanks))
	inParts(len(known), func(part int) {
		known[part] = true
		for g := part * n / len(known); g < (part+1)*n/len(known) && known[part]; g++ {
			hashes[g], known[part] = x.likeness(uint32(g))
		}
	})
	if slices.Contains(known, false) {
		return nil, nil
	}
	of = make([]int32, n)
	byHash := make(map[uint64][]int32) // classes
	for g, hash := range hashes {
		of[g] = -1
		for _, c := range byHash[hash] {
			if x.likeGroups(leads[c], uint32(g)) {
				of[g] = c
				break
			}
		}
		if of[g] < 0 {
			of[g] = int32(len(leads))
			byHash[hash] = append(byHash[hash], of[g])
			if leads = append(leads, uint32(g)); 2*len(leads) > n && !x.cfg.fewAlike {
				return nil, nil
			}
		}
	}
	return of, leads
}

// newAlike returns the classes of groups lo to hi-1, where of is that of every group at first.
func newAlike(lo, hi uint32, of []int32, classes int) *alike {
	n := int(hi - lo)
	a := &alike{
		first: lo, class: of[lo:hi], static: make([]int32, n), leader: make([]int32, n), next: make([]int32, n), inbox: make([]int32, n),
		history: make([]uint64, n), left: make([]backlog, n), due: make([]uint64, n), queued: make([]bool, n), marked: make([]bool, n),
		apart: make([]bool, n), entered: make([][]arrival, n), fallen: make([][]arrival, n),
	}
	leads := make([]int32, classes)
	for c := range leads {
		leads[c] = -1
	}
	for h, c := range a.class {
		if leads[c] < 0 {
			leads[c] = int32(h)
		}
		a.static[h], a.inbox[h] = leads[c], -1
	}
	return a
}

// lines returns the entries of a group.
func (x *windows) lines(g uint32) []line {
	return x.entries[x.base[g]:x.entriesTo(int32(x.start[g+1]))]
}

// likeness returns a hash of what groups have in common that are alike. ok is false where that is not known for every entry as a whole.
func (x *windows) likeness(g uint32) (h uint64, ok bool) {
	for r := x.start[g]; r < x.start[g+1]; r++ {
		h = mix(h ^ uint64(x.ranks[r].strand))
	}
	for _, y := range x.lines(g) {
		if y.kind == varies || y.flags&parted != 0 {
			return 0, false
		}
		h = (h ^ (uint64(y.kind)<<16 | uint64(y.lane)<<8 | uint64(y.flags))) * 0xff51afd7ed558ccd
		h ^= h >> 31
	}
	return h, true
}

// likeGroups reports whether two groups do the same where the same comes to them: rank by rank they have one program, and entry by entry
// messages of one kind, which go to the same place where that is in the group.
func (x *windows) likeGroups(a, b uint32) bool {
	if x.start[a+1]-x.start[a] != x.start[b+1]-x.start[b] {
		return false
	}
	for i := range x.start[a+1] - x.start[a] {
		if x.ranks[x.start[a]+i].strand != x.ranks[x.start[b]+i].strand {
			return false
		}
	}
	// Ranks of one program have as many entries.
	of := x.lines(b)
	for i, y := range x.lines(a) {
		z := &of[i]
		if y.kind != z.kind || y.lane != z.lane || y.flags != z.flags || y.flags&near != 0 && y.count != z.count {
			return false
		}
	}
	return true
}

// begin forgets what has happened.
func (a *alike) begin() {
	copy(a.leader, a.static)
	tail := make([]int32, len(a.leader))
	for h, l := range a.leader {
		a.next[h], a.due[h], a.history[h] = -1, never, mix(uint64(a.class[h]))
		a.apart[h], a.entered[h], a.fallen[h] = false, a.entered[h][:0], a.fallen[h][:0]
		a.left[h].until = 0
		if int(l) != h {
			a.next[tail[l]] = int32(h)
		}
		tail[l] = int32(h)
	}
}

// beginAlike runs one of each class from where nothing has come yet.
func (w *crewman) beginAlike() {
	a := w.alike
	a.begin()
	for h, l := range a.leader {
		if int(l) != h {
			continue
		}
		many := int64(0)
		for m := l; m >= 0; m = a.next[m] {
			many++
		}
		w.act(l, many, func(g uint32) {
			w.enter(g)
			w.live(g)
		})
	}
}

// act runs what a leader does, and does the same for its whole class of so many.
func (w *crewman) act(l int32, many int64, run func(g uint32)) {
	a, x := w.alike, w.x
	a.running, a.outs, a.ends = l, a.outs[:0], a.ends[:0]
	w.apart = nil
	if a.apart[l] {
		w.apart = a.cascades[a.class[l]]
	}
	steps := w.steps
	run(a.first + uint32(l))
	w.steps += (w.steps - steps) * (many - 1)
	for m := l; m >= 0; m = a.next[m] {
		base := x.base[a.first+uint32(m)]
		for i := range a.outs {
			o := &a.outs[i]
			y := &x.entries[base+o.entry]
			w.elsewhere(o.at, y.who, uint16(y.count), o.kind)
		}
		for i := range a.ends {
			x.over(x.f.Peer(base+a.ends[i].entry), a.ends[i].at)
		}
	}
	w.queue(l)
}

// queue has a leader run in the earliest window of what is left in its group.
func (w *crewman) queue(l int32) {
	a := w.alike
	if a.due[l] == never {
		return
	}
	if !a.queued[l] {
		a.queued[l] = true
		a.waiting = append(a.waiting, l)
	}
	w.due = min(w.due, a.due[l])
}

// leave puts an arrival at the group that is being run into a later window.
func (a *alike) leave(e arrival, window uint64) {
	l := e.group - a.first
	a.left[l].add(e)
	a.due[l] = min(a.due[l], window)
}

// passAlike takes all groups through the window, in whose batch are the arrivals from elsewhere.
func (w *crewman) passAlike(window uint64) {
	a := w.alike
	batch := w.batch
	if len(w.next) < len(batch) {
		w.next = make([]int32, 2*len(batch))
	}
	for i := len(batch) - 1; i >= 0; i-- {
		e := &batch[i]
		h := e.group - a.first
		if l := a.leader[h]; a.apart[l] && w.x.entries[w.x.base[e.group]+uint32(e.slot)].flags&enters != 0 {
			a.fallen[h] = append(a.fallen[h], arrival{e.at, 0, uint16(a.cascades[a.class[h]].of[e.slot]), e.kind})
			continue
		}
		w.next[i] = a.inbox[h]
		a.inbox[h] = int32(i)
		a.mark(a.leader[h])
	}
	w.due = never
	waiting := a.waiting[:0]
	for _, l := range a.waiting {
		if a.due[l] == window {
			a.queued[l] = false
			a.mark(l)
		} else {
			w.due = min(w.due, a.due[l])
			waiting = append(waiting, l)
		}
	}
	a.waiting = waiting
	for _, l := range a.active {
		a.marked[l] = false
		w.part(l)
		for i := range a.variants[1:] {
			w.copyState(l, a.variants[1+i].head)
		}
		for i := range a.variants {
			v := &a.variants[i]
			if v.hi == v.lo && a.due[v.head] != window {
				w.queue(v.head)
				continue
			}
			if v.hi > v.lo {
				a.history[v.head] = mix(a.history[v.head] ^ mix(v.hash^window))
			}
			if a.cascades != nil && !a.apart[v.head] {
				c := a.cascades[a.class[v.head]]
				a.apart[v.head] = c != nil && w.settled(v.head, c, a.keys[v.lo:v.hi])
			}
			w.mine = append(w.mine, a.keys[v.lo:v.hi]...)
			if a.due[v.head] == window {
				w.recall(v.head)
			}
			w.fetch(a.first+uint32(v.head), fetchFrom) // few are run, so none is near, however little comes
			w.act(v.head, v.many, w.live)
		}
	}
	a.active = a.active[:0]
}

// mark says that the window concerns a class.
func (a *alike) mark(l int32) {
	if !a.marked[l] {
		a.marked[l] = true
		a.active = append(a.active, l)
	}
}

// part divides a class by what came to its members in the window. The first variant has the leader.
func (w *crewman) part(l int32) {
	a := w.alike
	a.keys, a.variants = a.keys[:0], a.variants[:0]
	if a.next[l] < 0 { // alone
		hash := w.came(l)
		a.variants = append(a.variants, variant{hash: hash, hi: len(a.keys), head: l, tail: l, same: -1, many: 1})
		return
	}
	if len(a.byHash) > 0 {
		clear(a.byHash)
	}
	for m := l; m >= 0; {
		following := a.next[m]
		lo := len(a.keys)
		hash := w.came(m)
		k := a.find(hash, a.keys[lo:])
		if k >= 0 {
			a.keys = a.keys[:lo]
			v := &a.variants[k]
			a.next[v.tail], v.tail = m, m
			v.many++
		} else {
			k = int32(len(a.variants))
			v := variant{hash: hash, lo: lo, hi: len(a.keys), head: m, tail: m, same: -1, many: 1}
			if k >= manyVariants {
				a.index(&v, k)
			}
			a.variants = append(a.variants, v)
		}
		a.leader[m] = a.variants[k].head
		m = following
	}
	for i := range a.variants {
		a.next[a.variants[i].tail] = -1
	}
}

// came appends what came to a member in the window, in order, to the keys, and returns a hash of it.
func (w *crewman) came(m int32) (hash uint64) {
	a := w.alike
	i := a.inbox[m]
	if i < 0 {
		return 0
	}
	a.inbox[m] = -1
	lo := len(a.keys)
	for ; i >= 0; i = w.next[i] {
		e := &w.batch[i]
		a.keys = append(a.keys, uint64(e.at-w.begin)<<32|uint64(e.slot)<<16|uint64(e.kind))
	}
	keys := a.keys[lo:]
	inTurn(keys)
	for _, key := range keys {
		hash = (hash ^ key) * 0xff51afd7ed558ccd
		hash ^= hash >> 31
	}
	return hash
}

// find returns the variant that has these keys, or -1.
func (a *alike) find(hash uint64, keys []uint64) int32 {
	for i := range a.variants[:min(len(a.variants), manyVariants)] {
		if v := &a.variants[i]; v.hash == hash && slices.Equal(a.keys[v.lo:v.hi], keys) {
			return int32(i)
		}
	}
	if len(a.variants) <= manyVariants {
		return -1
	}
	k, ok := a.byHash[hash]
	for ; ok && k >= 0; k = a.variants[k].same {
		if v := &a.variants[k]; slices.Equal(a.keys[v.lo:v.hi], keys) {
			return k
		}
	}
	return -1
}

// index has a variant, the k-th, found by its hash.
func (a *alike) index(v *variant, k int32) {
	if a.byHash == nil {
		a.byHash = make(map[uint64]int32)
	}
	if same, ok := a.byHash[v.hash]; ok {
		v.same = same
	}
	a.byHash[v.hash] = k
}

// recall puts what was left for this window among what comes in it.
func (w *crewman) recall(l int32) {
	b, next := &w.alike.left[l], Time(math.MaxInt64)
	for len(b.soon) > 0 || b.refill() {
		soon := b.soon
		for i := 0; i < len(soon); {
			e := &soon[i]
			if e.at >= w.end {
				next = min(next, e.at)
				i++
				continue
			}
			w.mine = append(w.mine, uint64(e.at-w.begin)<<32|uint64(e.slot)<<16|uint64(e.kind))
			last := len(soon) - 1
			soon[i] = soon[last]
			soon = soon[:last]
		}
		if b.soon = soon; len(soon) > 0 {
			break
		}
	}
	if w.alike.due[l] = never; len(b.soon) > 0 {
		w.alike.due[l] = uint64(next) >> w.x.shift
	}
	inTurn(w.mine)
}

// copyState puts a group into the state of another one of its class.
func (w *crewman) copyState(from, to int32) {
	a, x := w.alike, w.x
	f, t := a.first+uint32(from), a.first+uint32(to)
	ranks := x.ranks[x.start[t]:x.start[t+1]]
	for i := range ranks {
		own := &ranks[i]
		first := own.first
		*own = x.ranks[x.start[f]+uint32(i)]
		own.first = first
	}
	copy(x.at[int(x.start[t])*x.lanes:int(x.start[t+1])*x.lanes], x.at[int(x.start[f])*x.lanes:])
	of := x.lines(f)
	lines := x.lines(t)
	for i := range lines {
		if y := &lines[i]; y.flags&posts == 0 {
			y.count = of[i].count
		}
	}
	a.due[to], a.history[to] = a.due[from], a.history[from]
	a.left[to].copyFrom(&a.left[from], t)
	a.apart[to], a.entered[to] = a.apart[from], append(a.entered[to][:0], a.entered[from]...)
}

// endAlike tells all groups what their leaders came to. It reports whether cascades were right to be on their own.
func (w *crewman) endAlike() bool {
	a, x := w.alike, w.x
	for h, l := range a.leader {
		g, of := a.first+uint32(h), a.first+uint32(l)
		if int(l) == h {
			continue
		}
		a.history[h] = a.history[l]
		for i := range x.start[g+1] - x.start[g] {
			x.ranks[x.start[g]+i].end = x.ranks[x.start[of]+i].end
		}
	}
	return a.cascades == nil || w.fallThrough()
}

// different returns how many ranks were not like others to the end: those of one group of each class, however many crewmen ran one.
func (x *windows) different() int {
	if len(x.crew) == 0 || x.crew[0].alike == nil {
		return len(x.ranks)
	}
	n := 0
	known := make(map[uint64]bool)
	for _, w := range x.crew {
		a := w.alike
		for h := range a.leader {
			if known[a.history[h]] {
				continue
			}
			known[a.history[h]] = true
			g := a.first + uint32(h)
			n += int(x.start[g+1] - x.start[g])
		}
	}
	return n
}
