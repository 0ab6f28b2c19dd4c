package main

import (
	"io"
	"strings"
	"testing"
)

// TestReports holds both outputs, with fixed numbers, to the letter.
func TestReports(t *testing.T) {
	r := &result{
		Epochs: []epoch{
			{Epoch: 1, Loss: 1.23456, Right: 300, Accuracy: 300. / 359, Step: 812.34, Compute: 700.04, Exposed: 112.3},
			{Epoch: 2, Loss: 0.1, Right: 350, Accuracy: 350. / 359, Step: 800, Compute: 700, Exposed: 100},
		},
		Tests: 359, Digest: "0123456789abcdef", Buckets: 3, Bytes: 4096,
	}
	for _, tt := range []struct{ name, args, want string }{
		{"table", "-np 2 -t 2 -hidden 32", `# ringtree train: 4 ranks (2 processes of 2), transport auto, algorithm auto
# 1438 training and 359 test samples of ` + attribution + `
# layers 64-32-10, 2410 parameters; sgd from lr 0.1, batch 64, seed 1
# epoch       loss   accuracy        step     compute     exposed
#           (nats)                   (us)        (us)        (us)
      1     1.2346     0.8357       812.3       700.0       112.3
      2     0.1000     0.9749       800.0       700.0       100.0
# Gradients     : 4096 bytes a step in 3 buckets, 13.2% of the time exposed
# Test accuracy : 0.9749 (350 of 359)
# Weights       : 0123456789abcdef, equal on all 4 ranks
`},
		{"json", "-np 1 -json", `{"event":"begin","ranks":1,"processes":1,"transport":"auto","algorithm":"auto","train_samples":1438,"test_samples":359,"layers":[64,256,128,10],"parameters":2410,"optimizer":"sgd","lr":0.1,"batch":64,"seed":1,"data":` + quoted(attribution) + `}
{"event":"epoch","epoch":1,"loss":1.23456,"right":300,"accuracy":0.8356545961002786,"step_us":812.34,"compute_us":700.04,"exposed_us":112.3}
{"event":"epoch","epoch":2,"loss":0.1,"right":350,"accuracy":0.9749303621169917,"step_us":800,"compute_us":700,"exposed_us":100}
{"event":"end","test_samples":359,"weights":"0123456789abcdef","buckets":3,"bytes_per_step":4096,"accuracy":0.9749303621169917,"right":350}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := parseOptions(strings.Fields(tt.args), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			report := newReporter(o, &out)
			report.begin(o, o.Size(o.processes, o.threads), 1438, 359, 2410)
			for _, e := range r.Epochs {
				report.epoch(e)
			}
			report.end(o.Size(o.processes, o.threads), r)
			if out.String() != tt.want {
				t.Errorf("got\n%swant\n%s", &out, tt.want)
			}
		})
	}
}

// TestTimingReports does so for -time.
func TestTimingReports(t *testing.T) {
	r := &timing{Steps: 5, Alone: 100.04, Step: 130, NotHidden: 28.5, Digest: "0123456789abcdef", Buckets: 3, Bytes: 4096}
	for _, tt := range []struct{ args, want string }{
		{"-np 2 -time 5", `# Gradients     : 4096 bytes a step in 3 buckets
# Step          : 100.0 us alone, 130.0 us with communication: 28.5 us are not hidden (medians of 5)
# Weights       : 0123456789abcdef, equal on all 2 ranks
`},
		{"-np 2 -time 5 -json", `{"event":"timing","steps":5,"alone_us":100.04,"step_us":130,"not_hidden_us":28.5,"weights":"0123456789abcdef","buckets":3,"bytes_per_step":4096}
`},
	} {
		o, err := parseOptions(strings.Fields(tt.args), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		newReporter(o, &out).timing(2, r)
		if out.String() != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.args, &out, tt.want)
		}
	}
	o, err := parseOptions([]string{"-time", "5"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	newReporter(o, &out).begin(o, 2, 1, 1, 1)
	if strings.Contains(out.String(), "epoch") {
		t.Errorf("-time has the heading of a training:\n%s", &out)
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
