package calibrate

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/optimize"
)

// noise is the relative error of a row that counts as nothing unusual: single runs, and a model of this kind, are right to
// about so much.
const noise = 0.07

// leastRows is how many rows a fit needs. With fewer than factors the priors decide.
const leastRows = 4

// Fit finds the factors that are likeliest, given the rows of a table and what is known of such machines: it
// minimises the sum of the rows' pseudo-Huber losses of log(predicted/measured), so that outliers pull little, and of the
// squared distances from the priors. Equal tables give equal models on one kind of processor. It fails with a [*FitError]
// when the table has fewer than four usable rows.
func Fit(t *Table) (*Model, error) {
	m, err := fit(t)
	if err != nil {
		return nil, err
	}
	var errs []float64
	if len(t.Rows) >= 2*leastRows {
		for half := range 2 {
			train, rest := t.Halves(half)
			other, err := fit(train)
			if err != nil {
				return nil, err
			}
			errs = append(errs, Compare(other, rest).errors()...)
		}
	} else {
		errs = Compare(m, t).errors()
	}
	m.Error50, m.Error90 = quantile(errs, 0.5), quantile(errs, 0.9)
	return m, nil
}

func fit(t *Table) (*Model, error) {
	if err := t.Shape.check(); err != nil {
		return nil, err
	}
	if len(t.Rows) < leastRows {
		return nil, &FitError{fmt.Sprintf("%d rows, of at least %d", len(t.Rows), leastRows)}
	}
	n := float64(t.Shape.Ranks)
	best := 0.0
	for _, r := range t.Rows {
		if r.Bytes < 0 || !(r.Seconds > 0) || math.IsInf(r.Seconds, 0) {
			return nil, &FitError{fmt.Sprintf("%d bytes in %g s", r.Bytes, r.Seconds)}
		}
		best = max(best, float64(r.Bytes)/r.Seconds*2*(n-1)/n)
	}
	if best == 0 {
		return nil, &FitError{"no row has bytes"}
	}
	m := &Model{Fitted: t.Shape}
	var lines [6]line
	objective := func(x []float64) float64 {
		m.set(scaled(x, best))
		m.lines(t.Shape, &lines)
		sum := 0.0
		for _, r := range t.Rows {
			predicted, _ := quickest(&lines, float64(r.Bytes))
			e := math.Log((predicted+m.start(float64(r.Bytes)))/r.Seconds) / noise
			sum += math.Sqrt(1+e*e) - 1
		}
		for _, d := range x {
			sum += priorWeight * d * d
		}
		return sum
	}
	x := search(objective)
	m.set(scaled(x, best))
	return m, nil
}

// priorWeight is how much a factor one deviation off costs, in units of a row that is noise off.
const priorWeight = 0.15

// scaled turns deviations from the priors into factors.
func scaled(x []float64, rate float64) (v [factors]float64) {
	for i, p := range priors {
		v[i] = p.likely * math.Exp(p.spread*max(-6, min(x[i], 6)))
	}
	v[fRate] *= rate
	return v
}

// search minimises a function of the deviations by the simplex method (Nelder and Mead 1965) from several starts: the
// minimum over candidates makes it neither smooth nor convex.
func search(f func([]float64) float64) []float64 {
	const starts, again, evaluations = 24, 3, 2500
	least, at := math.Inf(1), make([]float64, factors)
	for k := range starts {
		x := make([]float64, factors)
		for i := range x {
			if k > 0 { // a lattice (Weyl's sequence of square roots of primes), so that no seed decides
				_, frac := math.Modf(float64(k) * math.Sqrt(float64(primes[i])))
				x[i] = 2*frac - 1
			}
		}
		for range again {
			settings := &optimize.Settings{
				FuncEvaluations: evaluations,
				Converger:       &optimize.FunctionConverge{Absolute: 1e-5, Iterations: 150},
			}
			r, err := optimize.Minimize(optimize.Problem{Func: f}, x, settings, &optimize.NelderMead{SimplexSize: 0.4})
			if r == nil || err != nil && r.X == nil {
				break
			}
			x = r.X
			if r.F < least {
				least, at = r.F, slices.Clone(r.X)
			}
		}
	}
	return at
}

var primes = [factors]int{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31}
