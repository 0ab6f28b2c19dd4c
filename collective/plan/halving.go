package plan

import (
	"math/bits"

	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// halving is recursive halving and doubling (Rabenseifner, "Optimization of collective reduction operations", ICCS
// 2004; Thakur, Rabenseifner and Gropp, IJHPCA 2005). A reduce-scatter halves the vector with ever nearer partners,
// an all-gather doubles it back; broadcast is a binomial scatter and an all-gather, reduce a reduce-scatter and a
// binomial gather.
//
// A group that is no power of two folds: with m the largest power of two, each of the first n-m odd positions is an
// extra that hands its vector to the position before and gets the result from there. The m others are the core,
// numbered 0..m-1 by v; each has the blocks of its position and of its extra, so core ranges are block ranges.
type halving struct {
	n, m, k int // k = log2 m
	extras  int
	coll    schedule.Collective
	o       order // position 0 is the root of a rooted collective
}

func newHalving(coll schedule.Collective, root topology.Rank, n int, o order) schedule.Schedule {
	if n == 1 {
		return alone{coll}
	}
	k := bits.Len(uint(n)) - 1
	s := &halving{n: n, m: 1 << k, k: k, coll: coll, o: o}
	s.extras = n - s.m
	switch {
	case coll == schedule.ReduceScatter || coll == schedule.AllGather:
		s.o = order{} // halves must be contiguous blocks of the caller's vector
	case coll.Rooted():
		ranks := make([]topology.Rank, n)
		for p := range ranks {
			ranks[p] = o.rank(mod(o.position(root)+p, n))
		}
		s.o = newOrder(ranks)
	}
	return s
}

func (s *halving) Ranks() int              { return s.n }
func (s *halving) Channels() int           { return 1 }
func (s *halving) Layout() schedule.Layout { return schedule.Layout{Blocks: s.n, Pieces: 1} }

// place returns the core number of a position and whether it is an extra (then of its partner).
func (s *halving) place(p int) (v int, extra bool) {
	if p >= 2*s.extras {
		return p - s.extras, false
	}
	return p / 2, p%2 == 1
}

// start returns the first block of core v; v = m is the end.
func (s *halving) start(v int) int {
	if v < s.extras {
		return 2 * v
	}
	return v + s.extras
}

func (s *halving) core(v int) topology.Rank { return s.o.rank(s.start(v)) }

// A leg is one step of a core member: with whom, the core range sent and the one received; empty is none.
type leg struct {
	partner            int
	sendLo, sendHi     int
	recvLo, recvHi     int
	reduce             bool
	first, lastHalving bool // halving step
}

// steps returns how many legs the collective has: phases of k each.
func (s *halving) steps() int {
	if s.coll == schedule.ReduceScatter || s.coll == schedule.AllGather {
		return s.k
	}
	return 2 * s.k
}

// leg returns step t of core member v.
func (s *halving) leg(v, t int) leg {
	first := t < s.k
	d := t
	if !first {
		d = 2*s.k - 1 - t
	}
	kind := byte('h') // halving reduce-scatter
	switch {
	case s.coll == schedule.AllGather:
		kind, d = 'd', s.k-1-t
	case s.coll == schedule.Broadcast && first:
		kind = 's' // scatter
	case s.coll == schedule.Reduce && !first:
		kind = 'g' // gather
	case !first:
		kind = 'd' // doubling
	}
	size := s.m >> d // of the range that v shares with its partner in this step
	half := size / 2
	lo := v &^ (size - 1)
	mid := lo + half
	g := leg{partner: v ^ half, lastHalving: kind == 'h' && d == s.k-1, first: kind == 'h' && d == 0}
	keepLo, keepHi, giveLo, giveHi := lo, mid, mid, lo+size
	if v >= mid {
		keepLo, keepHi, giveLo, giveHi = giveLo, giveHi, keepLo, keepHi
	}
	switch kind {
	case 'h':
		g.reduce = true
		g.sendLo, g.sendHi, g.recvLo, g.recvHi = giveLo, giveHi, keepLo, keepHi
	case 'd':
		// In a broadcast the first of a range has had all of it since the scatter.
		if s.coll != schedule.Broadcast || g.partner != lo {
			g.sendLo, g.sendHi = keepLo, keepHi
		}
		if s.coll != schedule.Broadcast || v != lo {
			g.recvLo, g.recvHi = giveLo, giveHi
		}
	case 's': // the first of a range gives the upper half to the first of that
		if v == lo {
			g.sendLo, g.sendHi = mid, lo+size
		} else if v == mid {
			g.recvLo, g.recvHi = mid, lo+size
		}
	case 'g':
		if v == mid {
			g.sendLo, g.sendHi = mid, lo+size
		} else if v == lo {
			g.recvLo, g.recvHi = mid, lo+size
		}
	}
	return g
}

// span returns how often the largest range of which core member v is the first can be halved. Of a rooted collective it says which legs v has.
func (s *halving) span(v int) int {
	if v == 0 {
		return s.k
	}
	return bits.TrailingZeros(uint(v))
}

// count returns how many of the legs before t send, or receive, at core member v.
func (s *halving) count(v, t int, in bool) int {
	z := s.span(v)
	switch {
	case s.coll == schedule.Broadcast && in: // once in the scatter, but for the root; then what is larger than its range
		c := max(t-s.k-z, 0)
		if v > 0 && t >= s.k-z {
			c++
		}
		return c
	case s.coll == schedule.Broadcast: // its range by halves; then all but to the first of the range around
		c := min(max(t-s.k+z, 0), z) + max(t-s.k, 0)
		if t > s.k+z {
			c--
		}
		return c
	case s.coll == schedule.Reduce && in: // in the gather its range by halves
		return min(t, s.k+z)
	case s.coll == schedule.Reduce: // and then all of that
		c := min(t, s.k)
		if t > s.k+z {
			c++
		}
		return c
	}
	return t
}

// find returns the leg of the c-th send or receive of core member v.
func (s *halving) find(v, c int, in bool) (t int, ok bool) {
	z := s.span(v)
	t = c
	switch {
	case s.coll == schedule.Broadcast && in:
		if t += s.k + z; v > 0 { // the first is in the scatter
			if t--; c == 0 {
				t = s.k - 1 - z
			}
		}
	case s.coll == schedule.Broadcast:
		if t += s.k - z; t >= s.k+z {
			t++
		}
	case s.coll == schedule.Reduce && in:
		return t, t < s.k+z
	case s.coll == schedule.Reduce:
		if c == s.k {
			t += z
		}
		return t, c <= s.k && t < s.steps()
	}
	return t, t < s.steps()
}

// folds says what a core member gets from its extra before the legs and gives it after them, in messages.
func (s *halving) folds() (before, after bool) {
	switch s.coll {
	case schedule.Broadcast:
		return false, true
	case schedule.Reduce:
		return true, false
	}
	return true, true
}

func (s *halving) At(r topology.Rank, l schedule.Lane, i int) (schedule.Op, bool) {
	p := s.o.position(r)
	v, extra := s.place(p)
	if extra {
		return s.extra(p, v, l, i)
	}
	hasExtra := v < s.extras
	before, after := s.folds()
	in := l.In()
	pre := 0 // operations of the lane before the legs
	if in && hasExtra && before || !in && s.copies() {
		pre = 1
	}
	if i < pre {
		if !in {
			b := s.start(v)
			return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(b), Dst: schedule.Output(b), N: 1}, true
		}
		x := s.o.rank(p + 1)
		if s.coll == schedule.AllGather {
			return schedule.Op{Kind: schedule.Recv, Peer: x, Dst: schedule.Output(p + 1), N: 1}, true
		}
		return schedule.Op{
			Kind: schedule.RecvReduce, Peer: x, Src: schedule.Input(0), Dst: schedule.Output(0), N: uint32(s.n), Final: s.m == 1,
		}, true
	}
	if t, ok := s.find(v, i-pre, in); ok {
		return s.legOp(v, t, in, hasExtra && before), true
	}
	if in {
		return schedule.Op{}, false
	}
	j := i - pre - s.count(v, s.steps(), false)
	if !hasExtra || !after || s.coll == schedule.Broadcast && j > 0 {
		if hasExtra && after {
			j--
		}
		copies := s.coll == schedule.Broadcast && v == 0 && j == 0
		return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(0), Dst: schedule.Output(0), N: uint32(s.n)}, copies
	}
	// Give the extra what it lacks.
	op := schedule.Op{Kind: schedule.Send, Peer: s.o.rank(p + 1), Match: int32(j), After: s.last(v, s.steps(), hasExtra && before)}
	lo, n, ok := s.missing(p+1, j)
	op.Src, op.N = s.whole(v, lo), uint32(n)
	return op, ok
}

