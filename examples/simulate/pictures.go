package main

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/ringtree/ringtree/collective/plan"
	"github.com/ringtree/ringtree/collective/schedule"
	"github.com/ringtree/ringtree/collective/sim"
	"github.com/ringtree/ringtree/examples/internal/sizes"
	"github.com/ringtree/ringtree/topology"
)

// colors are told apart also by readers who do not see red and green as others do (Okabe and Ito, 2008).
var colors = map[plan.Algorithm]color.Color{
	plan.Ring: color.RGBA{0x00, 0x72, 0xb2, 0xff}, plan.Tree: color.RGBA{0xd5, 0x5e, 0x00, 0xff},
	plan.HalvingDoubling: color.RGBA{0x00, 0x9e, 0x73, 0xff}, plan.Direct: color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	plan.Hierarchical: color.RGBA{0xe6, 0x9f, 0x00, 0xff},
}

const width, height = 7 * vg.Inch, 4.5 * vg.Inch

// chartRanks is the largest group that has a chart of its own.
const chartRanks = 64

// draw makes the pictures, all of simulated runs: time and bus bandwidth against size, time against the number of ranks, which
// algorithm is quickest where, how busy the wires of each layer are, and, of small groups, who sends when.
func (r *runner) draw(out io.Writer) error {
	if err := os.MkdirAll(r.o.plot, 0o777); err != nil {
		return err
	}
	if err := r.drawNetwork(); err != nil {
		return err
	}
	g := r.g
	for _, f := range []func() (string, error){r.againstSize, r.chart, r.heat, r.againstRanks, r.choices} {
		name, err := f()
		if err != nil {
			return err
		}
		if err := r.on(g); err != nil { // some look at other graphs
			return err
		}
		r.progress.clear()
		if name != "" {
			fmt.Fprintf(out, "# %s\n", filepath.Join(r.o.plot, name))
		}
	}
	return nil
}

// considered returns what is run for a picture: of each algorithm the variant that the planner prices lowest. With near, those that it
// prices at more than so many times the lowest of all are left out.
func (r *runner) considered(bytes int64, near float64) ([]plan.Variant, error) {
	if len(r.o.algos) > 0 {
		return r.o.algos, nil
	}
	p, err := r.planner.Choose(plan.Auto, r.request(bytes))
	if err != nil {
		return nil, err
	}
	least := math.Inf(1)
	price := func(c plan.Candidate) float64 { return math.Max(c.Seconds, 1e-12) }
	var out []plan.Variant
	seen := make(map[plan.Algorithm]bool)
	for _, c := range p.Candidates {
		v := c.Variant
		if v.Algorithm == plan.Direct && r.g.Size() > directLimit || v.Between == plan.Direct && r.g.Hosts() > directLimit ||
			v.Algorithm == plan.Hierarchical && r.g.Hosts() == 1 || seen[v.Algorithm] {
			continue
		}
		if least = min(least, price(c)); near > 0 && price(c) > near*least {
			continue
		}
		seen[v.Algorithm] = true
		out = append(out, v)
	}
	return out, nil
}

// runs simulates the considered variants for all sizes, one variant after the other, for to make one ready takes longer than to
// run it. It returns them by size.
func (r *runner) runs(sweep sizes.Sweep, near float64) (map[int64][]*timed, error) {
	by := make(map[plan.Variant][]int64)
	var order []plan.Variant
	for bytes := range sweep.All(element) {
		list, err := r.considered(bytes, near)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if v.Algorithm == plan.Ring && r.crumbs(bytes) && len(list) > 1 {
				continue
			}
			if by[v] == nil {
				order = append(order, v)
			}
			by[v] = append(by[v], bytes)
		}
	}
	out := make(map[int64][]*timed)
	for _, v := range order {
		for _, bytes := range by[v] {
			x, err := r.once(v, bytes)
			if err != nil {
				return nil, err
			}
			out[bytes] = append(out[bytes], x)
		}
	}
	return out, nil
}

// once is run, or what it returned before.
func (r *runner) once(v plan.Variant, bytes int64) (*timed, error) {
	key := runKey{r.g.Size(), v, bytes}
	if x := r.done[key]; x != nil {
		return x, nil
	}
	x, err := r.run(v, bytes)
	if err != nil {
		return nil, err
	}
	if r.done == nil {
		r.done = make(map[runKey]*timed)
	}
	r.done[key] = x
	return x, nil
}

func (r *runner) newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.Title.Padding = fmt.Sprintf("%s: %s", r.o.topo, title), vg.Points(6)
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Legend.Top, p.Legend.Left = true, true
	return p
}

