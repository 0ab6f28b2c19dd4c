package main

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/topology"
)

// colors are told apart also by readers who do not see red and green as others do (Okabe and Ito, 2008).
var colors = map[plan.Algorithm]color.Color{
	plan.Ring: color.RGBA{0x00, 0x72, 0xb2, 0xff}, plan.Tree: color.RGBA{0xd5, 0x5e, 0x00, 0xff},
	plan.HalvingDoubling: color.RGBA{0x00, 0x9e, 0x73, 0xff}, plan.Direct: color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	plan.Hierarchical: color.RGBA{0xe6, 0x9f, 0x00, 0xff},
}

const width, height = 7 * vg.Inch, 4.5 * vg.Inch

// best returns the least seconds of each algorithm.
func best(p *plan.Planner, bytes int64) (map[plan.Algorithm]float64, plan.Algorithm, error) {
	x, err := p.Choose(plan.Auto, plan.Request{Collective: schedule.AllReduce, Bytes: bytes})
	if err != nil {
		return nil, 0, err
	}
	out := make(map[plan.Algorithm]float64)
	for _, c := range x.Candidates {
		if t, ok := out[c.Variant.Algorithm]; !ok || c.Seconds < t {
			out[c.Variant.Algorithm] = c.Seconds
		}
	}
	return out, x.Variant.Algorithm, nil
}

// plots draws, for an all-reduce on the preset: which algorithm is chosen for a size and a number of ranks, what each takes
// against the number of ranks, and how busy the wires of each layer are.
func plots(o options, g *topology.Graph) error {
	var groups []*plan.Planner
	for n := 8; n <= max(o.ranks, 8); n *= 2 {
		h, err := graph(o.topo, n)
		if err != nil {
			return err
		}
		groups = append(groups, plan.New(h))
		if h.Size() != n {
			break // a file has one size
		}
	}
	for _, draw := range []func(options, []*plan.Planner, *topology.Graph) error{choiceMap, againstRanks, heat} {
		if err := draw(o, groups, g); err != nil {
			return err
		}
	}
	return nil
}

func newPlot(o options, title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %s", o.topo, title)
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Legend.Top, p.Legend.Left = true, true
	return p
}

// powers are ticks of an axis of base-2 logarithms.
type powers struct{ name func(float64) string }

func (t powers) Ticks(low, high float64) (out []plot.Tick) {
	for k := math.Ceil(low); k <= high; k++ {
		tick := plot.Tick{Value: k}
		if int(k)%3 == 0 {
			tick.Label = t.name(math.Exp2(k))
		}
		out = append(out, tick)
	}
	return out
}

func bytesName(v float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 || unit == "GiB" {
			return fmt.Sprintf("%g %s", v, unit)
		}
		v /= 1024
	}
	return ""
}

func plainName(v float64) string { return fmt.Sprintf("%.0f", v) }

// choiceMap has a square for each size and number of ranks in the colour of the algorithm that is chosen there.
func choiceMap(o options, groups []*plan.Planner, _ *topology.Graph) error {
	p := newPlot(o, "the algorithm of an all-reduce", "bytes", "ranks")
	p.X.Tick.Marker, p.Y.Tick.Marker = powers{bytesName}, powers{plainName}
	seen := make(map[plan.Algorithm]bool)
	for _, group := range groups {
		y := math.Log2(float64(group.Graph().Size()))
		for k := 3; k <= 33; k++ {
			_, a, err := best(group, 1<<k)
			if err != nil {
				return err
			}
			square, err := plotter.NewPolygon(plotter.XYs{
				{X: float64(k) - 0.5, Y: y - 0.5}, {X: float64(k) + 0.5, Y: y - 0.5}, {X: float64(k) + 0.5, Y: y + 0.5}, {X: float64(k) - 0.5, Y: y + 0.5},
			})
			if err != nil {
				return err
			}
			square.Color, square.LineStyle.Width = colors[a], 0
			p.Add(square)
			seen[a] = true
		}
	}
	for _, a := range plan.Algorithms() {
		if !seen[a] {
			continue
		}
		key, err := plotter.NewPolygon(plotter.XYs{{X: 3, Y: 3}, {X: 3, Y: 3}, {X: 3, Y: 3}})
		if err != nil {
			return err
		}
		key.Color = colors[a]
		p.Legend.Add(a.String(), key)
	}
	p.Legend.Left, p.Y.Max = false, math.Log2(float64(groups[len(groups)-1].Graph().Size()))+2.5
	return p.Save(width, height, filepath.Join(o.plot, "choice.svg"))
}

// againstRanks has a line for each algorithm; where they cross another becomes the best.
func againstRanks(o options, groups []*plan.Planner, _ *topology.Graph) error {
	p := newPlot(o, fmt.Sprintf("all-reduce of %s", bytesName(float64(o.bytes))), "ranks", "seconds")
	p.X.Tick.Marker = powers{plainName}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	lines := make(map[plan.Algorithm]plotter.XYs)
	for _, group := range groups {
		times, _, err := best(group, int64(o.bytes))
		if err != nil {
			return err
		}
		for a, t := range times {
			lines[a] = append(lines[a], plotter.XY{X: math.Log2(float64(group.Graph().Size())), Y: max(t, 1e-9)})
		}
	}
	for _, a := range plan.Algorithms() {
		if len(lines[a]) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(lines[a])
		if err != nil {
			return err
		}
		line.Color, line.Width, points.Color = colors[a], vg.Points(1.5), colors[a]
		p.Add(line, points)
		p.Legend.Add(a.String(), line, points)
	}
	return p.Save(width, height, filepath.Join(o.plot, "ranks.svg"))
}

// heat has a pair of bars for each layer: how busy the average and the busiest wire are, in parts of its rate, while every
// rank sends to the one half the group away at the full rate of its port, with one flow.
func heat(o options, _ []*plan.Planner, g *topology.Graph) error {
	n, err := g.Network()
	if err != nil {
		return err
	}
	const port = 48e9
	load := make([]float64, n.Wires())
	var route []topology.WireID
	for r := range g.Size() {
		route, _ = n.Route(route[:0], topology.Rank(r), topology.Rank((r+g.Size()/2)%g.Size()), topology.Choice{})
		rate := port
		if len(route) > 0 {
			rate = min(port, n.Wire(route[0]).Rate)
		}
		for _, w := range route {
			load[w] += rate
		}
	}
	layers := n.Layers()
	sum, most, count := make(plotter.Values, len(layers)), make(plotter.Values, len(layers)), make([]float64, len(layers))
	for w := range load {
		x := n.Wire(topology.WireID(w))
		if x.Rate == 0 {
			continue
		}
		sum[x.Layer] += load[w] / x.Rate
		most[x.Layer] = max(most[x.Layer], load[w]/x.Rate)
		count[x.Layer]++
	}
	names := make([]string, len(layers))
	for i, l := range layers {
		names[i] = l.Span.String()
		sum[i] /= max(count[i], 1)
	}
	p := newPlot(o, fmt.Sprintf("%d ranks, each to the one half the group away", g.Size()), "layer", "load / rate")
	for i, values := range []plotter.Values{sum, most} {
		bars, err := plotter.NewBarChart(values, vg.Points(22))
		if err != nil {
			return err
		}
		bars.Color = []color.Color{colors[plan.Ring], colors[plan.Tree]}[i]
		bars.Offset = vg.Points(24*float64(i) - 12)
		p.Add(bars)
		p.Legend.Add([]string{"mean of the wires", "busiest wire"}[i], bars)
	}
	p.NominalX(names...)
	return p.Save(width, height, filepath.Join(o.plot, "heat.svg"))
}
