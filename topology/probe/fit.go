package probe

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// A Sample is what the probes of one pair of sizes said.
type Sample struct {
	Ping, Pong int     // bytes there and back
	Probes     int     // round trips
	Seconds    float64 // of a round trip: the lowest tenth of the probes ends here
}

// lowest returns the lowest decile of times, which it sorts. Noise only ever adds, and a tenth is enough to not believe
// in one lucky probe.
func lowest(times []float64) float64 {
	slices.Sort(times)
	return times[(len(times)-1)/10]
}

// A cost is a fit.
type cost struct {
	alpha, there, back float64 // seconds, seconds a byte
	residual           float64 // root mean square of the relative errors
	probes             int
}

// fit finds the alpha and the betas that explain samples best, none of them negative: of the relative errors of all
// medians by sizes the sum of squares is least. Where directed is false the two betas are one.
func fit(samples []Sample, directed bool) cost {
	typical := medians(samples)
	columns := 2
	if directed {
		columns = 3
	}
	row := func(s Sample) [3]float64 {
		if directed {
			return [3]float64{2, float64(s.Ping), float64(s.Pong)}
		}
		return [3]float64{2, float64(s.Ping) + float64(s.Pong), 0}
	}
	x := nonNegative(typical, row, columns)
	c := cost{alpha: x[0], there: x[1], back: x[1]}
	if directed {
		c.back = x[2]
	}
	for _, s := range samples {
		e := relativeError(row(s), x, s.Seconds)
		c.residual += e * e
		c.probes += s.Probes
	}
	c.residual = math.Sqrt(c.residual / float64(max(1, len(samples))))
	return c
}

// medians returns one sample for each pair of sizes, whose time is the lower median over those given: a pair of ranks
// that something disturbed does not move it.
func medians(samples []Sample) []Sample {
	sorted := slices.Clone(samples)
	slices.SortFunc(sorted, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.Ping, b.Ping), cmp.Compare(a.Pong, b.Pong), cmp.Compare(a.Seconds, b.Seconds))
	})
	var out []Sample
	for from := 0; from < len(sorted); {
		to := from + 1
		for to < len(sorted) && sorted[to].Ping == sorted[from].Ping && sorted[to].Pong == sorted[from].Pong {
			to++
		}
		group := sorted[from:to]
		s := group[0]
		s.Seconds = group[(len(group)-1)/2].Seconds
		out = append(out, s)
		from = to
	}
	return out
}

// nonNegative solves the least squares problem: with so few unknowns every set of those that are positive is tried.
func nonNegative(samples []Sample, row func(Sample) [3]float64, columns int) (best [3]float64) {
	least := math.Inf(1)
	for set := 1; set < 1<<columns; set++ {
		x, ok := solve(samples, row, set)
		if !ok {
			continue
		}
		sum := 0.0
		for _, s := range samples {
			e := relativeError(row(s), x, s.Seconds)
			sum += e * e
		}
		if sum < least {
			least, best = sum, x
		}
	}
	return best
}

func relativeError(row, x [3]float64, seconds float64) float64 {
	return (row[0]*x[0]+row[1]*x[1]+row[2]*x[2])/seconds - 1
}

// solve is ordinary least squares with the unknowns in set; the others are 0. It fails when they are not determined, or
// one of them is negative. Columns are scaled to one length, so that seconds beside bytes do no harm.
func solve(samples []Sample, row func(Sample) [3]float64, set int) (x [3]float64, ok bool) {
	var use []int
	for c := range x {
		if set&(1<<c) != 0 {
			use = append(use, c)
		}
	}
	if len(samples) < len(use) {
		return x, false
	}
	a := mat.NewDense(len(samples), len(use), nil)
	b := mat.NewVecDense(len(samples), nil)
	var scale [3]float64
	for k, c := range use {
		for _, s := range samples {
			scale[k] = max(scale[k], row(s)[c]/s.Seconds)
		}
		if scale[k] == 0 || math.IsInf(scale[k], 0) {
			return x, false
		}
	}
	for i, s := range samples {
		b.SetVec(i, 1)
		for k, c := range use {
			a.Set(i, k, row(s)[c]/s.Seconds/scale[k])
		}
	}
	var qr mat.QR
	qr.Factorize(a)
	if qr.Cond() > 1e12 {
		return x, false
	}
	var solution mat.VecDense
	if err := qr.SolveVecTo(&solution, false, b); err != nil {
		return x, false
	}
	for k, c := range use {
		v := solution.AtVec(k) / scale[k]
		if !(v >= 0) || math.IsInf(v, 0) {
			return [3]float64{}, false
		}
		x[c] = v
	}
	return x, true
}