func (r *runner) save(p *plot.Plot, name string) (string, error) {
	return name, p.Save(width, height, filepath.Join(r.o.plot, name))
}

// logTime makes the axis of times logarithmic. It returns false where there is nothing to show.
func logTime(p *plot.Plot) bool {
	y := &p.Y
	if !(y.Min > 0) || math.IsInf(y.Min, 0) || math.IsInf(y.Max, 0) {
		return false
	}
	y.Scale, y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	y.Min, y.Max = math.Pow(10, math.Floor(math.Log10(y.Min))), math.Pow(10, math.Ceil(math.Log10(y.Max*1.01)))
	return true
}

// powers are ticks of an axis of base-2 logarithms.
type powers struct{ name func(float64) string }

func (t powers) Ticks(low, high float64) (out []plot.Tick) {
	every := max(1, int(high-low)/10)
	for k := math.Ceil(low); k <= high; k++ {
		tick := plot.Tick{Value: k}
		if int(k)%every == 0 {
			tick.Label = t.name(math.Exp2(k))
		}
		out = append(out, tick)
	}
	return out
}

func bytesName(v float64) string { return plan.Bytes(int64(v)) }

func plainName(v float64) string { return fmt.Sprintf("%.0f", v) }

// plotSizes are the sizes of pictures: those of the command line, or 1 KiB to 1 GiB.
func (r *runner) plotSizes() sizes.Sweep {
	if r.o.given["e"] || r.o.coll == schedule.Barrier {
		return r.o.sweep
	}
	return sizes.Sweep{First: 1 << 10, Last: 1 << 30, Factor: 4}
}

// againstSize has time below and bus bandwidth above, a line for each algorithm.
func (r *runner) againstSize() (string, error) {
	times, rates := make(map[plan.Algorithm]plotter.XYs), make(map[plan.Algorithm]plotter.XYs)
	sweep := r.plotSizes()
	runs, err := r.runs(sweep, 0)
	if err != nil {
		return "", err
	}
	for bytes := range sweep.All(element) {
		for _, x := range runs[bytes] {
			if bytes == 0 || x.Time == 0 {
				continue // a logarithmic axis has no zero
			}
			at, a := math.Log2(float64(bytes)), x.variant.Algorithm
			times[a] = append(times[a], plotter.XY{X: at, Y: x.Time.Seconds() * 1e6})
			rates[a] = append(rates[a], plotter.XY{X: at, Y: x.BusBW() / 1e9})
		}
	}
	above := r.newPlot(fmt.Sprintf("%v over %d ranks, simulated", r.contract(), r.g.Size()), "", "bus bandwidth (GB/s)")
	below := plot.New()
	below.X.Label.Text, below.Y.Label.Text = "size", "time (µs)"
	if err := lines(above, rates); err != nil {
		return "", err
	}
	if err := lines(below, times); err != nil {
		return "", err
	}
	if !logTime(below) {
		return "", nil
	}
	below.Legend = plot.NewLegend()
	above.X.Tick.Marker, below.X.Tick.Marker = powers{bytesName}, powers{bytesName}
	canvas := vgsvg.New(width, 7*vg.Inch)
	panels := [][]*plot.Plot{{above}, {below}}
	for i, row := range plot.Align(panels, draw.Tiles{Rows: 2, Cols: 1, PadRight: 14, PadY: 8, PadTop: 4, PadBottom: 4, PadLeft: 4}, draw.New(canvas)) {
		panels[i][0].Draw(row[0])
	}
	f, err := os.Create(filepath.Join(r.o.plot, "size.svg"))
	if err != nil {
		return "", err
	}
	_, err = canvas.WriteTo(f)
	return "size.svg", errors.Join(err, f.Close())
}

// crumbs reports whether a ring would be cut into chunks of an element or none: in a large group the simulator then has no quick way
// for it, and nobody wants the result.
func (r *runner) crumbs(bytes int64) bool {
	return r.g.Size() > 4096 && bytes < element*int64(r.g.Size())
}

// lines draws a line for each algorithm.
func lines(p *plot.Plot, of map[plan.Algorithm]plotter.XYs) error {
	for _, a := range plan.Algorithms() {
		if len(of[a]) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(of[a])
		if err != nil {
			return err
		}
		line.Color, line.Width = colors[a], vg.Points(1.5)
		points.Color, points.Shape, points.Radius = colors[a], draw.CircleGlyph{}, vg.Points(2)
		p.Add(line, points)
		p.Legend.Add(a.String(), line, points)
	}
	return nil
}

