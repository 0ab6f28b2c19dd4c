package calibrate_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/ringtree/ringtree/collective/calibrate"
)

// TestNCCL holds the unfitted model to what NCCL's source says of LL on hosts of eight: ring and tree, 64 ranks to 65,536.
func TestNCCL(t *testing.T) {
	m := calibrate.NCCL(48e9)
	for _, c := range []struct {
		ranks      int
		ring, tree float64 // µs
	}{
		{64, 6.6 + 112*0.6 + 14*2.7, 6.8 + 2*(7*0.6+3*5)},
		{1024, 6.6 + 1792*0.6 + 254*2.7, 6.8 + 2*(7*0.6+7*5)},
		{8192, 6.6 + 14336*0.6 + 2046*2.7, 6.8 + 2*(7*0.6+10*5)},
		{65536, 6.6 + 114688*0.6 + 16382*2.7, 6.8 + 2*(7*0.6+13*5)},
	} {
		s := calibrate.Shape{Ranks: c.ranks, Hosts: c.ranks / 8}
		for a, want := range map[calibrate.Algorithm]float64{calibrate.Ring: c.ring, calibrate.Tree: c.tree} {
			got, err := m.Seconds(a, calibrate.LL, s, 0)
			if err != nil || math.Abs(got*1e6/want-1) > 1e-12 {
				t.Errorf("%v of %d ranks: %g µs, %v, want %g", a, c.ranks, got*1e6, err, want)
			}
		}
		p, err := m.Predict(s, 8)
		if err != nil || p.Algorithm != calibrate.Tree || p.Protocol != calibrate.LL || p.Low > p.Seconds || p.High < p.Seconds {
			t.Errorf("8 bytes over %d ranks: %+v, %v, want a tree with LL", c.ranks, p, err)
		}
	}
	if p, err := m.Predict(calibrate.Shape{Ranks: 16, Hosts: 2}, 1<<34); err != nil || p.Algorithm != calibrate.Ring || p.Protocol != calibrate.Simple {
		t.Errorf("16 GiB: %+v, %v, want a ring with Simple", p, err)
	}
}

func TestPredictErrors(t *testing.T) {
	m := calibrate.NCCL(1e9)
	var fe *calibrate.FitError
	for _, s := range []calibrate.Shape{{}, {Ranks: 1, Hosts: 1}, {Ranks: 2, Hosts: 3}, {Ranks: 2}, {Ranks: 1 << 30, Hosts: 1}} {
		if _, err := m.Predict(s, 8); !errors.As(err, &fe) {
			t.Errorf("Predict of %+v: %v, want a FitError", s, err)
		}
		if _, err := m.Seconds(calibrate.Ring, calibrate.LL, s, 8); !errors.As(err, &fe) {
			t.Errorf("Seconds of %+v: %v, want a FitError", s, err)
		}
	}
	s := calibrate.Shape{Ranks: 2, Hosts: 1}
	if _, err := m.Predict(s, -1); !errors.As(err, &fe) {
		t.Errorf("-1 bytes: %v, want a FitError", err)
	}
	if _, err := m.Seconds(9, 9, s, 8); !errors.As(err, &fe) || !strings.Contains(err.Error(), "Algorithm(9) with Protocol(9)") {
		t.Errorf("algorithm 9: %v, want a FitError", err)
	}
	for name, table := range map[string]*calibrate.Table{
		"few rows": {Shape: s, Rows: make([]calibrate.Row, 3)},
		"no time":  {Shape: s, Rows: make([]calibrate.Row, 4)},
		"no bytes": {Shape: s, Rows: []calibrate.Row{{0, 1}, {0, 1}, {0, 1}, {0, 1}}},
		"no group": {Rows: []calibrate.Row{{1, 1}, {2, 1}, {3, 1}, {4, 1}}},
	} {
		if got, err := calibrate.Fit(table); !errors.As(err, &fe) || got != nil {
			t.Errorf("%s: %v, %v, want a FitError", name, got, err)
		}
	}
}

