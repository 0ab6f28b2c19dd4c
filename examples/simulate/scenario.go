package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// llama405B is the largest model of "The Llama 3 Herd of Models" (arXiv 2407.21783), table 3.
var llama405B = transformer{
	parameters: 405.85e9, layers: 126, width: 16384, kvHeads: 8, headWidth: 128,
}

type transformer struct {
	parameters         float64
	layers, width      int
	kvHeads, headWidth int
}

// A job is a way to train on a number of GPUs: ranks are laid out in the order tensor, context, pipeline, data, innermost
// first.
type job struct {
	name           string
	tp, cp, pp, dp int
	sequence       int // tokens
	batch          int // sequences of a data-parallel group, and so micro-batches
	// What the paper's table 4 says; 0: nothing.
	tflops, mfu float64
}

func (j job) gpus() int { return j.tp * j.cp * j.pp * j.dp }

// llama3Jobs are the three rows of table 4 and two ways to carry the second on to 65,536 GPUs. The third row's DP is printed as
// 4 in some copies; 8 is what makes 16,384 GPUs and 16 Mi tokens.
var llama3Jobs = []job{
	{"8K GPUs", 8, 1, 16, 64, 8192, 32, 430, 43},
	{"16K GPUs", 8, 1, 16, 128, 8192, 16, 400, 41},
	{"16K GPUs, long", 8, 16, 16, 8, 131072, 16, 380, 38},
	{"64K GPUs, 64 Mi tokens", 8, 1, 16, 512, 8192, 16, 0, 0},
	{"64K GPUs, 16 Mi tokens", 8, 1, 16, 512, 8192, 4, 0, 0},
}

// assumptions are what the paper does not say.
type assumptions struct {
	peak       float64 // FLOP/s of a GPU, bfloat16, dense
	kernels    float64 // part of the peak that kernels reach while nothing waits; fitted to the first job
	interleave int     // virtual stages of a rank of the pipeline
	flows      int     // between two GPUs
	tpHidden   float64 // part of tensor-parallel communication behind computation
	restart    float64 // seconds from an interruption until training goes on
	save       float64 // seconds that a checkpoint stops training for
	interrupt  float64 // GPU-seconds an unexpected interruption
}

func llama3Assumptions() assumptions {
	return assumptions{
		peak: 989e12, interleave: 8, flows: 16, tpHidden: 0, restart: 420, save: 5,
		interrupt: 3.1 * 3600 * 16384,
	}
}

func (a assumptions) write(w io.Writer, first job) {
	fmt.Fprintf(w, "# Assumptions\n")
	for _, line := range []string{
		fmt.Sprintf("a GPU has %.0f TFLOP/s, bfloat16, dense (H100 SXM data sheet)", a.peak/1e12),
		fmt.Sprintf("kernels reach %.1f %% of it while nothing waits: the only number that is fitted, to %q", a.kernels*100, first.name),
		"a token takes 6 FLOP a parameter and, for attention under a causal mask, 6 a layer, width and position",
		fmt.Sprintf("the pipeline is interleaved with %d virtual stages a rank: its bubble is (PP-1)/(%d·micro-batches) of the work", a.interleave, a.interleave),
		"tensor parallelism with sequence parallelism: 4 all-gathers and 4 reduce-scatters of the activations a layer and micro-batch",
		fmt.Sprintf("  forward and backward, %.0f %% of it behind computation", a.tpHidden*100),
		"context parallelism: 2 all-gathers and a reduce-scatter of keys and values a layer and micro-batch, none of it hidden",
		"pipeline: messages between stages are asynchronous and hidden, but for the first and the last",
		"data parallelism: a step gathers the parameters (2 bytes each) and reduces the gradients (4 bytes each) over DP; all of",
		fmt.Sprintf("  it is behind computation but for one virtual stage of %d, or where it takes longer than the computation", a.interleave),
		fmt.Sprintf("all groups of an axis speak at the same time, with %d hashed flows between two GPUs, over the llama3 network;", a.flows),
		"  a flow has the rate of its busiest wire over the flows there; rings as this library plans and prices them",
		fmt.Sprintf("an interruption comes every 3.1 h at 16,384 GPUs and in proportion (table 5: 419 in 54 days), training goes on after %.0f s,", a.restart),
		fmt.Sprintf("  a checkpoint stops it for %.0f s and is written as often as is best (Young 1974)", a.save),
	} {
		fmt.Fprintf(w, "#   %s\n", line)
	}
}

// An axis is one kind of parallelism of a job as its ranks see it.
type axis struct {
	name       string
	size       int
	stride     int // between neighbours in rank order
	collective schedule.Collective
	bytes      int64   // of the whole vector
	count      float64 // a step and rank
	rate       float64 // bytes a second of a hop, all groups at once
	each       float64 // seconds
	exposed    float64 // seconds a step
}

func (x axis) total() float64 { return x.each * x.count }

