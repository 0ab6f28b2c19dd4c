package topology

import "slices"

// costs is a square matrix of directed costs, none negative, small enough that a sum of n of them fits.
type costs struct {
	n int
	c []int64
}

func (c costs) at(i, j int) int64 { return c.c[i*c.n+j] }

// A tourCost is what a closed tour is judged by: first the sum, then the largest.
type tourCost struct{ sum, max int64 }

func (a tourCost) less(b tourCost) bool {
	return a.sum < b.sum || a.sum == b.sum && a.max < b.max
}

// tour returns the cost of visiting the places in order and going back to the first.
func (c costs) tour(order []int) tourCost {
	var t tourCost
	prev := order[len(order)-1]
	for _, p := range order {
		d := c.at(prev, p)
		t.sum += d
		t.max = max(t.max, d)
		prev = p
	}
	return t
}

func identity(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// maxExactTour is the number of places up to which exactTour is used: it takes 2^(n-1)·n² steps.
const maxExactTour = 12

// exactTour returns the best tour from place 0, the identity when that is one of the best, by the dynamic
// programme of Held and Karp run backwards. A sum and a maximum may be minimised together in this way:
// to put the same link in front of two ways never turns their order round.
func exactTour(c costs) []int {
	m := c.n - 1 // places 1 to m; place j is bit j-1
	full := 1<<m - 1
	// best[mask*m+j-1] is the cost of the way from place j through the places outside mask back to 0.
	best := make([]tourCost, (full+1)*m)
	via := func(from, mask, to int) tourCost {
		d := c.at(from, to)
		rest := best[(mask|1<<(to-1))*m+to-1]
		return tourCost{d + rest.sum, max(d, rest.max)}
	}
	// next returns the first of the best places to go to.
	next := func(from, mask int) (int, tourCost) {
		to, cost := 0, tourCost{}
		for j := 1; j <= m; j++ {
			if mask&(1<<(j-1)) == 0 {
				if v := via(from, mask, j); to == 0 || v.less(cost) {
					to, cost = j, v
				}
			}
		}
		return to, cost
	}
	for mask := full; mask > 0; mask-- {
		for j := 1; j <= m; j++ {
			switch {
			case mask&(1<<(j-1)) == 0:
			case mask == full:
				d := c.at(j, 0)
				best[mask*m+j-1] = tourCost{d, d}
			default:
				_, best[mask*m+j-1] = next(j, mask)
			}
		}
	}
	_, optimum := next(0, 0)
	if order := identity(c.n); c.tour(order) == optimum {
		return order
	}
	order := make([]int, 1, c.n)
	for at, mask := 0, 0; mask != full; {
		at, _ = next(at, mask)
		order = append(order, at)
		mask |= 1 << (at - 1)
	}
	return order
}

const (
	allStarts    = 32  // up to so many places every one is a start of a nearest-neighbour tour
	fewStarts    = 4   // above that, so many are
	manyPlaces   = 256 // and above that, one is
	fullExchange = 32  // up to so many places stretches of any length are exchanged
	shortStretch = 3   // above that, one of the two is at most so long
)

// searchTour returns a good tour from place 0 for more places than exactTour can do: the best local optimum
// that is reached from the identity and from nearest-neighbour tours. A tour replaces the identity's only when it
// is better.
func searchTour(c costs) []int {
	s := newSearch(c)
	best := s.improve(identity(c.n))
	bestCost := c.tour(best)
	starts := c.n
	switch {
	case c.n > manyPlaces:
		starts = 1
	case c.n > allStarts:
		starts = fewStarts
	}
	for i := range starts {
		order := s.improve(c.nearest(i * c.n / starts))
		if cost := c.tour(order); cost.less(bestCost) {
			best, bestCost = order, cost
		}
	}
	return best
}

// nearest returns the tour that always goes on to the cheapest place left, rotated to begin with place 0.
func (c costs) nearest(from int) []int {
	order := make([]int, 1, c.n)
	order[0] = from
	seen := make([]bool, c.n)
	seen[from] = true
	for at := from; len(order) < c.n; {
		to := -1
		for j := range c.n {
			if !seen[j] && (to < 0 || c.at(at, j) < c.at(at, to)) {
				to = j
			}
		}
		seen[to] = true
		order = append(order, to)
		at = to
	}
	zero := slices.Index(order, 0)
	return slices.Concat(order[zero:], order[:zero])
}

// A search improves tours by moves that cut the tour between some places and join the stretches in another
// way. Place 0 stays first. Sums along the tour, both ways, give the change that a move makes in constant time.
type search struct {
	c         costs
	t         []int   // the tour
	there     []int64 // there[i] is the cost of the links from t[0] to t[i]
	back      []int64 // back[i] is the cost of the same links from t[i] to t[0]
	dear      []int   // dear[i] is how many links from t[0] to t[i] cost cost.max
	cost      tourCost
	dearest   int // how many links of the closed tour cost cost.max
	candidate []int
}

func newSearch(c costs) *search {
	return &search{
		c: c, t: make([]int, c.n), there: make([]int64, c.n), back: make([]int64, c.n),
		dear: make([]int, c.n), candidate: make([]int, c.n),
	}
}

// improve returns a tour that no move makes better. It ends because each move makes the cost less.
func (s *search) improve(order []int) []int {
	copy(s.t, order)
	s.measure()
	for s.pass() {
	}
	return slices.Clone(s.t)
}

func (s *search) measure() {
	s.cost = s.c.tour(s.t)
	for i := 1; i < len(s.t); i++ {
		a, b := s.t[i-1], s.t[i]
		s.there[i] = s.there[i-1] + s.c.at(a, b)
		s.back[i] = s.back[i-1] + s.c.at(b, a)
		s.dear[i] = s.dear[i-1] + s.isDearest(s.c.at(a, b))
	}
	last := len(s.t) - 1
	s.dearest = s.dear[last] + s.isDearest(s.c.at(s.t[last], s.t[0]))
}

// isDearest counts a link as one of the dearest or as none.
func (s *search) isDearest(d int64) int {
	if d == s.cost.max {
		return 1
	}
	return 0
}

// pass tries every move once and takes those that help. It reports whether one did.
func (s *search) pass() bool {
	n := s.c.n
	longest := shortStretch
	if n <= fullExchange {
		longest = n
	}
	moved := false
	for i := 1; i < n; i++ {
		for k := i + 2; k <= n; k++ {
			// The first stretch is short, or the second is.
			for j := i + 1; j < k; j++ {
				if j-i > longest && k-j > longest {
					j = k - longest
				}
				moved = s.exchange(i, j, k) || moved
			}
		}
	}
	return moved
}

// inside returns what reversing the links within positions i to k-1 adds, and how many of the dearest are among
// them.
func (s *search) inside(i, k int) (delta int64, dear int) {
	return s.back[k-1] - s.back[i] - (s.there[k-1] - s.there[i]), s.dear[k-1] - s.dear[i]
}

// hopeless rules out most moves that cannot help without a look at the whole tour: those that add to the
// sum, and those that leave it and put in a link as dear as the dearest or do not take all of the dearest out.
func (s *search) hopeless(delta, dearestIn int64, dearOut int) bool {
	return delta > 0 || delta == 0 && (dearestIn >= s.cost.max || dearOut < s.dearest)
}

// after returns the place at position k of the closed tour.
func (s *search) after(k int) int {
	if k == len(s.t) {
		return s.t[0]
	}
	return s.t[k]
}

// exchange swaps the stretches at positions i to j-1 and j to k-1, each as it is or one of them turned round,
// if that helps. With a stretch of one place it covers every reversal: to put c before b a, which was a b, is to
// turn a b c round.
func (s *search) exchange(i, j, k int) bool {
	before, after := s.t[i-1], s.after(k)
	a0, a1, b0, b1 := s.t[i], s.t[j-1], s.t[j], s.t[k-1]
	c := s.c
	out1, out2, out3 := c.at(before, a0), c.at(a1, b0), c.at(b1, after)
	dearOut := s.isDearest(out1) + s.isDearest(out2) + s.isDearest(out3)
	// before, second stretch, first stretch, after
	for turned := range 3 {
		x0, x1, y0, y1 := b0, b1, a0, a1
		var delta int64
		var dear int
		switch turned {
		case 1:
			if k-j == 1 {
				continue
			}
			x0, x1 = x1, x0
			delta, dear = s.inside(j, k)
		case 2:
			if j-i == 1 {
				continue
			}
			y0, y1 = y1, y0
			delta, dear = s.inside(i, j)
		}
		in1, in2, in3 := c.at(before, x0), c.at(x1, y0), c.at(y1, after)
		delta += in1 + in2 + in3 - out1 - out2 - out3
		if s.hopeless(delta, max(in1, in2, in3), dear+dearOut) {
			continue
		}
		copy(s.candidate, s.t)
		copy(s.candidate[i:], s.t[j:k])
		copy(s.candidate[i+k-j:], s.t[i:j])
		switch turned {
		case 1:
			slices.Reverse(s.candidate[i : i+k-j])
		case 2:
			slices.Reverse(s.candidate[i+k-j : k])
		}
		if s.take() {
			return true
		}
	}
	return false
}

// take makes the candidate the tour if it is better. It looks at the whole tour, whatever the move was said to
// change, so that the search ends in any case.
func (s *search) take() bool {
	if !s.c.tour(s.candidate).less(s.cost) {
		return false
	}
	s.t, s.candidate = s.candidate, s.t
	s.measure()
	return true
}
