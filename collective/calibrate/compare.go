package calibrate

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// A Comparison is a model held against a table.
type Comparison struct {
	Rows  []Compared
	Bands []Band // the whole first, then by length
}

// A Compared is a row with what the model says of it.
type Compared struct {
	Row
	Prediction
	By    string  // what predicts it, in words
	Error float64 // predicted/measured - 1
}

// A Band is the summary of the rows whose lengths are in [From, To).
type Band struct {
	Name             string
	From, To         int64
	Rows             int
	Median, P90, Max float64 // of the absolute relative errors
	Bias             float64 // mean of the relative errors: above 0 is too slow
}

// bands are those of the usual tables: latency, the middle, bandwidth.
var bands = []Band{
	{Name: "all", To: math.MaxInt64},
	{Name: "below 64 KiB", To: 64 << 10},
	{Name: "64 KiB to 64 MiB", From: 64 << 10, To: 64 << 20},
	{Name: "64 MiB and above", From: 64 << 20, To: math.MaxInt64},
}

// Compare holds a model against a table.
func Compare(m *Model, t *Table) *Comparison {
	c, _ := CompareWith(t, func(bytes int64) (Prediction, string, error) {
		p, err := m.Predict(t.Shape, bytes)
		if err != nil {
			return Prediction{}, "", nil // no table that was read has such rows
		}
		return p, fmt.Sprintf("%v %v", p.Algorithm, p.Protocol), nil
	})
	return c
}

// CompareWith holds anything that predicts against a table: a simulation, say. predict returns the time of an operation of so many bytes
// and says in words what it is the time of; rows that it predicts no time for are left out. Its first error is returned.
func CompareWith(t *Table, predict func(bytes int64) (Prediction, string, error)) (*Comparison, error) {
	c := &Comparison{}
	for _, r := range t.Rows {
		p, by, err := predict(r.Bytes)
		if err != nil {
			return nil, err
		}
		if !(r.Seconds > 0) || !(p.Seconds > 0) {
			continue
		}
		c.Rows = append(c.Rows, Compared{r, p, by, p.Seconds/r.Seconds - 1})
	}
	for _, b := range bands {
		var errs []float64
		for _, r := range c.Rows {
			if r.Bytes >= b.From && r.Bytes < b.To {
				errs = append(errs, math.Abs(r.Error))
				b.Bias += r.Error
			}
		}
		if b.Rows = len(errs); b.Rows == 0 {
			continue
		}
		b.Bias /= float64(b.Rows)
		b.Median, b.P90, b.Max = quantile(errs, 0.5), quantile(errs, 0.9), quantile(errs, 1)
		c.Bands = append(c.Bands, b)
	}
	return c, nil
}

func (c *Comparison) errors() (errs []float64) {
	for _, r := range c.Rows {
		errs = append(errs, math.Abs(r.Error))
	}
	return errs
}

// quantile returns the smallest value that a part q of the values does not exceed, 0 of none. It sorts them.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[max(int(math.Ceil(q*float64(len(v))))-1, 0)]
}

// WriteTo writes the rows and the bands as a table for people.
func (c *Comparison) WriteTo(w io.Writer) (int64, error) {
	var b []byte
	b = fmt.Appendf(b, "# %12s  %12s  %12s  %25s  %8s  %s\n", "size", "measured", "predicted", "nine of ten between", "error", "by")
	b = fmt.Appendf(b, "# %12s  %12s  %12s  %25s  %8s\n", "(B)", "(us)", "(us)", "(us)", "(%)")
	for _, r := range c.Rows {
		b = fmt.Appendf(b, "  %12d  %12.2f  %12.2f  %12.2f %12.2f  %+8.1f  %s\n",
			r.Bytes, r.Row.Seconds*1e6, r.Prediction.Seconds*1e6, r.Low*1e6, r.High*1e6, r.Error*100, r.By)
	}
	b = fmt.Appendf(b, "#\n# %-18s  %5s  %8s  %8s  %8s  %8s\n", "sizes", "rows", "median", "p90", "max", "bias")
	for _, x := range c.Bands {
		b = fmt.Appendf(b, "# %-18s  %5d  %7.1f%%  %7.1f%%  %7.1f%%  %+7.1f%%\n",
			x.Name, x.Rows, x.Median*100, x.P90*100, x.Max*100, x.Bias*100)
	}
	n, err := w.Write(b)
	return int64(n), err
}
