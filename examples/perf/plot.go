package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth  = 9 * vg.Inch
	plotHeight = 9 * vg.Inch
	plotDPI    = 150
	maxLegend  = 10 // names that the legend has room for
)

// plotColors are told apart also by readers who do not see red and green as others do (Okabe, Ito 2008).
var plotColors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
}

// A series is one line of the picture.
type series struct {
	label   string
	rows    []row
	inPlace bool
	index   int // of its dtype, op and root
}

// drawPlot draws the rows to a .png or .svg file: bus bandwidth above, time below, against size, on logarithmic axes.
func drawPlot(path, title string, rows []row) error {
	lines := seriesOf(rows)
	bandwidth, err := panel(title, "bus bandwidth (GB/s)", lines, func(m measurement) float64 { return m.busbw })
	if err != nil {
		return err
	}
	latency, err := panel("", "time of one call (µs)", lines, func(m measurement) float64 { return m.seconds * 1e6 })
	if err != nil {
		return err
	}
	bandwidth.Legend.Top, bandwidth.Legend.Left = true, true
	latency.Legend.Top, latency.Legend.Left = true, true

	var canvas vg.CanvasWriterTo
	if strings.EqualFold(filepath.Ext(path), ".svg") {
		canvas = vgsvg.New(plotWidth, plotHeight)
	} else {
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(plotWidth, plotHeight), vgimg.UseDPI(plotDPI))}
	}
	panels := [][]*plot.Plot{{bandwidth}, {latency}}
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadTop: 10, PadBottom: 10, PadLeft: 10, PadRight: 20, PadY: 16}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		panels[i][0].Draw(row[0])
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// seriesOf sorts the rows into lines. With several cycles a line goes through the mean of each size's rows.
func seriesOf(rows []row) []series {
	var order []string
	groups := map[string][]row{}
	for _, r := range rows {
		label := r.dtype
		if r.op != "none" {
			label += " " + r.op
		}
		if r.root >= 0 {
			label += fmt.Sprintf(" root %d", r.root)
		}
		if groups[label] == nil {
			order = append(order, label)
		}
		groups[label] = append(groups[label], r)
	}
	var lines []series
	for i, label := range order {
		name := label + ", "
		if len(order) == 1 {
			name = "" // the title says it
		}
		merged := mergeCycles(groups[label])
		lines = append(lines, series{name + "out of place", merged, false, i}, series{name + "in place", merged, true, i})
	}
	return lines
}

func mergeCycles(rows []row) []row {
	var out []row
	n := map[int64]float64{}
	for _, r := range rows {
		at := slices.IndexFunc(out, func(o row) bool { return o.size == r.size })
		if at < 0 {
			out = append(out, r)
			n[r.size] = 1
			continue
		}
		n[r.size]++
		mean := func(to *float64, x float64) { *to += (x - *to) / n[r.size] }
		for _, half := range [...]struct{ to, from *measurement }{{&out[at].outOfPlace, &r.outOfPlace}, {&out[at].inPlace, &r.inPlace}} {
			mean(&half.to.seconds, half.from.seconds)
			mean(&half.to.busbw, half.from.busbw)
		}
	}
	return out
}

func panel(title, unit string, lines []series, value func(measurement) float64) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.Title.Padding = title, vg.Points(8)
	p.Title.TextStyle.Font.Size = vg.Points(13)
	p.X.Label.Text, p.Y.Label.Text = "size (bytes)", unit
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Size = vg.Points(11)
		axis.Label.Padding = vg.Points(4)
		axis.Tick.Label.Font.Size = vg.Points(9)
		axis.Padding = vg.Points(4)
		axis.Scale = plot.LogScale{}
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = sizeTicks{}, decimalTicks{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	points, named := 0, 0
	for _, line := range lines {
		var xys plotter.XYs
		for _, r := range line.rows {
			m := r.outOfPlace
			if line.inPlace {
				m = r.inPlace
			}
			// A logarithmic axis has no zero.
			if y := value(m); r.size > 0 && y > 0 && !math.IsInf(y, 0) {
				xys = append(xys, plotter.XY{X: float64(r.size), Y: y})
			}
		}
		if len(xys) == 0 {
			continue
		}
		points += len(xys)
		l, s, err := plotter.NewLinePoints(xys)
		if err != nil {
			return nil, err
		}
		l.Color, s.Color = plotColors[line.index%len(plotColors)], plotColors[line.index%len(plotColors)]
		l.Width, s.Radius = vg.Points(1.8), vg.Points(3)
		s.Shape = draw.CircleGlyph{}
		if line.inPlace {
			l.Dashes = []vg.Length{vg.Points(6), vg.Points(3)}
			s.Shape, s.Radius = draw.SquareGlyph{}, vg.Points(3.5)
			if len(lines) == 2 { // alone, the two can differ in colour too
				l.Color, s.Color = plotColors[1], plotColors[1]
			}
		}
		p.Add(l, s)
		if named++; named <= maxLegend {
			p.Legend.Add(line.label, l, s)
		}
	}
	if named > maxLegend {
		p.Legend.Add(fmt.Sprintf("and %d more", named-maxLegend))
	}
	if points == 0 {
		// Nothing to draw, as for a barrier's bandwidth: an empty frame is clearer than axes around nothing.
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 1, 10, 1, 10
		p.Legend.Add("no measurement above zero")
		return p, nil
	}
	// Whole decades, and room even for a single point.
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.3
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max*1.2)))
	p.Legend.TextStyle.Font.Size = vg.Points(10)
	p.Legend.ThumbnailWidth = vg.Points(34)
	p.Legend.Padding = vg.Points(3)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(12), vg.Points(-34)
	return p, nil
}

// sizeTicks marks powers of two and names at most nine of them.
type sizeTicks struct{}

func (sizeTicks) Ticks(lo, hi float64) []plot.Tick {
	first, last := int(math.Ceil(math.Log2(lo))), int(math.Floor(math.Log2(hi)))
	every := max(1, (last-first+8)/9)
	var ticks []plot.Tick
	for e := first; e <= last; e++ {
		tick := plot.Tick{Value: math.Ldexp(1, e)}
		if (e-first)%every == 0 {
			tick.Label = sizeLabel(tick.Value)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

func sizeLabel(bytes float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for bytes >= 1024 && i < len(units)-1 {
		bytes /= 1024
		i++
	}
	return strconv.FormatFloat(bytes, 'g', 4, 64) + " " + units[i]
}

// decimalTicks marks 1, 2 … 9 of each decade and names the 1, and the 3 where there are few decades.
type decimalTicks struct{}

func (decimalTicks) Ticks(lo, hi float64) []plot.Tick {
	first, last := int(math.Floor(math.Log10(lo)+1e-9)), int(math.Ceil(math.Log10(hi)-1e-9))
	var ticks []plot.Tick
	for e := first; e <= last; e++ {
		for d := 1.0; d < 10; d++ {
			v := d * math.Pow(10, float64(e))
			if v < lo*(1-1e-9) || v > hi*(1+1e-9) {
				continue
			}
			tick := plot.Tick{Value: v}
			if d == 1 || d == 3 && last-first <= 3 {
				switch {
				case e < 3:
					tick.Label = strconv.FormatFloat(v, 'g', 3, 64)
				case e < 6:
					tick.Label = strconv.FormatFloat(v, 'f', 0, 64)
				default:
					tick.Label = strconv.FormatFloat(v, 'e', 0, 64)
				}
			}
			ticks = append(ticks, tick)
		}
	}
	return ticks
}