// A fit finds again the machine that a table was made of.
func TestFitFindsTheModel(t *testing.T) {
	truth := calibrate.NCCL(200e9)
	truth.Network, truth.FillSimple = 3, 0.2
	table := &calibrate.Table{Shape: calibrate.Shape{Ranks: 32, Hosts: 4}}
	for size := int64(8); size <= 1<<32; size *= 2 {
		p, err := truth.Predict(table.Shape, size)
		if err != nil {
			t.Fatal(err)
		}
		table.Rows = append(table.Rows, calibrate.Row{Bytes: size, Seconds: p.Seconds})
	}
	m, err := calibrate.Fit(table)
	if err != nil {
		t.Fatal(err)
	}
	if c := calibrate.Compare(m, table).Bands[0]; c.Median > 0.01 || c.Max > 0.06 {
		t.Errorf("the fit is %.2f %% off at the median, %.2f %% at most", c.Median*100, c.Max*100)
	}
	// Another size of group, which it has not seen.
	other := &calibrate.Table{Shape: calibrate.Shape{Ranks: 128, Hosts: 16}}
	for _, r := range table.Rows {
		p, _ := truth.Predict(other.Shape, r.Bytes)
		other.Rows = append(other.Rows, calibrate.Row{Bytes: r.Bytes, Seconds: p.Seconds})
	}
	if c := calibrate.Compare(m, other).Bands[0]; c.Median > 0.05 {
		t.Errorf("at four times the hosts it is %.2f %% off at the median", c.Median*100)
	}
	back := roundTrip(t, m)
	if *back != *m {
		t.Errorf("%+v came back as %+v", *m, *back)
	}
}

func roundTrip(t *testing.T, m *calibrate.Model) *calibrate.Model {
	t.Helper()
	text, err := m.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	back, err := calibrate.ParseModel(text)
	if err != nil {
		t.Fatalf("%v of\n%s", err, text)
	}
	return back
}

func TestCompareText(t *testing.T) {
	table := &calibrate.Table{Shape: calibrate.Shape{Ranks: 8, Hosts: 1}, Rows: []calibrate.Row{{1024, 20e-6}, {1 << 20, 50e-6}, {1 << 30, 5e-3}}}
	var b bytes.Buffer
	n, err := calibrate.Compare(calibrate.NCCL(370e9), table).WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d of %d bytes, %v", n, b.Len(), err)
	}
	for _, want := range []string{"ring LL\n", "ring Simple\n", "# all                     3 ", "# 64 MiB and above        1 "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

func FuzzParseModel(f *testing.F) {
	good, err := calibrate.NCCL(48e9).MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, bad := range []string{"", "{}", "[]", string(good) + "{}", strings.Replace(string(good), "48000000000", "-1", 1), strings.Replace(string(good), `"host": 1`, `"host": 1e9`, 1),
		strings.Replace(string(good), `"error_50": 0`, `"error_50": -1`, 1), strings.Replace(string(good), `"ranks": 0`, `"ranks": 1`, 1)} {
		if _, err := calibrate.ParseModel([]byte(bad)); err == nil {
			f.Errorf("%q is a model", bad)
		}
		f.Add([]byte(bad))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := calibrate.ParseModel(text)
		if err != nil {
			var me *calibrate.ModelError
			if !errors.As(err, &me) || m != nil {
				t.Fatalf("got %v, %v", m, err)
			}
			return
		}
		if back := roundTrip(t, m); *back != *m {
			t.Fatalf("%+v came back as %+v", *m, *back)
		}
		if p, err := m.Predict(calibrate.Shape{Ranks: 16, Hosts: 2}, 1<<20); err != nil || !(p.Seconds > 0) || !(p.Low <= p.Seconds && p.Seconds <= p.High) {
			t.Fatalf("%+v predicts %+v, %v", *m, p, err)
		}
	})
}