// copies reports whether the core copies its own blocks to the output before it sends from there.
func (s *halving) copies() bool { return s.coll == schedule.AllGather }

// whole returns where core member v reads block b once everything is there.
func (s *halving) whole(v, b int) schedule.Chunk {
	if s.coll == schedule.Broadcast && v == 0 {
		return schedule.Input(b)
	}
	return schedule.Output(b)
}

// missing returns the j-th range of blocks that the extra at position p gets at the end.
func (s *halving) missing(p, j int) (lo, n int, ok bool) {
	switch {
	case s.coll == schedule.ReduceScatter:
		return p, 1, j == 0
	case s.coll != schedule.AllGather:
		return 0, s.n, j == 0
	case j == 0:
		return 0, p, true
	}
	return p + 1, s.n - p - 1, j == 1 && p+1 < s.n
}

// last returns the last receive of core member v before leg t.
func (s *halving) last(v, t int, folded bool) schedule.Ref {
	c := s.count(v, t, true)
	if folded {
		c++
	}
	if c == 0 {
		return schedule.Ref{}
	}
	return schedule.At(1, c-1)
}

// legOp returns the operation of one direction of leg t of core member v.
func (s *halving) legOp(v, t int, in, folded bool) schedule.Op {
	g := s.leg(v, t)
	peerPre := 0
	if !in { // index in the partner's in lane
		if before, _ := s.folds(); before && g.partner < s.extras {
			peerPre = 1
		}
	} else if s.copies() {
		peerPre = 1
	}
	op := schedule.Op{Peer: s.core(g.partner), Match: int32(s.count(g.partner, t, !in) + peerPre)}
	if in {
		op.Kind = schedule.Recv
		lo, hi := s.start(g.recvLo), s.start(g.recvHi)
		op.Dst, op.N = schedule.Output(lo), uint32(hi-lo)
		if g.reduce {
			op.Kind, op.Src, op.Final = schedule.RecvReduce, schedule.Output(lo), g.lastHalving
			if g.first && !folded {
				op.Src = schedule.Input(lo)
			}
		}
		return op
	}
	op.Kind = schedule.Send
	lo, hi := s.start(g.sendLo), s.start(g.sendHi)
	op.Src, op.N = schedule.Output(lo), uint32(hi-lo)
	op.After = s.last(v, t, folded)
	if g.first && !folded || s.coll == schedule.Broadcast && v == 0 {
		op.Src = schedule.Input(lo)
	}
	return op
}

