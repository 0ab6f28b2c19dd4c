package sim

import (
	"cmp"
	"slices"
)

// A faller runs cascades of one form. What comes to one that is at rest has the same consequences whenever it comes, so those are kept: by the
// arrivals since it was at rest, and their distances.
type faller struct {
	falls   []fall
	cost    []kind // by fall
	widest  Time
	nodes   []episode
	first   []int32 // by fall and whether it is a longer slice: the episode of one arrival, or 0
	known   map[comes]int32
	pending []entering
	in, out []Time // by rank
	quiet   Time
	last    []Time
}

// An episode is what arrivals lead to, the first of which came at 0 while all was at rest.
type episode struct {
	quiet  Time   // when it is at rest again
	last   []Time // by fall: when it got its last slice, or -1
	latest comes  // what followed the last time, and the episode with it
	then   int32
}

// A comes is an arrival after an episode's.
type comes struct {
	after Time // the first
	node  int32
	fall  uint16
	long  uint16
}

// An entering is an arrival at a fall.
type entering struct {
	at      Time
	fall    uint16
	long    uint8
	through bool
}

const (
	// maxEpisode is up to how many arrivals are an episode that is kept.
	maxEpisode = 8
	// maxEpisodes is up to how many are kept.
	maxEpisodes = 1 << 14
	restless    = -1 << 62
)

func newFaller(x *windows, c *cascade) *faller {
	n := len(c.falls)
	s := &faller{falls: c.falls, cost: make([]kind, n), known: make(map[comes]int32), last: make([]Time, n), first: make([]int32, 2*n)}
	ranks := uint32(0)
	for i := range c.falls {
		if !c.falls[i].outer {
			s.cost[i] = x.kinds[c.falls[i].kind]
			s.widest = max(s.widest, s.cost[i].wire[0], s.cost[i].wire[1])
		}
		ranks = max(ranks, c.falls[i].rank+1)
	}
	s.in, s.out = make([]Time, ranks), make([]Time, ranks)
	s.nodes = append(s.nodes, episode{})
	return s
}

// run runs through all that entered, in order, and returns when each fall got its last slice, or -1.
func (s *faller) run(log []arrival) []Time {
	last := make([]Time, len(s.falls))
	for f := range last {
		last[f] = -1
	}
	for i := 0; i < len(log); {
		at, n, j := log[i].at, int32(0), i
		for j < len(log) && (n == 0 || log[j].at-at < s.nodes[n].quiet) {
			e := &log[j]
			j++
			if n = s.follow(n, comes{e.at - at, n, e.slot, e.kind & 1}, log[i:j]); n < 0 {
				break
			}
		}
		of := s.last
		if n < 0 {
			j = i + s.simulate(log[i:])
		} else {
			of = s.nodes[n].last
		}
		for f, t := range of {
			if t >= 0 {
				last[f] = at + t
			}
		}
		i = j
	}
	return last
}

// follow returns the episode of these arrivals, of which e comes after those of the episode before, or -1: it is not kept.
func (s *faller) follow(before int32, e comes, log []arrival) int32 {
	b := &s.nodes[before]
	if b.then > 0 && b.latest == e {
		return b.then
	}
	only := 2*int(e.fall) + int(e.long)
	if before == 0 && s.first[only] > 0 {
		return s.first[only]
	}
	n, ok := s.known[e]
	if !ok {
		if len(log) > maxEpisode || len(s.nodes) == maxEpisodes {
			return -1
		}
		s.simulate(log)
		n = int32(len(s.nodes))
		s.nodes = append(s.nodes, episode{quiet: s.quiet, last: slices.Clone(s.last)})
		s.known[e] = n
		b = &s.nodes[before]
	}
	if before == 0 {
		s.first[only] = n
		return n
	}
	b.latest, b.then = e, n
	return n
}

// simulate runs from the first arrival to when all is at rest, and returns how many arrivals that takes. Times count from the first. It does
// what [crewman.live] and [crewman.wake] do.
func (s *faller) simulate(log []arrival) (taken int) {
	for r := range s.in {
		s.in[r], s.out[r] = restless, restless
	}
	for f := range s.last {
		s.last[f] = -1
	}
	s.quiet, s.pending = 0, s.pending[:0]
	for done := 0; ; {
		idle := done == len(s.pending)
		if taken < len(log) {
			e := entering{log[taken].at - log[0].at, log[taken].slot, uint8(log[taken].kind & 1), log[taken].kind&through != 0}
			if idle && taken > 0 && e.at >= s.quiet {
				return taken
			}
			if idle || e.before(&s.pending[done]) {
				taken++
				s.take(e)
				continue
			}
		} else if idle {
			return taken
		}
		e := s.pending[done]
		if done++; done == len(s.pending) {
			s.pending, done = s.pending[:0], 0
		}
		s.take(e)
	}
}

// before reports whether an arrival is taken before another one of the group.
func (e *entering) before(o *entering) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	if e.fall != o.fall {
		return e.fall < o.fall
	}
	return !e.through && o.through
}