// groups calls f with the runner on the preset for 8 ranks, 16, and so on, up to as many as the command line says. A file has one
// size, and is one group.
func (r *runner) groups(f func(n int) error) error {
	last := r.g.Size()
	for n := min(8, last); ; n = min(2*n, last) {
		o := *r.o
		o.ranks = n
		o.given = nil // so that a file is not found to have another size
		g, err := graph(&o)
		if err == nil && r.o.calibration != "" {
			g, err = r.calibrate(g)
		}
		if err == nil {
			n = g.Size()
			err = r.on(g)
		}
		if err == nil {
			err = f(n)
		}
		if err != nil || n >= last {
			return err
		}
	}
}

// againstRanks has a line for each algorithm, and one upright where another becomes the quickest.
func (r *runner) againstRanks() (string, error) {
	bytes := r.o.sweep.First
	p := r.newPlot(fmt.Sprintf("%v of %s, simulated", r.contract(), plan.Bytes(bytes)), "ranks", "time (s)")
	times := make(map[plan.Algorithm]plotter.XYs)
	var before plan.Algorithm
	var crossings plotter.XYLabels
	last := 0.0
	err := r.groups(func(n int) error {
		runs, err := r.runs(sizes.Sweep{First: bytes, Last: bytes, Factor: 2}, 0)
		if err != nil {
			return err
		}
		best, least := plan.Auto, math.Inf(1)
		at := math.Log2(float64(n))
		for _, x := range runs[bytes] {
			t, a := max(x.Time.Seconds(), 1e-9), x.variant.Algorithm
			times[a] = append(times[a], plotter.XY{X: at, Y: t})
			if t < least {
				best, least = a, t
			}
		}
		if before != plan.Auto && best != before {
			crossings.XYs = append(crossings.XYs, plotter.XY{X: (last + at) / 2, Y: least})
			crossings.Labels = append(crossings.Labels, fmt.Sprintf(" %v", best))
		}
		before, last = best, at
		return nil
	})
	if err != nil {
		return "", err
	}
	if err := lines(p, times); err != nil {
		return "", err
	}
	if !logTime(p) {
		return "", nil
	}
	for _, at := range crossings.XYs {
		line, err := plotter.NewLine(plotter.XYs{{X: at.X, Y: p.Y.Min}, {X: at.X, Y: p.Y.Max}})
		if err != nil {
			return "", err
		}
		line.Color, line.Dashes = color.Gray{0x80}, []vg.Length{vg.Points(3), vg.Points(3)}
		p.Add(line)
	}
	if len(crossings.XYs) > 0 {
		names, err := plotter.NewLabels(crossings)
		if err != nil {
			return "", err
		}
		p.Add(names)
	}
	p.X.Tick.Marker = powers{plainName}
	return r.save(p, "ranks.svg")
}

// near is up to how many times the lowest price a variant is run for the map of choices.
const near = 2

