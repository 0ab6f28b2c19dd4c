package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A reporter tells the user how a training goes.
type reporter interface {
	begin(o *options, ranks, train, test, parameters int)
	epoch(e epoch)
	timing(ranks int, r *timing)
	end(ranks int, r *result)
}

func newReporter(o *options, w io.Writer) reporter {
	if o.json {
		return jsonReport{json.NewEncoder(w)}
	}
	return table{w}
}

// table is the report for people.
type table struct{ w io.Writer }

func (t table) begin(o *options, ranks, train, test, parameters int) {
	fmt.Fprintf(t.w, "# ringtree train: %d %s (%s), transport %s, algorithm %v\n", ranks, plural(ranks, "rank", "ranks"), o.started(), o.Transport, o.algorithm)
	fmt.Fprintf(t.w, "# %d training and %d test samples of %s\n", train, test, attribution)
	fmt.Fprintf(t.w, "# layers %s, %d parameters; %s from lr %v, batch %d, seed %d\n",
		shape(o), parameters, o.optimizer, o.rate, o.batch, o.seed)
	if o.timed > 0 {
		return
	}
	fmt.Fprintf(t.w, "#%6s %10s %10s %11s %11s %11s\n", "epoch", "loss", "accuracy", "step", "compute", "exposed")
	fmt.Fprintf(t.w, "#%6s %10s %10s %11s %11s %11s\n", "", "(nats)", "", "(us)", "(us)", "(us)")
}

func (t table) epoch(e epoch) {
	fmt.Fprintf(t.w, "%7d %10.4f %10.4f %11.1f %11.1f %11.1f\n", e.Epoch, e.Loss, e.Accuracy, e.Step, e.Compute, e.Exposed)
}

func (t table) timing(ranks int, r *timing) {
	fmt.Fprintf(t.w, "# Gradients     : %d bytes a step in %d buckets\n", r.Bytes, r.Buckets)
	fmt.Fprintf(t.w, "# Step          : %.1f us alone, %.1f us with communication: %.1f us are not hidden (medians of %d)\n", r.Alone, r.Step, r.NotHidden, r.Steps)
	t.weights(ranks, r.Digest)
}

func (t table) weights(ranks int, digest string) {
	fmt.Fprintf(t.w, "# Weights       : %s, equal on %s\n", digest, plural(ranks, "the only rank", fmt.Sprintf("all %d ranks", ranks)))
}

func (t table) end(ranks int, r *result) {
	var step, exposed float64
	for _, e := range r.Epochs {
		step += e.Step
		exposed += e.Exposed
	}
	fmt.Fprintf(t.w, "# Gradients     : %d bytes a step in %d buckets, %.1f%% of the time exposed\n", r.Bytes, r.Buckets, 100*exposed/step)
	fmt.Fprintf(t.w, "# Test accuracy : %.4f (%d of %d)\n", r.last().Accuracy, r.last().Right, r.Tests)
	t.weights(ranks, r.Digest)
}

// started says where the ranks come from.
func (o *options) started() string {
	switch {
	case o.Invited():
		return "by invitation"
	case o.Job != nil:
		return "by " + o.Job.Launcher
	}
	return fmt.Sprintf("%d %s of %d", o.processes, plural(o.processes, "process", "processes"), o.threads)
}

// shape is the model's layer widths, like 64-256-10.
func shape(o *options) string {
	var words []string
	for _, n := range o.widths() {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, "-")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// jsonReport is the report for programs: an object a line, told apart by "event".
type jsonReport struct{ w *json.Encoder }

func (j jsonReport) begin(o *options, ranks, train, test, parameters int) {
	j.w.Encode(struct {
		Event      string  `json:"event"`
		Ranks      int     `json:"ranks"`
		Processes  int     `json:"processes"`
		Transport  string  `json:"transport"`
		Algorithm  string  `json:"algorithm"`
		Train      int     `json:"train_samples"`
		Test       int     `json:"test_samples"`
		Layers     []int   `json:"layers"`
		Parameters int     `json:"parameters"`
		Optimizer  string  `json:"optimizer"`
		Rate       float64 `json:"lr"`
		Batch      int     `json:"batch"`
		Seed       uint64  `json:"seed"`
		Data       string  `json:"data"`
	}{"begin", ranks, o.processes, o.Transport, o.algorithm.String(), train, test, o.widths(), parameters,
		o.optimizer, o.rate, o.batch, o.seed, attribution})
}

func (j jsonReport) epoch(e epoch) {
	j.w.Encode(struct {
		Event string `json:"event"`
		epoch
	}{"epoch", e})
}

func (j jsonReport) timing(_ int, r *timing) {
	j.w.Encode(struct {
		Event string `json:"event"`
		timing
	}{"timing", *r})
}

func (j jsonReport) end(_ int, r *result) {
	j.w.Encode(struct {
		Event string `json:"event"`
		result
		Accuracy float64 `json:"accuracy"`
		Right    int     `json:"right"`
	}{"end", *r, r.last().Accuracy, r.last().Right})
}