// An outcome is what is predicted of a job.
type outcome struct {
	job
	axes      []axis
	compute   float64 // seconds a step
	bubble    float64
	exposed   float64 // seconds of communication that nothing hides
	step      float64
	tflops    float64 // a GPU
	mfu       float64
	interrupt float64 // seconds between interruptions
	goodput   float64 // part of the time that makes progress
}

// flops returns the FLOP of a step on one GPU.
func (j job) flops(m transformer) float64 {
	tokens := float64(j.sequence) * float64(j.batch) * float64(j.dp)
	perToken := 6*m.parameters + 6*float64(m.layers)*float64(m.width)*float64(j.sequence)
	return tokens * perToken / float64(j.gpus())
}

// axesOf prices what a job says to whom, over the network of its GPUs.
func axesOf(j job, m transformer, a assumptions) ([]axis, error) {
	g, err := topology.Preset("llama3", j.gpus(), nil)
	if err != nil {
		return nil, err
	}
	n, err := g.Network()
	if err != nil {
		return nil, err
	}
	perRank := float64(m.layers) / float64(j.pp) // layers
	micro := float64(j.batch)
	activation := int64(j.sequence/j.cp) * int64(m.width) * 2
	keyValue := int64(j.sequence) * int64(2*m.kvHeads*m.headWidth/j.tp) * 2
	shard := int64(m.parameters / float64(j.tp*j.pp))
	axes := []axis{
		{name: "TP", size: j.tp, stride: 1, collective: schedule.AllGather, bytes: activation, count: 4 * perRank * micro},
		{name: "TP", size: j.tp, stride: 1, collective: schedule.ReduceScatter, bytes: activation, count: 4 * perRank * micro},
		{name: "CP", size: j.cp, stride: j.tp, collective: schedule.AllGather, bytes: keyValue, count: 2 * perRank * micro},
		{name: "CP", size: j.cp, stride: j.tp, collective: schedule.ReduceScatter, bytes: keyValue, count: perRank * micro},
		{name: "PP", size: j.pp, stride: j.tp * j.cp, bytes: activation / int64(j.tp), count: 2 * float64(a.interleave) * micro},
		{name: "DP", size: j.dp, stride: j.tp * j.cp * j.pp, collective: schedule.AllGather, bytes: 2 * shard, count: 1},
		{name: "DP", size: j.dp, stride: j.tp * j.cp * j.pp, collective: schedule.ReduceScatter, bytes: 4 * shard, count: 1},
	}
	rates := make(map[[2]int]float64) // by size and stride
	for i := range axes {
		x := &axes[i]
		if x.size == 1 {
			continue
		}
		key := [2]int{x.size, x.stride}
		if rates[key] == 0 {
			rates[key] = ringRate(n, x.size, x.stride, a.flows)
		}
		if err := x.price(g, rates[key]); err != nil {
			return nil, err
		}
	}
	return axes, nil
}

// predictJob works out a step of a job that has these axes.
func predictJob(j job, axes []axis, m transformer, a assumptions) *outcome {
	o := &outcome{job: j, axes: slices.Clone(axes)}
	o.compute = j.flops(m) / (a.peak * a.kernels)
	work := o.compute
	for i := range o.axes {
		x := &o.axes[i]
		if x.size == 1 {
			continue
		}
		switch x.name {
		case "TP":
			x.exposed = x.total() * (1 - a.tpHidden)
		case "CP":
			x.exposed = x.total()
		case "PP":
			x.exposed = 2 * x.each
		case "DP":
			x.exposed = max(x.total()/float64(a.interleave), x.total()-o.compute)
		}
		o.exposed += x.exposed
		if x.name == "TP" || x.name == "CP" {
			work += x.exposed // the pipeline waits for it as for computation
		}
	}
	o.bubble = work * float64(j.pp-1) / (float64(a.interleave) * float64(j.batch))
	o.step = o.compute + o.bubble + o.exposed
	o.tflops = j.flops(m) / o.step / 1e12
	o.mfu = o.tflops * 1e12 / a.peak
	o.interrupt = a.interrupt / float64(j.gpus())
	o.goodput = goodput(o.interrupt, a)
	return o
}

// goodput is the part of the time that makes progress, with checkpoints as often as is best (J. Young, "A first order
// approximation to the optimum checkpoint interval", CACM 17, 1974): an interruption costs the restart and half an interval.
func goodput(between float64, a assumptions) float64 {
	interval := math.Sqrt(2 * a.save * between)
	return 1 / (1 + a.save/interval) * between / (between + a.restart + interval/2)
}