// extra is the operation of a position that is not in the core; v is its partner.
func (s *halving) extra(p, v int, l schedule.Lane, i int) (schedule.Op, bool) {
	before, after := s.folds()
	partner := s.o.rank(p - 1)
	if !l.In() {
		if before && i == 0 {
			if s.coll == schedule.AllGather {
				return schedule.Op{Kind: schedule.Send, Peer: partner, Src: schedule.Input(p), N: 1}, true
			}
			return schedule.Op{Kind: schedule.Send, Peer: partner, Src: schedule.Input(0), N: uint32(s.n)}, true
		}
		if s.coll == schedule.AllGather && i == 1 {
			return schedule.Op{Kind: schedule.Copy, Src: schedule.Input(p), Dst: schedule.Output(p), N: 1}, true
		}
		return schedule.Op{}, false
	}
	if !after {
		return schedule.Op{}, false
	}
	lo, n, ok := s.missing(p, i)
	pre := s.count(v, s.steps(), false)
	if s.copies() {
		pre++
	}
	return schedule.Op{Kind: schedule.Recv, Peer: partner, Dst: schedule.Output(lo), N: uint32(n), Match: int32(pre + i)}, ok
}

func (s *halving) tail(r topology.Rank) schedule.Ref {
	v, extra := s.place(s.o.position(r))
	if extra {
		return schedule.At(1, 0)
	}
	return s.last(v, s.steps(), v < s.extras)
}