// take takes an arrival.
func (s *faller) take(e entering) {
	f, cost := &s.falls[e.fall], &s.cost[e.fall]
	if !e.through {
		in := &s.in[f.rank]
		done := max(e.at, *in+cost.wire[e.long])
		*in = done + cost.gap
		s.quiet = max(s.quiet, *in+s.widest)
		if done > e.at {
			s.put(entering{done, e.fall, e.long, true})
			return
		}
	}
	s.last[e.fall] = e.at
	s.quiet = max(s.quiet, e.at)
	for _, kid := range f.kids {
		to, out := &s.cost[kid], &s.out[f.rank]
		free := max(e.at, *out) + to.wire[e.long]
		*out = free + to.gap
		s.quiet = max(s.quiet, *out)
		s.put(entering{free + to.latency, uint16(kid), e.long, false})
	}
}

// put keeps an arrival for later.
func (s *faller) put(e entering) {
	s.pending = append(s.pending, e)
	i := len(s.pending) - 1
	for ; i > 0 && e.before(&s.pending[i-1]); i-- {
		s.pending[i] = s.pending[i-1]
	}
	s.pending[i] = e
}

// enterCascade puts down what enters the cascade of the group that is being run.
func (w *crewman) enterCascade(at Time, slot, kind uint16) {
	a := w.alike
	l := a.running
	a.entered[l] = append(a.entered[l], arrival{at, 0, uint16(w.apart.of[slot]), kind})
}

// inOrder sorts what entered, which mostly is in order.
func inOrder(log []arrival) {
	moves := 0
	for i := range log {
		e := log[i]
		j := i
		for ; j > 0 && e.earlier(&log[j-1]); j-- {
			log[j] = log[j-1]
		}
		log[j] = e
		if moves += i - j; moves > 32*len(log) {
			slices.SortStableFunc(log, func(p, q arrival) int { return cmp.Or(cmp.Compare(p.at, q.at), cmp.Compare(p.slot, q.slot)) })
			return
		}
	}
}

// earlier reports whether an arrival enters before another one of the group.
func (e *arrival) earlier(o *arrival) bool { return e.at < o.at || e.at == o.at && e.slot < o.slot }

// merge appends what is in either of two logs, in order.
func merge(log, a, b []arrival) []arrival {
	for len(a) > 0 && len(b) > 0 {
		from := &a
		if b[0].earlier(&a[0]) {
			from = &b
		}
		log = append(log, (*from)[0])
		*from = (*from)[1:]
	}
	return append(append(log, a...), b...)
}

// fallThrough runs the cascades of all groups through what entered them, and reports whether the results are what the ranks would have
// done in between, too: a rank that gets the last slice is not busy with something else then.
func (w *crewman) fallThrough() bool {
	a, x := w.alike, w.x
	forms := make(map[int32]*faller)
	var log, landed []arrival
	for h, l := range a.leader {
		c := a.cascades[a.class[h]]
		if c == nil || len(a.entered[l]) == 0 && len(a.fallen[h]) == 0 {
			continue
		}
		first, own := x.start[a.first+uint32(h)], x.start[a.first+uint32(l)] // the leader's ranks are those that were run
		inOrder(a.fallen[h])
		for i := range a.fallen[h] {
			e := &a.fallen[h][i]
			a.history[h] = mix(a.history[h] ^ mix(uint64(e.at)<<16^uint64(e.slot)<<48^uint64(e.kind)))
		}
		inOrder(a.entered[l])
		landed = x.landed(landed[:0], a.fallen[h], c, own)
		inOrder(landed)
		log = merge(log[:0], a.entered[l], landed)
		s := forms[c.form]
		if s == nil {
			s = newFaller(x, c)
			forms[c.form] = s
		}
		for i := range log {
			w.steps += 2*c.falls[log[i].slot].parts - 1
		}
		for i, t := range s.run(log) {
			if t < 0 {
				continue
			}
			f := &c.falls[i]
			if t < x.ranks[own+f.rank].busy {
				return false
			}
			// A send is over when it has been taken.
			to := &x.ranks[first+f.rank]
			to.end = max(to.end, t)
			if f.outer {
				x.over(x.f.Peer(x.base[a.first+uint32(h)]+uint32(f.slot)), t)
			} else {
				from := &x.ranks[first+f.from]
				from.end = max(from.end, t)
			}
		}
	}
	return true
}

// landed appends to a log what came from other groups, in order, when it was through the ports of the ranks, which are those from first on.
func (x *windows) landed(log, came []arrival, c *cascade, first uint32) []arrival {
	if len(came) == 0 {
		return log
	}
	in := make([]Time, len(c.falls))
	for i := range c.falls {
		if f := &c.falls[i]; f.outer {
			in[i] = x.ranks[first+f.rank].in[0]
		}
	}
	for _, e := range came {
		m := &x.kinds[e.kind>>1]
		e.at = max(e.at, in[e.slot]+m.wire[e.kind&1])
		in[e.slot] = e.at + m.gap
		e.kind |= through
		log = append(log, e)
	}
	return log
}