// ringRate returns the bytes a second of the slowest hop while groups of so many ranks, so far apart from each other, all send
// around their rings.
func ringRate(n *topology.Network, size, stride, flows int) float64 {
	ranks := n.Graph().Size()
	next := func(r int) topology.Rank {
		at := r / stride % size
		return topology.Rank(r - at*stride + (at+1)%size*stride)
	}
	load := make([]int32, n.Wires())
	var route []topology.WireID
	for r := range ranks {
		for flow := range flows {
			route, _ = n.Route(route[:0], topology.Rank(r), next(r), topology.Choice{Flow: flow})
			for _, w := range route {
				load[w]++
			}
		}
	}
	share := make([]float64, n.Wires()) // bytes a second of a flow
	for w, k := range load {
		if k > 0 {
			share[w] = n.Wire(topology.WireID(w)).Rate / float64(k)
		}
	}
	least := math.Inf(1)
	for r := range ranks {
		sum := 0.0
		for flow := range flows {
			route, _ = n.Route(route[:0], topology.Rank(r), next(r), topology.Choice{Flow: flow})
			slowest := math.Inf(1)
			for _, w := range route {
				slowest = min(slowest, share[w])
			}
			sum += slowest
		}
		least = min(least, sum)
	}
	return least
}

// price works out what an operation of the axis takes at the rate of its hops, by the planner's model.
func (x *axis) price(g *topology.Graph, rate float64) error {
	x.rate = rate
	ranks := make([]topology.Rank, x.size)
	alpha := 0.0
	for i := range ranks {
		ranks[i] = topology.Rank(i * x.stride)
		if i > 0 {
			alpha = max(alpha, g.Link(ranks[i-1], ranks[i]).Alpha)
		}
	}
	if x.collective == 0 { // a message
		x.each = topology.Link{Alpha: alpha, Beta: 1 / x.rate}.Time(x.bytes)
		return nil
	}
	group, err := topology.Uniform(x.size, 1, topology.Link{Level: topology.Rack, Alpha: alpha, Beta: 1 / x.rate})
	if err != nil {
		return err
	}
	p, err := plan.New(group).Choose(plan.Ring, plan.Request{Collective: x.collective, Bytes: x.bytes})
	if err != nil {
		return err
	}
	for _, c := range p.Candidates {
		if c.Chosen {
			x.each = c.Seconds
		}
	}
	return nil
}

// llama3 predicts jobs, after fitting the speed of kernels to the first of the published ones.
func llama3(jobs []job) ([]*outcome, assumptions, error) {
	a := llama3Assumptions()
	first := llama3Jobs[0]
	axes, err := axesOf(first, llama405B, a)
	if err != nil {
		return nil, a, err
	}
	low, high := 0.3, 1.0
	for range 40 { // bisection: more speed of kernels, more of the job
		a.kernels = (low + high) / 2
		if predictJob(first, axes, llama405B, a).tflops < first.tflops {
			low = a.kernels
		} else {
			high = a.kernels
		}
	}
	var out []*outcome
	for _, j := range jobs {
		axes, err := axesOf(j, llama405B, a)
		if err != nil {
			return nil, a, err
		}
		out = append(out, predictJob(j, axes, llama405B, a))
	}
	return out, a, nil
}

// writeLlama3 writes the scenario as text.
func writeLlama3(w io.Writer) error {
	outcomes, a, err := llama3(llama3Jobs)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "# Llama 3 405B: published parallelism, predicted communication\n#\n")
	a.write(w, llama3Jobs[0])
	for _, o := range outcomes {
		fmt.Fprintf(w, "#\n# %s: TP %d, CP %d, PP %d, DP %d, sequences of %d, %d a data-parallel group\n", o.name, o.tp, o.cp, o.pp, o.dp, o.sequence, o.batch)
		fmt.Fprintf(w, "# %4s %14s %6s %10s %10s %8s %10s %10s %10s\n", "axis", "operation", "ranks", "bytes", "a step", "GB/s", "each (ms)", "total (s)", "exposed (s)")
		for _, x := range o.axes {
			if x.size == 1 {
				continue
			}
			name := "send"
			if x.collective != 0 {
				name = x.collective.String()
			}
			fmt.Fprintf(w, "  %4s %14s %6d %10.3g %10.0f %8.1f %10.3f %10.3f %10.3f\n", x.name, name, x.size, float64(x.bytes), x.count, x.rate/1e9, x.each*1e3, x.total(), x.exposed)
		}
		fmt.Fprintf(w, "  step %.2f s: computation %.2f, exposed communication %.2f (%.1f %%), bubble %.2f (%.1f %%)\n",
			o.step, o.compute, o.exposed, 100*o.exposed/o.step, o.bubble, 100*o.bubble/o.step)
		published := "nothing published"
		if o.job.tflops > 0 {
			published = fmt.Sprintf("published %.0f and %.0f %%", o.job.tflops, o.job.mfu)
		}
		fmt.Fprintf(w, "  %.0f TFLOP/s a GPU, MFU %.1f %% (%s)\n", o.tflops, o.mfu*100, published)
		fmt.Fprintf(w, "  an interruption every %.2f h: goodput %.1f %%, %.0f TFLOP/s a GPU on average\n", o.interrupt/3600, o.goodput*100, o.tflops*o.goodput)
	}
	return nil
}
