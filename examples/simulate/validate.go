package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ringtree/ringtree/collective/calibrate"
)

// tables reads a table of measurements, or all that a file of comma-separated values has.
func tables(file, group string) ([]*calibrate.Table, error) {
	var s calibrate.Shape
	if group != "" {
		if n, err := fmt.Sscanf(group, "%dx%d", &s.Ranks, &s.Hosts); err != nil || n != 2 {
			return nil, fmt.Errorf("-group %s: want ranks and hosts, such as 16x2", group)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if strings.EqualFold(filepath.Ext(file), ".csv") {
		return calibrate.ParseTables(f)
	}
	t, err := calibrate.ParseTable(f, s)
	if err != nil {
		return nil, err
	}
	return []*calibrate.Table{t}, nil
}

// fitTable fits a model to a table and writes it.
func fitTable(o *options, out io.Writer) error {
	list, err := tables(o.calibrate, o.group)
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("-calibrate %s: %d tables, of which none is named", o.calibrate, len(list))
	}
	m, err := calibrate.Fit(list[0])
	if err != nil {
		return err
	}
	text, err := m.MarshalText()
	if err != nil {
		return err
	}
	if o.output == "" {
		_, err = out.Write(text)
		return err
	}
	return os.WriteFile(o.output, text, 0o666)
}

// validate holds a model against tables: the one given, or for each one fitted to half of its rows against the other half.
func validate(o *options, out io.Writer) error {
	list, err := tables(o.validate, o.group)
	if err != nil {
		return err
	}
	var given *calibrate.Model
	if o.calibration != "" {
		text, err := os.ReadFile(o.calibration)
		if err != nil {
			return err
		}
		if given, err = calibrate.ParseModel(text); err != nil {
			return err
		}
	}
	for _, t := range list {
		m, rest, by := given, t, o.calibration
		if m == nil {
			train, held := t.Halves(0)
			if m, err = calibrate.Fit(train); err != nil {
				return err
			}
			rest, by = held, "every other row, by a fit of the others"
		}
		fmt.Fprintf(out, "# %s over %d ranks on %d hosts: %s\n", t.Name, t.Shape.Ranks, t.Shape.Hosts, by)
		if _, err := calibrate.Compare(m, rest).WriteTo(out); err != nil {
			return err
		}
	}
	return nil
}

// validate holds simulated times against tables. Of several variants the quickest counts.
func (r *runner) validate(out io.Writer) error {
	list, err := tables(r.o.validate, r.o.group)
	if err != nil {
		return err
	}
	for _, t := range list {
		if t.Shape.Ranks > 0 && t.Shape.Ranks != r.g.Size() {
			return fmt.Errorf("-validate %s: %d ranks were measured, and %s has %d", r.o.validate, t.Shape.Ranks, r.o.topo, r.g.Size())
		}
		c, err := calibrate.CompareWith(t, func(bytes int64) (calibrate.Prediction, string, error) {
			best, err := r.quickest(bytes)
			if err != nil {
				return calibrate.Prediction{}, "", err
			}
			p := calibrate.Prediction{Seconds: best.Time.Seconds(), Low: best.low, High: best.high}
			if p.High == 0 {
				p.Low, p.High = p.Seconds, p.Seconds
			}
			return p, best.variant.String(), nil
		})
		if err != nil {
			return err
		}
		r.progress.clear()
		fmt.Fprintf(out, "# %s over %d ranks on %d hosts, simulated at level %v\n", r.o.topo, r.g.Size(), r.g.Hosts(), r.o.level)
		if _, err := c.WriteTo(out); err != nil {
			return err
		}
	}
	return nil
}

// quickest runs the variants for a size and returns the quickest.
func (r *runner) quickest(bytes int64) (best *timed, err error) {
	variants, err := r.variants(bytes)
	if err != nil {
		return nil, err
	}
	for _, v := range variants {
		x, err := r.run(v, bytes)
		if err != nil {
			return nil, err
		}
		if best == nil || x.Time < best.Time {
			best = x
		}
	}
	return best, nil
}