// choices has a square for each size and number of ranks in the colour of the algorithm that is quickest there.
func (r *runner) choices() (string, error) {
	p := r.newPlot(fmt.Sprintf("the quickest algorithm of %v, simulated", r.contract()), "size", "ranks")
	seen := make(map[plan.Algorithm]bool)
	sweep := r.plotSizes()
	half := math.Log2(float64(max(sweep.Factor, 2))) / 2
	top := 0.0
	err := r.groups(func(n int) error {
		y := math.Log2(float64(n))
		top = y
		runs, err := r.runs(sweep, near)
		if err != nil {
			return err
		}
		for bytes := range sweep.All(element) {
			if bytes == 0 {
				continue
			}
			var best *timed
			for _, x := range runs[bytes] {
				if best == nil || x.Time < best.Time {
					best = x
				}
			}
			x := math.Log2(float64(bytes))
			if err := square(p, x-half, y-0.5, x+half, y+0.5, colors[best.variant.Algorithm]); err != nil {
				return err
			}
			seen[best.variant.Algorithm] = true
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, a := range plan.Algorithms() {
		if !seen[a] {
			continue
		}
		key, err := plotter.NewPolygon(plotter.XYs{{X: 3, Y: 3}, {X: 3, Y: 3}, {X: 3, Y: 3}})
		if err != nil {
			return "", err
		}
		key.Color = colors[a]
		p.Legend.Add(a.String(), key)
	}
	p.Legend.Left, p.Y.Max = false, top+3
	p.X.Tick.Marker, p.Y.Tick.Marker = powers{bytesName}, powers{plainName}
	return r.save(p, "choice.svg")
}

// square fills a part of the plane.
func square(p *plot.Plot, x0, y0, x1, y1 float64, c color.Color) error {
	s, err := plotter.NewPolygon(plotter.XYs{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
	if err != nil {
		return err
	}
	s.Color, s.LineStyle.Width = c, 0
	p.Add(s)
	return nil
}

// heat has a row for each layer of the network and a field for each tenth of the time: how many of the layer's wires were busy for that
// long, in a run with congestion.
func (r *runner) heat() (string, error) {
	bytes := r.o.sweep.First
	if r.g.Size() == 1 || r.o.coll == schedule.Barrier {
		return "", nil
	}
	variants, err := r.considered(bytes, near)
	if err != nil {
		return "", err
	}
	v := variants[0]
	if r.g.Size() > 4096 { // the hierarchy has eight times the messages, and takes as much more memory
		v = plan.Variant{Algorithm: plan.HalvingDoubling}
	}
	opts := []sim.Option{sim.At(sim.Congestion)}
	if r.o.level != sim.Congestion {
		opts = append(opts, sim.Routed(r.o.flows, topology.Choice{Seed: r.o.seed, Spread: r.o.spray}))
	}
	r.progress.at(fmt.Sprintf("%v, %s over %d ranks with congestion", v, plan.Bytes(bytes), r.g.Size()))
	m, err := r.fresh(v, 0, opts...)
	if err != nil {
		return "", err
	}
	res, err := m.Run(bytes - bytes%element)
	if err != nil {
		return "", err
	}
	p := r.newPlot(fmt.Sprintf("wires of %d ranks, %v of %s by %v", r.g.Size(), r.contract(), plan.Bytes(bytes), v), "part of the time that a wire is busy", "")
	names := make([]string, len(res.Layers))
	var notes plotter.XYLabels
	for i, l := range res.Layers {
		names[i] = l.Layer.Span.String()
		for k, n := range l.Heat {
			part := float64(n) / float64(max(l.Used, 1))
			shade := uint8(255 - math.Round(215*math.Sqrt(part)))
			if err := square(p, float64(k)/10, float64(i)-0.45, float64(k+1)/10, float64(i)+0.45, color.RGBA{255, shade, shade, 255}); err != nil {
				return "", err
			}
			if n > 0 {
				notes.XYs = append(notes.XYs, plotter.XY{X: float64(k)/10 + 0.01, Y: float64(i)})
				notes.Labels = append(notes.Labels, fmt.Sprint(n))
			}
		}
	}
	if len(notes.XYs) > 0 {
		labels, err := plotter.NewLabels(notes)
		if err != nil {
			return "", err
		}
		p.Add(labels)
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, 1
	return r.save(p, "heat.svg")
}

// chart has a row for each rank and a bar for each message that it sends, in the colour of its tier, from when it leaves to when it
// has arrived. Larger groups have none.
func (r *runner) chart() (string, error) {
	if r.g.Size() > chartRanks {
		return "", nil
	}
	bytes := r.o.sweep.First
	variants, err := r.variants(bytes)
	if err != nil {
		return "", err
	}
	x, err := r.run(variants[0], bytes)
	if err != nil {
		return "", err
	}
	res, err := r.recorded(x)
	if err != nil || res == nil {
		return "", err
	}
	p := r.newPlot(fmt.Sprintf("%v of %s by %v", r.contract(), plan.Bytes(bytes), x.variant), "time (µs)", "rank")
	tiers := map[topology.Level]plan.Algorithm{
		topology.Device: plan.Direct, topology.Host: plan.Ring, topology.Rack: plan.Tree, topology.Site: plan.HalvingDoubling, topology.World: plan.Hierarchical,
	}
	used := make(map[topology.Level]bool)
	for m := range res.Recorded() {
		if m.From == m.To {
			continue
		}
		y := float64(m.From)
		if err := square(p, float64(m.Leave)/1e6, y-0.4, float64(m.Arrive)/1e6, y+0.4, colors[tiers[m.Level]]); err != nil {
			return "", err
		}
		used[m.Level] = true
	}
	for l := topology.Device; l <= topology.World; l++ {
		if !used[l] {
			continue
		}
		key, err := plotter.NewPolygon(plotter.XYs{{X: 0, Y: 0}, {X: 0, Y: 0}, {X: 0, Y: 0}})
		if err != nil {
			return "", err
		}
		key.Color = colors[tiers[l]]
		p.Legend.Add(l.String(), key)
	}
	p.Y.Min, p.Y.Max = -0.5, float64(r.g.Size())*1.15+0.5
	p.Legend.Left = false
	return r.save(p, "chart.svg")
}
