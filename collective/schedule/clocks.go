package schedule

// An event is the count-th step of a thread, from 1 on. Threads are numbered rank × lanes + lane.
type event struct {
	thread int32
	count  uint16
}

// maxSteps is the most steps of one thread: counts leave the top bit of 16 free.
const maxSteps = 1<<15 - 1

// A stamp is the vector clock of an event: base, but at.count for the event's own thread. Bases are shared and never
// change once somebody else has seen them.
type stamp struct {
	base vector
	at   event
}

// A vector holds one count a thread of a group, four to a word.
type vector []uint64

func (v vector) get(slot int32) uint16 {
	return uint16(v[slot>>2] >> (slot & 3 * 16))
}

func (v vector) raise(slot int32, count uint16) {
	shift := slot & 3 * 16
	if w := &v[slot>>2]; uint16(*w>>shift) < count {
		*w = *w&^(0xffff<<shift) | uint64(count)<<shift
	}
}

// join raises every count of v to that of o, four at a time.
func (v vector) join(o vector) {
	const top = 0x8000_8000_8000_8000
	v = v[:len(o)]
	for i, y := range o {
		x := v[i]
		larger := ((x | top) - y) & top // the top bit of each count: whether x ≥ y there
		keep := larger - larger>>15
		v[i] = x&keep | y&^keep
	}
}

// clocks compares and joins stamps (C. Fidge, "Timestamps in message-passing systems that preserve the partial
// ordering", 1988; F. Mattern, "Virtual time and global states of distributed systems", 1989).
//
// Threads that no chain of messages and Afters connects can never be ordered, so each connected group has clocks of its
// own: a schedule of independent channels has many small groups instead of a large one.
type clocks struct {
	group []int32 // by thread
	slot  []int32 // by thread: its place in the group's vectors
	words []int32 // by group: length of its vectors
	arena vector
}

// newClocks returns the clocks of threads of which linked yields the pairs that speak to each other.
func newClocks(threads int, linked func(yield func(a, b int32))) *clocks {
	c := &clocks{}
	var sizes []int32
	c.group, c.slot, sizes = connected(threads, linked)
	for _, n := range sizes {
		c.words = append(c.words, (n+3)/4)
	}
	return c
}

// connected returns, for each of n things, its connected group and its place there, and the sizes of the groups.
func connected(n int, linked func(yield func(a, b int32))) (group, slot, sizes []int32) {
	parent := make([]int32, n)
	for t := range parent {
		parent[t] = int32(t)
	}
	find := func(t int32) int32 {
		for parent[t] != t {
			parent[t] = parent[parent[t]]
			t = parent[t]
		}
		return t
	}
	linked(func(a, b int32) { parent[find(a)] = find(b) })
	group, slot = make([]int32, n), make([]int32, n)
	number := make([]int32, n) // by a group's first thing: its number + 1
	for t := range parent {
		top := find(int32(t))
		if number[top] == 0 {
			sizes = append(sizes, 0)
			number[top] = int32(len(sizes))
		}
		g := number[top] - 1
		group[t], slot[t] = g, sizes[g]
		sizes[g]++
	}
	return group, slot, sizes
}

// alloc returns a copy of v, or zeros when v is nil, for the group.
func (c *clocks) alloc(v vector, group int32) vector {
	n := int(c.words[group])
	if len(c.arena) < n {
		c.arena = make(vector, max(n, 1<<12))
	}
	w := c.arena[:n:n]
	c.arena = c.arena[n:]
	copy(w, v)
	return w
}

// knows reports whether e comes before s, or is s, in every run.
func (c *clocks) knows(s *stamp, e event) bool {
	if e.thread == s.at.thread {
		return e.count <= s.at.count
	}
	return s.base != nil && c.group[e.thread] == c.group[s.at.thread] && e.count <= s.base.get(c.slot[e.thread])
}

// A learner is a stamp in the making. Its base is copied when the first news comes.
type learner struct {
	stamp
	own bool
}

func (c *clocks) write(s *learner) {
	if !s.own {
		s.base, s.own = c.alloc(s.base, c.group[s.at.thread]), true
	}
}

// learn makes s come after o.
func (c *clocks) learn(s *learner, o *stamp) {
	if c.knows(&s.stamp, o.at) {
		return // and so, clocks being transitive, all that o knows
	}
	c.write(s)
	if o.base != nil {
		s.base.join(o.base)
	}
	s.base.raise(c.slot[o.at.thread], o.at.count)
}

// learnAll makes s come after all that v knows.
func (c *clocks) learnAll(s *learner, v vector) {
	if v != nil {
		c.write(s)
		s.base.join(v)
	}
}
