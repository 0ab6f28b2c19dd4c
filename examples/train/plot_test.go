package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
)

func TestPlotSVG(t *testing.T) {
	o, err := parseOptions([]string{"-np", "3"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*result{
		"one epoch": {Epochs: []epoch{{Epoch: 1, Loss: 0.5, Accuracy: 1}}},
		"no loss":   {Epochs: []epoch{{Epoch: 1, Loss: 2, Accuracy: 0.1}, {Epoch: 2, Loss: 0, Accuracy: 0.973}}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.svg")
			if err := plotFile(file, 3, o, r); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := xml.NewDecoder(bytes.NewReader(data))
			var text strings.Builder
			for {
				token, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if c, ok := token.(xml.CharData); ok {
					text.Write(c)
				}
			}
			for _, want := range []string{"epoch", "training cross-entropy (nats)", "test accuracy (%)", "on 3 ranks", "% right at the end", "64-256-128-10"} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("no %q in the text of the plot: %s", want, &text)
				}
			}
		})
	}
}

func labels(ticks []plot.Tick) string {
	var out []string
	for _, t := range ticks {
		if t.Label != "" {
			out = append(out, t.Label)
		}
	}
	return strings.Join(out, " ")
}

func TestTicks(t *testing.T) {
	for _, tt := range []struct {
		lo, hi float64
		want   string
	}{
		{0.5, 3.5, "1 2 3"},
		{0.5, 20.5, "1 5 10 15 20"},
		{0.5, 300.5, "1 50 100 150 200 250 300"},
	} {
		if got := labels(wholeTicks{}.Ticks(tt.lo, tt.hi)); got != tt.want {
			t.Errorf("whole ticks of %v to %v: %s, want %s", tt.lo, tt.hi, got, tt.want)
		}
	}
	ticks := logTicks{}.Ticks(0.03, 2.5)
	if got, want := labels(ticks), "0.05 0.1 0.2 0.5 1 2"; got != want {
		t.Errorf("logarithmic ticks %s, want %s", got, want)
	}
	if !slices.IsSortedFunc(ticks, func(a, b plot.Tick) int { return int(1e6 * (a.Value - b.Value)) }) || ticks[0].Value < 0.03 {
		t.Errorf("ticks %v are not in order and in range", ticks)
	}
}
